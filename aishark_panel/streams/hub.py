"""The hub: owns all sessions, and everything that agents and clients do to them.

It is always its own process, so that no dashboard can stall it. `Hub` has no sockets; streams/routes.py connects it
to Tornado, `serve` runs both until it is told to stop.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from aishark_panel.dissect import warm_up
from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.session import DEFAULT_RING_BYTES, AgentRun, Session, rehearse
from aishark_panel.wire.messages import Hello, StartCapture, StopCapture, encode_control

__all__ = ["Hub", "Ticket"]

log = logging.getLogger(__name__)

DEFAULT_SESSION: Final = "live"
MAX_SESSIONS: Final = 100
_TICKET_LIFE_S: Final = 60.0
_RATE_PERIOD_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Ticket:
    """Right to fetch one export once, within a minute, with no other credential (for a browser's download)."""

    session: str
    format: str
    where: str
    follow: bool
    expires_s: float


@dataclass(slots=True)
class _Live:
    """A session with its writer and the agents connected to it."""

    session: Session
    ingest: Ingest
    senders: dict[str, Callable[[str], None]] = field(default_factory=dict)
    """how to send a control message to each connected agent, by its run"""


class Hub:
    """Sessions by id, their agents, tickets. All methods run on the event loop unless they say otherwise."""

    def __init__(self, token: str, *, ring_bytes: int = DEFAULT_RING_BYTES) -> None:
        self._token = token.encode()
        self._ring_bytes = ring_bytes
        self._live: dict[str, _Live] = {}
        self._tickets: dict[str, Ticket] = {}
        self.ingest_pool = ThreadPoolExecutor(1, thread_name_prefix="ingest")
        self.query_pool = ThreadPoolExecutor(2, thread_name_prefix="query")
        self._preparing = ""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin work: make the default session, keep the rates, and get the kernels ready in the background."""
        self.create_session(DEFAULT_SESSION)
        self._tasks = [
            asyncio.create_task(self._tick(), name="rates"),
            asyncio.create_task(self._warm_up(), name="warm up"),
        ]

    async def _warm_up(self) -> None:
        """Load or compile every kernel of the hot path on the ingest thread: packets that come meanwhile wait."""
        loop = asyncio.get_running_loop()

        def say(what: str) -> None:
            self._preparing = what
            for live in self._live.values():
                live.session.preparing = what

        def progress(what: str) -> None:
            loop.call_soon_threadsafe(say, f"Getting ready: {what}.")

        def work() -> None:
            warm_up(progress)
            rehearse()

        await loop.run_in_executor(self.ingest_pool, work)
        say("")

    async def close(self) -> None:
        """End all sessions and threads."""
        for task in self._tasks:
            task.cancel()
        for live in self._live.values():
            await live.ingest.close()
        self.ingest_pool.shutdown(wait=True, cancel_futures=True)
        self.query_pool.shutdown(wait=True, cancel_futures=True)

    async def _tick(self) -> None:
        while True:
            for live in self._live.values():
                live.session.mark_rate(time.monotonic())
            await asyncio.sleep(_RATE_PERIOD_S)

    def accepts(self, token: str) -> bool:
        """Whether a token is this hub's; takes the same time whatever is wrong with it."""
        return secrets.compare_digest(token.encode(), self._token)

    def create_session(self, name: str) -> Session:
        """Make an empty session; ConfigError when there are too many."""
        if len(self._live) >= MAX_SESSIONS:
            raise ConfigError(f"this hub holds {MAX_SESSIONS} sessions, its most; delete one first")
        session = Session(secrets.token_hex(6), name, ring_bytes=self._ring_bytes)
        session.preparing = self._preparing
        self._live[session.id] = _Live(session, Ingest(session, self.ingest_pool))
        return session

    def session(self, session_id: str) -> Session:
        """The session of that id; NotFoundError if there is none."""
        return self._find(session_id).session

    def _find(self, session_id: str) -> _Live:
        live = self._live.get(session_id)
        if live is None:
            raise NotFoundError(f"no session {session_id!r:.60}; it may have been deleted")
        return live

    def sessions(self) -> list[dict[str, Any]]:
        """A line about each session, oldest first."""
        return [
            {"id": s.id, "name": s.name, "state": s.state, "source": s.stats()["source"], "packets": s.packets}
            for s in (live.session for live in self._live.values())
        ]

    def attach(self, hello: Hello, send: Callable[[str], None]) -> tuple[Session, Ingest, AgentRun]:
        """An agent connected: find its session (by id or name; made if a name is new) and its run."""
        wanted = hello.session or DEFAULT_SESSION
        live = self._live.get(wanted) or next((v for v in self._live.values() if v.session.name == wanted), None)
        if live is None:
            live = self._live[self.create_session(wanted).id]
        run = live.session.attach(hello)
        live.senders[hello.run] = send
        log.info("agent %s (%s) feeds session %s", hello.agent, hello.source, live.session.name)
        return live.session, live.ingest, run

    def detach(self, session: Session, run: AgentRun, send: Callable[[str], None], reason: str) -> None:
        """An agent's connection ended; a newer connection of the same run is left alone."""
        live = self._live.get(session.id)
        if live and live.senders.get(run.hello.run) == send:
            del live.senders[run.hello.run]
            run.connected = False
            run.reason = run.reason if run.ended else reason

    def set_capture(self, session_id: str, wanted: bool) -> None:
        """Start or stop a session: its agents are told, new ones find out in their welcome."""
        live = self._find(session_id)
        live.session.wanted = wanted
        message = encode_control(StartCapture() if wanted else StopCapture(reason="stopped by the user"))
        for send in live.senders.values():
            send(message)

    async def clear(self, session_id: str) -> None:
        """Throw a session's packets away."""
        live = self._find(session_id)
        await live.ingest.call(live.session.clear)

    async def delete(self, session_id: str) -> None:
        """Stop a session and forget it with all its packets."""
        self.set_capture(session_id, False)
        live = self._live.pop(session_id)
        await live.ingest.close()

    def issue_ticket(self, session_id: str, export_format: str, where: str, *, follow: bool = False) -> str:
        """A one-use ticket for an export; NotFoundError if the session is gone."""
        self._find(session_id)
        now_s = time.monotonic()
        self._tickets = {k: t for k, t in self._tickets.items() if t.expires_s > now_s}
        ticket = secrets.token_urlsafe(24)
        self._tickets[ticket] = Ticket(session_id, export_format, where, follow, now_s + _TICKET_LIFE_S)
        return ticket

    def redeem_ticket(self, ticket: str) -> Ticket | None:
        """The ticket's right, once; None if it is unknown, used or too old."""
        found = self._tickets.pop(ticket, None)
        return found if found and found.expires_s > time.monotonic() else None
