"""The systemd unit: systemd's own tools read it, and find it safe."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.agent import unit
from aishark_panel.config import load_agent_options
from aishark_panel.errors import ConfigError


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "aishark-agent.service"
    path.write_text(unit.unit_text())
    return path


def test_systemd_understands_every_line(written: Path, require_tool: Callable[[str], str]) -> None:
    done = subprocess.run(
        [require_tool("systemd-analyze"), "verify", "--man=no", str(written)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_finds_little_exposed(written: Path, require_tool: Callable[[str], str]) -> None:
    command = [require_tool("systemd-analyze"), "security", "--offline=true", "--no-pager", str(written)]
    report = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"exposure level for aishark-agent.service: ([\d.]+)", report)
    assert found, report
    assert float(found[1]) <= 2.0


def test_it_runs_this_installation_with_its_options(tmp_path: Path) -> None:
    text = unit.unit_text("aishark-edge", Path("/etc/edge.yaml"), Path("/etc/edge.key"))
    command = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command
    program, *words = command[1].split()
    assert Path(program).samefile(Path(sys.executable).parent / "aishark")
    assert words[:3] == ["agent", "--config", "/etc/edge.yaml"]
    environment = re.search(r"^Environment=(.*)$", text, re.MULTILINE)
    assert environment
    key = tmp_path / "key"
    key.write_text("s3cret")
    key.chmod(0o440)  # as systemd does it where files have access control lists
    given = dict(pair.split("=") for pair in environment[1].replace("%d", str(tmp_path)).split())
    given["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    assert load_agent_options("", given, {}).server.api_key == "s3cret"
    assert given["NUMBA_CACHE_DIR"] == "%C/" + re.findall(r"^CacheDirectory=(.*)$", text, re.MULTILINE)[0]


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
        unit.unit_text(service, config)


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


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-m", "aishark_panel", "agent", "install", "--service", "edge"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == unit.unit_text("edge")
