"""A subscription: a session's packets for one client, in order, through a queue of its own.

Messages wait in the queue until the client's socket takes them; it is bounded in bytes. A client that is behind,
because it began with older packets or because it asked to wait, sets its own pace: it is a cursor in the ring, and
misses only what is evicted before its turn. One that follows live and is too slow misses what finds no room in its
queue. Either way it is told which packets it missed, and how many, and goes on with those that follow; what the ring
still holds of them it gets by another subscription from there, with an end. So a slow client holds up neither ingest
nor others.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple, get_args

from aishark_panel.errors import ConfigError
from aishark_panel.streams.feeds import BEAT_S, Feed, Offered, Piece

__all__ = ["QUEUE_BYTES", "Subscription", "Whence"]

QUEUE_BYTES: Final = 4 * 2**20
"""With so many bytes in it a queue has no room; so it may grow beyond that by one piece."""

_PATIENCE_S: Final = 1.0

Slow = Literal["skip", "wait"]


class Whence(NamedTuple):
    """Where a subscription begins and ends, and what happens when it is slower than the packets come."""

    start: int | None
    """packet number; None: with those that come from now on. 0: the oldest there are"""
    end: int | None
    """packet number before which it ends; None: never"""
    slow: Slow

    @classmethod
    def parse(cls, start: str, end: str, slow: str) -> "Whence":
        """What a client asks for. Raises ConfigError."""
        first = {"now": None, "oldest": 0}.get(start, -1)
        if first == -1:
            first = _number(start, "start is now, oldest or a packet number")
        last = _number(end, "end is a packet number") if end else None
        for known in get_args(Slow):
            if slow == known:
                return cls(first, last, known)
        raise ConfigError(f"slow is {' or '.join(get_args(Slow))}, not {slow!r:.20}")


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ConfigError(f"{what}, not {text!r:.50}")
    return max(int(text), 1)


class _Gap(NamedTuple):
    """Packets that the client misses and was not told of yet."""

    first: int
    next: int
    packets: int
    evicted: int
    """how many of them nobody has looked at"""


class _Waiting(NamedTuple):
    message: str | bytes
    packets: int


class Subscription:
    """One client's way through a feed: `fill` puts messages into the queue, `drain` sends them."""

    def __init__(self, feed: Feed, whence: Whence) -> None:
        ring = feed.session.ring
        self._feed = feed
        self._is_live = whence.start is None and whence.slow == "skip"
        self._may_skip = whence.slow == "skip"
        self._cursor = ring.end if whence.start is None else whence.start or ring.first
        self._end = whence.end
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._gap: _Gap | None = None
        self._is_filled = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.counts = Offered()

    @property
    def queued_bytes(self) -> int:
        """Of messages that wait, the one under way included."""
        return self._queued_bytes

    @property
    def _has_room(self) -> bool:
        return self._queued_bytes < QUEUE_BYTES

    async def fill(self, may_go_on: Callable[[], bool]) -> str:
        """Queue messages until the session is deleted, the end is reached or the client may not go on; why it ended."""
        loop = asyncio.get_running_loop()
        try:
            while may_go_on():
                tip = self._feed.tip(loop.time())
                end = tip if self._end is None else min(tip, self._end)
                if self._cursor < end:
                    if self._is_live or self._has_room:
                        self._take(await self._feed.piece(self._cursor, end))
                    else:
                        await self._wait_for_room()
                    continue
                self._is_live = self._may_skip
                self._tell_gap()
                is_done = self._end is not None and self._cursor >= self._end
                if not self._gap and (is_done or (self._feed.session.deleted and tip == self._feed.session.ring.end)):
                    return "the end was reached" if is_done else "the session was deleted"
                await asyncio.sleep(BEAT_S - loop.time() % BEAT_S)
        finally:
            self._is_filled = True
            self._filled.set()
        return ""

    async def drain(self, send: Callable[[str | bytes], Awaitable[None]]) -> None:
        """Send what is queued, one after the other, until nothing more will come."""
        while self._queue or not self._is_filled:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
                continue
            message, packets = self._queue[0]
            await send(message)
            self._queue.popleft()
            self._queued_bytes -= len(message)
            self.counts.queued -= packets
            self.counts.delivered += packets
            self._room.set()

    def close(self) -> None:
        """The client is gone: what is queued it has missed."""
        self._queue.clear()
        self._queued_bytes = 0
        self.counts.missed += self.counts.queued
        self.counts.queued = 0

    async def _wait_for_room(self) -> None:
        """Not for ever: meanwhile the client may have lost its right to go on."""
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._room.wait(), _PATIENCE_S)

    def _take(self, piece: Piece) -> None:
        evicted = piece.first - self._cursor
        if evicted:
            self.counts.offered += evicted
            self._miss(self._cursor, piece.first, evicted, evicted)
        self.counts.offered += piece.packets
        self._cursor = piece.end
        if not piece.packets:
            return
        if self._has_room:
            self._tell_gap()
            self.counts.queued += piece.packets
            self._put(piece.message, piece.packets)
        else:
            self._miss(piece.first, piece.end, piece.packets, 0)

    def _miss(self, first: int, next_number: int, packets: int, evicted: int) -> None:
        before = self._gap or _Gap(first, first, 0, 0)
        self._gap = _Gap(before.first, next_number, before.packets + packets, before.evicted + evicted)
        self.counts.missed += packets

    def _tell_gap(self) -> None:
        """Let the client know what it missed, once there is room for that: notices are bounded with all else."""
        if self._gap and self._has_room:
            self._put(json.dumps({"type": "missed", **self._gap._asdict()}), 0)
            self._gap = None

    def _put(self, message: str | bytes, packets: int) -> None:
        self._queue.append(_Waiting(message, packets))
        self._queued_bytes += len(message)
        self._filled.set()
