"""The hub: owns all sessions, and everything that agents and clients do to them.

It is always its own process, so that no dashboard can stall it. `Hub` has no sockets; streams/routes.py connects it
to Tornado, `serve` runs both until it is told to stop.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aishark_panel import compiling
from aishark_panel.alerts.notify import Notifier
from aishark_panel.alerts.rule import Rule
from aishark_panel.dissect import warm_up
from aishark_panel.errors import ConfigError, ForbiddenError, NotFoundError
from aishark_panel.streams.about import line
from aishark_panel.streams.accounts import Accounts
from aishark_panel.streams.addresses import Addresses
from aishark_panel.streams.admission import Admission
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.agents import Agents, Link, Socket
from aishark_panel.streams.alerting import Alerting
from aishark_panel.streams.backtests import Backtests
from aishark_panel.streams.door import Door
from aishark_panel.streams.exportlog import ExportLog, ExportProgress
from aishark_panel.streams.gone import GoneRuns, book_lost
from aishark_panel.streams.history import Histories, History, split_id
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.oidc import Provider
from aishark_panel.streams.partfile import recover_parts
from aishark_panel.streams.people import OWNER, People, Person
from aishark_panel.streams.places import places_for_sockets
from aishark_panel.streams.ratelimit import RateLimit
from aishark_panel.streams.recorder import Recorder, default_folder
from aishark_panel.streams.recovery import Recovery
from aishark_panel.streams.rehearsal import rehearse
from aishark_panel.streams.ringshares import RingShares
from aishark_panel.streams.rulebook import Rulebook
from aishark_panel.streams.session import DEFAULT_RING_BYTES, Session
from aishark_panel.streams.sharing import Sharing
from aishark_panel.streams.store import KeptSession, RegisteredAgent, Store
from aishark_panel.streams.tickets import Ticket, Tickets
from aishark_panel.streams.uploads import DEFAULT_MAX_UPLOAD_BYTES, Uploads
from aishark_panel.wire.messages import Hello

__all__ = ["DEFAULT_REQUESTS_PER_S", "Hub"]

log = logging.getLogger(__name__)

DEFAULT_SESSION: Final = "live"
MAX_SESSIONS: Final = 100
MAX_SESSIONS_EACH: Final = 25
"""Of one person, so that there are some for others; the hub's owner may have all."""
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


@dataclass(slots=True)
class _Live:
    """A session with its writer."""

    session: Session
    ingest: Ingest


class Hub:
    """Sessions by id, their agents, tickets. All methods run on the event loop unless they say otherwise.

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
        self._ring_shares = ring_shares or RingShares.of_machine(ring_bytes)
        self._ring_bytes = ring_bytes
        self._live: dict[str, _Live] = {}
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
        self.agents = Agents(self.store, self.open_session)
        self.ingest_pool = ThreadPoolExecutor(1, thread_name_prefix="ingest")
        self.query_pool = ThreadPoolExecutor(2, thread_name_prefix="query")
        self.disk_pool = ThreadPoolExecutor(2, thread_name_prefix="disk")
        self.recorder = Recorder(
            recordings or default_folder(),
            self.disk_pool,
            limit_bytes=recordings_bytes,
            journal=journal.id if journal else "",
        )
        uploads = self.recorder.folder.with_name("uploads")
        self.uploads = Uploads(uploads, self.disk_pool, max_bytes=max_upload_bytes)
        self.journal = journal
        self.backtests = Backtests()
        self.histories = Histories(self.recorder, journal.folder if journal else None)
        self.alerting = Alerting(self.ingest_pool, self.disk_pool, notifier, journal.folder if journal else None)
        self._gone = GoneRuns(journal.folder if journal else None)
        self._started_ns = time.time_ns()
        self._preparing = ""
        self._is_warm = asyncio.Event()
        self._to_recover: set[str] = set()
        """ids of sessions that are still to be read back"""
        self._claims: list[tuple[Session, AgentRun, int]] = []
        """runs of which batches are gone, and how many packets they had delivered; until all is read back nobody knows
        how many are lost"""
        self._notes: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin work: bring back the sessions that are kept, make the default one, and get the kernels ready in the
        background."""
        if self.journal:
            self._bring_back(self.journal)
        self.open_session("", DEFAULT_SESSION, OWNER.name)
        self._tasks = [
            asyncio.create_task(self._tick(), name="rates"),
            asyncio.create_task(self.alerting.watch(), name="alerts"),
            asyncio.create_task(self.alerting.make_evidence(), name="evidence"),
            asyncio.create_task(self.admission.watch(), name="admission"),
            asyncio.create_task(self._keep_state(), name="state"),
            asyncio.create_task(self._warm_up(), name="warm up"),
            asyncio.create_task(self._recover(), name="recover"),
        ]

    async def _warm_up(self) -> None:
        """Load or compile every kernel of the hot path on the ingest thread: packets that come meanwhile wait."""
        loop = asyncio.get_running_loop()

        def say(what: str) -> None:
            self._preparing = what
            for live in self._live.values():
                live.session.condition.preparing = what

        def progress(what: str) -> None:
            loop.call_soon_threadsafe(say, f"Getting ready: {what or 'loading the dissector'}.")

        def work() -> None:
            progress("")
            with compiling.told(progress):
                warm_up()
                rehearse()

        await loop.run_in_executor(self.ingest_pool, work)
        say("")
        self.agents.hub_is_ready()
        self._is_warm.set()

    def _bring_back(self, journal: Journal) -> None:
        """Make the sessions that an earlier hub had; their packets follow in the background."""
        for session_id in journal.remove_deleted():
            self.store.delete_session(session_id)
        sessions = self.store.sessions(journal.id)
        self._to_recover = {kept.id for kept in sessions}
        self._gone.read(self._to_recover)
        if not sessions:
            journal.mark_up()
        for kept in sessions:
            session = self._new_session(kept.id, kept.name, kept.owner)
            session.condition.wanted = kept.wanted
            folder = journal.folder / kept.id
            recovery = Recovery(session, folder, died_ns=journal.died_ns, now_ns=self._started_ns)
            ingest = Ingest(session, self.ingest_pool, journal, self._recovered(session, recovery))
            self._live[session.id] = _Live(session, ingest)

    async def _recovered(self, session: Session, recovery: Recovery) -> AsyncIterator[Callable[[], object]]:
        """The steps of a session's recovery, and what follows it."""
        try:
            await self._is_warm.wait()
            await self.recorder.are_back.wait()
            async for step in recovery.steps():
                yield step
                await self.recorder.keep_up(session)
            self.recorder.read_back(session)
            if recovery.gap:
                self._note(self._live[session.id].ingest.note_gap(recovery.gap))
        finally:
            self._read_back(session)

    def _read_back(self, session: Session) -> None:
        """A session is as it was, or as far as it can be, or was deleted before. After the last it is known what is
        lost."""
        if session.id not in self._to_recover:
            return
        self._to_recover.remove(session.id)
        if self.journal and not self._to_recover:
            self.journal.mark_up()
            claims, self._claims = self._claims, []
            for fed, run, delivered in claims:
                book_lost(fed, run, delivered - run.recovered)

    async def _recover(self) -> None:
        """Go on with the recordings of an earlier hub, and deal with the files that it, killed, left unfinished."""
        loop = asyncio.get_running_loop()
        await self.recorder.resume({live.session.id: live.session for live in self._live.values()})
        for folder in (self.recorder.folder, self.uploads.folder):
            await loop.run_in_executor(self.disk_pool, recover_parts, folder)

    @property
    def started_ns(self) -> int:
        """When this hub was started, Unix time."""
        return self._started_ns

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
        for live in list(self._live.values()):  # an upload may make one more meanwhile
            await live.ingest.close()
        await self.uploads.close()
        await self.alerting.close()
        for task in list(self._notes):
            task.cancel()
        if self.journal:
            await asyncio.get_running_loop().run_in_executor(self.disk_pool, self.journal.close)
        self.ingest_pool.shutdown(wait=True, cancel_futures=True)
        self.query_pool.shutdown(wait=True, cancel_futures=True)
        self.disk_pool.shutdown(wait=True, cancel_futures=True)
        self.store.close()

    async def _tick(self) -> None:
        while True:
            for live in self._live.values():
                live.session.rates.mark(time.monotonic(), live.session.packets, live.session.bytes)
                live.session.losses.look(live.session.runs, time.time_ns())
            await asyncio.sleep(_RATE_PERIOD_S)

    async def _keep_state(self) -> None:
        """Have the disk keep what the store was told; nobody on the event loop waits for that."""
        while True:
            await asyncio.sleep(_STATE_PERIOD_S)
            await asyncio.get_running_loop().run_in_executor(self.disk_pool, self.store.make_safe)

    def create_session(self, name: str, owner: str) -> Session:
        """Make an empty session; ConfigError when there are too many."""
        if len(self._live) >= MAX_SESSIONS:
            raise ConfigError(f"this hub holds {MAX_SESSIONS} sessions, its most; delete one first")
        if owner != OWNER.name and sum(x.session.owner == owner for x in self._live.values()) >= MAX_SESSIONS_EACH:
            raise ConfigError(f"{owner} has {MAX_SESSIONS_EACH} sessions, the most of one person; delete one first")
        owned = [(live.session.owner, live.session.ring.limit_bytes) for live in self._live.values()]
        self._ring_shares.check(owned, owner, self._ring_bytes)
        session = self._new_session(secrets.token_hex(6), name, owner)
        if self.journal:
            kept = KeptSession(id=session.id, name=name, owner=owner, wanted=True)
            self.store.save_session(self.journal.id, kept)
        self._live[session.id] = _Live(session, Ingest(session, self.ingest_pool, self.journal))
        return session

    def _new_session(self, session_id: str, name: str, owner: str) -> Session:
        rules = self.rulebook.watching(owner)
        session = Session(session_id, name, owner=owner, ring_bytes=self._ring_bytes, rules=rules)
        session.condition.preparing = self._preparing
        self.alerting.add(session)
        return session

    async def rules_changed(self, owner: str) -> None:
        """A person's rules are other ones: their sessions are watched by these from now on."""
        sessions = [live.session for live in self._live.values() if live.session.owner == owner]
        await self.alerting.replace_rules(sessions, self.rulebook.watching(owner))

    def session(self, session_id: str, person: Person) -> Session:
        """The session of that id; NotFoundError if there is none that this person sees, ForbiddenError if it is shared
        with them, but not for what they ask."""
        return self._find(session_id, person).session

    async def look(self, name: str, person: Person, *, wait_s: float) -> tuple[Session, History | None]:
        """What to ask about a session, or (ID@START-END) about what it saw in a time, and where that is read back from
        the disk; waits so long for it. Errors as `session`."""
        session_id, span = split_id(name)
        live = self.session(session_id, person)
        history = self.histories.reach(live, span) if span else None
        if history is None:
            return live, None
        await history.wait(wait_s)
        return history.session, history

    def _find(self, session_id: str, person: Person) -> _Live:
        live = self._live.get(session_id)
        rights = self.admission.rights(person, live.session) if live else ()
        if live is None or not rights:
            raise NotFoundError(f"no session {session_id!r:.60}; it may have been deleted")
        if person.asks not in rights:
            raise ForbiddenError(f"This session is shared with you to {' and '.join(rights)} only.")
        return live

    def sessions(self, person: Person) -> list[dict[str, Any]]:
        """A line about each session that a person sees, oldest first."""
        return [
            {**line(s), "may": [c for c in self.admission.rights(person, s) if person.may(c)]}
            for s in (live.session for live in self._live.values())
            if self.admission.rights(person, s)
        ]

    def open_session(self, session_id: str, name: str, owner: str) -> Session:
        """The owner's session of that id, else of that name, else a new one; without a name the default session."""
        name = name or DEFAULT_SESSION
        sessions = [live.session for live in self._live.values() if live.session.owner == owner]
        found = [s for s in sessions if s.id == session_id] or [s for s in sessions if s.name == name]
        return found[0] if found else self.create_session(name, owner)

    def welcome(self, person: Person) -> None:
        """A person came with a dashboard or a script: there is a session to look at, or to send packets to."""
        if person.may("capture") and not any(person.sees(live.session.owner) for live in self._live.values()):
            with contextlib.suppress(ConfigError):  # there is no room for one: they look at what there is
                self.open_session("", "", person.name)

    async def settle(self, hello: Hello, registered: RegisteredAgent | None, owner: str) -> bool:
        """Before `attach`: wait until other sessions hold safely what they got of this run, for it is not sent again.

        False where something is still on its way into one of them. What only its journal does not take in time is in
        its memory.
        """
        target = self.agents.session_for(hello, registered, owner)
        others = [live.session.runs.get(hello.run) for live in self._live.values() if live.session is not target]
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
        ingest, run = self._live[link.session.id].ingest, link.run
        others = [(live, live.session.runs.get(hello.run)) for live in self._live.values()]
        elsewhere = [(live, other) for live, other in others if other is not None and other is not run]
        for live, other in elsewhere:
            if refused := other.withdraw_refused():  # it comes here now
                other.arrived -= refused
                self._note(live.ingest.note(other))
        run.others = [other for _, other in elsewhere] + self._gone.of(hello.run)
        for received in (other.received for other in run.others):  # what another session got is not sent here
            run.go_on_after(received)
        if hello.first_sequence > run.received + 1:
            # An earlier hub had acknowledged batches that nobody has now: it had them in its memory only.
            run.go_on_after(hello.first_sequence - 1)
            delivered = min(hello.counters.get("delivered", 0), MAX_DELIVERED)
            if self._to_recover:
                self._claims.append((link.session, run, delivered))
            else:
                book_lost(link.session, run, delivered - run.arrived)
        if gap := link.session.runs.end_of_gap(run, time.time_ns(), since_ns=self._started_ns):
            self._note(ingest.note_gap(gap))
        return link, ingest

    def detach(self, link: Link, reason: str) -> None:
        """An agent's connection ended."""
        self.agents.detach(link, reason)
        if not link.run.connected and not link.run.ended:
            link.run.left_ns = time.time_ns()

    def note_end(self, link: Link) -> None:
        """An agent said that its run is over."""
        if live := self._live.get(link.session.id):
            self._note(live.ingest.note(link.run))

    def _note(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something written down, by and by."""

        async def write() -> None:
            with contextlib.suppress(NotFoundError):  # the session was deleted meanwhile
                await work

        task = asyncio.create_task(write(), name="note")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def clear(self, session_id: str, person: Person) -> None:
        """Throw a session's packets away."""
        live = self._find(session_id, person)
        await live.ingest.clear()
        self.histories.forget(live.session)

    async def delete(self, session_id: str, person: Person) -> None:
        """Stop a session and forget it with all its packets; its recordings end, their files stay."""
        live = self._find(session_id, person)
        live.session.condition.wanted, live.session.deleted = False, True
        del self._live[session_id]
        self.histories.forget(live.session)
        self.agents.release(live.session)
        self._gone.add(session_id, live.session.runs)
        await self.recorder.forget(live.session)
        await self.alerting.forget(live.session)
        await live.ingest.close()
        self._read_back(live.session)
        for run in live.session.runs:
            run.arrived -= run.withdraw_refused()
        self._gone.settle(session_id)
        if live.ingest.journal:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self.disk_pool, self._gone.save)
            await loop.run_in_executor(self.disk_pool, live.ingest.journal.forget)
        self.store.delete_session(live.session.id)
        self.sharing.forget(live.session.id)

    def end_links_of(self, name: str) -> None:
        """A person may do less now: links that they could not make any more end."""
        rights = self.people.rights_of(name, time.time())

        def may_keep(session_id: str) -> bool:
            live = self._live.get(session_id)
            return "admin" in rights or ("capture" in rights and live is not None and live.session.owner == name)

        self.sharing.end_links_of(name, may_keep)

    def upload_target(self, name: str, session_id: str | None, person: Person) -> Ingest:
        """The writer of the session an upload goes to: that of the id, or (None) a new one of that name."""
        wanted = self.create_session(name, person.name).id if session_id is None else session_id
        return self._find(wanted, person).ingest

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
        plain_id = self._find(split_id(session_id)[0], person).session.id
        progress = ExportProgress(session=plain_id, person=person.name, format=export_format, where=where)
        ticket = self.tickets.issue(Ticket(session_id, export_format, where, follow, person, progress, file, alert))
        self.exports.add(ticket, progress)
        return ticket
