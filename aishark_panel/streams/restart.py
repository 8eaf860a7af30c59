"""A restart: sessions, recordings and files that an earlier hub left, and what of agents' packets went with it.

The sessions are there at once, with their agents' runs; their packets follow in the background (streams/recovery.py),
once the hub can take packets and its recordings are back. After the last of them it is known what is lost.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.gone import GoneRuns, book_lost
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.notes import Notes
from aishark_panel.streams.partfile import recover_parts
from aishark_panel.streams.recorder import Recorder
from aishark_panel.streams.recovery import Recovery
from aishark_panel.streams.session import Session
from aishark_panel.streams.sessions import Sessions
from aishark_panel.streams.store import Store

__all__ = ["Restart"]


class Restart:
    """What brings back what an earlier hub had, if there is a `journal`. All methods run on the event loop."""

    def __init__(
        self,
        sessions: Sessions,
        recorder: Recorder,
        gone: GoneRuns,
        notes: Notes,
        journal: Journal | None,
        *,
        store: Store,
        now_ns: int,
    ) -> None:
        self._sessions = sessions
        self._journal = journal
        self._store = store
        self._recorder = recorder
        self._gone = gone
        self._notes = notes
        self._now_ns = now_ns
        self.may_begin = asyncio.Event()
        """set once the hub can take packets"""
        self._to_recover: set[str] = set()
        """ids of sessions that are still to be read back"""
        self._claims: list[tuple[Session, AgentRun, int]] = []
        """runs of which batches are gone, and how many packets they had delivered; until all is read back nobody knows
        how many are lost"""

    def bring_back(self) -> None:
        """Make the sessions that an earlier hub had; their packets follow in the background."""
        journal = self._journal
        if journal is None:
            return
        for session_id in journal.remove_deleted():
            self._store.delete_session(session_id)
        kept_sessions = self._store.sessions(journal.id)
        self._to_recover = {kept.id for kept in kept_sessions}
        self._gone.read(self._to_recover)
        if not kept_sessions:
            journal.mark_up()
        for kept in kept_sessions:
            session = self._sessions.new(kept.id, kept.name, kept.owner)
            session.condition.wanted = kept.wanted
            recovery = Recovery(session, journal.folder / kept.id, died_ns=journal.died_ns, now_ns=self._now_ns)
            self._sessions.add(session, self._steps(session, recovery))

    async def _steps(self, session: Session, recovery: Recovery) -> AsyncIterator[Callable[[], object]]:
        """The steps of a session's recovery, and what follows it."""
        try:
            await self.may_begin.wait()
            await self._recorder.are_back.wait()
            async for step in recovery.steps():
                yield step
                await self._recorder.keep_up(session)
            self._recorder.read_back(session)
            if recovery.gap and not session.deleted:
                self._notes.add(self._sessions.writer_of(session).note_gap(recovery.gap))
        finally:
            self.read_back(session)

    def read_back(self, session: Session) -> None:
        """A session is as it was, or as far as it can be, or was deleted before. After the last it is known what is
        lost."""
        if session.id not in self._to_recover:
            return
        self._to_recover.remove(session.id)
        if self._journal and not self._to_recover:
            self._journal.mark_up()
            claims, self._claims = self._claims, []
            for fed, run, delivered in claims:
                book_lost(fed, run, delivered - run.recovered)

    def claim(self, session: Session, run: AgentRun, delivered: int) -> None:
        """A run that feeds a session delivered so many packets to this hub and earlier ones, which do not have all of
        them any more: count what is lost, as soon as that is known."""
        if self._to_recover:
            self._claims.append((session, run, delivered))
        else:
            book_lost(session, run, delivered - run.arrived)

    async def bring_back_files(self, folders: Iterable[Path], executor: Executor) -> None:
        """Go on with the recordings of an earlier hub, and deal with the files that it, killed, left unfinished in
        these folders."""
        loop = asyncio.get_running_loop()
        await self._recorder.resume({session.id: session for session in self._sessions})
        for folder in folders:
            await loop.run_in_executor(executor, recover_parts, folder)
