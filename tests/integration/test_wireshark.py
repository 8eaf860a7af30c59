"""`aishark wireshark` opens at the packet that was asked for, as the real tshark finds it there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.embedded import EmbeddedHub
from tests.integration.conftest import call, run_agent, session_of, stats_when
from tests.traffic import START_NS


@pytest.fixture(scope="module")
def session(hub: EmbeddedHub, capture_file: Path) -> str:
    """10,000 packets, a millisecond apart."""
    assert run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "played").returncode == 0
    found = session_of(hub, "played")
    stats_when(hub, found, lambda s: s["state"] == "ended", "the end of the file")
    return found


def aishark(hub: EmbeddedHub, *options: str, path: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url}
    environment["PATH"] = path + os.pathsep + environment["PATH"]
    argv = [sys.executable, "-m", "aishark_panel", "wireshark", *options]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


def time_of(tshark: str, path: Path, frame: int) -> int:
    command = [tshark, "-r", str(path), "-Y", f"frame.number == {frame}", "-T", "fields", "-e", "frame.time_epoch"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(said.strip().replace(".", ""))


def test_it_opens_at_a_packet_of_a_session(
    hub: EmbeddedHub, session: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    out = tmp_path / "around.pcapng"
    done = aishark(hub, "played", "--packet", "5000", "--around", "0.5", "-o", str(out))
    assert done.stdout == f"wireshark -r {out} -g 501\n", done.stderr
    assert time_of(require_tool("tshark"), out, 501) == START_NS + 4_999 * 1_000_000
    moment = "2023-11-14T22:13:24.999Z"
    again = aishark(hub, session, "--packet", "5000", "--around", "0.5", "--at", moment, "-o", str(out))
    assert again.stdout == done.stdout


def test_wireshark_has_the_file_while_it_runs(hub: EmbeddedHub, session: str, tmp_path: Path) -> None:
    fake = tmp_path / "wireshark"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\ncp "$2" {tmp_path}/seen.pcapng\n')
    fake.chmod(0o755)
    done = aishark(hub, "played", "--packet", "10", path=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    option, path, *rest = (tmp_path / "said").read_text().split()
    assert (option, rest, Path(path).exists()) == ("-r", ["-g", "10"], False)
    assert (tmp_path / "seen.pcapng").stat().st_size > 10_000 * 60


def test_a_file_is_opened_as_it_is(hub: EmbeddedHub, capture_file: Path, tmp_path: Path) -> None:
    done = aishark(hub, str(capture_file), "--packet", "77", "-o", "-")
    assert done.stdout == f"wireshark -r {capture_file} -g 77\n"
    (tmp_path / "letter.pcap").write_text("Dear reader")
    failed = aishark(hub, str(tmp_path / "letter.pcap"))
    assert (failed.returncode, "neither pcap nor pcapng" in failed.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("played", "--packet", "20000"), "say when: --at"),
        (("played", "--packet", "5000", "--at", "2023-11-14 23:00"), "was not captured around that time"),
        (("played", "--packet", "5000", "--at", "noon"), "is no time"),
        (("played", "--packet", "5000", "-o", "/proc/x.pcapng"), "cannot write /proc/x.pcapng"),
        (("nobody",), "no session 'nobody'"),
        (("played",), "Wireshark is not installed here"),
    ],
)
def test_what_is_wrong_is_said(hub: EmbeddedHub, session: str, options: tuple[str, ...], says: str) -> None:
    failed = aishark(hub, *options)
    assert failed.returncode == 2
    assert says in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_session_streams_as_pcapng(hub: EmbeddedHub, session: str) -> None:
    status, body = call(hub, "GET", f"/api/stream/{session}/pcapng?where=number%20%3C%3D%20100")
    assert (status, body[:4]) == (200, b"\x0a\x0d\x0d\x0a")
    assert len(body) > 100 * 60
