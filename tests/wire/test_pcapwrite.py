"""The writers against our own reader, and against tshark, capinfos and scapy."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.utils import RawPcapNgReader, RawPcapReader

from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapfile import CaptureReader
from aishark_panel.wire.pcapheaders import CaptureInterface, InterfaceCounters, Section
from aishark_panel.wire.pcapwrite import PcapngWriter, PcapWriter
from tests.wire.capture_bytes import Row, read_all, rows_of

TS = 1_700_000_000_123_456_789
INTERFACES = [
    CaptureInterface(
        link_type=1, name="eth0", snaplen=128, filter="tcp port 443", os="Linux 6.1", description="uplink"
    ),
    CaptureInterface(link_type=101, name="tun0"),
]
SECTION = Section(hardware="a test", os="some system", application="aishark_panel")

rows_strategy = st.lists(
    st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1), st.integers(0, 1), st.binary(max_size=70)),
    max_size=30,
)


def batch(rows: list[Row]) -> Frames:
    plain = Frames.from_list([r[3] for r in rows], [r[0] for r in rows], [r[1] for r in rows])
    return Frames(plain.ts, plain.orig_len, np.array([r[2] for r in rows], np.uint16), plain.offsets, plain.data)


@settings(max_examples=60, deadline=None)
@given(rows_strategy, st.integers(0, 30))
def test_pcapng_comes_back_as_it_was_written(rows: list[Row], cut: int) -> None:
    writer = PcapngWriter(INTERFACES, section=SECTION)
    frames, cut = batch(rows), min(cut, len(rows))
    data = writer.header() + writer.frames(frames.slice(0, cut)) + writer.frames(frames.slice(cut, len(rows)))
    reader = CaptureReader()
    reader.feed(data)
    assert rows_of(reader) == rows
    assert reader.finish() is None
    assert reader.notes.section == SECTION
    assert reader.interfaces == INTERFACES


@settings(max_examples=60, deadline=None)
@given(rows_strategy)
def test_pcap_comes_back_without_interfaces(rows: list[Row]) -> None:
    rows = [(ts % (2**32 * 10**9), orig_len, 0, frame) for ts, orig_len, _, frame in rows]
    writer = PcapWriter(113)
    assert read_all(writer.header() + writer.frames(batch(rows))) == (rows, None)


def test_an_interface_may_be_added_before_its_first_frame() -> None:
    writer = PcapngWriter(INTERFACES[:1])
    data = writer.header()
    with pytest.raises(ValueError, match="interface 1"):
        writer.frames(batch([(TS, 1, 1, b"x")]))
    data += writer.add_interface(INTERFACES[1]) + writer.frames(batch([(TS, 1, 1, b"x")]))
    assert read_all(data)[0] == [(TS, 1, 1, b"x")]


def test_times_a_format_cannot_hold_become_the_nearest() -> None:
    frames = batch([(-1, 1, 0, b"x"), (2**63 - 1, 1, 0, b"x")])
    pcap, pcapng = PcapWriter(1), PcapngWriter(INTERFACES)
    assert [r[0] for r in read_all(pcap.header() + pcap.frames(frames))[0]] == [0, (2**32) * 10**9 - 1]
    assert [r[0] for r in read_all(pcapng.header() + pcapng.frames(frames))[0]] == [0, 2**63 - 1]


def test_texts_that_are_too_long_or_not_unicode_are_cut_or_replaced() -> None:
    writer = PcapngWriter([CaptureInterface(link_type=1, name="x" * 70_000, os="\udcff")])
    reader = CaptureReader()
    reader.feed(writer.header())
    assert reader.frames() is None
    assert reader.interfaces[0].name == "x" * 65_532
    assert reader.interfaces[0].os == "?"


def a_real_batch() -> Frames:
    arp = bytes.fromhex("ffffffffffff0200000000010806000108000604000102000000000a0000010000000000000a000002")
    return batch(
        [(TS, 60, 0, arp), (TS + 1, 20, 1, bytes.fromhex("45000014000000004011000001020304") + b"\x05\6\7\x08")]
    )


def test_tshark_and_capinfos_read_pcapng_as_it_was_meant(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    tshark, capinfos = require_tool("tshark"), require_tool("capinfos")
    writer = PcapngWriter(INTERFACES, section=SECTION)
    path = tmp_path / "out.pcapng"
    path.write_bytes(writer.header() + writer.frames(a_real_batch()))
    fields = ["frame.time_epoch", "frame.len", "frame.cap_len", "frame.interface_name", "_ws.col.Protocol"]
    command = [tshark, "-n", "-r", str(path), "-T", "fields", *(word for f in fields for word in ("-e", f))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        ["1700000000.123456789", "60", "41", "eth0", "ARP"],
        ["1700000000.123456790", "20", "20", "tun0", "IPv4"],
    ]
    about = subprocess.run([capinfos, str(path)], capture_output=True, text=True, check=True, timeout=60).stdout
    for text in (
        "Filter string = tcp port 443",
        "Operating system = Linux",
        "Description = uplink",
        "Capture length = 128",
        *("a test", "some system", "aishark_panel"),
    ):
        assert text in about


def test_capinfos_and_tshark_read_the_counters_of_interfaces(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    writer = PcapngWriter(INTERFACES, section=SECTION)
    counters = InterfaceCounters(
        received=2**40, dropped=3, accepted=1_000, dropped_by_system=44, delivered=956, start_ns=TS, end_ns=TS + 10**9
    )
    path = tmp_path / "out.pcapng"
    path.write_bytes(writer.header() + writer.frames(a_real_batch()) + writer.counters(1, counters, TS + 10**9))
    about = subprocess.run(
        [require_tool("capinfos"), str(path)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    interfaces = about[about.index("Interface #0") :].split("Interface #1")
    assert ["Number of stat entries = 0" in interfaces[0], "Number of stat entries = 1" in interfaces[1]] == [True] * 2
    # Read as a file of blocks rather than of packets, tshark says what they hold.
    fields = ["received", "dropped", "accepted_by_filter", "dropped_by_os", "delivered_to_user"]
    command = [require_tool("tshark"), "-r", str(path), "-X", "read_format:MIME Files Format", "-T", "fields"]
    command += [word for f in fields for word in ("-e", f"pcapng.options.option.data.interface.{f}")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.split() == [str(2**40), "3", "1000", "44", "956"]


def test_tshark_and_scapy_read_pcap_as_it_was_meant(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    writer = PcapWriter(1)
    path = tmp_path / "out.pcap"
    path.write_bytes(writer.header() + writer.frames(a_real_batch()))
    with RawPcapReader(str(path)) as reader:
        assert reader.nano
        records = [(meta.sec, meta.usec, meta.wirelen, meta.caplen) for _, meta in reader]
    assert records == [(1_700_000_000, 123_456_789, 60, 41), (1_700_000_000, 123_456_790, 20, 20)]
    command = [require_tool("tshark"), "-n", "-r", str(path), "-T", "fields", "-e", "frame.time_epoch"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert lines == ["1700000000.123456789", "1700000000.123456790"]


def test_scapy_reads_pcapng_as_it_was_meant(tmp_path: Path) -> None:
    writer = PcapngWriter(INTERFACES)
    path = tmp_path / "out.pcapng"
    frames = a_real_batch()
    path.write_bytes(writer.header() + writer.frames(frames))
    reader: Any  # scapy types its metadata by the pcap reader's, which lack pcapng's fields
    with RawPcapNgReader(str(path)) as reader:
        records = [(data, meta.wirelen, meta.linktype, meta.tshigh << 32 | meta.tslow) for data, meta in reader]
    assert records == [(frames.frame(0), 60, 1, TS), (frames.frame(1), 20, 101, TS + 1)]
