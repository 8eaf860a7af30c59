"""The systemd units: systemd's own tools read them, and find them safe."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel import unit
from aishark_panel.config import load_agent_options
from aishark_panel.configfile import refuse_if_shared
from aishark_panel.errors import ConfigError

CONFIG, KEY = Path("/etc/aishark/agent.yaml"), Path("/etc/aishark/key")
TLS = [("--tls-cert", "/etc/aishark/tls/hub.pem"), ("--tls-key", "/etc/aishark/tls/hub-key.pem")]
SERVICES = {
    service.name: (service, most_exposed)
    for service, most_exposed in (
        (unit.agent_service("aishark-agent", CONFIG, KEY), 2.0),
        (unit.hub_service("aishark-hub", [("--host", "0.0.0.0"), *TLS], Path("/etc/aishark/token")), 1.5),
        (unit.dashboard_service("aishark-dashboard", [("--hub", "https://hub.example:8765"), *TLS]), 1.5),
    )
}


@pytest.fixture
def written(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.service" for name in SERVICES]
    for path in paths:
        path.write_text(SERVICES[path.stem][0].text())
    return paths


def test_systemd_understands_every_line(written: list[Path], require_tool: Callable[[str], str]) -> None:
    done = subprocess.run(
        [require_tool("systemd-analyze"), "verify", "--man=no", *map(str, written)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_finds_little_exposed(written: list[Path], require_tool: Callable[[str], str]) -> None:
    for path in written:
        command = [require_tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(path)]
        report = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        found = re.search(rf"exposure level for {path.name}: ([\d.]+)", report)
        assert found, report
        assert float(found[1]) <= SERVICES[path.stem][1]


def lines(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_an_agent_runs_this_installation_with_its_options(tmp_path: Path) -> None:
    text = unit.agent_service("aishark-edge", Path("/etc/edge.yaml"), Path("/etc/edge.key")).text()
    program, *words = lines(text, "ExecStart")[0].split()
    assert Path(program).samefile(Path(sys.executable).parent / "aishark")
    assert words[:3] == ["agent", "--config", "/etc/edge.yaml"]
    assert lines(text, "LoadCredential") == ["key:/etc/edge.key"]
    key = tmp_path / "key"
    key.write_text("s3cret")
    key.chmod(0o440)  # as systemd does it where files have access control lists
    given = dict(pair.split("=") for pair in " ".join(lines(text, "Environment")).replace("%d", str(tmp_path)).split())
    given["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    assert load_agent_options("", given, {}).server.api_key == "s3cret"
    assert given["NUMBA_CACHE_DIR"] == "%C/" + lines(text, "CacheDirectory")[0]


@pytest.mark.parametrize(
    ("service", "config", "words"),
    [
        ("Bad Name", Path("/etc/a.yaml"), "--service"),
        ("edge", Path("relative.yaml"), "--config: relative.yaml must be a whole path"),
        ("edge", Path("/etc/a b.yaml"), "must be a whole path"),
        ("edge", Path("/etc/a%n.yaml"), "must be a whole path"),
        ("edge", Path("/etc/a\nExecStart=/bin/sh"), "must be a whole path"),
    ],
)
def test_what_systemd_would_misread_is_refused(service: str, config: Path, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        unit.agent_service(service, config, KEY).text()


@pytest.mark.parametrize("value", ["a\nExecStartPre=/bin/sh", "$HOME", "a\0b"])
def test_an_option_cannot_become_more_than_a_word(value: str) -> None:
    with pytest.raises(ConfigError, match="cannot stand in a unit"):
        unit.hub_service("aishark-hub", [("--webhook", value)], KEY).text()
    text = unit.hub_service("aishark-hub", [("--webhook", 'a"b %n \\')], KEY).text()
    assert lines(text, "ExecStart")[0].endswith(r'--webhook "a\"b %%n \\"')


def test_it_is_written_where_it_is_to_be_and_only_if_it_could_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit, "_UNITS", tmp_path / "units")
    monkeypatch.setattr(unit, "_installation", lambda: (tmp_path,))
    closed = next((p for p in (tmp_path, *tmp_path.parents) if not p.stat().st_mode & 0o001), None)
    if closed:
        with pytest.raises(ConfigError, match="is closed to others"):
            unit.install("[Unit]", "edge")
    monkeypatch.setattr(unit, "_installation", lambda: (Path("/usr/bin"),))
    assert unit.warning() == ""
    with pytest.raises(ConfigError, match="cannot be written"):
        unit.install("[Unit]", "edge")
    (tmp_path / "units").mkdir()
    assert unit.install("[Unit]", "edge").read_text() == "[Unit]"
    assert os.listdir(tmp_path / "units") == ["edge.service"]


def aishark(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "aishark_panel", *words], capture_output=True, text=True, timeout=60)


def test_the_agents_command_prints_it() -> None:
    done = aishark("agent", "install", "--service", "edge")
    assert done.stdout == unit.agent_service("edge", CONFIG, KEY).text()


def test_a_hub_is_installed_with_the_options_before_the_word() -> None:
    given = ["--host", "0.0.0.0", *(word for pair in TLS for word in pair), "--no-builtin-rules", "--rules", "/etc/r"]
    text = aishark("hub", *given, "install", "--token-file", "/etc/t").stdout
    words = lines(text, "ExecStart")[0].split()[1:]
    tls = ["--tls-cert", "%d/tls-cert", "--tls-key", "%d/tls-key"]
    assert sorted(words) == sorted(["hub", "--host", "0.0.0.0", *tls, "--no-builtin-rules", "--rules", "/etc/r"])
    assert lines(text, "LoadCredential") == ["token:/etc/t", f"tls-cert:{TLS[0][1]}", f"tls-key:{TLS[1][1]}"]
    assert lines(text, "AmbientCapabilities") == [""]


def test_a_dashboard_may_listen_on_a_low_port_and_opens_no_browser() -> None:
    text = aishark("serve", "--hub", "https://hub.example:8765", "--port", "443", "install").stdout
    assert lines(text, "ExecStart")[0].endswith("--no-browser")
    assert lines(text, "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["agent", "-i", "eth0"], "--interface: what an agent's service does stands in the file"),
        (["hub", "--journal", "/data"], "keeps its files in /var/lib/aishark/aishark-hub"),
        (["hub", "--tls-key", "key.pem"], "--tls-key: key.pem must be a whole path"),
        (["serve"], "aishark serve --hub URL install"),
    ],
)
def test_what_a_service_cannot_do_is_refused(words: list[str], said: str) -> None:
    done = aishark(*words, "install")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_credential_is_the_services_own_whatever_its_mode(tmp_path: Path) -> None:
    secret = tmp_path / "oidc"
    secret.write_text("s3cret")
    secret.chmod(0o440)
    with pytest.raises(ConfigError, match="others may read"):
        refuse_if_shared(secret, "--oidc", {})
    refuse_if_shared(secret, "--oidc", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_token_is_read_from_a_file_and_not_printed(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-start-token\n")
    folders = {"XDG_STATE_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "hub", "--port", "0", "--no-journal"],
        env={**os.environ, **folders, "AISHARK_TOKEN_FILE": str(token)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.readline() + process.stdout.readline()
    address = re.search(r"http://\S+", said)
    assert address
    agents = [sys.executable, "-m", "aishark_panel", "agents", "list", "--hub", address[0]]
    asked = subprocess.run(agents, env={**os.environ, "AISHARK_TOKEN": "s3cret-start-token"}, timeout=60)
    process.terminate()
    said += process.stdout.read()
    process.stdout.close()
    process.wait(30)
    assert asked.returncode == 0
    assert "the one that it was given" in said
    assert "s3cret" not in said
