"""Backtests: rules tried on what a session has kept, as jobs of the hub.

A job looks at the ring, or at the journal, which reaches further back, or at recordings. It works on a thread of its
own, rests as long as it works, and asks nothing of the thread that packets come in by. Results are kept for a while.
"""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from aishark_panel.alerts.backtest import blocks_of
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.tally import Tally
from aishark_panel.errors import AisharkError, ConfigError, ConflictError, NotFoundError
from aishark_panel.streams.recovery import Recovery
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["MAX_RUNNING", "Backtest", "Backtests", "Over", "Source"]

log = logging.getLogger(__name__)

MAX_RUNNING: Final = 2
MAX_KEPT: Final = 20
"""Backtests that are remembered, the newest of all people together."""
_CHUNK_ROWS: Final = 8_192

Over = Literal["ring", "journal", "recordings"]


class Source(NamedTuple):
    """What a backtest looks at."""

    session: Session
    over: Over
    journal: Path | None
    """folder of the session in the journal"""
    files: Sequence[Path] = ()
    """recordings, oldest first"""


class _Piece(NamedTuple):
    """Rows [start, stop) of a block, and how far they are: of so many, in whatever unit."""

    packets: Packets
    start: int
    stop: int
    interfaces: Sequence[Interface]
    done: int
    total: int


class Backtest:
    """One job. What it found may be read while it goes on."""

    def __init__(self, source: Source, rules: Sequence[Rule], owner: str) -> None:
        self.id = secrets.token_hex(8)
        self.owner = owner
        self.session = source.session
        self.state: Literal["running", "done", "failed", "cancelled"] = "running"
        self.reason = ""
        self._source = source
        self._tally = Tally(rules)
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._is_cancelled = threading.Event()

    def cancel(self) -> None:
        """Break off at the next piece."""
        self._is_cancelled.set()

    def run(self) -> None:
        """Look at everything. On a thread of its own; never raises."""
        try:
            asyncio.run(self._run())
        except AisharkError as error:
            self.state, self.reason = "failed", str(error)
        except Exception:
            log.exception("a backtest of session %s", self.session.name)
            self.state, self.reason = "failed", "It failed by a defect; the hub's log says how."

    async def _run(self) -> None:
        async for piece in _pieces(self._source):
            if self._is_cancelled.is_set():
                self.state = "cancelled"
                return
            began_s = time.monotonic()
            with self._lock:
                self._tally.take(piece.packets, piece.start, piece.stop, piece.interfaces)
                self._done, self._total = piece.done, piece.total
            self._is_cancelled.wait(time.monotonic() - began_s)
        with self._lock:
            self._tally.finish()
            self._done = self._total
            self.state = "done"

    def answer(self) -> dict[str, Any]:
        """How far it is, and what it found; docs/rest.md names the fields."""
        with self._lock:
            tally = self._tally
            return {
                "id": self.id,
                "state": self.state,
                "done": self._done,
                "total": self._total,
                "packets": tally.packets,
                "reason": self.reason,
                "rules": tally.rules(),
                "alerts": [alert.copy() for alert in tally.alerts],
                "more": tally.more,
                "first_ts": tally.first_ts,
                "last_ts": tally.last_ts,
            }


class Backtests:
    """The backtests of a hub."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_RUNNING, thread_name_prefix="backtest")
        self._kept: dict[str, Backtest] = {}

    def start(self, source: Source, rules: Sequence[Rule], owner: str) -> Backtest:
        """Begin one. ConflictError while too many are under way, ConfigError where there is nothing to look at."""
        if source.over == "journal" and source.journal is None:
            raise ConfigError("This hub keeps no journal; try the rules over the ring.")
        if source.over == "recordings" and not source.files:
            raise ConfigError("This session has no recordings; try the rules over the ring.")
        if sum(job.state == "running" for job in self._kept.values()) >= MAX_RUNNING:
            raise ConflictError(f"{MAX_RUNNING} backtests are under way; wait for one to end, or cancel it.")
        job = Backtest(source, rules, owner)
        self._kept[job.id] = job
        for old in list(self._kept.values())[:-MAX_KEPT]:
            del self._kept[old.id]
        self._pool.submit(job.run)
        return job

    def get(self, backtest_id: str, owner: str) -> Backtest:
        """The person's backtest of that id, or NotFoundError."""
        job = self._kept.get(backtest_id)
        if job is None or job.owner != owner:
            raise NotFoundError(f"no backtest {backtest_id}; the newest {MAX_KEPT} are kept")
        return job

    def forget(self, job: Backtest) -> None:
        """Break one off, and do not keep it."""
        job.cancel()
        self._kept.pop(job.id, None)

    def close(self) -> None:
        """Break all off, and wait for them."""
        for job in self._kept.values():
            job.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)


async def _pieces(source: Source) -> AsyncIterator[_Piece]:
    if source.over == "journal" and source.journal:
        async for piece in _of_journal(source.session, source.journal):
            yield piece
        return
    for piece in _of_ring(source.session) if source.over == "ring" else _of_files(source.files):
        yield piece


def _of_ring(session: Session, cursor: int = 0, end: int = 0) -> Iterator[_Piece]:
    """What is in the ring now, from number `cursor` on."""
    ring = session.ring
    cursor, end = max(cursor, ring.first), end or ring.end
    first = cursor
    while cursor < end:
        with ring.read(cursor, min(end, cursor + _CHUNK_ROWS)) as views:
            for packets, start, stop in views:
                cursor = packets.first_number + stop
                yield _Piece(packets, start, stop, session.interfaces, cursor - first, end - first)
            if not views:
                cursor = ring.following(cursor, end)


async def _of_journal(session: Session, folder: Path) -> AsyncIterator[_Piece]:
    """What is in the journal, read back into a session that nobody sees: by the way that a restart takes."""
    replica = Session(session.id, session.name, ring_bytes=MIN_LIMIT_BYTES)
    recovery = Recovery(replica, folder, died_ns=time.time_ns(), now_ns=time.time_ns())
    cursor = 1
    async for step in recovery.steps():
        step()
        for piece in _of_ring(replica, cursor):
            yield piece._replace(done=min(recovery.done_bytes, recovery.total_bytes), total=recovery.total_bytes)
        cursor = replica.ring.end


def _of_files(paths: Sequence[Path]) -> Iterator[_Piece]:
    for packets, interfaces, done, total in blocks_of(paths, []):
        yield _Piece(packets, 0, packets.length, interfaces, done, total or 0)
