"""The reader against hand-made files and hostile ones; tests/test_capture_oracle.py has real ones."""

import re
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.pcapfile import MAX_INTERFACES, CaptureReader
from aishark_panel.wire.pcapwalk import MAX_BLOCK_BYTES
from tests.wire.capture_bytes import (
    Row,
    block,
    interface,
    obsolete,
    packet,
    pcap,
    read_all,
    rows_of,
    section,
    simple,
)

SECOND = 1_000_000_000

PCAPNG = (
    section("<")
    + block(0x0BAD, b"passed over")
    + interface("<", options={2: b"eth0", 9: b"\x09"})
    + packet(5 * SECOND + 7, b"first frame")
    + simple(b"no time of its own", 99)
    + interface("<", link=101, options={2: b"tun0"})
    + packet(6_000_001, b"", iface=1)
    + section(">")
    + block(0x0BAD, bytes(300), ">")
    + interface(">", link=113, snaplen=4)
    + obsolete(7_000_002, b"obsolete", ">", drops=513)
    + simple(b"cut!", 50, ">")
    + block(5, b"statistics", ">")
)
PCAPNG_ROWS: list[Row] = [
    (5 * SECOND + 7, 11, 0, b"first frame"),
    (5 * SECOND + 7, 99, 0, b"no time of its own\0\0"),  # its length stands nowhere but in the padded block's
    (6_000_001_000, 0, 1, b""),
    (7_000_002_000, 8, 2, b"obsolete"),
    (7_000_002_000, 50, 2, b"cut!"),
]
KINDS_OF_PCAP = [(0xA1B2C3D4, 1000, 0), (0xA1B23C4D, 1, 0), (0xA1B2CD34, 1000, 8)]
PCAP = pcap([(1, 2, 60, b"a" * 60), (3, 999_999, 1500, b"b" * 96), (4, 0, 0, b"")])


def test_every_kind_of_pcapng_block_is_read_in_both_byte_orders() -> None:
    reader = CaptureReader()
    reader.feed(PCAPNG)
    assert rows_of(reader) == PCAPNG_ROWS
    assert reader.finish() is None
    assert [(i.name, i.link_type, i.snaplen, i.tsresol) for i in reader.interfaces] == [
        ("eth0", 1, 0, 9),
        ("tun0", 101, 0, 6),
        ("", 113, 4, 6),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "unit_ns", "extra"), [(0xA1B2C3D4, 1000, 0), (0xA1B23C4D, 1, 0), (0xA1B2CD34, 1000, 8)]
)
def test_every_kind_of_pcap_is_read(order: str, magic: int, unit_ns: int, extra: int) -> None:
    data = pcap([(1, 7, 60, b"abc"), (2**32 - 1, 0, 3, b"def")], order=order, magic=magic, extra=bytes(extra))
    rows, warning = read_all(data)
    assert rows == [(SECOND + 7 * unit_ns, 60, 0, b"abc"), ((2**32 - 1) * SECOND, 3, 0, b"def")]
    assert warning is None


def test_lengths_before_version_2_4_are_read_in_their_old_order() -> None:
    header = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 3, 0, 0, 65_535, 1)
    assert read_all(header + struct.pack("<IIII", 1, 0, 60, 3) + b"abc")[0] == [(SECOND, 60, 0, b"abc")]
    assert read_all(header + struct.pack("<IIII", 1, 0, 3, 60) + b"abc")[0] == [(SECOND, 60, 0, b"abc")]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([PCAP, PCAPNG]), st.data())
def test_where_the_bytes_are_cut_into_pieces_changes_nothing(whole: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=40)))
    reader = CaptureReader(batch_rows=data.draw(st.integers(1, 4)))
    rows: list[Row] = []
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        reader.feed(whole[start:stop])
        rows += rows_of(reader)
    assert rows == read_all(whole)[0]
    assert reader.finish() is None
    assert reader.bytes_read == len(whole)


def test_single_bytes_are_pieces_too() -> None:
    reader = CaptureReader()
    rows: list[Row] = []
    for i in range(len(PCAPNG)):
        reader.feed(PCAPNG[i : i + 1])
        rows += rows_of(reader)
    assert rows == PCAPNG_ROWS


@pytest.mark.parametrize("whole", [PCAP, PCAPNG], ids=["pcap", "pcapng"])
def test_a_file_cut_anywhere_gives_its_whole_packets_and_says_that_it_is_cut(whole: bytes) -> None:
    rows = read_all(whole)[0]
    ends_whole = 0
    for length in range(1, len(whole)):
        try:
            got, warning = read_all(whole[:length])
        except CaptureFileError as error:
            got, warning = [], str(error)
        assert got == rows[: len(got)]
        if warning is None:
            ends_whole += 1
        else:
            assert f"ends at byte {length}" in warning
            assert not got or warning.endswith(f"{len(got)} packets before it were read" if got[1:] else "was read")
    assert ends_whole == (3 if whole is PCAP else 12)  # after the header(s) and after each record


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([PCAP, PCAPNG]), st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))))
def test_damaged_bytes_give_packets_or_a_capture_file_error(whole: bytes, damage: list[tuple[int, bytes]]) -> None:
    data = bytearray(whole)
    for at, replacement in damage:
        at %= len(data)
        data[at : at + len(replacement)] = replacement
    try:
        rows, _ = read_all(bytes(data))
    except CaptureFileError:
        return
    assert sum(len(row[3]) for row in rows) <= len(data)


def test_only_the_snaplen_is_kept_of_each_frame() -> None:
    assert [row[3] for row in read_all(PCAP, snaplen=10)[0]] == [b"a" * 10, b"b" * 10, b""]
    assert [row[1] for row in read_all(PCAP, snaplen=10)[0]] == [60, 1500, 0]
    assert [row[3] for row in read_all(PCAPNG, snaplen=2)[0]] == [b"fi", b"no", b"", b"ob", b"cu"]


def test_frames_that_do_not_fit_a_batch_come_in_the_next() -> None:
    frame = bytes(MAX_FRAME_BYTES)
    reader = CaptureReader()
    reader.feed(pcap([(1, 0, len(frame), frame)] * 20))
    batches = []
    while (frames := reader.frames()) is not None:
        batches.append(len(frames))
    assert sum(batches) == 20
    assert len(batches) > 1


@pytest.mark.parametrize(
    ("tsresol", "tsoffset", "ticks", "expected_ns"),
    [
        (6, 0, 1_500_000, 1_500_000_000),
        (9, 0, 1_500_000_001, 1_500_000_001),
        (0, 0, 3, 3 * SECOND),
        (12, 0, 1_999, 1),
        (27, 0, 10**18, 1),
        (60, 0, 2**64 - 1, 0),
        (0x80, 0, 3, 3 * SECOND),
        (0x80 | 10, 0, 1536, 1_500_000_000),
        (0x80 | 32, 0, 3 << 31, 1_500_000_000),
        (0x80 | 40, 0, 3 << 39, 1_500_000_000),
        (0x80 | 60, 0, 3 << 59, 1_500_000_000),
        (0x80 | 64, 0, 1 << 63, 500_000_000),
        (0x80 | 127, 0, 2**64 - 1, 0),
        (9, 100, 5, 100 * SECOND + 5),
        (9, -100, 5, -100 * SECOND + 5),
        (9, 0, 2**64 - 1, 2**63 - 1),
        (0, 0, 2**64 - 1, 2**63 - 1),
        (0x80, 0, 2**64 - 1, 2**63 - 1),
        (9, 2**63 - 1, 2**62, 2**63 - 1),
        (9, -(2**63), 0, -(2**63 - 1)),
    ],
)
def test_times_become_nanoseconds_in_every_unit(tsresol: int, tsoffset: int, ticks: int, expected_ns: int) -> None:
    options = {9: bytes([tsresol]), 14: struct.pack("<q", tsoffset)}
    rows, _ = read_all(section() + interface(options=options) + packet(ticks, b"x"))
    assert rows[0][0] == expected_ns


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\r\r", "ends at byte 3"),
        (b"not a capture file", "neither pcap nor pcapng"),
        (PCAP[:23], "ends at byte 23"),
        (PCAP[:4] + b"\x09\x00" + PCAP[6:], "pcap version 9.4 is unknown"),
        (pcap([], link=0x10001), "no version of pcap allows"),
        (PCAP[:32] + b"\xff\xff\xff\xff" + PCAP[36:], "packet 1, at byte 24, claims to be longer than 262,144 bytes"),
        (section(major=2), "pcapng version 2.0 is unknown"),
        (section()[:8] + b"abcd" + section()[12:], "no byte-order mark, but 61 62 63 64"),
        (section()[:-4] + b"abcd", "two different block lengths"),
        (section()[:4] + b"\xf0\xff\xff\xff" + section()[8:], "impossible length of 4,294,967,280 bytes"),
        (section() + block(1, b""), "impossible length of 12 bytes"),
        (section() + packet(1, b"x"), "packet 1, at byte 28, names an interface that the file does not describe"),
        (section() + interface() + packet(1, b"x", iface=1), "names an interface"),
        (section() + interface() + section() + simple(b"x", 1), "names an interface"),
        (section() + interface() + block(6, bytes(16)), "impossible block length"),
        (section() + interface() + block(3, b""), "impossible block length"),
        (section() + interface() + struct.pack("<II", 0x0BAD, 13) + bytes(5), "impossible block length"),
        (section() + interface() + struct.pack("<II", 6, MAX_BLOCK_BYTES + 4), "impossible block length"),
        (section() + interface() + packet(1, b"data")[:-4] + bytes(4), "two different block lengths"),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 65_536, 65_536) + bytes(4)),
            "claims more bytes than its block holds",
        ),
        (
            section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"four"),
            "claims more bytes than its block holds",
        ),
        (
            section() + interface() + packet(1, bytes(MAX_FRAME_BYTES + 1)),
            "claims to be longer than 262,144 bytes",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(CaptureFileError, match=re.escape(reason)):
        read_all(data)


def test_damage_after_packets_is_a_warning_and_ends_the_file() -> None:
    reader = CaptureReader()
    reader.feed(PCAP + b"\xff" * 16 + PCAP)
    assert len(rows_of(reader)) == 3
    assert reader.damaged
    reader.feed(PCAP)
    assert reader.frames() is None
    assert (
        reader.finish()
        == "packet 4, at byte 228, claims to be longer than 262,144 bytes; the 3 packets before it were read"
    )


def test_a_later_section_of_an_unknown_version_is_a_warning() -> None:
    assert read_all(PCAPNG + section(major=2))[1] == (
        "pcapng version 2.0 is unknown; only 1.x can be read; the 5 packets before it were read"
    )


def test_a_passed_over_block_takes_no_memory_whatever_length_it_claims() -> None:
    reader = CaptureReader()
    reader.feed(section() + interface() + packet(1, b"x") + struct.pack("<II", 0x0BAD, 2**32 - 4))
    assert len(rows_of(reader)) == 1
    piece = bytes(2**20)
    tracemalloc.start()
    for _ in range(8):
        reader.feed(piece)
        assert reader.frames() is None
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000
    assert reader.finish() == (
        f"it ends at byte {84 + 8 + 8 * 2**20:,}, in the middle of a block, which begins at byte 84; "
        "the packet before it was read"
    )


def test_a_file_may_describe_only_so_many_interfaces() -> None:
    reader = CaptureReader()
    reader.feed(section() + interface() * MAX_INTERFACES + packet(1, b"x", iface=MAX_INTERFACES - 1))
    assert [row[2] for row in rows_of(reader)] == [MAX_INTERFACES - 1]
    reader.feed(interface())
    assert reader.frames() is None
    assert "more than 65,536 interfaces" in (reader.finish() or "")


def test_a_piece_must_be_used_up_before_the_next() -> None:
    reader = CaptureReader(batch_rows=1)
    reader.feed(PCAP)
    assert reader.frames() is not None
    with pytest.raises(ValueError, match="earlier piece"):
        reader.feed(PCAP)
