"""A session of a hub with a journal, without the event loop; and a disk that is full."""

import asyncio
import contextlib
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.journal import DEFAULT_JOURNAL_BYTES, Journal
from aishark_panel.streams.recovery import Recovery
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.segments import segments_of
from aishark_panel.streams.session import Session
from aishark_panel.streams.sessionjournal import SessionJournal
from aishark_panel.wire.messages import Batch, Hello
from tests.traffic import frames, hello

__all__ = [
    "HELLO", "OTHER", "RECORD_HEAD", "SESSION", "Kept", "batch", "expected", "files_at_most", "kept", "overflowing",
    "paths",
]  # fmt: skip

SESSION = "0123456789ab"
HELLO = hello()
OTHER = hello("eth0", "eth1", agent="other", run="cd" * 16)

RECORD_HEAD = 48
"""bytes before a record's payload"""


class Kept:
    """A session of a hub with a journal in `folder`: what `Ingest` does, without the event loop."""

    def __init__(self, folder: Path, limit_bytes: int = DEFAULT_JOURNAL_BYTES) -> None:
        self.journal = Journal(folder, limit_bytes=limit_bytes)
        self.session = Session(SESSION, "kept", ring_bytes=MIN_LIMIT_BYTES)
        self.durable: dict[str, int] = {}
        self._moved = threading.Condition()
        self.recovery = Recovery(self.session, folder / SESSION, died_ns=self.journal.died_ns, now_ns=time.time_ns())
        self.writer = SessionJournal(self.session, self.journal, self._on_moved)
        asyncio.run(self._read_back())

    async def _read_back(self) -> None:
        async for step in self.recovery.steps():
            step()
        self.writer.go_on()

    def _on_moved(self, marks: dict[str, int]) -> None:
        with self._moved:
            self.durable |= marks
            self._moved.notify_all()

    def run(self, greeting: Hello = HELLO) -> AgentRun:
        return self.session.runs.get(greeting.run) or self.session.runs.attach(greeting)

    def take(self, batch: Batch, greeting: Hello = HELLO, now_ns: int | None = None) -> bool:
        """An agent's batch, which comes in at a time; whether it was given to the journal."""
        run, now_ns = self.run(greeting), now_ns or time.time_ns()
        if batch.sequence <= run.taken:
            return self.writer.again(run, batch, now_ns)
        run.arrived += batch.rows
        self.session.ingest(run, batch.content(), batch.sequence, batch.counters, now_ns)
        written = self.writer.batch(run, batch, now_ns)
        self.release(now_ns)
        return written

    def release(self, now_ns: int) -> None:
        """Time goes on."""
        if (until_ns := self.session.release(now_ns)) is not None:
            self.writer.released(until_ns)

    def clear(self) -> None:
        self.session.clear()
        self.writer.clear()

    def wait_durable(self, sequence: int, greeting: Hello = HELLO) -> None:
        self.wait(lambda: self.durable.get(greeting.run, 0) >= sequence)

    def wait(self, check: Callable[[], bool]) -> None:
        with self._moved:
            assert self._moved.wait_for(check, 20)

    def contents(self) -> list[bytes]:
        """The frames in the ring."""
        with self.session.ring.read() as views:
            return [block.frame(row) for block, start, stop in views for row in range(start, stop)]

    def close(self) -> None:
        self.journal.close()


@contextlib.contextmanager
def overflowing(hub: Kept, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The disk is full, and a hub that had batch 1 gets 2 to 20: the last of them that it has memory for. Then there is
    room again."""
    monkeypatch.setattr("aishark_panel.streams.journal.RETRY_S", 0.05)
    monkeypatch.setattr("aishark_panel.streams.journal.QUEUE_BYTES", 30_000)
    hub.take(batch(1))
    hub.wait_durable(1)
    with files_at_most(12_000):
        hub.take(batch(2))
        hub.wait(lambda: hub.writer.is_failing)
        written = [sequence for sequence in range(3, 21) if hub.take(batch(sequence))]
        assert 0 < len(written) < 8
        assert hub.run().taken == 20
        assert hub.run().unjournalled == 100 * (20 - written[-1])
        yield written[-1]
    hub.wait_durable(written[-1])


@contextlib.contextmanager
def kept(folder: Path, limit_bytes: int = DEFAULT_JOURNAL_BYTES) -> Iterator[Kept]:
    hub = Kept(folder, limit_bytes)
    try:
        yield hub
    finally:
        hub.close()


def batch(sequence: int, rows: int = 100, size: int = 20) -> Batch:
    """Batch `sequence` of a run: numbered packets."""
    made = frames(rows, first=rows * (sequence - 1), size=size)
    return Batch.unpack(Batch.pack(sequence, made, "none", {"captured": rows * sequence}))


def expected(first: int, last: int, rows: int = 100, size: int = 20) -> list[bytes]:
    """The frames of batches first to last."""
    made = frames(rows * (last - first + 1), first=rows * (first - 1), size=size)
    return [made.frame(i) for i in range(len(made))]


def paths(folder: Path) -> list[Path]:
    return [path for _, path in segments_of(folder / SESSION)]


@contextlib.contextmanager
def files_at_most(size_bytes: int) -> Iterator[None]:
    """No file of this process may become longer: writing fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
