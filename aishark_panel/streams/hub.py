"""The hub: owns all sessions, and everything that agents and clients do to them.

It is always its own process, so that no dashboard can stall it. `Hub` has no sockets; streams/routes.py connects it
to Tornado, `serve` runs both until it is told to stop.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from aishark_panel.alerts.notify import Notifier
from aishark_panel.alerts.rule import Rule
from aishark_panel.streams.accounts import Accounts
from aishark_panel.streams.addresses import Addresses
from aishark_panel.streams.admission import Admission
from aishark_panel.streams.agents import Agents, Link, Socket
from aishark_panel.streams.alerting import Alerting
from aishark_panel.streams.backtests import Backtests
from aishark_panel.streams.door import Door
from aishark_panel.streams.exportlog import ExportLog, ExportProgress
from aishark_panel.streams.gone import GoneRuns
from aishark_panel.streams.history import Histories, History, split_id
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.notes import Notes
from aishark_panel.streams.oidc import Provider
from aishark_panel.streams.people import OWNER, People, Person
from aishark_panel.streams.places import places_for_sockets
from aishark_panel.streams.ratelimit import RateLimit
from aishark_panel.streams.recorder import Recorder, default_folder
from aishark_panel.streams.rehearsal import get_ready
from aishark_panel.streams.restart import Restart
from aishark_panel.streams.ringshares import RingShares
from aishark_panel.streams.rulebook import Rulebook
from aishark_panel.streams.session import DEFAULT_RING_BYTES, Session
from aishark_panel.streams.sessions import DEFAULT_SESSION, Sessions
from aishark_panel.streams.sharing import Sharing
from aishark_panel.streams.store import RegisteredAgent, Store
from aishark_panel.streams.tickets import Ticket, Tickets
from aishark_panel.streams.uploads import DEFAULT_MAX_UPLOAD_BYTES, Uploads
from aishark_panel.wire.messages import Hello

__all__ = ["DEFAULT_REQUESTS_PER_S", "Hub"]

log = logging.getLogger(__name__)

MAX_DELIVERED: Final = 2**62
"""More than this no agent has delivered, whatever it says."""
DEFAULT_REQUESTS_PER_S: Final = 500
_BURST_S: Final = 2.0
"""So many seconds' worth of requests may come at once."""
_FAILURES_PER_S: Final = 50
"""Wrong tokens from one address; each costs a signature check."""
_MAX_FAILURES: Final = 1_000
SETTLE_S: Final = 5.0
"""How long an agent that is given another session waits at most until the one before is safe."""
_SETTLE_STEP_S: Final = 0.02
_RATE_PERIOD_S: Final = 0.25
_STATE_PERIOD_S: Final = 1.0


class Hub:
    """Sessions, their agents, tickets. All methods run on the event loop unless they say otherwise.

    `store` is what outlives the process; without one, nothing does.
    """

    def __init__(
        self,
        token: str,
        *,
        ring_bytes: int = DEFAULT_RING_BYTES,
        store: Store | None = None,
        recordings: Path | None = None,
        recordings_bytes: int | None = None,
        max_upload_bytes: int = DEFAULT_MAX_UPLOAD_BYTES,
        requests_per_s: float = DEFAULT_REQUESTS_PER_S,
        rules: Sequence[Rule] = (),
        notifier: Notifier | None = None,
        journal: Journal | None = None,
        provider: Provider | None = None,
        ring_shares: RingShares | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        """`recordings` is the folder they go to, default_folder() if None, and holds at most `recordings_bytes` (None:
        what the disk has); uploads wait in a folder beside it.

        `journal` is where sessions are kept over restarts; None: nowhere. It is closed with the hub.

        Each session is watched by `rules`, and those of its owner; `notifier` is told of their alerts. `provider` is
        where people may log in, `ring_shares` what their sessions may take of the memory; None: as the machine allows.
        `addresses` know whom to believe where requests come from.
        """
        self.addresses = addresses or Addresses()
        self.started_ns = time.time_ns()
        """when this hub was started, Unix time"""
        self.tickets = Tickets()
        self.exports = ExportLog()
        self.store = store or Store()
        self.rulebook = Rulebook(rules, self.store)
        self.people = People(token, self.store)
        self.accounts = Accounts(self.store, self.people)
        self.sharing = Sharing(self.store, time.time())
        self.provider = provider
        self.admission = Admission(self.people, self.sharing, provider, self.store)
        self.requests = RateLimit(requests_per_s, _BURST_S * requests_per_s)
        """by whoever asks"""
        self.failures = RateLimit(_FAILURES_PER_S, _MAX_FAILURES)
        """requests without a good token, by address"""
        self.socket_requests = RateLimit(requests_per_s, _BURST_S * requests_per_s)
        """within each client's socket"""
        self.places = places_for_sockets()
        """WebSockets that are open"""
        self.door = Door()
        self.refusals: Counter[str] = Counter()
        """connections that were closed because of what came by them, or their number; by kind"""
        self.ingest_pool = ThreadPoolExecutor(1, thread_name_prefix="ingest")
        self.query_pool = ThreadPoolExecutor(2, thread_name_prefix="query")
        self.disk_pool = ThreadPoolExecutor(2, thread_name_prefix="disk")
        journal_id = journal.id if journal else ""
        self.recorder = Recorder(
            recordings or default_folder(), self.disk_pool, limit_bytes=recordings_bytes, journal=journal_id
        )
        uploads = self.recorder.folder.with_name("uploads")
        self.uploads = Uploads(uploads, self.disk_pool, max_bytes=max_upload_bytes)
        self.journal = journal
        self.backtests = Backtests()
        self.histories = Histories(self.recorder, journal.folder if journal else None)
        self.alerting = Alerting(self.ingest_pool, self.disk_pool, notifier, journal.folder if journal else None)
        self.sessions = Sessions(
            self.ingest_pool,
            ring_bytes=ring_bytes,
            shares=ring_shares or RingShares.of_machine(ring_bytes),
            rulebook=self.rulebook,
            alerting=self.alerting,
            admission=self.admission,
            store=self.store,
            journal=journal,
        )
        self.agents = Agents(self.store, self.sessions.open)
        self._gone = GoneRuns(journal.folder if journal else None)
        self._notes = Notes()
        self._restart = Restart(
            self.sessions, self.recorder, self._gone, self._notes, journal, store=self.store, now_ns=self.started_ns
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin work: bring back the sessions that are kept, make the default one, and get the kernels ready in the
        background."""
        self._restart.bring_back()
        self.sessions.open("", DEFAULT_SESSION, OWNER.name)
        folders = (self.recorder.folder, self.uploads.folder)
        self._tasks = [
            asyncio.create_task(self._tick(), name="rates"),
            asyncio.create_task(self.alerting.watch(), name="alerts"),
            asyncio.create_task(self.alerting.make_evidence(), name="evidence"),
            asyncio.create_task(self.admission.watch(), name="admission"),
            asyncio.create_task(self._keep_state(), name="state"),
            asyncio.create_task(self._warm_up(), name="warm up"),
            asyncio.create_task(self._restart.bring_back_files(folders, self.disk_pool), name="recover"),
        ]

    async def _warm_up(self) -> None:
        await get_ready(self.ingest_pool, self.sessions.say_preparing)
        self.agents.hub_is_ready()
        self._restart.may_begin.set()

    async def close(self) -> None:
        """End all recordings, sessions and threads."""
        for task in self._tasks:
            task.cancel()
        if self.provider:
            self.provider.close()
        self.accounts.close()
        for work in (self.backtests, self.histories):
            await asyncio.get_running_loop().run_in_executor(self.disk_pool, work.close)
        await self.recorder.close()
        await self.sessions.close()
        await self.uploads.close()
        await self.alerting.close()
        self._notes.cancel()
        if self.journal:
            await asyncio.get_running_loop().run_in_executor(self.disk_pool, self.journal.close)
        self.ingest_pool.shutdown(wait=True, cancel_futures=True)
        self.query_pool.shutdown(wait=True, cancel_futures=True)
        self.disk_pool.shutdown(wait=True, cancel_futures=True)
        self.store.close()

    async def _tick(self) -> None:
        while True:
            for session in self.sessions:
                session.rates.mark(time.monotonic(), session.packets, session.bytes)
                session.losses.look(session.runs, time.time_ns())
            await asyncio.sleep(_RATE_PERIOD_S)

    async def _keep_state(self) -> None:
        """Have the disk keep what the store was told; nobody on the event loop waits for that."""
        while True:
            await asyncio.sleep(_STATE_PERIOD_S)
            await asyncio.get_running_loop().run_in_executor(self.disk_pool, self.store.make_safe)

    async def look(self, name: str, person: Person, *, wait_s: float) -> tuple[Session, History | None]:
        """What to ask about a session, or (ID@START-END) about what it saw in a time, and where that is read back from
        the disk; waits so long for it. Errors as `Sessions.find`."""
        session_id, span = split_id(name)
        live = self.sessions.find(session_id, person)
        history = self.histories.reach(live, span) if span else None
        if history is None:
            return live, None
        await history.wait(wait_s)
        return history.session, history

    async def settle(self, hello: Hello, registered: RegisteredAgent | None, owner: str) -> bool:
        """Before `attach`: wait until other sessions hold safely what they got of this run, for it is not sent again.

        False where something is still on its way into one of them. What only its journal does not take in time is in
        its memory.
        """
        target = self.agents.session_for(hello, registered, owner)
        others = [session.runs.get(hello.run) for session in self.sessions if session is not target]
        runs = [run for run in others if run is not None]
        deadline_s = time.monotonic() + SETTLE_S
        while any(run.durable < run.received for run in runs):
            if time.monotonic() > deadline_s:
                log.warning("what agent %s sent elsewhere is not in the journal there yet", hello.agent)
                return all(run.taken >= run.received for run in runs)
            await asyncio.sleep(_SETTLE_STEP_S)
        return True

    def attach(
        self, hello: Hello, socket: Socket, registered: RegisteredAgent | None, owner: str
    ) -> tuple[Link, Ingest]:
        """An agent connected, with a key if it is `registered`: its link, and where its batches go."""
        link = self.agents.attach(hello, socket, registered, owner)
        ingest, run = self.sessions.writer_of(link.session), link.run
        others = [(session, session.runs.get(hello.run)) for session in self.sessions]
        elsewhere = [(session, other) for session, other in others if other is not None and other is not run]
        for session, other in elsewhere:
            if refused := other.withdraw_refused():  # it comes here now
                other.arrived -= refused
                self._notes.add(self.sessions.writer_of(session).note(other))
        run.others = [other for _, other in elsewhere] + self._gone.of(hello.run)
        for received in (other.received for other in run.others):  # what another session got is not sent here
            run.go_on_after(received)
        if hello.first_sequence > run.received + 1:
            # An earlier hub had acknowledged batches that nobody has now: it had them in its memory only.
            run.go_on_after(hello.first_sequence - 1)
            self._restart.claim(link.session, run, min(hello.counters.get("delivered", 0), MAX_DELIVERED))
        if gap := link.session.runs.end_of_gap(run, time.time_ns(), since_ns=self.started_ns):
            self._notes.add(ingest.note_gap(gap))
        return link, ingest

    def detach(self, link: Link, reason: str) -> None:
        """An agent's connection ended."""
        self.agents.detach(link, reason)
        if not link.run.connected and not link.run.ended:
            link.run.left_ns = time.time_ns()

    def note_end(self, link: Link) -> None:
        """An agent said that its run is over."""
        if not link.session.deleted:
            self._notes.add(self.sessions.writer_of(link.session).note(link.run))

    async def clear(self, session_id: str, person: Person) -> None:
        """Throw a session's packets away."""
        writer = self.sessions.writer(session_id, person)
        await writer.clear()
        self.histories.forget(writer.session)

    async def delete(self, session_id: str, person: Person) -> None:
        """Stop a session and forget it with all its packets; its recordings end, their files stay."""
        writer = self.sessions.remove(session_id, person)
        session = writer.session
        self.histories.forget(session)
        self.agents.release(session)
        self._gone.add(session_id, session.runs)
        await self.recorder.forget(session)
        await self.alerting.forget(session)
        await writer.close()
        self._restart.read_back(session)
        for run in session.runs:
            run.arrived -= run.withdraw_refused()
        self._gone.settle(session_id)
        if writer.journal:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.disk_pool, self._gone.save)
            await loop.run_in_executor(self.disk_pool, writer.journal.forget)
        self.store.delete_session(session_id)
        self.sharing.forget(session_id)

    def end_links_of(self, name: str) -> None:
        """A person may do less now: links that they could not make any more end."""
        rights = self.people.rights_of(name, time.time())
        own = {session.id for session in self.sessions if session.owner == name}
        self.sharing.end_links_of(name, lambda its: "admin" in rights or ("capture" in rights and its in own))

    def issue_ticket(
        self,
        session_id: str,
        person: Person,
        export_format: str,
        where: str = "",
        *,
        follow: bool = False,
        file: Path | None = None,
        alert: int = 0,
    ) -> str:
        """A one-use ticket for an export, for a `file` of a recording, or for the evidence of an alert (by its number);
        NotFoundError if the session is gone."""
        plain_id = self.sessions.find(split_id(session_id)[0], person).id
        progress = ExportProgress(session=plain_id, person=person.name, format=export_format, where=where)
        ticket = self.tickets.issue(Ticket(session_id, export_format, where, follow, person, progress, file, alert))
        self.exports.add(ticket, progress)
        return ticket
