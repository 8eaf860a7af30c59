"""Ingest: takes the agents' batches into one session, in order, off the event loop.

The event loop only queues; decompression, checking, dissection and counting run on a worker thread in kernels that
release the GIL. Batches that queued up meanwhile go in one trip. The queue needs no bound of its own: each agent's
credit (wire.protocol.WINDOW_BYTES) bounds what it can put there.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from aishark_panel.errors import NotFoundError, ProtocolError
from aishark_panel.streams.session import AgentRun, Session
from aishark_panel.wire.messages import Batch

__all__ = ["Ingest", "Peer"]

log = logging.getLogger(__name__)


class Peer(Protocol):
    """The connection a batch came by."""

    run: AgentRun | None

    def taken(self, sequence: int) -> None:
        """All batches up to `sequence` are in the session's memory."""

    def refuse(self, reason: str) -> None:
        """Close the connection: a batch broke the protocol."""


class Ingest:
    """The one writer of a session."""

    def __init__(self, session: Session, executor: Executor) -> None:
        self.session = session
        self._executor = executor
        self._batches: list[tuple[Peer, AgentRun, Batch]] = []
        self._commands: list[tuple[Callable[[], object], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._work(), name=f"ingest {session.id}")

    def put(self, peer: Peer, run: AgentRun, batch: Batch) -> None:
        """Queue a batch; the peer hears `taken` or `refuse` later. After `close` it is let go at once."""
        if self._task.done():
            peer.taken(batch.sequence)
            return
        self._batches.append((peer, run, batch))
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

    async def close(self) -> None:
        """Stop; what is queued is not taken."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._commands:
            _settle(future, NotFoundError("the session was deleted meanwhile"))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
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
            if batches:
                refused = await loop.run_in_executor(self._executor, self._take, batches)
                self._answer(batches, refused)

    def _take(self, batches: list[tuple[Peer, AgentRun, Batch]]) -> dict[Peer, str]:
        """Worker thread: ingest batches; returns the peers that broke the protocol, with the reason."""
        refused: dict[Peer, str] = {}
        for peer, run, batch in batches:
            if peer in refused:
                continue
            try:
                if batch.sequence != run.taken + 1:  # the one before was refused, whatever connection it came by
                    raise ProtocolError(f"batch {batch.sequence} came after {run.taken}")
                self.session.ingest(run, batch.content(), batch.sequence, batch.counters)
            except ProtocolError as error:
                refused[peer] = str(error)
                run.rejected_batches += 1
                run.rejected += batch.rows
            except Exception:
                # One agent's batch must never stop the others; the connection ends with a reason instead.
                log.exception("batch %d of agent %s failed", batch.sequence, run.hello.agent)
                refused[peer] = f"batch {batch.sequence} could not be ingested; see the hub's log"
                run.rejected_batches += 1
                run.rejected += batch.rows
        return refused

    def _answer(self, batches: list[tuple[Peer, AgentRun, Batch]], refused: dict[Peer, str]) -> None:
        for peer, reason in refused.items():
            peer.refuse(reason)
        for peer, run in {id(p): (p, r) for p, r, _ in batches}.values():
            if peer not in refused:
                peer.taken(run.taken)


def _settle(future: "asyncio.Future[None]", error: Exception | None = None) -> None:
    """Tell who waits for a command how it went, unless nobody waits any more."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
