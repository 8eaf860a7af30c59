"""`aishark rules`, run as people run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.alerts.blocks import scan


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
