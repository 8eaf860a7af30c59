"""Merge: packets of several agents, in the order in which they were captured, by the hub's clock.

A packet's *key* is its time, corrected by what its agent's clock differs from the hub's, and no later than it came in.
An agent's own packets keep their order. They wait here until every other agent has sent later ones, or for WINDOW_NS.
Those that come after later ones of others have gone are *late*: they go at once, and are counted. A packet's own time
stays as it is.

The same batches, put and taken in the same way, give the same order: so packets of a session that is read back from its
journal have the numbers that they had. Pure, and for one thread.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.wire.columnbatch import MAX_COLUMN_ROWS, ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.gather import gather

__all__ = ["MAX_WAITING_BYTES", "WINDOW_NS", "Merge", "Piece"]

WINDOW_NS: Final = 300_000_000
"""Longest time that a packet waits for earlier ones of others: a quiet agent's batches are 100 ms old as they leave."""
MAX_WAITING_BYTES: Final = 64 * 2**20
"""When more waits, all of it goes."""
_PIECE_BYTES: Final = 4 * 2**20
_SLOT_NS: Final = 10_000_000
"""Frames and columns cannot stand in one piece; where agents send both, they take turns no faster than this."""
_NEVER: Final = -(2**63)

Rows = npt.NDArray[np.intp]


class Piece(NamedTuple):
    """Packets that follow one another. `link_types` and `iface_codes` (the session's) are indexed by their `iface`."""

    content: Frames | ColumnBatch
    link_types: npt.NDArray[np.int32]
    iface_codes: npt.NDArray[np.uint16]


@dataclass(slots=True)
class _Part:
    """A batch of which rows [start, ...) wait."""

    piece: Piece
    keys: npt.NDArray[np.int64]
    size_bytes: int
    start: int = 0


class Merge:
    """What waits for its turn. A *source* is an agent's run; keys are Unix time in ns, by the hub's clock."""

    def __init__(self) -> None:
        self.rows = 0
        """packets that wait"""
        self.waiting_bytes = 0
        """memory of the batches they came in, about"""
        self.late = 0
        """packets that came after later ones had gone"""
        self._parts: dict[str, deque[_Part]] = {}
        self._newest: dict[str, int] = {}
        self._gone_ns = _NEVER
        """greatest key of the packets that went"""

    def put(self, source: str, piece: Piece, *, offset_ns: int, arrived_ns: int) -> None:
        """A batch came in at `arrived_ns`; the hub's clock is `offset_ns` ahead of the agent's."""
        content = piece.content
        if not len(content):
            return
        keys = np.minimum(content.ts + np.int64(offset_ns), np.int64(arrived_ns))
        keys[0] = max(int(keys[0]), self.newest(source))
        np.maximum.accumulate(keys, out=keys)
        self._newest[source] = int(keys[-1])
        part = _Part(piece, keys, _size_bytes(content))
        self._parts.setdefault(source, deque()).append(part)
        self.rows += len(content)
        self.waiting_bytes += part.size_bytes

    def passed(self, source: str, ts: int, *, offset_ns: int, arrived_ns: int) -> None:
        """A batch whose last packet has that time went into the session without waiting here."""
        self._newest[source] = max(self.newest(source), min(ts + offset_ns, arrived_ns))
        self._gone_ns = max(self._gone_ns, self._newest[source])

    def newest(self, source: str) -> int:
        """Key of a source's newest packet; before all times if it sent none."""
        return self._newest.get(source, _NEVER)

    def newest_waiting(self, but: str = "") -> int:
        """Key of the newest packet that waits, but for the newest batch of `but`; before all times if none does."""
        lasts = [parts if source != but else list(parts)[:-1] for source, parts in self._parts.items()]
        return max((int(parts[-1].keys[-1]) for parts in lasts if parts), default=_NEVER)

    def is_ahead_of(self, now_ns: int) -> bool:
        """Whether packets came in at times that are yet to come: then the clock was set back."""
        return max(list(self._newest.values()), default=_NEVER) > now_ns

    def forget(self, source: str) -> None:
        """Nothing more comes from it."""
        self._newest.pop(source, None)

    def clear(self) -> None:
        """Throw away what waits."""
        self._parts.clear()
        self.rows = self.waiting_bytes = 0

    def take(self, until_ns: int) -> list[Piece]:
        """Take all packets with keys up to a time, in order."""
        taken: list[tuple[_Part, slice]] = []
        for waiting in self._parts.values():
            for part in waiting:
                stop = int(np.searchsorted(part.keys, until_ns, side="right"))
                if stop > part.start:
                    taken.append((part, slice(part.start, stop)))
                if stop < len(part.keys):
                    break
        pieces = _merged(taken)
        self._go(taken)
        return pieces

    def _go(self, taken: list[tuple[_Part, slice]]) -> None:
        gone_ns = self._gone_ns
        for part, rows in taken:
            keys = part.keys[rows]
            self.late += int(np.searchsorted(keys, gone_ns, side="left"))
            self._gone_ns = max(self._gone_ns, int(keys[-1]))
            self.rows -= len(keys)
            part.start = rows.stop
        for source, waiting in list(self._parts.items()):
            while waiting and waiting[0].start == len(waiting[0].keys):
                self.waiting_bytes -= waiting.popleft().size_bytes
            if not waiting:
                del self._parts[source]


def _size_bytes(content: Frames | ColumnBatch) -> int:
    if isinstance(content, Frames):
        return content.captured_bytes + content.ts.nbytes + content.orig_len.nbytes + content.offsets.nbytes
    return sum(values.nbytes for values in content.columns.values()) + content.text_data.nbytes


def _merged(taken: list[tuple[_Part, slice]]) -> list[Piece]:
    """Rows of parts, merged by their keys; of equal keys those of the first part come first."""
    if not taken:
        return []
    if len(taken) == 1:
        ((part, rows),) = taken
        content = part.piece.content
        some = content.slice(rows.start, rows.stop) if isinstance(content, Frames) else content.take(rows)
        return [part.piece._replace(content=some)]
    keys = np.concatenate([part.keys[rows] for part, rows in taken])
    part_is_frames = np.array([isinstance(part.piece.content, Frames) for part, _ in taken])
    is_frames = np.repeat(part_is_frames, [rows.stop - rows.start for _, rows in taken])
    if part_is_frames.all() or not part_is_frames.any():
        order = np.argsort(keys, kind="stable")
    else:
        order = np.lexsort((keys, is_frames, keys // _SLOT_NS))
    # Of each kind all rows are joined first, a part behind the other: a row's place there is its place in its kind.
    places = np.where(is_frames, np.cumsum(is_frames), np.cumsum(~is_frames)) - 1
    of_frames = [each for each, is_one in zip(taken, part_is_frames, strict=True) if is_one]
    of_columns = [each for each, is_one in zip(taken, part_is_frames, strict=True) if not is_one]
    frames = _JoinedFrames(of_frames) if of_frames else None
    columns = _JoinedColumns(of_columns) if of_columns else None
    pieces: list[Piece] = []
    for rows_of_kind in np.split(order, np.flatnonzero(np.diff(is_frames[order])) + 1):
        kind = frames if is_frames[rows_of_kind[0]] else columns
        assert kind is not None
        pieces += kind.pieces(places[rows_of_kind])
    return pieces


class _Joined:
    """Rows of batches of one kind, one behind the other; their `iface` becomes the session's code."""

    def __init__(self, taken: Sequence[tuple[_Part, slice]]) -> None:
        pieces = [part.piece for part, _ in taken]
        self.iface = np.concatenate([part.piece.iface_codes[part.piece.content.iface[rows]] for part, rows in taken])
        count = 1 + max(int(piece.iface_codes.max()) for piece in pieces)
        self.iface_codes = np.arange(count, dtype=np.uint16)
        self.link_types = np.zeros(count, np.int32)
        for piece in pieces:
            self.link_types[piece.iface_codes] = piece.link_types

    def piece(self, content: Frames | ColumnBatch) -> Piece:
        return Piece(content, self.link_types, self.iface_codes)


class _JoinedFrames(_Joined):
    def __init__(self, taken: Sequence[tuple[_Part, slice]]) -> None:
        super().__init__(taken)
        batches = [
            (part.piece.content, rows) for part, rows in taken if isinstance(part.piece.content, Frames)
        ]  # all are
        self._sources = [content.data for content, _ in batches]
        self._source_of = np.repeat(np.arange(len(batches)), [rows.stop - rows.start for _, rows in batches])
        self._ts = np.concatenate([content.ts[rows] for content, rows in batches])
        self._orig_len = np.concatenate([content.orig_len[rows] for content, rows in batches])
        self._starts = np.concatenate([content.offsets[:-1][rows] for content, rows in batches]).astype(np.int64)
        self._ends = np.concatenate([content.offsets[1:][rows] for content, rows in batches]).astype(np.int64)

    def pieces(self, rows: Rows) -> Iterator[Piece]:
        ends = np.cumsum(self._ends[rows] - self._starts[rows])
        start = 0
        while start < len(rows):
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + _PIECE_BYTES, side="right")))
            offsets = np.zeros(stop - start + 1, np.int32)
            np.subtract(ends[start:stop], before, out=offsets[1:], casting="unsafe")
            some = rows[start:stop]
            data = gather(self._sources, self._source_of[some], self._starts[some], offsets)
            yield self.piece(Frames(self._ts[some], self._orig_len[some], self.iface[some], offsets, data))
            start = stop


class _JoinedColumns(_Joined):
    def __init__(self, taken: Sequence[tuple[_Part, slice]]) -> None:
        super().__init__(taken)
        batches = [
            part.piece.content.take(rows) for part, rows in taken if isinstance(part.piece.content, ColumnBatch)
        ]  # all are
        self._batch = ColumnBatch.joined(batches)
        self._batch.columns["iface"] = self.iface

    def pieces(self, rows: Rows) -> Iterator[Piece]:
        for start in range(0, len(rows), MAX_COLUMN_ROWS):
            yield self.piece(self._batch.take(rows[start : start + MAX_COLUMN_ROWS]))
