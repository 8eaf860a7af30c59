"""Ingest: takes the agents' batches into one session, in order, off the event loop.

The event loop only queues; decompression, checking, dissection and counting run on a worker thread in kernels that
release the GIL. Batches that queued up meanwhile go in one trip. The queue needs no bound of its own: each agent's
credit (wire.protocol.WINDOW_BYTES) bounds what it can put there.

Where the session has a journal, each batch goes on to it from there. While the disk is behind nothing is acknowledged.
A session that comes back from its journal is read back first; what agents send meanwhile waits in the queue.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple, Protocol

from aishark_panel.errors import NotFoundError, ProtocolError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.segments import Gap
from aishark_panel.streams.session import Session
from aishark_panel.streams.sessionjournal import SessionJournal
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch

__all__ = ["Ingest", "Peer"]

log = logging.getLogger(__name__)

_RELEASE_S: Final = 0.05
"""How often is looked after packets that wait to be merged, seconds."""


class Peer(Protocol):
    """The connection a batch came by."""

    run: AgentRun | None

    def acknowledge(self) -> None:
        """The marks of the run may have moved: tell the agent."""

    def send_again(self) -> None:
        """Batches that the journal had no room for are wanted again: have the agent connect anew."""

    def refuse_batch(self, sequence: int, reason: str) -> None:
        """Close the connection: a batch broke the protocol."""


class _Queued(NamedTuple):
    """A batch that waits for the worker."""

    peer: Peer
    run: AgentRun
    batch: Batch
    is_new: bool
    """whether it came in for the first time"""


@dataclass(slots=True)
class _Outcome:
    """What became of some batches."""

    refused: dict[Peer, str] = field(default_factory=dict)
    """who broke the protocol, and how"""
    unwritten: set[Peer] = field(default_factory=set)
    """whose batches the journal had no room for"""
    left: list[_Queued] = field(default_factory=list)
    """not to be counted: they stood behind one that was refused, or were refused before"""


class Ingest:
    """The one writer of a session.

    `recovery` are the steps, if any, that bring back what the session had; they are taken before all else. Each is run
    on the worker.
    """

    def __init__(
        self,
        session: Session,
        executor: Executor,
        journal: Journal | None = None,
        recovery: AsyncIterator[Callable[[], object]] | None = None,
    ) -> None:
        self.session = session
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._recovery = recovery
        self.journal = SessionJournal(session, journal, self._journal_moved) if journal else None
        self._peers: dict[str, Peer] = {}
        """by run: who is told of its marks when the journal moves; those that are gone are forgotten then"""
        self._to_send_again: set[Peer] = set()
        self._room = asyncio.Event()
        """set whenever the journal moved"""
        self._batches: list[_Queued] = []
        self._commands: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        """runs while packets wait to be merged"""
        self._task = asyncio.create_task(self._work(), name=f"ingest {session.id}")

    def put(self, peer: Peer, run: AgentRun, batch: Batch) -> None:
        """Queue a batch; the peer hears `acknowledge` or `refuse` later. After `close` nothing is queued."""
        if self._task.done():
            return
        is_new = batch.sequence > run.received
        if is_new:
            run.received = batch.sequence
            run.arrived += batch.rows
            run.queued += batch.rows
        if self.journal:
            self._peers[run.hello.run] = peer
        self._batches.append(_Queued(peer, run, batch, is_new))
        self._wake.set()

    async def call(self, command: Callable[[], object]) -> None:
        """Run something on the worker, between batches (the session has no other writer), and raise what it raises.

        NotFoundError once the session is deleted.
        """
        if self._task.done():
            raise NotFoundError("the session was deleted meanwhile")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commands.append((command, future))
        self._wake.set()
        await future

    async def take(self, run: AgentRun, frames: Frames, sequence: int, counters: dict[str, int]) -> None:
        """Take a batch that no agent sent, no faster than the journal follows. Errors as of `call`, and of
        `Session.ingest`."""
        run.received = sequence
        run.arrived += len(frames)
        run.queued += len(frames)
        try:
            await self.call(partial(self._take_own, run, frames, sequence, counters))
        except Exception:
            run.arrived -= len(frames)
            raise
        finally:
            run.unqueued += len(frames)
        while self.journal and self.journal.is_behind and not self._task.done():
            self._room.clear()
            await self._room.wait()

    async def clear(self) -> None:
        """Throw the session's packets away."""

        def clear() -> None:
            self.session.clear()
            if self.journal:
                self.journal.clear()

        await self.call(clear)

    async def note(self, run: AgentRun) -> None:
        """The run ended: have it in the journal."""
        if self.journal:
            await self.call(partial(self.journal.note, run))

    async def note_gap(self, gap: Gap) -> None:
        """Nothing was heard for a while."""
        self.session.gaps.append(gap)
        if self.journal:
            await self.call(partial(self.journal.gap, gap))

    async def close(self) -> None:
        """Stop; what is queued is not taken."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._room.set()
        for _, future in self._commands:
            _settle(future, NotFoundError("the session was deleted meanwhile"))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        await self._recover()
        self._wake.set()  # packets may have come back that waited to be merged, of agents that do not
        while True:
            await self._wake.wait()
            self._wake.clear()
            for _ in range(len(self._commands)):  # not those that come meanwhile: batches have their turn first
                command, future = self._commands[0]
                try:
                    await loop.run_in_executor(self._executor, command)
                    _settle(future)
                except Exception as error:
                    _settle(future, error)
                del self._commands[0]
            batches, self._batches = self._batches, []
            try:
                if batches or self.session.merge.rows:
                    self._answer(batches, await loop.run_in_executor(self._executor, self._take, batches))
            except Exception:  # the session's next batches must find their writer
                self.session.condition.note_trouble("Agents were not told what became of their batches.")
            if self.session.merge.rows and self._timer is None:  # they go on though nothing else comes
                self._timer = loop.call_later(_RELEASE_S, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._wake.set()

    async def _recover(self) -> None:
        if self._recovery is None:
            return
        try:
            async for step in self._recovery:
                await self._loop.run_in_executor(self._executor, step)
        except Exception:
            log.exception("session %s could not be read back from its journal", self.session.name)
        self.session.condition.recovering = ""
        if self.journal:
            self.journal.go_on()

    def _take(self, batches: list[_Queued]) -> _Outcome:
        """Worker thread: ingest batches."""
        outcome = _Outcome()
        for queued in batches:
            peer, run, batch, is_new = queued
            if peer in outcome.refused:
                outcome.left.append(queued)
                run.unqueued += batch.rows if is_new else 0
                continue
            try:
                if not self._take_one(run, batch, time.time_ns()):
                    outcome.unwritten.add(peer)
            except ProtocolError as error:
                outcome.refused[peer] = str(error)
                self._reject(queued, "invalid", outcome)
            except Exception:
                # One agent's batch must never stop the others; the connection ends with a reason instead.
                log.exception("batch %d of agent %s failed", batch.sequence, run.hello.agent)
                outcome.refused[peer] = f"batch {batch.sequence} could not be ingested; see the hub's log"
                self._reject(queued, "failed", outcome)
            run.unqueued += batch.rows if is_new else 0
        try:
            self._release()
            if self.journal:
                self.journal.mark()
        except Exception:
            self.session.condition.note_trouble("The journal was not told how far the packets are safe.")
        return outcome

    def _release(self) -> None:
        until_ns = self.session.release(time.time_ns())
        if until_ns is not None and self.journal:
            self.journal.released(until_ns)

    def _take_one(self, run: AgentRun, batch: Batch, now_ns: int) -> bool:
        """Into the session and to the journal; False where that had no room for it."""
        if batch.sequence <= run.taken:
            run.duplicates += 1
            return self.journal is None or self.journal.again(run, batch, now_ns)
        if batch.sequence != run.taken + 1:  # the one before was refused, whatever connection it came by
            raise ProtocolError(f"batch {batch.sequence} came after {run.taken}")
        self.session.ingest(run, batch.content(), batch.sequence, batch.counters, now_ns)
        if self.journal:
            return self.journal.batch(run, batch, now_ns)
        run.durable = batch.sequence
        return True

    def _reject(self, queued: _Queued, reason: str, outcome: _Outcome) -> None:
        run, batch = queued.run, queued.batch
        if run.refused and run.refused.sequence == batch.sequence:  # an agent that keeps what it has goes on trying
            outcome.left.append(queued)
            return
        run.reject(batch.sequence, reason, batch.rows)
        if self.journal:
            self.journal.note(run)

    def _take_own(self, run: AgentRun, frames: Frames, sequence: int, counters: dict[str, int]) -> None:
        self.session.ingest(run, frames, sequence, counters)
        if self.journal is None:
            run.durable = sequence
        else:
            self.journal.batch(run, Batch.unpack(Batch.pack(sequence, frames, "none", counters)), time.time_ns())
            self.journal.mark()

    def _answer(self, batches: list[_Queued], outcome: _Outcome) -> None:
        for _, run, batch, is_new in outcome.left:
            run.arrived -= batch.rows if is_new else 0
        for run in {id(queued.run): queued.run for queued in batches}.values():
            if run.refused and run.refused.sequence <= run.taken:
                run.arrived -= run.withdraw_refused()
        for peer, reason in outcome.refused.items():
            self._let_go(peer)
            peer.refuse_batch(peer.run.refused.sequence if peer.run and peer.run.refused else 0, reason)
        self._to_send_again |= outcome.unwritten
        self._have_sent_again()
        if self.journal and self.journal.is_behind:
            return  # `_on_journal_moved` tells them
        for peer in {id(queued.peer): queued.peer for queued in batches}.values():
            if peer not in outcome.refused:
                peer.acknowledge()

    def _let_go(self, peer: Peer) -> None:
        """A batch of this connection was refused: those behind it that came meanwhile were never taken, either."""
        waiting, self._batches = self._batches, []
        for queued in waiting:
            if queued.peer is not peer:
                self._batches.append(queued)
            elif queued.is_new:
                queued.run.arrived -= queued.batch.rows
                queued.run.unqueued += queued.batch.rows
        if peer.run:
            peer.run.received = peer.run.taken

    def _have_sent_again(self) -> None:
        """Once the journal is written again, have what it lacks sent again."""
        if self.journal and not self.journal.is_failing:
            peers, self._to_send_again = self._to_send_again, set()
            for peer in peers:
                peer.send_again()

    def _journal_moved(self, durable: dict[str, int]) -> None:
        """On the journal's thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._on_journal_moved, durable)

    def _on_journal_moved(self, durable: dict[str, int]) -> None:
        assert self.journal is not None
        for run_id, sequence in durable.items():
            if run := self.session.runs.get(run_id):
                run.durable = sequence
        if self.journal.is_behind:
            return
        self._room.set()
        for run_id, peer in list(self._peers.items()):
            if peer.run is not None and peer.run.connected:
                peer.acknowledge()
            else:
                del self._peers[run_id]
        self._have_sent_again()


def _settle(future: "asyncio.Future[None]", error: Exception | None = None) -> None:
    """Tell who waits for a command how it went, unless nobody waits any more."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
