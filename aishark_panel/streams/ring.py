"""The ring: a session's newest packets, bounded in bytes.

It is a list of `Packets` blocks. One writer appends (dissecting straight into the newest block); when the limit is
reached the oldest block is evicted and its memory used again, because fresh pages cost more than dissecting. Readers
take a snapshot inside `with ring.read()`; while any reader is inside, evicted blocks are left to them and not reused.

Frame bytes are kept in an arena of fixed-size pieces that the block owns; a row's `frame_pos` says where.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect import Dissector
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames
from aishark_panel.wire.packets import Packets

__all__ = ["MIN_LIMIT_BYTES", "BlockView", "Ring"]

_PIECE_BITS: Final = 22
_SMALL_PIECE_BITS: Final = 20
"""A piece of 4 MiB gets huge pages from the kernel, which halves the cost of filling it first; a small ring would waste
too much of it."""
_SMALL_RING_BYTES: Final = 256 * 2**20
_MAX_BLOCK_ROWS: Final = 65_536
_MIN_BLOCK_ROWS: Final = 1_024
_MIN_BLOCKS: Final = 8
"""The limit holds at least this many blocks, so that eviction takes at most an eighth of the ring at once."""
_COLUMNS_SHARE: Final = 0.28
"""Share of a block's memory that goes to columns; with 700 bytes a frame, rows and frame bytes run out together."""
MIN_LIMIT_BYTES: Final = 48 * 2**20


class BlockView(NamedTuple):
    """Rows [start, stop) of a block; row `start` is packet `packets.first_number + start`."""

    packets: Packets
    start: int
    stop: int


See = Callable[[BlockView], None]


def _look_away(view: BlockView) -> None:
    """Nobody needs to see the rows at once."""


class Ring:
    """Newest packets of a session: numbers [first, end), at most `limit_bytes` of memory."""

    def __init__(self, limit_bytes: int) -> None:
        if limit_bytes < MIN_LIMIT_BYTES:
            raise ValueError(f"a ring needs at least {MIN_LIMIT_BYTES} bytes, got {limit_bytes}")
        self.limit_bytes = limit_bytes
        self.dissector = Dissector()
        self._piece_bits = _PIECE_BITS if limit_bytes >= _SMALL_RING_BYTES else _SMALL_PIECE_BITS
        self._piece_bytes = 1 << self._piece_bits
        rows = _MAX_BLOCK_ROWS
        while rows > _MIN_BLOCK_ROWS and Packets(rows).columns_bytes > limit_bytes // _MIN_BLOCKS * _COLUMNS_SHARE:
            rows //= 2
        self._block_rows = rows
        self._block_bytes = Packets(rows).columns_bytes
        self._block_pieces = max(1, (limit_bytes // _MIN_BLOCKS - self._block_bytes) // self._piece_bytes)
        self._blocks: list[Packets] = []
        self._spare_blocks: list[Packets] = []
        self._spare_arena: list[npt.NDArray[np.uint8]] = []
        self._arena_used = self._piece_bytes
        self._lock = threading.Lock()
        self._readers = 0
        self._bytes = 0
        self.end = 1
        """number of the next packet"""
        self.evicted = 0
        """packets that made room for newer ones"""
        self.passed = 0
        """of these, packets that this ring never had"""
        self.cleared = 0
        """packets the user threw away"""

    @property
    def first(self) -> int:
        """Number of the oldest packet kept (equal to `end` when empty)."""
        blocks = self._blocks
        return blocks[0].first_number if blocks else self.end

    def following(self, number: int, end: int) -> int:
        """Where a reader on its way to `end` goes on that found nothing at a number, because it was pushed out
        meanwhile: the number of the next packet that is kept, or `end`."""
        later = number + 1
        kept = (max(b.first_number, later) for b in list(self._blocks) if b.first_number + b.length > later)
        return min(next(kept, end), end)

    @property
    def size_bytes(self) -> int:
        """Memory in use, spare memory included."""
        return self._bytes

    def append(
        self,
        frames: Frames,
        link_types: npt.NDArray[np.int32],
        iface_codes: npt.NDArray[np.uint16],
        see: See = _look_away,
    ) -> list[BlockView]:
        """Dissect frames into the ring; returns the rows they became. Only one thread may append at a time.

        `link_types` and `iface_codes` are indexed by `frames.iface`: LINKTYPE, and the session's interface code. `see`
        is called with each view while it is there for sure: in a small ring, rows of long names can push out the first
        ones of their own batch.
        """
        views: list[BlockView] = []
        done = 0
        while done < len(frames):
            block = self._tail(frames, done)
            start = block.length
            stored = self._store(frames, done, block)
            taken = self.dissector.append(frames.slice(done, done + stored), 0, link_types, iface_codes, block)
            if taken == 0:
                self._open_block()
                continue
            views.append(BlockView(block, start, start + taken))
            done += taken
            self.end += taken
            see(views[-1])
            if taken < stored:  # the text pool is full
                self._open_block()
        return views

    def append_columns(
        self, batch: ColumnBatch, iface_codes: npt.NDArray[np.uint16], see: See = _look_away
    ) -> list[BlockView]:
        """As `append`, for packets whose frames stayed with the agent."""
        views: list[BlockView] = []
        done = 0
        while done < len(batch):
            block = self._blocks[-1] if self._blocks else None
            taken = self.dissector.append_columns(batch, done, iface_codes, block) if block else 0
            if block is None or taken == 0:
                self._open_block()
                continue
            views.append(BlockView(block, block.length - taken, block.length))
            done += taken
            self.end += taken
            see(views[-1])
        return views

    def adopt(self, block: Packets) -> BlockView:
        """Append a block that was made elsewhere, with the numbers it has: they are above those that are here."""
        size_bytes = self._size(block)
        while self._bytes + size_bytes > self.limit_bytes and (len(self._blocks) > 1 or self._spare_blocks):
            self._make_room(size_bytes)
        with self._lock:
            self._blocks.append(block)
        self._bytes += size_bytes
        self.end = block.first_number + block.length
        self._arena_used = self._piece_bytes
        return BlockView(block, 0, block.length)

    def discard(self, is_wanted: Callable[[BlockView], bool]) -> None:
        """Let go of the blocks, but for the newest, that are not wanted; these count neither as evicted nor as cleared.
        Called by the writer."""
        for block in self._blocks[:-1]:
            if not is_wanted(BlockView(block, 0, block.length)):
                with self._lock:
                    self._blocks.remove(block)
                    reusable = self._readers == 0 and self._is_own(block)
                self._release(block, reusable)

    def _is_own(self, block: Packets) -> bool:
        return block.arena_bits == self._piece_bits

    def _size(self, block: Packets) -> int:
        if self._is_own(block):
            return self._block_bytes + len(block.arena) * self._piece_bytes
        return block.columns_bytes + sum(piece.nbytes for piece in block.arena)

    def _store(self, frames: Frames, done: int, block: Packets) -> int:
        """Copy the bytes of as many frames as the block has rows for and one arena piece has room for."""
        stop = min(len(frames), done + block.capacity - block.length)
        offsets = frames.offsets
        if not block.arena or not self._fits(frames, done):
            self._add_arena(block)
        room_until = int(offsets[done]) + self._piece_bytes - self._arena_used
        stop = min(stop, int(np.searchsorted(offsets, room_until, side="right")) - 1)
        begin, end = int(offsets[done]), int(offsets[stop])
        used = self._arena_used
        block.arena[-1][used : used + end - begin] = frames.data[begin:end]
        base = ((len(block.arena) - 1) << self._piece_bits) + used - begin
        rows = slice(block.length, block.length + stop - done)
        np.add(offsets[done:stop], base, out=block.columns.frame_pos[rows], casting="unsafe")
        self._arena_used = used + end - begin
        return stop - done

    def _fits(self, frames: Frames, i: int) -> bool:
        return int(frames.offsets[i + 1]) - int(frames.offsets[i]) <= self._piece_bytes - self._arena_used

    def _tail(self, frames: Frames, i: int) -> Packets:
        """The block that takes frame i: the newest, or a new one when its rows or its share of bytes are used up."""
        block = self._blocks[-1] if self._blocks else None
        if (
            block is None
            or block.length == block.capacity
            or (len(block.arena) >= self._block_pieces and not self._fits(frames, i))
        ):
            self._open_block()
        return self._blocks[-1]

    def _open_block(self) -> None:
        if not self._spare_blocks:
            self._make_room(self._block_bytes)
        if self._spare_blocks:
            block = self._spare_blocks.pop()
        else:
            block = Packets(self._block_rows)
            block.arena_bits = self._piece_bits
            self._bytes += self._block_bytes
        block.first_number = self.end
        with self._lock:
            self._blocks.append(block)
        self._arena_used = self._piece_bytes

    def _add_arena(self, block: Packets) -> None:
        if not self._spare_arena:
            self._make_room(self._piece_bytes)
        if self._spare_arena:
            piece = self._spare_arena.pop()
        else:
            piece = np.empty(self._piece_bytes, np.uint8)
            self._bytes += self._piece_bytes
        block.arena.append(piece)
        self._arena_used = 0

    def _make_room(self, needed_bytes: int) -> None:
        """Let go of spare memory, then of the oldest block (never the newest), until so much fits below the limit or an
        evicted block's own memory lies spare."""
        while self._bytes + needed_bytes > self.limit_bytes:
            if self._spare_arena:
                self._spare_arena.pop()
                self._bytes -= self._piece_bytes
            elif self._spare_blocks:
                self._spare_blocks.pop()
                self._bytes -= self._block_bytes
            elif len(self._blocks) > 1:
                with self._lock:
                    block = self._blocks.pop(0)
                    reusable = self._readers == 0 and self._is_own(block)
                self.evicted += block.length
                self._release(block, reusable)
                if reusable:
                    return
            else:
                return

    def _release(self, block: Packets, reusable: bool) -> None:
        if not reusable:
            self._bytes -= self._size(block)
            return
        self._spare_arena.extend(block.arena)
        block.arena.clear()
        block.clear()
        self._spare_blocks.append(block)

    def clear(self) -> None:
        """Throw all packets away; numbering goes on. Called by the writer."""
        with self._lock:
            blocks, self._blocks = self._blocks, []
            reusable = self._readers == 0
        self.dissector.clear()
        for block in blocks:
            self.cleared += block.length
            self._release(block, reusable and self._is_own(block))

    def begin_after(self, packets: int, cleared: int) -> None:
        """Go on numbering, in a new ring, after packets that are gone: evicted, but for those that were cleared."""
        self.end = packets + 1
        self.cleared = cleared
        self.evicted = self.passed = max(0, packets - cleared)

    @contextmanager
    def read(self, first: int = 0, end: int | None = None) -> Iterator[Sequence[BlockView]]:
        """The rows of packets [first, end) that are there now, oldest first; valid inside the `with` only."""
        with self._lock:
            self._readers += 1
            blocks = list(self._blocks)
        try:
            yield _views(blocks, first, self.end if end is None else min(end, self.end))
        finally:
            with self._lock:
                self._readers -= 1


def _views(blocks: list[Packets], first: int, end: int) -> list[BlockView]:
    views = []
    for block in blocks:
        start = max(first - block.first_number, 0)
        stop = min(end - block.first_number, block.length)
        if start < stop:
            views.append(BlockView(block, start, stop))
    return views


assert MAX_FRAME_BYTES <= 1 << _SMALL_PIECE_BITS
