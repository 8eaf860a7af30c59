"""Capture files in: bytes of pcap or pcapng become batches of Frames. No files here, only buffers.

`CaptureReader` is fed the file in pieces of any size; where they are cut changes nothing but the sizes of the batches.
Kernels (aishark_panel.wire.pcapwalk) walk the records and copy what is kept of each frame into the batch's buffer;
Python runs once per piece, batch, section, interface, block of names or counters, and commented packet, never per
packet; the latter three are bounded. Read are pcap in both byte orders with micro- or nanoseconds, Kuznetzov's patched
pcap, and pcapng (sections and interfaces in any number; Enhanced, Simple and obsolete Packet Blocks; names, counters
and comments; other blocks are passed over).

Hostile lengths: no record is waited for beyond MAX_FRAME_BYTES (pcap) or MAX_BLOCK_BYTES (pcapng), and a block that
is passed over takes no memory whatever length it claims.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. The twin is aishark_panel.wire.pcapwrite.
"""

import struct
from dataclasses import replace
from typing import Final

import numpy as np

from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Bytes, Frames
from aishark_panel.wire.otherformats import format_name
from aishark_panel.wire.pcapheaders import (
    BYTE_ORDER_MAGIC,
    COUNTERS_TYPE,
    INTERFACE_TYPE,
    NAMES_TYPE,
    PCAP_HEADER_BYTES,
    SECTION_TYPE,
    CaptureInterface,
    PcapHeader,
    parse_interface,
    parse_section,
)
from aishark_panel.wire.pcapnotes import (
    MAX_COMMENTS,
    MAX_NAMES,
    MAX_NOTE_BLOCKS,
    CaptureNotes,
    parse_comments,
    parse_counters,
    parse_names,
)
from aishark_panel.wire.pcapwalk import (
    COMMENT,
    COMMENTED,
    DAMAGED,
    DAMAGES,
    HEADER,
    LENGTHS_DIFFER,
    MAX_BLOCK_BYTES,
    MORE,
    PACKET_TYPES,
    SKIP,
    UNTIMED,
    Batch,
    Tables,
    clock_of,
    walk_pcap,
    walk_pcapng,
)

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "MAX_INTERFACES", "CaptureReader"]

BATCH_ROWS: Final = 8_192
"""Most frames in a batch."""
BATCH_BYTES: Final = 2 * 2**20
"""Most frame bytes in a batch (a frame of MAX_FRAME_BYTES fits)."""
MAX_INTERFACES: Final = 65_536
"""Most interfaces in a file: `Frames.iface` has 16 bits."""


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
        self.packets = 0
        """frames returned so far"""
        self._notes = CaptureNotes()
        self._note_blocks = 0
        self._snaplen = MAX_FRAME_BYTES if snaplen is None else min(snaplen, MAX_FRAME_BYTES)
        self._batch = Batch(
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
        """start of a record that began in an earlier piece, or what there is of a trailer"""
        self._need = 0
        """length `_split` must have before it is looked at again"""
        self._skip = 0
        """bytes still to pass over"""
        self._skipped_length = 0
        """length of the block that is being passed over; it must stand at its end again"""
        self._damage = ""
        self._pcap: PcapHeader | None = None
        self._order = ""
        """byte order of the pcap file or pcapng section, for struct; empty before it is known"""
        self._section_start = 0
        """index of the section's first interface"""
        self._tables = Tables(np.zeros((16, 6), np.int64), np.zeros(16, np.int64), np.zeros(3, np.int64))

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
    def notes(self) -> CaptureNotes:
        """What the file says beside its packets, as far as it has been read."""
        tallies = self._tables.tallies
        self._notes.commented, self._notes.untimed = int(tallies[COMMENTED]), int(tallies[UNTIMED])
        return self._notes

    def packet_drops(self, index: int) -> int:
        """Packets of an interface that were lost between others, as these say (epb_dropcount, and obsolete blocks)."""
        return int(self._tables.drops[index])

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
        problem = self._damage or self._cut_end(size)
        if not problem:
            return None
        if self.packets == 0:
            raise CaptureFileError(problem)
        before = "packet before it was" if self.packets == 1 else f"{self.packets:,} packets before it were"
        return f"{problem}; the {before} read"

    def _cut_end(self, size: int) -> str:
        """What the end of a file of this size cuts, in words; empty where it cuts nothing."""
        if self._skipped_length:
            begin = size + self._skip + 4 - len(self._split) - self._skipped_length
            return f"it ends at byte {size:,}, in the middle of a block, which begins at byte {begin:,}"
        if not self._split:
            return ""
        begin = size - len(self._split)
        if not self._order:
            return f"it ends at byte {size:,}, in the middle of its header"
        name = self._packet_name(self._split) or "a block"
        return f"it ends at byte {size:,}, in the middle of {name}, which begins at byte {begin:,}"

    def _packet_name(self, start: bytes | bytearray) -> str:
        """What the packet whose record starts like this is called in messages; empty where it is no packet's."""
        if self._pcap is None and (
            len(start) < 4 or struct.unpack(self._order + "I", start[:4])[0] not in PACKET_TYPES
        ):
            return ""
        return f"packet {self.packets + self._count + 1:,}"

    def _advance(self) -> bool:
        """Take one step through the split record or the piece; False when there is nothing more to give."""
        left = len(self._piece) - self._at
        if self._skip:
            step = min(self._skip, left)
            self._skip -= step
            self._at += step
            return step < left
        if self._split or self._skipped_length:
            return self._advance_split(left)
        self._at, ended, need = self._walk(self._piece, self._at, self._fed)
        if ended == MORE:
            self._split += self._piece[self._at :].tobytes()
            self._at = len(self._piece)
            self._need = need
        elif ended == SKIP:
            self._pass_over(need)
        return ended == SKIP

    def _advance_split(self, left: int) -> bool:
        """Add to the split record what it lacks, and no more; read it when it is whole."""
        step = min(max(self._need - len(self._split), 0), left)
        self._split += self._piece[self._at : self._at + step].tobytes()
        self._at += step
        if len(self._split) < self._need:
            return False
        if self._skipped_length:
            self._end_passing_over()
            return left > step
        taken, ended, need = self._walk(_read_only(self._split), 0, self._fed + self._at - len(self._split))
        del self._split[:taken]
        if ended == MORE:
            self._need = need
        elif ended == SKIP:
            self._pass_over(need)
            self._skip -= len(self._split)
            self._split.clear()
        return ended in (MORE, SKIP) and left > step

    def _pass_over(self, length: int) -> None:
        """Pass over the block of this length that begins here, up to its last four bytes."""
        self._skipped_length = length
        self._skip = length - 4
        self._need = 4

    def _end_passing_over(self) -> None:
        """Compare the length at the end of the block that was passed over with the one at its start."""
        length = struct.unpack(self._order + "I", self._split)[0]
        if length != self._skipped_length:
            begin = self._fed + self._at - self._skipped_length
            self._damage = f"the block at byte {begin:,} {DAMAGES[LENGTHS_DIFFER]}"
        self._split.clear()
        self._skipped_length = 0

    def _walk(self, data: Bytes, at: int, base: int) -> tuple[int, int, int]:
        """Read records, and headers between them, into the batch: (place reached, how it ended, need).

        `base` is the place in the file of the first byte of `data`.
        """
        try:
            while True:
                at, ended, need = self._walk_records(data, at) if self._order else (at, HEADER, 0)
                if ended == DAMAGED:
                    name = self._packet_name(data[at : at + 4].tobytes())
                    place = f"{name}, at byte {base + at:,}," if name else f"the block at byte {base + at:,}"
                    raise CaptureFileError(f"{place} {DAMAGES[need]}")
                if ended == COMMENT:
                    self._keep_comment(data[at : at + need].tobytes())
                    at += need
                    continue
                if ended == HEADER:
                    at, ended, need = self._read_header(data[at:], at, base + at)
                if ended != HEADER:
                    return at, ended, need
        except CaptureFileError as error:
            self._damage = str(error)
            return at, DAMAGED, 0

    def _walk_records(self, data: Bytes, at: int) -> tuple[int, int, int]:
        big_endian = self._order == ">"
        if self._pcap is not None:
            at, self._count, ended, need = walk_pcap(
                data,
                at,
                (big_endian, self._pcap.record_header_bytes, self._pcap.fraction_ns, self._pcap.minor),
                self._snaplen,
                self._batch,
                self._count,
            )
        else:
            at, self._count, ended, need = walk_pcapng(
                data,
                at,
                big_endian,
                (self._section_start, len(self.interfaces)),
                self._tables,
                (self._note_blocks < MAX_NOTE_BLOCKS, len(self._notes.comments) < MAX_COMMENTS),
                self._snaplen,
                self._batch,
                self._count,
            )
        return at, ended, need

    def _keep_comment(self, block: bytes) -> None:
        self._notes.comments[self.packets + self._count] = parse_comments(block, self._order)

    def _read_header(self, data: Bytes, at: int, place: int) -> tuple[int, int, int]:
        """Read the file header or pcapng block that `data` starts with; `at` is its place, `place` that in the file."""
        start = data[:PCAP_HEADER_BYTES].tobytes()
        if len(start) < 4:
            return at, MORE, 4
        is_section = struct.unpack("<I", start[:4])[0] == SECTION_TYPE
        if not self._order and not is_section:
            return self._read_pcap_header(start, at)
        if len(start) < 12:
            return at, MORE, 12
        order = self._order
        if is_section:
            order = next((o for o in "<>" if struct.unpack(o + "I", start[8:12])[0] == BYTE_ORDER_MAGIC), "")
            if not order:
                raise CaptureFileError(f"a pcapng section has no byte-order mark, but {start[8:12].hex(' ')}")
        length = struct.unpack(order + "I", start[4:8])[0]
        kind = struct.unpack(order + "I", start[:4])[0]
        shortest = {SECTION_TYPE: 28, INTERFACE_TYPE: 20}.get(kind, 12)
        if length % 4 or not shortest <= length <= MAX_BLOCK_BYTES:
            raise CaptureFileError(f"the block at byte {place:,} has the impossible length of {length:,} bytes")
        if len(data) < length:
            return at, MORE, length
        block = data[:length].tobytes()
        if struct.unpack(order + "I", block[-4:])[0] != length:
            raise CaptureFileError(f"the block at byte {place:,} {DAMAGES[LENGTHS_DIFFER]}")
        if is_section:
            self._begin_section(block, order)
        else:
            self._read_block(kind, block, order)
        return at + length, HEADER, 0

    def _begin_section(self, block: bytes, order: str) -> None:
        if self._notes.sections == MAX_NOTE_BLOCKS:
            raise CaptureFileError(f"the file has more than {MAX_NOTE_BLOCKS:,} sections")
        self._notes.section = parse_section(block, order)
        self._notes.sections += 1
        self._notes.format = "pcapng"
        self._order = order
        self._section_start = len(self.interfaces)

    def _read_block(self, kind: int, block: bytes, order: str) -> None:
        """Read a block that is neither a section's nor a packet's."""
        if kind == INTERFACE_TYPE:
            self._add_interface(parse_interface(block, order))
            return
        self._note_blocks += 1
        if kind == NAMES_TYPE:
            names = self._notes.names
            for address, name in parse_names(block, order).items():
                if len(names) < MAX_NAMES or address in names:
                    names[address] = name
        elif kind == COUNTERS_TYPE:
            found = parse_counters(block, order, self.interfaces[self._section_start :])
            if found is not None:
                index = self._section_start + found[0]
                self.interfaces[index] = replace(self.interfaces[index], counters=found[1])

    def _read_pcap_header(self, start: bytes, at: int) -> tuple[int, int, int]:
        if not PcapHeader.magic(start):
            known = format_name(start)
            what = f"{known}, a format not read here" if known else f"it starts with {start[:4].hex(' ')}"
            raise CaptureFileError(
                f"it is neither pcap nor pcapng ({what}); "
                "if Wireshark opens it, convert it with: editcap -F pcapng FILE NEW"
            )
        if len(start) < PCAP_HEADER_BYTES:
            return at, MORE, PCAP_HEADER_BYTES
        self._pcap = PcapHeader.parse(start)
        self._order = self._pcap.order
        self._notes.format = self._pcap.format
        self.interfaces.append(self._pcap.interface)
        return at + PCAP_HEADER_BYTES, HEADER, 0

    def _add_interface(self, interface: CaptureInterface) -> None:
        index = len(self.interfaces)
        if index == MAX_INTERFACES:
            raise CaptureFileError(f"the file describes more than {MAX_INTERFACES:,} interfaces")
        clocks, drops, tallies = self._tables
        if index == len(clocks):
            more = np.concatenate([clocks, np.zeros_like(clocks)]), np.concatenate([drops, np.zeros_like(drops)])
            self._tables = Tables(*more, tallies)
        self._tables.clocks[index] = clock_of(interface)
        self.interfaces.append(interface)


def _read_only(buffer: bytes | bytearray | memoryview | Bytes) -> Bytes:
    """View of a buffer that cannot be written through: one array type, so that kernels are compiled once."""
    view = np.frombuffer(buffer, np.uint8)
    view.flags.writeable = False
    return view
