"""Capture files in: bytes of pcap or pcapng become batches of Frames. No files here, only buffers.

`CaptureReader` is fed the file in pieces of any size; where they are cut changes nothing but the sizes of the batches.
Kernels walk the records and copy what is kept of each frame into the batch's buffer; Python runs once per piece,
batch, section and interface, never per packet. Read are pcap in both byte orders with micro- or nanoseconds,
Kuznetzov's patched pcap, and pcapng (sections and interfaces in any number; Enhanced, Simple and obsolete Packet
Blocks; other blocks are passed over).

Hostile lengths: no record is waited for beyond MAX_FRAME_BYTES (pcap) or MAX_BLOCK_BYTES (pcapng), and a block that
is passed over takes no memory whatever length it claims.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. The twin is aishark_panel.wire.pcapwrite.
"""

import struct
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.errors import CaptureFileError
from aishark_panel.jit import kernel
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Bytes, Frames
from aishark_panel.wire.pcapheaders import (
    BYTE_ORDER_MAGIC,
    ENHANCED_PACKET_TYPE,
    INTERFACE_TYPE,
    OBSOLETE_PACKET_TYPE,
    PCAP_HEADER_BYTES,
    SECTION_TYPE,
    SIMPLE_PACKET_TYPE,
    CaptureInterface,
    PcapHeader,
    Section,
    parse_interface,
    parse_section,
)

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "MAX_BLOCK_BYTES", "MAX_INTERFACES", "CaptureReader"]

BATCH_ROWS: Final = 8_192
"""Most frames in a batch."""
BATCH_BYTES: Final = 2 * 2**20
"""Most frame bytes in a batch (a frame of MAX_FRAME_BYTES fits)."""
MAX_BLOCK_BYTES: Final = 2**20
"""Longest pcapng block that is read: a frame with its options, the description of a section or an interface."""
MAX_INTERFACES: Final = 65_536
"""Most interfaces in a file: `Frames.iface` has 16 bits."""

# How a walk over records ended, and what the number `need` that goes with it means.
_MORE: Final = 0  # the next record is not whole: so many bytes of it are needed to go on
_FULL: Final = 1  # the batch has no room for the next frame
_HEADER: Final = 2  # a header is next, or has just been read
_SKIP: Final = 3  # a block of no interest is next: its length
_DAMAGED: Final = 4  # the next record contradicts itself: index into _DAMAGES

_DAMAGES: Final = (
    f"claims to be longer than {MAX_FRAME_BYTES:,} bytes",
    "has an impossible block length",
    "has two different block lengths",
    "claims more bytes than its block holds",
    "names an interface that the file does not describe",
)
_TOO_LONG, _BAD_LENGTH, _LENGTHS_DIFFER, _BEYOND_BLOCK, _NO_INTERFACE = range(5)

_MAX_NS: Final = 2**63 - 1


class _Batch(NamedTuple):
    """Memory of one batch after the other; the fields are those of Frames."""

    ts: npt.NDArray[np.int64]
    orig_len: npt.NDArray[np.uint32]
    iface: npt.NDArray[np.uint16]
    offsets: npt.NDArray[np.int32]
    data: Bytes


class CaptureReader:
    """Reads one capture file that is fed in pieces.

    ::

        reader = CaptureReader()
        for piece in pieces:
            reader.feed(piece)
            while (frames := reader.frames()) is not None:
                ...
        warning = reader.finish()

    Only the first `snaplen` bytes of each frame are kept. A packet without a time (Simple Packet Block) gets the time
    of the packet before it. Times that int64 nanoseconds cannot hold become the nearest that they can.
    """

    def __init__(self, *, snaplen: int | None = None, batch_rows: int = BATCH_ROWS) -> None:
        self.interfaces: list[CaptureInterface] = []
        """interfaces described so far, indexed by `Frames.iface`; a pcapng file may add some anywhere"""
        self.section = Section()
        """what the newest pcapng section says of its writer"""
        self.packets = 0
        """frames returned so far"""
        self._snaplen = MAX_FRAME_BYTES if snaplen is None else min(snaplen, MAX_FRAME_BYTES)
        self._batch = _Batch(
            np.empty(batch_rows, np.int64),
            np.empty(batch_rows, np.uint32),
            np.empty(batch_rows, np.uint16),
            np.zeros(batch_rows + 1, np.int32),
            np.empty(BATCH_BYTES, np.uint8),
        )
        self._count = 0
        self._piece: Bytes = np.zeros(0, np.uint8)
        self._at = 0
        """place in the piece of the next byte to read"""
        self._fed = 0
        """bytes in the pieces before this one"""
        self._split = bytearray()
        """start of a record that began in an earlier piece"""
        self._need = 0
        """length `_split` must have before it is looked at again"""
        self._skip = 0
        """bytes still to pass over"""
        self._damage = ""
        self._pcap: PcapHeader | None = None
        self._order = ""
        """byte order of the pcap file or pcapng section, for struct; empty before it is known"""
        self._section_start = 0
        """index of the section's first interface"""
        self._clocks = np.zeros((16, 5), np.int64)
        """how times become nanoseconds, one row an interface (see `_clock`)"""
        self._last_ts = np.zeros(1, np.int64)

    def feed(self, piece: bytes | bytearray | memoryview | Bytes) -> None:
        """Give the next bytes of the file. They are not copied: leave them alone until `frames` returns None."""
        if self._at < len(self._piece) and not self._damage:
            raise ValueError("take all frames of the earlier piece first")
        self._fed += len(self._piece)
        self._piece = _read_only(piece)
        self._at = 0

    def frames(self) -> Frames | None:
        """The next batch, or None when the piece is used up. Its memory is used again by the next call: copy to keep.

        Raises CaptureFileError when what is wrong with the file stands before its first packet.
        """
        self._count = 0
        while not self._damage and self._advance():
            pass
        n = self._count
        self.packets += n
        if n == 0:
            if self._damage and self.packets == 0:
                raise CaptureFileError(self._damage)
            return None
        batch = self._batch
        return Frames(batch.ts[:n], batch.orig_len[:n], batch.iface[:n], batch.offsets[: n + 1], batch.data)

    @property
    def bytes_read(self) -> int:
        """Bytes of the file behind the reader."""
        return self._fed + self._at

    @property
    def damaged(self) -> bool:
        """Whether a record contradicts itself: nothing after it can be read, what is fed is ignored."""
        return bool(self._damage)

    def finish(self) -> str | None:
        """The file has ended: a sentence on what is damaged or cut there, None where nothing is.

        Raises CaptureFileError with that sentence where not one packet could be read.
        """
        size = self._fed + len(self._piece)
        if size == 0:
            raise CaptureFileError("it is empty")
        problem = self._damage
        if not problem and (self._split or self._skip):
            problem = f"it ends at byte {size:,}, in the middle of a record"
        if not problem:
            return None
        if self.packets == 0:
            raise CaptureFileError(problem)
        return f"{problem}; the {self.packets:,} packets before it were read"

    def _advance(self) -> bool:
        """Take one step through the split record or the piece; False when there is nothing more to give."""
        left = len(self._piece) - self._at
        if self._skip:
            step = min(self._skip, left)
            self._skip -= step
            self._at += step
            return step < left
        if self._split:
            return self._advance_split(left)
        self._at, ended, need = self._walk(self._piece, self._at)
        if ended == _MORE:
            self._split += self._piece[self._at :].tobytes()
            self._at = len(self._piece)
            self._need = need
        elif ended == _SKIP:
            self._skip = need
        return ended == _SKIP

    def _advance_split(self, left: int) -> bool:
        """Add to the split record what it lacks, and no more; read it when it is whole."""
        step = min(max(self._need - len(self._split), 0), left)
        self._split += self._piece[self._at : self._at + step].tobytes()
        self._at += step
        if len(self._split) < self._need:
            return False
        taken, ended, need = self._walk(_read_only(self._split), 0)
        del self._split[:taken]
        if ended == _MORE:
            self._need = need
        elif ended == _SKIP:
            self._skip = need - len(self._split)
            self._split.clear()
        return ended in (_MORE, _SKIP) and left > step

    def _walk(self, data: Bytes, at: int) -> tuple[int, int, int]:
        """Read records, and headers between them, into the batch: (place reached, how it ended, need)."""
        try:
            while True:
                at, ended, need = self._walk_records(data, at) if self._order else (at, _HEADER, 0)
                if ended == _DAMAGED:
                    raise CaptureFileError(f"packet {self.packets + self._count + 1:,} {_DAMAGES[need]}")
                if ended == _HEADER:
                    at, ended, need = self._read_header(data[at:], at)
                if ended != _HEADER:
                    return at, ended, need
        except CaptureFileError as error:
            self._damage = str(error)
            return at, _DAMAGED, 0

    def _walk_records(self, data: Bytes, at: int) -> tuple[int, int, int]:
        big_endian = self._order == ">"
        if self._pcap is not None:
            at, self._count, ended, need = _walk_pcap(
                data,
                at,
                (big_endian, self._pcap.record_header_bytes, self._pcap.fraction_ns, self._pcap.minor),
                self._snaplen,
                self._batch,
                self._count,
            )
        else:
            at, self._count, ended, need = _walk_pcapng(
                data,
                at,
                big_endian,
                self._clocks[self._section_start : len(self.interfaces)],
                self._section_start,
                self._snaplen,
                self._batch,
                self._count,
                self._last_ts,
            )
        return at, ended, need

    def _read_header(self, data: Bytes, at: int) -> tuple[int, int, int]:
        """Read the file header or pcapng block that `data` starts with; `at` is its place."""
        start = data[:PCAP_HEADER_BYTES].tobytes()
        if len(start) < 4:
            return at, _MORE, 4
        is_section = struct.unpack("<I", start[:4])[0] == SECTION_TYPE
        if not self._order and not is_section:
            return self._read_pcap_header(start, at)
        if len(start) < 12:
            return at, _MORE, 12
        order = self._order
        if is_section:
            order = next((o for o in "<>" if struct.unpack(o + "I", start[8:12])[0] == BYTE_ORDER_MAGIC), "")
            if not order:
                raise CaptureFileError(f"a pcapng section has no byte-order mark, but {start[8:12].hex(' ')}")
        length = struct.unpack(order + "I", start[4:8])[0]
        if length % 4 or not (28 if is_section else 20) <= length <= MAX_BLOCK_BYTES:
            raise CaptureFileError(f"a pcapng header block has the impossible length of {length:,} bytes")
        if len(data) < length:
            return at, _MORE, length
        block = data[:length].tobytes()
        if struct.unpack(order + "I", block[-4:])[0] != length:
            raise CaptureFileError("a pcapng header block has two different lengths")
        if is_section:
            self.section = parse_section(block, order)
            self._order = order
            self._section_start = len(self.interfaces)
        else:
            self._add_interface(parse_interface(block, order))
        return at + length, _HEADER, 0

    def _read_pcap_header(self, start: bytes, at: int) -> tuple[int, int, int]:
        if not PcapHeader.magic(start):
            raise CaptureFileError(
                f"it is neither pcap nor pcapng (it starts with {start[:4].hex(' ')}); "
                "if Wireshark opens it, convert it with: editcap -F pcapng FILE NEW"
            )
        if len(start) < PCAP_HEADER_BYTES:
            return at, _MORE, PCAP_HEADER_BYTES
        self._pcap = PcapHeader.parse(start)
        self._order = self._pcap.order
        self.interfaces.append(self._pcap.interface)
        return at + PCAP_HEADER_BYTES, _HEADER, 0

    def _add_interface(self, interface: CaptureInterface) -> None:
        index = len(self.interfaces)
        if index == MAX_INTERFACES:
            raise CaptureFileError(f"the file describes more than {MAX_INTERFACES:,} interfaces")
        if index == len(self._clocks):
            self._clocks = np.concatenate([self._clocks, np.zeros_like(self._clocks)])
        self._clocks[index] = _clock(interface)
        self.interfaces.append(interface)


def _read_only(buffer: bytes | bytearray | memoryview | Bytes) -> Bytes:
    """View of a buffer that cannot be written through: one array type, so that kernels are compiled once."""
    view = np.frombuffer(buffer, np.uint8)
    view.flags.writeable = False
    return view


def _clock(interface: CaptureInterface) -> tuple[int, int, int, int, int]:
    """(multiply, divide, binary digits or -1, nanoseconds to add, snaplen) for the kernel.

    A tick is 1 / 2^digits s, or multiply / divide ns; divide 0 says that 2^64 of them are no nanosecond.
    """
    digits = interface.tsresol & 0x7F
    offset_ns = max(-_MAX_NS, min(_MAX_NS, interface.tsoffset_s * 1_000_000_000))
    if interface.tsresol & 0x80:
        return 1, 1, digits, offset_ns, interface.snaplen
    if digits <= 9:
        return 10 ** (9 - digits), 1, -1, offset_ns, interface.snaplen
    return 1, 10 ** (digits - 9) if digits <= 27 else 0, -1, offset_ns, interface.snaplen


@kernel
def _u32(data: Bytes, at: int, big_endian: bool) -> int:
    a, b = np.int64(data[at]), np.int64(data[at + 1])
    c, d = np.int64(data[at + 2]), np.int64(data[at + 3])
    if big_endian:
        return a << 24 | b << 16 | c << 8 | d  # type: ignore[return-value]
    return d << 24 | c << 16 | b << 8 | a  # type: ignore[return-value]


@kernel
def _keep(batch: _Batch, count: int, data: Bytes, at: int, kept: int) -> bool:
    """Copy a frame's kept bytes to the end of the batch; False where they have no room."""
    start = batch.offsets[count]
    if start + kept > len(batch.data):
        return False
    source, target = data[at : at + kept], batch.data[start : start + kept]
    for k in range(kept):  # compiled to a block copy, unlike an assignment of slices
        target[k] = source[k]
    batch.offsets[count + 1] = start + kept
    return True


@kernel
def _walk_pcap(
    data: Bytes, at: int, layout: tuple[bool, int, int, int], snaplen: int, batch: _Batch, count: int
) -> tuple[int, int, int, int]:
    """Read pcap records from `at` on: (place reached, frames in the batch, how it ended, need)."""
    big_endian, header_bytes, fraction_ns, minor = layout
    while count < len(batch.ts):
        left = len(data) - at
        if left < header_bytes:
            return at, count, _MORE, header_bytes
        cap_len = _u32(data, at + 8, big_endian)
        orig_len = _u32(data, at + 12, big_endian)
        if minor < 3 or (minor == 3 and cap_len > orig_len):  # versions before 2.4 had them the other way round
            cap_len, orig_len = orig_len, cap_len
        if cap_len > MAX_FRAME_BYTES:
            return at, count, _DAMAGED, _TOO_LONG
        if left < header_bytes + cap_len:
            return at, count, _MORE, header_bytes + cap_len
        if not _keep(batch, count, data, at + header_bytes, min(cap_len, snaplen)):
            break
        batch.ts[count] = _u32(data, at, big_endian) * 1_000_000_000 + _u32(data, at + 4, big_endian) * fraction_ns
        batch.orig_len[count] = orig_len
        batch.iface[count] = 0
        at += header_bytes + cap_len
        count += 1
    return at, count, _FULL, 0


@kernel
def _walk_pcapng(
    data: Bytes,
    at: int,
    big_endian: bool,
    clocks: npt.NDArray[np.int64],
    first_iface: int,
    snaplen: int,
    batch: _Batch,
    count: int,
    last_ts: npt.NDArray[np.int64],
) -> tuple[int, int, int, int]:
    """Read pcapng blocks from `at` on: (place reached, frames in the batch, how it ended, need)."""
    while count < len(batch.ts):
        left = len(data) - at
        if left < 8:
            return at, count, _MORE, 8
        kind = _u32(data, at, big_endian)
        length = _u32(data, at + 4, big_endian)
        if kind in (SECTION_TYPE, INTERFACE_TYPE):
            return at, count, _HEADER, 0
        if length < 12 or length % 4:
            return at, count, _DAMAGED, _BAD_LENGTH
        if kind not in (ENHANCED_PACKET_TYPE, SIMPLE_PACKET_TYPE, OBSOLETE_PACKET_TYPE):
            if left < length:
                return at, count, _SKIP, length
            at += length
            continue
        fixed = 16 if kind == SIMPLE_PACKET_TYPE else 32
        if length < fixed or length > MAX_BLOCK_BYTES:
            return at, count, _DAMAGED, _BAD_LENGTH
        if left < length:
            return at, count, _MORE, length
        if _u32(data, at + length - 4, big_endian) != length:
            return at, count, _DAMAGED, _LENGTHS_DIFFER
        iface = 0
        if kind == ENHANCED_PACKET_TYPE:
            iface = _u32(data, at + 8, big_endian)
        elif kind == OBSOLETE_PACKET_TYPE:
            both = _u32(data, at + 8, big_endian)  # the other half counts drops
            iface = both >> 16 if big_endian else both & 0xFFFF
        if iface >= len(clocks):
            return at, count, _DAMAGED, _NO_INTERFACE
        if kind == SIMPLE_PACKET_TYPE:
            orig_len = _u32(data, at + 8, big_endian)
            limit = clocks[0, 4]
            cap_len = min(orig_len, length - fixed)
            if limit:
                cap_len = min(cap_len, limit)
        else:
            cap_len = _u32(data, at + 20, big_endian)
            orig_len = _u32(data, at + 24, big_endian)
            if cap_len > length - fixed:
                return at, count, _DAMAGED, _BEYOND_BLOCK
        if cap_len > MAX_FRAME_BYTES:
            return at, count, _DAMAGED, _TOO_LONG
        if not _keep(batch, count, data, at + fixed - 4, min(cap_len, snaplen)):
            break
        if kind != SIMPLE_PACKET_TYPE:
            last_ts[0] = _nanoseconds(_u32(data, at + 12, big_endian), _u32(data, at + 16, big_endian), clocks[iface])
        batch.ts[count] = last_ts[0]
        batch.orig_len[count] = orig_len
        batch.iface[count] = first_iface + iface
        at += length
        count += 1
    return at, count, _FULL, 0


@kernel
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
        multiply = np.uint64(clock[0])
        ns = ticks * multiply if ticks <= most // multiply else most
    signed = np.int64(min(ns, most))
    offset = clock[3]
    return np.int64(_MAX_NS) if offset > 0 and signed > _MAX_NS - offset else signed + offset
