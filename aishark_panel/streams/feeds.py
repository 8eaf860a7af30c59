"""Feeds: what a session's subscribers get, looked at and encoded once for all who ask the same.

A *piece* is a run of packet numbers, with those of its packets that the feed's filter selects as one message.
Subscribers of a feed who are equally far ask for the same piece, and share it: also because they all learn of new
packets at the same *beat*, ten times a second, and because pieces end at round numbers. Pieces are made on a thread of
the executor.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.errors import ConfigError
from aishark_panel.export.writer import open_writer
from aishark_panel.query import Predicate, compile_expression
from aishark_panel.query.columns import choose_columns
from aishark_panel.wire.packets import ARROW_NAMES, Packets

if TYPE_CHECKING:
    from aishark_panel.streams.session import Session

__all__ = ["BEAT_S", "Feed", "Feeds", "Offered", "Piece", "Wanted"]

BEAT_S: Final = 0.1
"""How often subscribers learn of new packets."""
PIECE_ROWS: Final = 4_096
PIECE_FRAME_BYTES: Final = 2**20
"""Most captured bytes in one piece, unless it is a single frame."""
_KEPT_PIECES: Final = 4
"""The newest pieces of a feed that are kept for the other subscribers; who is slower has them made again."""

Format = Literal["arrow", "json"]


@dataclass(slots=True)
class Offered:
    """Packets that subscribers were to get. At every moment offered = delivered + queued + missed."""

    offered: int = 0
    """selected by the filter, or evicted from the ring before anybody could look at them"""
    delivered: int = 0
    queued: int = 0
    """on their way"""
    missed: int = 0
    """there was no room for them in the subscriber's queue, or they were evicted"""

    def add(self, other: "Offered") -> None:
        """Count what another has counted."""
        self.offered += other.offered
        self.delivered += other.delivered
        self.queued += other.queued
        self.missed += other.missed


class Wanted(NamedTuple):
    """What equal subscribers have in common."""

    where: str
    columns: tuple[str, ...]
    format: Format

    @classmethod
    def parse(cls, where: str, columns: Sequence[str], form: str) -> "Wanted":
        """Check what a client asks for, but for the expression. Raises ConfigError."""
        for known in get_args(Format):
            if form == known:
                may_be = (*ARROW_NAMES, "frame") if known == "arrow" else ARROW_NAMES
                return cls(where, tuple(choose_columns(columns or ARROW_NAMES, may_be)), known)
        raise ConfigError(f"format is {' or '.join(get_args(Format))}, not {form!r:.20}")


class Piece(NamedTuple):
    """Packets [first, end) were looked at; `packets` of them are in `message`."""

    first: int
    end: int
    packets: int
    message: bytes
    """Arrow IPC stream or JSON lines; b"" without packets"""


class Feed:
    """Pieces of a session for all who want the same. Raises ExpressionError."""

    def __init__(self, session: "Session", wanted: Wanted, executor: Executor) -> None:
        self.session = session
        self.wanted = wanted
        self.subscribers = 0
        self._predicate: Predicate = compile_expression(wanted.where)
        self._executor = executor
        self._pieces: dict[tuple[int, int], asyncio.Future[Piece]] = {}
        self._beat = -1
        self._tip = 0
        self.made = 0
        """pieces so far"""

    def tip(self, now_s: float) -> int:
        """Number after the newest packet, the same for everybody who asks within one beat."""
        beat = int(now_s / BEAT_S)
        if beat != self._beat:
            self._beat, self._tip = beat, self.session.ring.end
        return self._tip

    async def piece(self, first: int, end: int) -> Piece:
        """What there is from packet `first` on, before `end`; its `first` is higher where packets were evicted."""
        end = min(end, (first // PIECE_ROWS + 1) * PIECE_ROWS)
        made = self._pieces.get((first, end))
        if made is None:
            made = asyncio.get_running_loop().run_in_executor(self._executor, self._make, first, end)
            self._pieces[first, end] = made
            while len(self._pieces) > _KEPT_PIECES:
                del self._pieces[next(iter(self._pieces))]
        return await asyncio.shield(made)  # one of them may leave while the others wait

    def _make(self, first: int, end: int) -> Piece:
        self.made += 1
        ring, interfaces = self.session.ring, self.session.interfaces
        with ring.read(first, end) as views:
            if not views:
                gone_to = max(first, ring.first)
                return Piece(gone_to, gone_to, 0, b"")
            packets, start, stop = views[0]  # each block has dictionaries of its own
            rows = np.flatnonzero(self._predicate.mask(packets, start, stop, interfaces)) + start
            if "frame" in self.wanted.columns:
                behind = np.cumsum(packets.columns.cap_len[rows], dtype=np.int64)
                fitting = max(1, int(np.searchsorted(behind, PIECE_FRAME_BYTES, side="right")))
                if fitting < len(rows):
                    rows, stop = rows[:fitting], int(rows[fitting])
            message = self._encode(packets, rows) if len(rows) else b""
            return Piece(packets.first_number + start, packets.first_number + stop, len(rows), message)

    def _encode(self, packets: Packets, rows: npt.NDArray[np.intp]) -> bytes:
        columns, interfaces = self.wanted.columns, self.session.interfaces
        sink = pa.BufferOutputStream()
        if self.wanted.format == "json":
            with open_writer(sink, ".json", interfaces, columns) as lines:
                lines.write(packets, rows)
        else:
            batch = packets.to_arrow(interfaces, columns, rows)
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
        data: bytes = sink.getvalue().to_pybytes()
        return data


class Feeds:
    """A session's feeds, and what all its subscribers were offered. All methods run on the event loop."""

    def __init__(self) -> None:
        self._feeds: dict[Wanted, Feed] = {}
        self._open: list[Offered] = []
        self._gone = Offered()
        self.seats = 0
        """subscribers that are there, or about to be"""

    async def join(self, session: "Session", wanted: Wanted, executor: Executor) -> Feed:
        """The feed of those who want that; call `leave` in the end. Raises ExpressionError."""
        feed = self._feeds.get(wanted)
        if feed is None:  # large expressions take their time
            made = await asyncio.get_running_loop().run_in_executor(executor, Feed, session, wanted, executor)
            feed = self._feeds.setdefault(wanted, made)
        feed.subscribers += 1
        return feed

    def leave(self, feed: Feed) -> None:
        """One subscriber less; the last one takes the feed along."""
        feed.subscribers -= 1
        if not feed.subscribers:
            self._feeds.pop(feed.wanted, None)

    def count(self, offered: Offered) -> None:
        """Add a subscriber's counts to the session's, from now on."""
        self._open.append(offered)

    def count_out(self, offered: Offered) -> None:
        """That subscriber left; what it got stays counted."""
        self._open = [other for other in self._open if other is not offered]
        self._gone.add(offered)

    def stats(self) -> dict[str, int]:
        """As in the session's statistics: open, offered, delivered, queued, missed."""
        total = Offered()
        for offered in (self._gone, *self._open):
            total.add(offered)
        return {
            "open": len(self._open),
            "offered": total.offered,
            "delivered": total.delivered,
            "queued": total.queued,
            "missed": total.missed,
        }
