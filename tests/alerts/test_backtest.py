"""`aishark rules`, run as people run it."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.report import tried_table
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapwrite import PcapngWriter, PcapWriter
from tests.alerts.blocks import one_rule, scan, udp


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of one port scan."""
    path = tmp_path_factory.mktemp("captures") / "scan.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(scan("10.0.0.66", "10.0.0.2", 100)))
    return path


def aishark(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aishark_panel", "rules", *arguments]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "300"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_built_in_rules_find_the_scan(scan_file: Path) -> None:
    result = aishark("test", "builtin", str(scan_file))
    assert result.returncode == 0, result.stderr
    heading, row, _, _, noise = result.stdout.splitlines()
    assert noise.split()[:3] == ["port_scan", "1", "1"]
    assert heading.split()[0] == "fired"
    assert row.split("  ")[0] == "2023-11-14 22:13:21.000"
    assert "10.0.0.66 tried 20 ports of 10.0.0.2 within 10 s" in row
    assert result.stderr.endswith("1 alert in 100 packets\n")


def test_a_file_cut_in_the_middle_is_tested_as_far_as_it_goes(scan_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(scan_file.read_bytes()[:-10])
    backtest = Backtest(read_rules(BUILTIN), cut)
    assert [event.state for event in backtest] == ["firing", "resolved"]
    assert backtest.tally.packets == 99
    assert len(backtest.warnings) == 1


def test_rules_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("rules: [{name: mine, where: udp, by: [src_ip], over: 2s, having: 'packets > 5', for: 1s}]")
    result = aishark("check", str(path))
    assert result.returncode == 0
    assert re.split(" {2,}", result.stdout.splitlines()[1].strip()) == [
        "mine", "warning", "src_ip", "2 s", "packets > 5", "1 s", "yes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["check", "missing.yaml"], "missing.yaml: cannot be read: No such file"),
        (["test", "builtin", "missing.pcap"], "missing.pcap"),
        (["test", "README.md", "missing.pcap"], "README.md: "),
    ],
)
def test_what_cannot_be_read_is_one_line(arguments: list[str], error: str) -> None:
    result = aishark(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("aishark: ")
    assert error in result.stderr
    assert len(result.stderr.splitlines()) == 1


def pcapng(path: Path, interfaces: Sequence[str], packets: Frames) -> Path:
    """A capture whose interfaces have these names; `packets.iface` says which took each."""
    described = [CaptureInterface(link_type=1, name=name, snaplen=65_535) for name in interfaces]
    writer = PcapngWriter(described)
    path.write_bytes(writer.header() + writer.frames(packets))
    return path


def chatter(first_s: float, iface: int, source: str = "10.0.0.1") -> Frames:
    """100 packets in 10 s."""
    frames = udp([first_s + i / 10 for i in range(100)], source=source)
    frames.iface[:] = iface
    return frames


def test_interfaces_go_by_their_names_in_whatever_file(tmp_path: Path) -> None:
    first = pcapng(tmp_path / "1.pcapng", ["lan", "dmz"], chatter(0, 1))
    second = pcapng(tmp_path / "2.pcapng", ["wan"], chatter(10, 0))
    third = pcapng(tmp_path / "3.pcapng", ["wan", "vpn"], chatter(10, 1))
    rule = one_rule(by="[iface]", over="10s", having="packets >= 96")
    backtest = Backtest([rule], first, second)
    assert [event.key for event in backtest if event.state == "firing"] == [{"iface": "dmz"}, {"iface": "wan"}]
    assert backtest.tally.rules()[0]["problem"] == ""
    both = Backtest([one_rule(by="[iface]", over="20s", having="packets >= 150")], first, third)
    assert list(both) == []


def test_small_captures_of_earlier_times_are_looked_at_too(tmp_path: Path) -> None:
    late = pcapng(tmp_path / "1.pcapng", ["lan"], chatter(900, 0, "10.0.0.9"))
    early = pcapng(tmp_path / "2.pcapng", ["lan"], chatter(0, 0))
    backtest = Backtest([one_rule(by="[src_ip]", over="5s", having="packets >= 40")], late, early)
    fired = [event.key["src_ip"] for event in backtest if event.state == "firing"]
    assert fired == ["10.0.0.9", "10.0.0.1"]
    assert backtest.tally.rules()[0]["problem"] == ""


def test_what_the_network_says_steers_no_terminal_and_no_message() -> None:
    alert = {
        "rule": "a", "state": "firing", "severity": "info", "fired_ns": 1, "resolved_ns": 0, "values": {},
        "key": {"dns_query": "a\nresolved: all is well\x1b[2J"}, "annotations": {"summary": ""},
    }  # fmt: skip
    out = Console(width=300, file=io.StringIO())
    out.print(tried_table([], [alert]))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2
