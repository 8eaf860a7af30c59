"""The compiled walks over pcap records and pcapng blocks: whole ones, as many as are there, go into a batch's memory.

A walk never waits and never raises. It says where it stopped and why (one of the constants below), and
aishark_panel.wire.pcapfile does what has to be done there before the next walk goes on.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel_part, lean_kernel
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Bytes
from aishark_panel.wire.pcapheaders import (
    COMMENT_OPTION,
    COUNTERS_TYPE,
    ENHANCED_PACKET_TYPE,
    INTERFACE_TYPE,
    NAMES_TYPE,
    OBSOLETE_PACKET_TYPE,
    SECTION_TYPE,
    SIMPLE_PACKET_TYPE,
    CaptureInterface,
)

__all__ = [
    "COMMENT",
    "COMMENTED",
    "DAMAGED",
    "DAMAGES",
    "FULL",
    "HEADER",
    "LAST_TS",
    "LENGTHS_DIFFER",
    "MAX_BLOCK_BYTES",
    "MORE",
    "PACKET_TYPES",
    "SKIP",
    "UNTIMED",
    "Batch",
    "Tables",
    "clock_of",
    "walk_pcap",
    "walk_pcapng",
]

MAX_BLOCK_BYTES: Final = 2**20
"""Longest pcapng block that is read: a frame with its options, the description of a section or an interface."""

# How a walk ended, and what the number `need` that goes with it means.
MORE: Final = 0
"""the next record is not whole: so many bytes of it are needed to go on"""
FULL: Final = 1
"""the batch has no room for the next frame"""
HEADER: Final = 2
"""a block that is not a packet is next, and is to be read"""
SKIP: Final = 3
"""a block of no interest is next, and is not whole: its length"""
COMMENT: Final = 4
"""the last frame of the batch has a comment, and its block is next: its length"""
DAMAGED: Final = 5
"""the next record contradicts itself: index into DAMAGES"""

DAMAGES: Final = (
    f"claims to be longer than {MAX_FRAME_BYTES:,} bytes",
    "has an impossible block length",
    "has two different block lengths",
    "claims more bytes than its block holds",
    "names an interface that the file does not describe",
)
_TOO_LONG, _BAD_LENGTH, LENGTHS_DIFFER, _BEYOND_BLOCK, _NO_INTERFACE = range(5)

PACKET_TYPES: Final = (ENHANCED_PACKET_TYPE, SIMPLE_PACKET_TYPE, OBSOLETE_PACKET_TYPE)

LAST_TS, UNTIMED, COMMENTED = range(3)
"""Indices into `Tables.tallies`: time of the newest packet that had one; packets without a time, and with a comment."""

_DROPS_OPTION: Final = 4
_DROPS_UNKNOWN: Final = 0xFFFF
_MAX_DROPS: Final = 2**48
_MAX_NS: Final = 2**63 - 1


class Batch(NamedTuple):
    """Memory of one batch after the other; the fields are those of Frames."""

    ts: npt.NDArray[np.int64]
    orig_len: npt.NDArray[np.uint32]
    iface: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int32]
    data: Bytes


class Tables(NamedTuple):
    """What a walk over pcapng needs of the interfaces, and adds up."""

    clocks: npt.NDArray[np.int64]
    """(interfaces, 6): see `clock_of`"""
    drops: npt.NDArray[np.int64]
    """(interfaces,) packets lost before packets of the interface, as these say"""
    tallies: npt.NDArray[np.int64]
    """(3,)"""


def clock_of(interface: CaptureInterface) -> tuple[int, int, int, int, int, int]:
    """(multiply, divide, binary digits or -1, ns to add, snaplen, most ticks to multiply) for the kernel.

    A tick is 1 / 2^digits s, or multiply / divide ns; divide 0 says that 2^64 of them are no nanosecond.
    """
    digits = interface.tsresol & 0x7F
    offset_ns = max(-_MAX_NS, min(_MAX_NS, interface.tsoffset_s * 1_000_000_000))
    if interface.tsresol & 0x80:
        return 1, 1, digits, offset_ns, interface.snaplen, 0
    if digits <= 9:
        multiply = 10 ** (9 - digits)
        return multiply, 1, -1, offset_ns, interface.snaplen, _MAX_NS // multiply
    return 1, 10 ** (digits - 9) if digits <= 27 else 0, -1, offset_ns, interface.snaplen, 0


@kernel_part
def _u32(data: Bytes, at: int, big_endian: bool) -> int:
    a, b = np.int64(data[at]), np.int64(data[at + 1])
    c, d = np.int64(data[at + 2]), np.int64(data[at + 3])
    if big_endian:
        return a << 24 | b << 16 | c << 8 | d  # type: ignore[return-value]
    return d << 24 | c << 16 | b << 8 | a  # type: ignore[return-value]


@kernel_part
def _keep(batch: Batch, count: int, data: Bytes, at: int, kept: int) -> bool:
    """Copy a frame's kept bytes to the end of the batch; False where they have no room."""
    start = batch.offsets[count]
    if start + kept > len(batch.data):
        return False
    source, target = data[at : at + kept], batch.data[start : start + kept]
    for k in range(kept):  # compiled to a block copy, unlike an assignment of slices
        target[k] = source[k]
    batch.offsets[count + 1] = start + kept
    return True


@lean_kernel
def walk_pcap(
    data: Bytes, at: int, layout: tuple[bool, int, int, int], snaplen: int, batch: Batch, count: int
) -> tuple[int, int, int, int]:
    """Read pcap records from `at` on: (place reached, frames in the batch, how it ended, need)."""
    big_endian, header_bytes, fraction_ns, minor = layout
    while count < len(batch.ts):
        left = len(data) - at
        if left < header_bytes:
            return at, count, MORE, header_bytes
        cap_len = _u32(data, at + 8, big_endian)
        orig_len = _u32(data, at + 12, big_endian)
        if minor < 3 or (minor == 3 and cap_len > orig_len):  # versions before 2.4 had them the other way round
            cap_len, orig_len = orig_len, cap_len
        if cap_len > MAX_FRAME_BYTES:
            return at, count, DAMAGED, _TOO_LONG
        if left < header_bytes + cap_len:
            return at, count, MORE, header_bytes + cap_len
        if not _keep(batch, count, data, at + header_bytes, min(cap_len, snaplen)):
            break
        batch.ts[count] = _u32(data, at, big_endian) * 1_000_000_000 + _u32(data, at + 4, big_endian) * fraction_ns
        batch.orig_len[count] = orig_len
        batch.iface[count] = 0
        at += header_bytes + cap_len
        count += 1
    return at, count, FULL, 0


@lean_kernel
def walk_pcapng(
    data: Bytes,
    at: int,
    big_endian: bool,
    ifaces: tuple[int, int],
    tables: Tables,
    wanted: tuple[bool, bool],
    snaplen: int,
    batch: Batch,
    count: int,
) -> tuple[int, int, int, int]:
    """Read pcapng blocks from `at` on: (place reached, frames in the batch, how it ended, need).

    `ifaces` is the range of the section's interfaces within the tables; `wanted` says whether blocks of names and
    counters (HEADER), and comments of packets (COMMENT), shall end the walk.
    """
    wants_notes, wants_comments = wanted
    clocks, tallies = tables.clocks, tables.tallies
    while count < len(batch.ts):
        left = len(data) - at
        if left < 8:
            return at, count, MORE, 8
        kind = _u32(data, at, big_endian)
        length = _u32(data, at + 4, big_endian)
        if kind in (SECTION_TYPE, INTERFACE_TYPE):
            return at, count, HEADER, 0
        if length < 12 or length % 4:
            return at, count, DAMAGED, _BAD_LENGTH
        if kind not in PACKET_TYPES:
            if wants_notes and kind in (NAMES_TYPE, COUNTERS_TYPE) and length <= MAX_BLOCK_BYTES:
                return at, count, HEADER, 0
            if left < length:
                return at, count, SKIP, length
            if _u32(data, at + length - 4, big_endian) != length:
                return at, count, DAMAGED, LENGTHS_DIFFER
            at += length
            continue
        fixed = 16 if kind == SIMPLE_PACKET_TYPE else 32
        if length < fixed or length > MAX_BLOCK_BYTES:
            return at, count, DAMAGED, _BAD_LENGTH
        if left < length:
            return at, count, MORE, length
        iface, cap_len, orig_len, drops, problem = _packet_head(
            data, at, kind, length - fixed, big_endian, ifaces, clocks
        )
        if problem >= 0:
            return at, count, DAMAGED, problem
        if not _keep(batch, count, data, at + fixed - 4, min(cap_len, snaplen)):
            break
        if _u32(data, at + length - 4, big_endian) != length:  # here the copying has brought it into the cache
            return at, count, DAMAGED, LENGTHS_DIFFER
        commented = False
        if kind == SIMPLE_PACKET_TYPE:
            tallies[UNTIMED] += 1
        else:
            high, low = _u32(data, at + 12, big_endian), _u32(data, at + 16, big_endian)
            tallies[LAST_TS] = _nanoseconds(high, low, clocks[iface])
            options_at = at + fixed - 4 + (cap_len + 3 & ~3)
            if options_at + 8 <= at + length:
                commented = _read_options(data, options_at, at + length - 4, big_endian, iface, tables)
            if drops and drops != _DROPS_UNKNOWN:
                tables.drops[iface] += drops
        batch.ts[count] = tallies[LAST_TS]
        batch.orig_len[count] = orig_len
        batch.iface[count] = iface
        count += 1
        if commented and wants_comments:
            return at, count, COMMENT, length
        at += length
    return at, count, FULL, 0


@kernel_part
def _packet_head(
    data: Bytes,
    at: int,
    kind: int,
    room: int,
    big_endian: bool,
    ifaces: tuple[int, int],
    clocks: npt.NDArray[np.int64],
) -> tuple[int, int, int, int, int]:
    """(interface, captured length, original length, packets lost before it, -1 or what is wrong) of a packet's block.

    `room` is the number of bytes the block has for the frame.
    """
    iface, drops = ifaces[0], 0
    if kind == ENHANCED_PACKET_TYPE:
        iface += _u32(data, at + 8, big_endian)
    elif kind == OBSOLETE_PACKET_TYPE:
        both = _u32(data, at + 8, big_endian)
        iface += both >> 16 if big_endian else both & 0xFFFF
        drops = both & 0xFFFF if big_endian else both >> 16
    if iface >= ifaces[1]:
        return iface, 0, 0, 0, _NO_INTERFACE
    if kind == SIMPLE_PACKET_TYPE:
        orig_len = _u32(data, at + 8, big_endian)
        cap_len = min(orig_len, room)
        if clocks[iface, 4]:
            cap_len = min(cap_len, clocks[iface, 4])
    else:
        cap_len = _u32(data, at + 20, big_endian)
        orig_len = _u32(data, at + 24, big_endian)
        if cap_len > room:
            return iface, 0, 0, 0, _BEYOND_BLOCK
    return iface, cap_len, orig_len, drops, _TOO_LONG if cap_len > MAX_FRAME_BYTES else -1


@kernel_part
def _read_options(data: Bytes, at: int, stop: int, big_endian: bool, iface: int, tables: Tables) -> bool:
    """Read a packet's options: add up its lost packets; whether it has a comment."""
    commented = False
    while at + 4 <= stop:
        if big_endian:
            code, length = np.int64(data[at]) << 8 | data[at + 1], np.int64(data[at + 2]) << 8 | data[at + 3]
        else:
            code, length = np.int64(data[at + 1]) << 8 | data[at], np.int64(data[at + 3]) << 8 | data[at + 2]
        if code == 0 or at + 4 + length > stop:
            break
        if code == COMMENT_OPTION:
            commented = True
        elif code == _DROPS_OPTION and length == 8:
            first, second = _u32(data, at + 4, big_endian), _u32(data, at + 8, big_endian)
            high, low = (first, second) if big_endian else (second, first)
            lost = _MAX_DROPS if high >> 16 else high << 32 | low
            tables.drops[iface] = min(tables.drops[iface] + lost, _MAX_DROPS)
        at += 4 + (length + 3 & ~3)
    tables.tallies[COMMENTED] += commented
    return commented


@kernel_part
def _nanoseconds(high: int, low: int, clock: npt.NDArray[np.int64]) -> np.int64:
    """Time of (high << 32 | low) ticks of an interface's clock, within int64."""
    ticks = np.uint64(high) << np.uint64(32) | np.uint64(low)
    most = np.uint64(_MAX_NS)
    billion = np.uint64(1_000_000_000)
    digits = clock[2]
    if digits >= 0:
        seconds = ticks >> np.uint64(digits) if digits < 64 else np.uint64(0)
        fraction = ticks - (seconds << np.uint64(digits)) if digits < 64 else ticks
        if digits > 34:  # what is cut is below a nanosecond; 2^34 * 10^9 fits 64 bits
            fraction = fraction >> np.uint64(digits - 34) if digits < 98 else np.uint64(0)
            digits = np.int64(34)
        ns = most
        if seconds < most // billion:
            ns = seconds * billion + (fraction * billion >> np.uint64(digits))
    elif clock[1] != 1:
        ns = ticks // np.uint64(clock[1]) if clock[1] else np.uint64(0)
    else:
        ns = ticks * np.uint64(clock[0]) if ticks <= np.uint64(clock[5]) else most
    signed = np.int64(min(ns, most))
    offset = clock[3]
    return np.int64(_MAX_NS) if offset > 0 and signed > _MAX_NS - offset else signed + offset
