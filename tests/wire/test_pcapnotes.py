"""Names, counters, comments and lost packets: kept from hand-made blocks in both byte orders, and within bounds."""

import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.wire.pcapfile import CaptureReader
from aishark_panel.wire.pcapheaders import CaptureInterface, InterfaceCounters, Section
from aishark_panel.wire.pcapnotes import MAX_COMMENTS, MAX_NAMES, CaptureNotes
from aishark_panel.wire.pcapwrite import PcapngWriter
from tests.wire.capture_bytes import block, interface, packet, pcap, rows_of, section, simple

SECOND = 1_000_000_000
ORDERS = pytest.mark.parametrize("order", ["<", ">"])


def options(order: str, *pairs: tuple[int, bytes]) -> bytes:
    parts = [struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in pairs]
    return b"".join(parts) + bytes(4)


def with_options(order: str, data: bytes, *pairs: tuple[int, bytes], iface: int = 0) -> bytes:
    """An Enhanced Packet Block with options."""
    head = struct.pack(order + "IIIII", iface, 0, 1, len(data), len(data))
    return block(6, head + data + bytes(-len(data) % 4) + options(order, *pairs), order)


def record(order: str, kind: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", kind, len(value)) + value + bytes(-len(value) % 4)


def read(*parts: bytes) -> CaptureReader:
    """The reader after a file that came byte by byte, which must say what it says when fed at once."""
    whole, pieces = CaptureReader(), CaptureReader()
    data = b"".join(parts)
    whole.feed(data)
    rows = rows_of(whole)
    got = []
    for i in range(len(data)):
        pieces.feed(data[i : i + 1])
        got += rows_of(pieces)
    assert got == rows
    assert pieces.notes == whole.notes
    assert pieces.interfaces == whole.interfaces
    assert pieces.finish() == whole.finish()
    return whole


@ORDERS
def test_names_of_every_kind_of_address_are_kept(order: str) -> None:
    names = (
        record(order, 1, bytes([10, 0, 0, 1]) + b"first\0second\0")
        + record(order, 2, bytes([0x20, 1, 0x0D, 0xB8]) + bytes(11) + b"\x01six\0")
        + record(order, 3, bytes.fromhex("020000000001") + b"mac\0")
        + record(order, 4, bytes.fromhex("0200000000000001") + b"eui\0")
        + record(order, 9, b"an unknown kind")
        + record(order, 1, b"\x0a\0")  # too short for its address
    )
    reader = read(
        section(order),
        block(4, names + bytes(4), order),
        block(4, record(order, 1, bytes([10, 0, 0, 1]) + b"newest\0"), order),  # without an end
    )
    assert reader.notes.names == {
        "10.0.0.1": "newest",
        "2001:db8::1": "six",
        "02:00:00:00:00:01": "mac",
        "02:00:00:00:00:00:00:01": "eui",
    }


@ORDERS
def test_counters_reach_the_interface_of_their_section(order: str) -> None:
    def number(value: int) -> bytes:
        return struct.pack(order + "Q", value)

    def ticks(value: int) -> bytes:
        return struct.pack(order + "II", value >> 32, value & 0xFFFFFFFF)

    def statistics(index: int, *pairs: tuple[int, bytes]) -> bytes:
        return block(5, struct.pack(order + "III", index, 0, 0) + options(order, *pairs), order)

    shifted = interface(order, options={9: b"\x03", 14: struct.pack(order + "q", 1_000)})
    all_of_them = (2, ticks(1_500)), (3, ticks(2_000)), *((code, number(code * 2**33)) for code in range(4, 9))
    reader = read(
        section(order) + interface(order) + packet(1, b"x", order),
        statistics(0, (5, number(3)), (7, b"short")),
        statistics(1, (5, number(99))),  # of no interface
        block(5, b"shrt", order),
        section(order) + interface(order) + shifted,
        statistics(1, (5, number(1))),
        statistics(1, *all_of_them),  # the newest holds
    )
    assert [i.counters for i in reader.interfaces] == [
        InterfaceCounters(dropped=3),
        None,
        InterfaceCounters(
            received=4 * 2**33,
            dropped=5 * 2**33,
            accepted=6 * 2**33,
            dropped_by_system=7 * 2**33,
            delivered=8 * 2**33,
            start_ns=1_001_500_000_000,
            end_ns=1_002 * SECOND,
        ),
    ]
    assert reader.notes.sections == 2


@ORDERS
def test_comments_are_kept_by_the_number_of_their_packet(order: str) -> None:
    reader = read(
        block(
            0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options(order, (1, b"of the file")), order
        ),
        interface(order, options={1: b"of the interface", 15: b"a card"}),
        packet(1, b"plain", order),
        with_options(order, b"data", (1, "één".encode()), (2, bytes(4)), (1, b"two")),
        with_options(order, b"other", (2, bytes(4))),
        with_options(order, b"", (1, b"last\0junk")),
    )
    assert reader.notes == CaptureNotes(
        format="pcapng",
        sections=1,
        section=Section(comment="of the file"),
        comments={2: "één\ntwo", 4: "last"},
        commented=2,
    )
    assert (reader.interfaces[0].comment, reader.interfaces[0].hardware) == ("of the interface", "a card")


@ORDERS
def test_packets_that_say_how_many_were_lost_before_them_are_added_up(order: str) -> None:
    def obsolete(drops: int, iface: int) -> bytes:
        return block(2, struct.pack(order + "HHIIII", iface, drops, 0, 0, 4, 4) + b"data", order)

    reader = read(
        section(order) + interface(order) + interface(order),
        obsolete(5, 0) + obsolete(0xFFFF, 0) + obsolete(7, 1),  # 0xFFFF: not known
        with_options(order, b"abc", (4, struct.pack(order + "Q", 2**33)), iface=1),
        with_options(order, b"abc", (4, b"short"), iface=1),
        section(order) + interface(order) + obsolete(1, 0),
    )
    assert [reader.packet_drops(i) for i in range(3)] == [5, 2**33 + 7, 1]


def test_an_impossible_count_of_lost_packets_does_not_wrap() -> None:
    lost = with_options("<", b"abc", (4, b"\xff" * 8))
    assert read(section() + interface() + lost * 3).packet_drops(0) == 2**48


@ORDERS
def test_options_that_do_not_fit_their_packet_are_ignored(order: str) -> None:
    head = struct.pack(order + "IIIII", 0, 0, 1, 4, 4) + b"data"
    reader = read(
        section(order) + interface(order),
        block(6, head + struct.pack(order + "HH", 1, 9) + b"too long", order),
        block(6, head + struct.pack(order + "HH", 0, 0) + record(order, 1, b"after the end"), order),
        block(6, head + struct.pack(order + "HH", 1, 4), order),
    )
    assert reader.packets == 3
    assert reader.notes.commented == 0


def test_packets_without_a_time_are_counted() -> None:
    reader = read(section() + interface() + simple(b"abcd", 4) + packet(1, b"x") + simple(b"abcd", 4))
    assert reader.notes.untimed == 2


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (pcap([]), "pcap, microseconds"),
        (pcap([], magic=0xA1B23C4D, order=">"), "pcap, nanoseconds, big-endian"),
        (pcap([], magic=0xA1B2CD34), "modified pcap, microseconds"),
        (section(">"), "pcapng"),
    ],
)
def test_the_format_has_a_name(data: bytes, name: str) -> None:
    assert read(data).notes.format == name


def test_what_is_kept_of_notes_is_bounded() -> None:
    reader = CaptureReader()
    names = [record("<", 1, struct.pack(">I", i) + b"name\0") for i in range(MAX_NAMES + 100)]
    reader.feed(
        b"".join(
            [section(), interface()]
            + [block(4, b"".join(names[i : i + 1000])) for i in range(0, len(names), 1000)]
            + [with_options("<", b"", (1, b"x" * 5000))] * (MAX_COMMENTS + 10)
        )
    )
    while reader.frames() is not None:
        pass
    notes = reader.notes
    assert (len(notes.names), len(notes.comments), notes.commented) == (MAX_NAMES, MAX_COMMENTS, MAX_COMMENTS + 10)
    assert max(map(len, notes.comments.values())) == 1_000


def test_a_block_of_names_that_is_too_long_is_passed_over() -> None:
    long = block(4, record("<", 1, bytes([10, 0, 0, 1]) + b"name\0") + bytes(2**20))
    reader = CaptureReader()
    reader.feed(section() + interface() + long + packet(1, b"x"))
    assert len(rows_of(reader)) == 1
    assert (reader.notes.names, reader.finish()) == ({}, None)


@ORDERS
@pytest.mark.parametrize("kind", [0x0BAD, 10, 4])  # unknown, Decryption Secrets, names that are too many to read
def test_a_passed_over_block_must_have_its_length_at_both_ends(order: str, kind: int) -> None:
    whole = block(kind, bytes(2**20 if kind == 4 else 100), order)
    start = section(order) + interface(order) + packet(1, b"x", order)
    for cut in (0, 7, 50, len(whole) - 5, len(whole) - 2):
        reader = CaptureReader()
        for piece in (start + whole[:cut], whole[cut:-1] + b"\xee", packet(2, b"y", order)):
            reader.feed(piece)
            rows_of(reader)
        assert reader.finish() == (
            f"the block at byte {len(start)} has two different block lengths; the packet before it was read"
        )


def test_counters_come_back_as_they_were_written() -> None:
    counters = InterfaceCounters(
        received=10, dropped=1, accepted=9, dropped_by_system=0, delivered=8, start_ns=SECOND + 7, end_ns=2**62
    )
    writer = PcapngWriter([CaptureInterface(link_type=1, name="a"), CaptureInterface(link_type=1, name="b")])
    reader = read(writer.header(), writer.counters(1, counters, 2**62))
    assert [i.counters for i in reader.interfaces] == [None, counters]


def test_tshark_finds_the_same_notes_in_files_by_others(
    shared_captures: Path, require_tool: Callable[[str], str]
) -> None:
    """Read as a file of blocks rather than of packets, tshark says what each block holds."""
    kinds = ("comment", "interface.dropped", "interface.dropped_by_os")
    fields = [f"pcapng.options.option.data.{kind}" for kind in kinds]
    fields += ["pcapng.records.record.data.ipv4", "pcapng.records.record.data.ipv6"]
    found: Counter[str] = Counter()
    numbers = ("basic__test009", "basic__test014", "basic__test015", "basic__test016", "advanced__test100")
    for path in (p for n in numbers for p in shared_captures.glob(f"pcapng-test-generator/*_{n}.pcapng")):
        command = [require_tool("tshark"), "-r", str(path), "-X", "read_format:MIME Files Format", "-T", "fields"]
        command += ["-E", "aggregator=\x1e", "-E", "separator=\x1f", *(word for f in fields for word in ("-e", f))]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.rstrip("\n")
        comments, dropped, by_os, ipv4, ipv6 = ([v for v in cell.split("\x1e") if v] for cell in told.split("\x1f"))
        reader = CaptureReader()
        reader.feed(path.read_bytes())
        rows_of(reader)
        notes = reader.notes
        assert notes.sections == 1  # of several, tshark shows the first only
        assert notes.names.keys() == {*ipv4, *ipv6}
        ours = [notes.section.comment, *(i.comment for i in reader.interfaces)]
        ours += [line for text in notes.comments.values() for line in text.split("\n")]
        assert {text for text in ours if text} <= set(comments)
        counters = [i.counters for i in reader.interfaces if i.counters]
        assert {str(c.dropped) for c in counters} - {"None"} <= set(dropped)
        assert {str(c.dropped_by_system) for c in counters} - {"None"} <= set(by_os)
        assert bool(counters) >= bool(dropped)
        found.update({"names": len(notes.names), "comments": len(notes.comments), "counters": len(counters)})
    assert min(found.values()) > 0
