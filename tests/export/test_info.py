"""What a capture file is said to be, against capinfos and hand-made files."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.errors import CaptureFileError
from aishark_panel.export.info import capture_info
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapheaders import CaptureInterface, InterfaceCounters, Section
from aishark_panel.wire.pcapwrite import PcapngWriter
from tests.wire.capture_bytes import interface, packet, pcap, section, simple

TS = 1_700_000_000_123_456_789


def test_a_pcapng_file_is_described_in_full(tmp_path: Path) -> None:
    interfaces = [
        CaptureInterface(link_type=1, name="eth0\x1b[2J", filter="tcp", os="Linux", hardware="a card", snaplen=128),
        CaptureInterface(link_type=101, name="tun0"),
    ]
    writer = PcapngWriter(interfaces, section=Section(hardware="a machine", application="a program", comment="why"))
    frames = Frames.from_list([b"abc", b"defg"], [TS, TS + 1_500_000_000], [60, 4])
    counters = InterfaceCounters(received=1_000, dropped=0, dropped_by_system=7, end_ns=TS)
    path = tmp_path / "some.pcapng"
    path.write_bytes(writer.header() + writer.frames(frames) + writer.counters(0, counters, TS))
    assert capture_info(str(path)).text().splitlines() == [
        f"File:               {path}",
        "Format:             pcapng",
        "Link types:         Ethernet (1), 2 packets; raw IP (101), 0 packets",
        f"File size:          {path.stat().st_size:,} bytes",
        "Packets:            2",
        "Captured:           7 bytes",
        "On the wire:        64 bytes",
        "First packet:       2023-11-14 22:13:20.123456789 UTC",
        "Last packet:        2023-11-14 22:13:21.623456789 UTC",
        "Duration:           1.500000000 s",
        "Rate:               1.3 packets/s, 341 bit/s",
        "Hardware:           a machine",
        "Application:        a program",
        "File comment:       why",
        "Interface 0:        eth0 [2J",
        "  link type:                Ethernet (1)",
        "  packets:                  2",
        "  snaplen:                  128",
        "  filter:                   tcp",
        "  operating system:         Linux",
        "  hardware:                 a card",
        "  received:                 1,000",
        "  dropped by the interface: 0",
        "  dropped by the system:    7",
        "  capture ended:            2023-11-14 22:13:20.123456789 UTC",
        "Interface 1:        tun0",
        "  link type:                raw IP (101)",
        "  packets:                  0",
    ]


def test_what_is_odd_about_a_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(
        section(">") + interface(">") + packet(5, b"x", ">") + packet(3, b"x", ">") + simple(b"abcd", 4, ">") + b"cut"
    )
    text = capture_info(str(path)).text()
    for line in (
        "Times:              not in order",
        "Times missing:      1 have none of their own; they count as the packet before",
        "Damage:             it ends at byte 143, in the middle of a block, which begins at byte 140; "
        "the 3 packets before it were read",
        "Interface 0:        without a name",
    ):
        assert line in text.splitlines()


def test_an_empty_file_of_a_known_format_is_described(tmp_path: Path) -> None:
    path = tmp_path / "empty.pcap"
    path.write_bytes(pcap([], magic=0xA1B23C4D, link=4_242))
    text = capture_info(str(path)).text()
    assert "Format:             pcap, nanoseconds\nLink types:         link type 4242, 0 packets" in text
    assert "First packet" not in text


def test_what_is_no_capture_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no capture, but a text")
    with pytest.raises(CaptureFileError, match="neither pcap nor pcapng"):
        capture_info(str(path))


def test_capinfos_agrees_on_captures_by_others(shared_captures: Path, require_tool: Callable[[str], str]) -> None:
    """Where capinfos reads the whole file; it takes Custom Blocks for packets, so files with them are left out."""
    paths = [
        p for p in sorted(shared_captures.glob("ja4/*")) + sorted(shared_captures.glob("wireshark/*")) if p.is_file()
    ]
    # -T table, -m commas, -Q quotes; -S seconds, c packets, d data bytes, a and e times, o order
    command = [require_tool("capinfos"), "-TmQ", "-Scdaeo", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, env={"TZ": "UTC", "LC_ALL": "C"}, timeout=120)
    rows = [re.findall(r'"([^"]*)"', line) for line in done.stdout.splitlines()[1:]]
    assert len(rows) == len(paths) > 40
    for name, packets, data_bytes, first, last, in_order in rows:
        info = capture_info(name)
        assert (name, info.packets, info.wire_bytes) == (name, int(packets), int(data_bytes))
        assert (name, info.in_order) == (name, in_order == "True")
        for ours, theirs in ((info.first_ns, first), (info.last_ns, last)):
            assert ours is not None
            seconds, _, digits = theirs.partition(".")
            assert (name, str(ours)[: len(seconds + digits)]) == (name, seconds + digits)


def test_the_command_prints_it_and_takes_nothing_else_with_it(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap([(1, 0, 3, b"abc")]))
    command = [sys.executable, "-m", "aishark_panel", "read", str(path), "--info"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == capture_info(str(path)).text()
    refused = subprocess.run([*command, "--where", "tcp"], capture_output=True, text=True, timeout=60)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--info says what the whole file is" in refused.stderr
