"""The agents of a hub: who is connected, and driving them from afar.

An agent that shows a key of its own has the id it was registered under; one that came with the hub's token goes by its
run. A *link* is an agent's connection. An *order* (streams/store.py) outlives it: an agent that comes back finds the
same wish, whichever side was restarted. An agent captures when its session is started and it was not stopped itself.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from aishark_panel.errors import ConflictError, NotFoundError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.people import Person
from aishark_panel.streams.session import Session
from aishark_panel.streams.store import Order, RegisteredAgent, Store
from aishark_panel.wire.inquiries import FilterTrial, HostInterfaces, ListInterfaces, TryFilter
from aishark_panel.wire.messages import CaptureSettings, Hello, StartCapture, State, StopCapture, encode_control

__all__ = ["MAX_INQUIRIES", "TRIAL_FIGURES", "Agents", "Link", "Socket"]

log = logging.getLogger(__name__)

ANSWER_S: Final = 10.0
"""How long an agent may take to do what it is asked, in seconds."""
MAX_INQUIRIES: Final = 4
"""Most inquiries to one agent that may wait for their answers."""
MAX_GONE: Final = 100
"""Most agents without a key that are remembered after they left."""
TRIAL_FIGURES: Final = ("seconds", "packets", "bytes", "passed_packets", "passed_bytes", "missed_packets")
"""What is told of a filter's trial."""
_GO_ON: Final = 1012
_REVOKED: Final = 1008
"""Close codes (RFC 6455, section 7.4): after the first an agent connects again, after the second it ends."""
_BY_THE_USER: Final = "stopped by the user"


class Socket(Protocol):
    """An agent's connection, as far as it is needed here."""

    def send(self, message: str) -> None:
        """Send a control message."""

    def dismiss(self, code: int, reason: str) -> None:
        """Take nothing more from this connection and close it."""


@dataclass(slots=True, eq=False)
class Link:
    """An agent's connection, the newest or (after it ended) the last."""

    id: str
    owner: str
    """the person it belongs to, as do the sessions it feeds"""
    hello: Hello
    session: Session
    run: AgentRun
    socket: Socket
    wanted: bool
    """whether it is to capture when its session does"""
    settings: CaptureSettings
    """settings asked of it"""
    untold: bool
    """whether this run of the agent does not know these settings yet"""
    order_number: int = 0
    answer: asyncio.Future[State] | None = None
    """number of the order that waits for its answer, and the answer"""
    inquiries: dict[int, asyncio.Future[HostInterfaces | FilterTrial]] = field(default_factory=dict)
    """answers that are waited for, by the inquiry's number"""

    @property
    def connected(self) -> bool:
        return self.run.connected

    def tell(self, *, capture: bool) -> None:
        """Send what it is to do now."""
        self.socket.send(encode_control(_start(self.settings) if capture else StopCapture(reason=_BY_THE_USER)))


def _start(settings: CaptureSettings) -> StartCapture:
    return StartCapture(**{name: getattr(settings, name) for name in CaptureSettings.__struct_fields__})


class Agents:
    """Links by the agents' ids.

    `open_session(id, name, owner)` finds a session of an owner by id or name, or makes one of that name.
    """

    def __init__(self, store: Store, open_session: Callable[[str, str, str], Session]) -> None:
        self._store = store
        self._open_session = open_session
        self._links: dict[str, Link] = {}
        self._arrivals: dict[str, asyncio.Future[Link]] = {}
        self._numbers = itertools.count(1)

    def attach(self, hello: Hello, socket: Socket, registered: RegisteredAgent | None, owner: str) -> Link:
        """An agent said hello. It gets its session (the ordered one, else the one it names) and its run there.

        A connection it has already is ended: the newest one counts. ConflictError if its run is somebody else's.
        """
        agent_id = registered.id if registered else hello.run
        if registered:
            hello = msgspec.structs.replace(hello, agent=registered.name)
        before = self._links.get(agent_id)
        if before and before.owner != owner:
            raise ConflictError("this run is known here as another's; start the agent anew")
        twin = next((k for k in self._links.values() if k.hello.run == hello.run and k.id != agent_id), None)
        if twin and (twin.connected or (registered and twin.id != twin.hello.run)):
            raise ConflictError(
                f"this run is agent {twin.hello.agent}'s; an agent whose spool was copied has to begin one of its own"
            )
        same_run = before is not None and before.hello.run == hello.run
        if before and before.connected:
            if same_run:
                before.socket.dismiss(_GO_ON, "the agent connected again")
            else:
                before.socket.dismiss(_REVOKED, "another agent connected with the same key")
        order = self._store.order(agent_id)
        session = self.session_for(hello, registered, owner)
        run = session.runs.attach(hello)
        link = Link(
            id=agent_id,
            owner=owner,
            hello=hello,
            session=session,
            run=run,
            socket=socket,
            wanted=order.capture if order else True,
            settings=order.settings if order else CaptureSettings(),
            untold=order is not None and order.run != hello.run and order.settings != CaptureSettings(),
        )
        self._links[agent_id] = link
        if registered:
            self._store.seen(agent_id)
        if (arrival := self._arrivals.get(agent_id)) and not arrival.done():
            arrival.set_result(link)
        self._forget_gone()
        log.info("agent %s (%s) feeds session %s", hello.agent, hello.source, session.name)
        return link

    def session_for(self, hello: Hello, registered: RegisteredAgent | None, owner: str) -> Session:
        """The session that an agent is to feed: the ordered one, else the one it names."""
        if order := self._store.order(registered.id if registered else hello.run):
            return self._open_session(order.session_id, order.session_name, owner)
        return self._open_session(hello.session, hello.session, owner)

    def welcomed(self, link: Link) -> None:
        """The welcome was sent; a run that does not know its settings is told them now."""
        if link.untold and link.wanted and link.session.condition.wanted:
            link.tell(capture=True)
            self._save_order(link)

    def starts_at_once(self, link: Link) -> bool:
        """Whether the welcome may ask for packets: not when settings have to be told first.

        Made-up traffic waits for a hub that is not ready; real packets would be missed, and wait at the agent.
        """
        waits = link.hello.source == "synthetic" and link.session.condition.preparing
        return link.wanted and link.session.condition.wanted and not link.untold and not waits

    def hub_is_ready(self) -> None:
        """Let the agents that waited for it begin."""
        for link in list(self._links.values()):
            if link.connected and not link.run.capturing and self.starts_at_once(link):
                link.tell(capture=True)

    def detach(self, link: Link, reason: str) -> None:
        """A connection ended; a newer one of the same run is left alone."""
        current = self._links.get(link.id)
        if current is link or current is None or current.run is not link.run:
            link.run.connected = False
            link.run.reason = link.run.reason if link.run.ended else reason
        for answer in (link.answer, *link.inquiries.values()):
            if answer and not answer.done():
                answer.set_exception(ConflictError(f"Agent {link.hello.agent} left. {reason}".strip()))
        if current is link and link.id != link.hello.run:
            self._store.seen(link.id)

    def _forget_gone(self) -> None:
        gone = [key for key, link in self._links.items() if not link.connected and key == link.hello.run]
        for key in gone[: max(0, len(gone) - MAX_GONE)]:
            del self._links[key]

    def answered(self, link: Link, state: State) -> bool:
        """The agent said what it does now; whether that is the answer to a request under way."""
        if link.answer is None or link.answer.done() or state.answers != link.order_number:
            return False
        link.answer.set_result(state)
        return True

    def told(self, link: Link, answer: HostInterfaces | FilterTrial) -> None:
        """The agent answered an inquiry; one that nobody waits for any more is left alone."""
        waiting = link.inquiries.get(answer.answers)
        if waiting and not waiting.done():
            waiting.set_result(answer)

    def set_capture(self, session: Session, wanted: bool) -> None:
        """Start or stop a session: its agents are told, new ones find out in their welcome."""
        session.condition.wanted = wanted
        self._store.save_wanted(session.id, wanted=wanted)
        for link in self._links.values():
            if link.session is session and link.connected and (link.wanted or not wanted):
                link.tell(capture=wanted)

    def release(self, session: Session) -> None:
        """A session was deleted: its agents stop, and come back idle to the default session."""
        for link in self._links.values():
            if link.session is session and link.connected:
                link.wanted = False
                order = Order(capture=False, session_id="", session_name="", settings=link.settings, run=link.hello.run)
                self._store.save_order(link.id, order)
                link.socket.dismiss(_GO_ON, "its session was deleted")

    async def start(self, agent_id: str, person: Person, session: str, settings: CaptureSettings) -> dict[str, Any]:
        """Make an agent capture, into another session if one is named; returns its line in `list`.

        NotFoundError, or ConflictError with the agent's words; then what it did before goes on.
        """
        link = self._connected(agent_id, person)
        async with self._answering(link):
            target = self._open_session(session or link.session.id, session or link.session.name, link.owner)
            if target is not link.session:
                link = await self._move(link, target)
            state = await self._ask(link, _start(settings))
        if state.reason or not state.capturing:
            raise ConflictError(f"Agent {link.hello.agent}: {state.reason or 'it does not capture'}")
        link.wanted, link.settings = True, settings.over(link.settings)
        self._save_order(link)
        if not link.session.condition.wanted:
            self.set_capture(link.session, True)
        return self._line(link)

    async def change(self, agent_id: str, person: Person, settings: CaptureSettings) -> dict[str, Any]:
        """Other settings for an agent that captures; returns its line in `list`. Errors as of `start`."""
        link = self._connected(agent_id, person)
        if not link.run.capturing:
            raise ConflictError(f"Agent {link.hello.agent} does not capture now; start it with these settings.")
        return await self.start(agent_id, person, "", settings)

    async def interfaces(self, agent_id: str, person: Person) -> list[dict[str, Any]]:
        """The interfaces of an agent's host with what passes them; errors as of `start`."""
        answer = await self._inquire(agent_id, person, ListInterfaces(number=next(self._numbers)))
        assert isinstance(answer, HostInterfaces)
        return [msgspec.to_builtins(interface) for interface in answer.interfaces]

    async def try_filter(self, agent_id: str, person: Person, capture_filter: str, seconds: float) -> dict[str, Any]:
        """What an agent's traffic is in so many seconds and what a filter would keep of it; errors as of `start`."""
        question = TryFilter(number=next(self._numbers), filter=capture_filter, seconds=seconds)
        answer = await self._inquire(agent_id, person, question, patience_s=seconds)
        assert isinstance(answer, FilterTrial)
        told: dict[str, Any] = msgspec.to_builtins(answer)
        return {name: told[name] for name in TRIAL_FIGURES}

    async def stop(self, agent_id: str, person: Person) -> dict[str, Any]:
        """Make an agent pause, and stay so whatever is restarted; returns its line in `list`. Errors as of `start`."""
        link = self._connected(agent_id, person)
        link.wanted = False
        self._save_order(link)
        async with self._answering(link):
            state = await self._ask(link, StopCapture(reason=_BY_THE_USER))
        if state.capturing:
            raise ConflictError(f"Agent {link.hello.agent}: {state.reason or 'it goes on capturing'}")
        return self._line(link)

    def delete(self, agent_id: str, person: Person) -> str:
        """Revoke an agent's key and end its connection; returns its name. NotFoundError if it has no key."""
        if self._registered(agent_id, person) is None:
            raise NotFoundError(f"no registered agent {agent_id!r:.60}")
        self._store.revoke(agent_id)
        link = self._links.pop(agent_id, None)
        if link and link.connected:
            link.socket.dismiss(_REVOKED, "the key of this agent was revoked")
        return link.hello.agent if link else ""

    def replace_key(self, agent_id: str, person: Person) -> tuple[RegisteredAgent, str]:
        """A new key for an agent that has one; the old one stays good for a while. NotFoundError if it has none."""
        agent = self._registered(agent_id, person)
        if agent is None:
            raise NotFoundError(f"no registered agent {agent_id!r:.60}")
        return agent, self._store.replace_key(agent_id)

    def list(self, person: Person) -> list[dict[str, Any]]:
        """A line about each agent of a person that has a key or is connected; docs/protocol.md names the fields."""
        registered = {agent.id: agent for agent in self._store.agents() if person.sees(agent.owner)}
        links = {link.id: link for link in self._links.values() if person.sees(link.owner)}
        lines = [self._line(links[i], a) if i in links else _never_seen(a) for i, a in registered.items()]
        return lines + [self._line(k) for k in links.values() if k.connected and k.id not in registered]

    def _line(self, link: Link, registered: RegisteredAgent | None = None) -> dict[str, Any]:
        run = link.run
        connected_state = "ended" if run.ended else "capturing" if run.capturing else "stopped"
        return {
            "id": link.id,
            "name": link.hello.agent,
            "owner": link.owner,
            "registered": link.id != link.hello.run,
            "state": connected_state if link.connected else "offline",
            "reason": run.reason,
            "session": link.session.id,
            "session_name": link.session.name,
            "source": link.hello.source,
            "host": link.hello.host,
            "os": link.hello.os,
            "version": link.hello.version,
            "interfaces": [
                {**msgspec.to_builtins(interface), "packets": packets, "bytes": bytes_}
                for interface in run.interfaces
                if interface.captured
                for packets, bytes_ in (run.seen.get(interface.name, (0, 0)),)
            ],
            "settings": msgspec.to_builtins(link.settings),
            "sampling": run.sampling,
            "sampling_by": run.sampling_by,
            "payload": run.payload,
            "max_packets_per_second": run.max_packets_per_second,
            "counters": dict(run.counters),
            "packets": run.packets,
            "round_trip_ms": run.round_trip_ns / 1e6,
            "clock_offset_ms": run.offset_ns / 1e6,
            "last_seen_ns": time.time_ns() if link.connected or not registered else registered.last_seen_ns,
        }

    def _registered(self, agent_id: str, person: Person) -> RegisteredAgent | None:
        return next((a for a in self._store.agents() if a.id == agent_id and person.sees(a.owner)), None)

    def require(self, agent_id: str, person: Person) -> None:
        """NotFoundError unless there is such an agent for this person, connected or not."""
        link = self._links.get(agent_id)
        if not (link and person.sees(link.owner)) and self._registered(agent_id, person) is None:
            raise NotFoundError(f"no agent {agent_id!r:.60}")

    def _connected(self, agent_id: str, person: Person) -> Link:
        link = self._links.get(agent_id)
        if link and link.connected and person.sees(link.owner):
            return link
        known = self._registered(agent_id, person)
        if known is None:
            raise NotFoundError(f"no agent {agent_id!r:.60}")
        raise ConflictError(f"Agent {known.name} is not connected. {link.run.reason if link else ''}".strip())

    @asynccontextmanager
    async def _answering(self, link: Link, patience_s: float = 0.0) -> AsyncIterator[None]:
        """Bound the time an agent may take: ANSWER_S beyond what the work itself takes."""
        try:
            async with asyncio.timeout(ANSWER_S + patience_s):
                yield
        except TimeoutError as error:
            raise ConflictError(
                f"Agent {link.hello.agent} did not answer for {ANSWER_S + patience_s:.0f} s."
            ) from error

    async def _inquire(
        self, agent_id: str, person: Person, inquiry: ListInterfaces | TryFilter, patience_s: float = 0.0
    ) -> HostInterfaces | FilterTrial:
        """Ask an agent; ConflictError with its reason if it cannot answer."""
        link = self._connected(agent_id, person)
        if len(link.inquiries) >= MAX_INQUIRIES:
            raise ConflictError(f"Agent {link.hello.agent} is busy with other requests; try again.")
        waiting: asyncio.Future[HostInterfaces | FilterTrial] = asyncio.get_running_loop().create_future()
        link.inquiries[inquiry.number] = waiting
        try:
            async with self._answering(link, patience_s):
                link.socket.send(encode_control(inquiry))
                answer = await waiting
        finally:
            del link.inquiries[inquiry.number]
        if answer.reason:
            raise ConflictError(f"Agent {link.hello.agent}: {answer.reason}")
        return answer

    async def _ask(self, link: Link, message: StartCapture | StopCapture) -> State:
        if link.answer is not None:
            raise ConflictError(f"Agent {link.hello.agent} is busy with another request; try again.")
        link.answer = asyncio.get_running_loop().create_future()
        link.order_number = next(self._numbers)
        try:
            link.socket.send(encode_control(msgspec.structs.replace(message, number=link.order_number)))
            return await link.answer
        finally:
            link.answer = None

    async def _move(self, link: Link, session: Session) -> Link:
        """Give the agent another session: a connection feeds one, so it has to connect again. Nothing is sent twice."""
        if link.id in self._arrivals:
            raise ConflictError(f"Agent {link.hello.agent} is busy with another request; try again.")
        if problem := link.session.condition.journal().problem:
            raise ConflictError(
                f"Agent {link.hello.agent} stays in session {link.session.name}, which has packets of it that are not "
                f"safe yet. {problem}"
            )
        link.session, before = session, link.session
        self._save_order(link)
        link.session = before
        arrival: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._arrivals[link.id] = arrival
        link.socket.dismiss(_GO_ON, f"it goes on in session {session.name}")
        try:
            return await arrival
        finally:
            del self._arrivals[link.id]

    def _save_order(self, link: Link) -> None:
        self._store.save_order(
            link.id,
            Order(
                capture=link.wanted,
                session_id=link.session.id,
                session_name=link.session.name,
                settings=link.settings,
                run=link.hello.run,
            ),
        )


def _never_seen(agent: RegisteredAgent) -> dict[str, Any]:
    """Line of an agent that has not connected since this hub was started."""
    return {
        "id": agent.id,
        "name": agent.name,
        "owner": agent.owner,
        "registered": True,
        "state": "offline",
        "reason": "It has not connected yet." if agent.last_seen_ns is None else "",
        "session": "",
        "session_name": "",
        "source": "",
        "host": "",
        "os": "",
        "version": "",
        "interfaces": [],
        "settings": msgspec.to_builtins(CaptureSettings()),
        "sampling": 1,
        "sampling_by": "packet",
        "payload": "full",
        "max_packets_per_second": 0,
        "counters": {},
        "packets": 0,
        "round_trip_ms": 0.0,
        "clock_offset_ms": 0.0,
        "last_seen_ns": agent.last_seen_ns,
    }
