"""Sessions of a real hub in the interface list of the real tshark and dumpcap, and captured from there."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.embedded import EmbeddedHub
from tests.integration.conftest import ask, run_agent, session_of, stats_when


def aishark(hub: EmbeddedHub, *arguments: str, home: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aishark_panel", "extcap", *arguments]
    environment = os.environ | {"AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url, "HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def tshark(require_tool: Callable[[str], str]) -> str:
    return require_tool("tshark")


@pytest.fixture(scope="module")
def session(hub: EmbeddedHub, capture_file: Path) -> str:
    """A file of numbered packets that was played and is over, by two agents."""
    for name in ("web-1", "web-2"):
        played = run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "played", "--name", name)
        assert played.returncode == 0
    session = session_of(hub, "played")
    stats_when(hub, session, lambda s: s["state"] == "ended", "the end of the file")
    return session


@pytest.fixture(scope="module")
def installed(hub: EmbeddedHub, session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of extcap programs with ours in it."""
    folder = tmp_path_factory.mktemp("extcap")
    result = aishark(hub, "install", "--folder", str(folder), home=folder)
    assert result.returncode == 0, result.stderr
    return folder


def run(tshark: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """tshark, for which `folder` is the system's extcap folder."""
    said = subprocess.run([tshark, "-G", "folders"], capture_output=True, text=True, check=True).stdout
    system = re.findall(r"^(?:Global )?Extcap path:\s*(.+)$", said, re.MULTILINE)[0].strip()
    apart = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" "$1"; shift; exec "$@"']
    command = [*apart, str(folder), system, tshark, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_script_is_its_owners_alone_for_it_holds_a_token(installed: Path, hub: EmbeddedHub) -> None:
    script = installed / "aishark"
    assert stat.S_IMODE(script.stat().st_mode) == 0o700
    assert hub.token in script.read_text()


def test_wireshark_lists_sessions_and_their_agents(tshark: str, installed: Path, session: str) -> None:
    lines = run(tshark, installed, "-D").stdout
    assert f"aishark:{session} (aishark: played)" in lines
    assert f"aishark:{session}/web-1 (aishark: played, agent web-1)" in lines


def numbers(text: str) -> list[int]:
    return [int(line) for line in text.split()]


def test_wireshark_captures_a_session(tshark: str, installed: Path, session: str, hub: EmbeddedHub) -> None:
    kept = ask(hub, lambda c: c.stats(session))["packets"]
    fields = ["-T", "fields", "-e", "frame.number"]
    whole = run(tshark, installed, "-i", f"aishark:{session}", *fields)
    assert numbers(whole.stdout) == list(range(1, kept + 1)), whole.stderr
    names = ["-T", "fields", "-e", "frame.interface_name"]
    half = run(tshark, installed, "-i", f"aishark:{session}/web-2", *names).stdout.split()
    assert len(half) == kept // 2
    assert "web-2" in half[0]


def test_the_box_for_capture_filters_takes_display_filters(tshark: str, installed: Path, session: str) -> None:
    fields = ["-T", "fields", "-e", "ip.src"]
    chosen = run(tshark, installed, "-i", f"aishark:{session}", "-f", "ip.src == 10.0.0.7", "-c", "20", *fields)
    assert chosen.stdout.split() == ["10.0.0.7"] * 20, chosen.stderr


def test_what_is_wrong_is_said(hub: EmbeddedHub, session: str, tmp_path: Path) -> None:
    asked = ("run", "--extcap-interface", f"aishark:{session}", "--extcap-capture-filter")
    said = aishark(hub, *asked, "srcport == 1", home=tmp_path)
    assert "did you mean src_port" in said.stdout
    fine = aishark(hub, *asked, "udp", home=tmp_path)
    assert (fine.stdout, fine.returncode) == ("", 0)
    gone = aishark(hub, "run", "--capture", "--extcap-interface", "aishark:abc", "--fifo", "/dev/null", home=tmp_path)
    assert "no session 'abc' any more" in gone.stderr
    nowhere = aishark(hub, "run", "--capture", "--extcap-interface", f"aishark:{session}", home=tmp_path)
    assert "there is no --fifo" in nowhere.stderr
    alone = aishark(EmbeddedHub("http://127.0.0.1:1", "x", hub.process), "run", "--extcap-interfaces", home=tmp_path)
    assert alone.returncode == 0
    assert alone.stdout.startswith("extcap {version=")
    assert "interface" not in alone.stdout


def test_it_goes_where_tshark_looks(hub: EmbeddedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "named"
    told = tmp_path / "bin" / "tshark"
    told.parent.mkdir()
    told.write_text(f"#!/bin/sh\necho 'Extcap path: /nowhere'\necho 'Personal Extcap path:   {named}'\n")
    told.chmod(0o755)
    monkeypatch.setenv("PATH", f"{told.parent}:{os.environ['PATH']}")
    result = aishark(hub, "install", home=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (named / "aishark").is_file()
    told.write_text("#!/bin/sh\nexit 1\n")
    assert aishark(hub, "install", home=tmp_path).returncode == 0
    assert (tmp_path / ".local/lib/wireshark/extcap/aishark").is_file()
