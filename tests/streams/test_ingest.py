"""Ingest with a journal: who is told what while the disk is slow, full, or being read back."""

import asyncio
import dataclasses
import gc
import os
import resource
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.health import _session_reasons
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.merge import Piece
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.sessionjournal import SessionJournal
from aishark_panel.streams.stats import stats
from aishark_panel.wire.messages import Batch
from tests.ledgers import identities, is_drained
from tests.traffic import frames, hello


@dataclass(eq=False)
class Agent:
    """An agent's connection that keeps what it is told."""

    run: AgentRun | None
    marks: list[tuple[int, int]] = field(default_factory=list)
    """taken and durable"""
    asked_again: int = 0
    refused: str = ""
    refused_batch: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def acknowledge(self) -> None:
        assert self.run is not None
        self.marks.append((self.run.taken, self.run.durable))
        self.news.set()

    def send_again(self) -> None:
        self.asked_again += 1
        self.news.set()

    def refuse_batch(self, sequence: int, reason: str) -> None:
        self.refused = reason
        self.refused_batch = sequence
        self.news.set()

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not check():
                self.news.clear()
                await self.news.wait()


def batch(sequence: int, rows: int = 100) -> Batch:
    return Batch.unpack(Batch.pack(sequence, frames(rows, first=rows * (sequence - 1)), "none", {}))


@dataclass
class Desk:
    session: Session
    journal: Journal
    ingest: Ingest
    agent: Agent

    @property
    def run(self) -> AgentRun:
        assert self.agent.run is not None
        return self.agent.run

    async def all_taken(self, sequence: int) -> None:
        """Until what is queued was taken."""
        for _ in range(2):  # commands go before batches
            await self.ingest.call(lambda: None)
        assert self.run.taken == sequence

    def put(self, *sequences: int) -> None:
        for sequence in sequences:
            self.ingest.put(self.agent, self.run, batch(sequence))


def with_ingest(
    folder: Path,
    test: Callable[[Desk], "asyncio.Future[None] | object"],
    recovery: Callable[[], AsyncIterator[Callable[[], object]]] | None = None,
) -> None:
    async def run() -> None:
        journal = Journal(folder)
        session = Session("0123456789ab", "a", ring_bytes=MIN_LIMIT_BYTES)
        with ThreadPoolExecutor(1) as pool:
            ingest = Ingest(session, pool, journal, recovery() if recovery else None)
            try:
                await test(Desk(session, journal, ingest, Agent(session.runs.attach(hello()))))  # type: ignore[misc]
            finally:
                await ingest.close()
                journal.close()

    asyncio.run(run())


def test_without_a_journal_nobody_is_remembered_who_left() -> None:
    async def run() -> None:
        session = Session("0123456789ab", "a", ring_bytes=MIN_LIMIT_BYTES)
        with ThreadPoolExecutor(1) as pool:
            ingest = Ingest(session, pool)
            agent = Agent(session.runs.attach(hello()))
            assert agent.run is not None
            ingest.put(agent, agent.run, batch(1))
            marks = agent.marks
            await agent.until(lambda: marks == [(1, 1)])
            left = weakref.ref(agent)
            del agent
            await ingest.call(gc.collect)
            assert left() is None
            await ingest.close()

    asyncio.run(run())


def test_a_batch_is_taken_at_once_and_durable_when_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_sync = threading.Event()
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (may_sync.wait(20), real(fd)))

    async def test(desk: Desk) -> None:
        desk.put(1, 2)
        await desk.agent.until(lambda: bool(desk.agent.marks))
        assert desk.agent.marks[-1][1] == 0
        assert desk.agent.marks[-1][0] > 0
        may_sync.set()
        await desk.agent.until(lambda: desk.agent.marks[-1] == (2, 2))

    with_ingest(tmp_path, test)


def test_while_the_disk_is_behind_nothing_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_sync = threading.Event()
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (may_sync.wait(20), real(fd)))
    monkeypatch.setattr("aishark_panel.streams.journal.LAG_BYTES", 30_000)

    async def test(desk: Desk) -> None:
        desk.put(*range(1, 11))
        await desk.all_taken(10)
        desk.put(11)
        await desk.all_taken(11)
        assert stats(desk.session)["journal"]["state"] == "behind"
        told = len(desk.agent.marks)
        desk.put(12)
        await desk.all_taken(12)
        assert len(desk.agent.marks) == told
        may_sync.set()
        await desk.agent.until(lambda: bool(desk.agent.marks) and desk.agent.marks[-1] == (12, 12))

    with_ingest(tmp_path, test)


def test_what_a_full_disk_did_not_take_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.streams.journal.RETRY_S", 0.05)
    monkeypatch.setattr("aishark_panel.streams.journal.QUEUE_BYTES", 20_000)

    async def test(desk: Desk) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
        try:
            desk.put(1)
            await desk.agent.until(lambda: stats(desk.session)["journal"]["state"] == "failing")
            for sequence in range(2, 12):
                desk.put(sequence)
            await desk.agent.until(lambda: desk.agent.marks[-1][0] == 11)
            assert desk.agent.marks[-1][1] == 0
            assert desk.agent.asked_again == 0
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        await desk.agent.until(lambda: desk.agent.asked_again > 0)
        assert desk.session.reason == ""
        first = desk.run.durable + 1
        assert 1 < first < 11
        desk.put(*range(first, 13))
        await desk.agent.until(lambda: desk.agent.marks[-1] == (12, 12))
        assert desk.session.packets == 1_200
        assert desk.run.duplicates == 12 - first
        assert desk.agent.asked_again == 1
        assert is_drained(ledger(desk.session))

    with_ingest(tmp_path, test)


def test_what_comes_while_a_session_is_read_back_waits_for_it(tmp_path: Path) -> None:
    steps: list[str] = []
    may_go_on, began = asyncio.Event(), asyncio.Event()

    async def recovery() -> AsyncIterator[Callable[[], object]]:
        yield lambda: steps.append("first")
        began.set()
        await may_go_on.wait()
        yield lambda: steps.append("last")

    async def test(desk: Desk) -> None:
        desk.put(1)
        clearing = asyncio.create_task(desk.ingest.clear())
        await began.wait()
        assert (desk.run.taken, desk.run.received, clearing.done()) == (0, 1, False)
        assert ledger(desk.session)["agents"][0]["stages"][0]["parts"]["in_hub_queue"] == 100
        may_go_on.set()
        await desk.agent.until(lambda: desk.run.durable == 1)
        assert steps == ["first", "last"]

    with_ingest(tmp_path, test, recovery)


def test_what_waited_to_be_merged_goes_on_after_a_restart_though_nobody_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desks: list[Desk] = []

    async def recovery() -> AsyncIterator[Callable[[], object]]:
        run, session = desks[0].run, desks[0].session
        session.holding = True
        piece = Piece(batch(1).content(), run.link_types, run.iface_codes)
        yield lambda: session.restore(run, piece, time.time_ns())
        assert session.merge.rows == 100

    async def test(desk: Desk) -> None:
        desks.append(desk)
        loop, released, release = asyncio.get_running_loop(), asyncio.Event(), desk.session.release

        def and_tell(now_ns: int) -> int | None:
            until_ns = release(now_ns)
            loop.call_soon_threadsafe(released.set)
            return until_ns

        monkeypatch.setattr(desk.session, "release", and_tell)
        await asyncio.wait_for(released.wait(), 20)
        assert (desk.session.ring.end, desk.session.merge.rows) == (101, 0)

    with_ingest(tmp_path, test, recovery)


def test_runs_may_come_while_the_journal_marks_what_it_has(tmp_path: Path) -> None:
    """Agents connect on the event loop, and marks are made on the worker."""

    class Passing(AgentRun):
        @property
        def unjournalled(self) -> int:
            session.runs.add(AgentRun(hello(run="cd" * 16)))
            return 0

        @unjournalled.setter
        def unjournalled(self, _: int) -> None: ...

    journal = Journal(tmp_path)
    session = Session("0123456789ab", "a", ring_bytes=MIN_LIMIT_BYTES)
    session.runs.add(Passing(hello()))
    try:
        SessionJournal(session, journal, lambda _: None).mark()
    finally:
        journal.close()
    assert session.runs.get("cd" * 16)


def test_a_recovery_that_breaks_does_not_stop_the_session(tmp_path: Path) -> None:
    async def recovery() -> AsyncIterator[Callable[[], object]]:
        yield lambda: 1 / 0

    async def test(desk: Desk) -> None:
        desk.session.condition.recovering = "Reading back."
        desk.put(1)
        await desk.agent.until(lambda: desk.run.durable == 1)
        assert desk.session.condition.recovering == ""

    with_ingest(tmp_path, test, recovery)


def test_batches_behind_a_refused_one_were_never_taken(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        desk.put(1)
        desk.ingest.put(desk.agent, desk.run, Batch.unpack(Batch.pack(4, frames(7), "none", {})))
        desk.put(5)
        await desk.agent.until(lambda: bool(desk.agent.refused))
        assert desk.agent.refused == "batch 4 came after 1"
        (hub,) = ledger(desk.session)["agents"][0]["stages"]
        assert hub["packets"] == 107
        assert hub["parts"] == {"ingested": 100, "rejected_invalid": 7, "in_hub_queue": 0}
        assert identities(ledger(desk.session)) == []

    with_ingest(tmp_path, test)


def test_batches_that_come_while_one_is_refused_were_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, go_on = threading.Event(), threading.Event()
    real = Session.ingest

    def slow(self: Session, *arguments: object) -> None:
        taking.set()
        go_on.wait(20)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "ingest", slow)

    async def test(desk: Desk) -> None:
        desk.put(1)
        desk.ingest.put(desk.agent, desk.run, Batch.unpack(Batch.pack(4, frames(7), "none", {})))
        await asyncio.to_thread(taking.wait, 20)
        desk.put(5, 6)
        go_on.set()
        await desk.agent.until(lambda: bool(desk.agent.refused))
        await desk.all_taken(1)
        (hub,) = ledger(desk.session)["agents"][0]["stages"]
        assert hub["parts"] == {"ingested": 100, "rejected_invalid": 7, "in_hub_queue": 0}
        assert identities(ledger(desk.session)) == []
        desk.put(2)
        await desk.all_taken(2)
        assert identities(ledger(desk.session)) == []

    with_ingest(tmp_path, test)


def test_a_batch_that_is_refused_again_and_again_is_counted_once(tmp_path: Path) -> None:
    foreign = dataclasses.replace(frames(7), iface=np.full(7, 9, np.uint16))

    async def test(desk: Desk) -> None:
        desk.put(1)
        for _ in range(3):
            again = Agent(desk.run)
            desk.ingest.put(again, desk.run, Batch.unpack(Batch.pack(2, foreign, "none", {})))
            await again.until(lambda agent=again: bool(agent.refused))  # type: ignore[misc]
        (hub,) = ledger(desk.session)["agents"][0]["stages"]
        assert (hub["packets"], hub["parts"]["rejected_invalid"]) == (107, 7)
        assert desk.run.rejected_batches == 1
        assert again.refused_batch == 2
        assert identities(ledger(desk.session)) == []

    with_ingest(tmp_path, test)


def test_a_batch_that_is_refused_and_then_taken_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Session.ingest

    def fail(*_: object) -> None:
        raise MemoryError

    async def test(desk: Desk) -> None:
        desk.put(1)
        await desk.all_taken(1)
        monkeypatch.setattr(Session, "ingest", fail)
        desk.put(2)
        await desk.agent.until(lambda: bool(desk.agent.refused))
        (hub,) = ledger(desk.session)["agents"][0]["stages"]
        assert hub["parts"] == {"ingested": 100, "rejected_failed": 100, "in_hub_queue": 0}
        monkeypatch.setattr(Session, "ingest", real)
        desk.put(2, 3)
        await desk.all_taken(3)
        (hub,) = ledger(desk.session)["agents"][0]["stages"]
        assert (hub["packets"], hub["parts"]) == (300, {"ingested": 300, "rejected_failed": 0, "in_hub_queue": 0})
        assert desk.run.rejected_batches == 0
        assert identities(ledger(desk.session)) == []

    with_ingest(tmp_path, test)


@pytest.mark.parametrize("step", ["release", "mark", "answer"])
def test_a_defect_behind_the_batches_does_not_end_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    def fail(*_: object) -> None:
        raise ArithmeticError

    async def test(desk: Desk) -> None:
        journal = desk.ingest.journal
        assert journal
        desk.session.holding = True
        match step:
            case "release":
                monkeypatch.setattr(Session, "_is_merging", property(fail))
            case "mark":
                monkeypatch.setattr(journal, "mark", fail)
            case _:
                monkeypatch.setattr(desk.agent, "acknowledge", fail)
        desk.put(1)
        await desk.all_taken(1)
        desk.put(2)
        await desk.all_taken(2)
        monkeypatch.undo()
        desk.put(3)
        await desk.agent.until(lambda: desk.run.durable == 3)
        book = ledger(desk.session)
        assert identities(book) == []
        assert is_drained(book)
        assert book["ring"]["parts"]["failed"] == (200 if step == "release" else 0)
        (reason,) = [r for r in _session_reasons(desk.session) if r["part"] == "session"]
        assert reason["message"].endswith("The hub's log says why.")
        told = [record.name for record in caplog.records if record.exc_info]
        assert told.count("aishark_panel.streams.condition") == 1

    with_ingest(tmp_path, test)
