"""The agents' socket, and the routes to register and drive agents, and their profiles.

The rules of the conversation with an agent are in wire.protocol.HubEnd.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Annotated, ClassVar, Final

import msgspec

from aishark_panel.errors import AisharkError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.agents import Link
from aishark_panel.streams.guard import Guarded, GuardedSocket, Route
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.people import Person, check_name
from aishark_panel.streams.store import RegisteredAgent
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.inquiries import MAX_TRIAL_S, FilterTrial, HostInterfaces
from aishark_panel.wire.messages import (
    Batch,
    CaptureSettings,
    End,
    Heartbeat,
    HeartbeatReply,
    Hello,
    State,
    encode_control,
)
from aishark_panel.wire.protocol import HubEnd

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)

Event = Batch | Heartbeat | State | HostInterfaces | FilterTrial | End
"""What an agent sends after its hello."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

MAX_PENDING_BATCHES: Final = 16_384
"""Batches of one connection that came and were not acknowledged, before no more are read."""

UNLIMITED: Final = CaptureSettings(
    interfaces=(),
    filter="",
    snaplen=MAX_FRAME_BYTES,
    sampling=1,
    sampling_by="",
    payload="full",
    max_packets_per_second=0,
)
"""What a profile means by a setting that it leaves open: as the agent's own configuration has it."""


class AgentSocket(GuardedSocket):
    """`GET /api/agents/ws`: one agent, which shows its key or the hub's token."""

    run: AgentRun | None = None
    _registered: RegisteredAgent | None = None
    _link: Link | None = None
    _ingest: Ingest | None = None
    _dismissed = False

    kind = "agent"
    needs: ClassVar = {"GET": "capture"}

    def identify(self) -> Person | None:
        """Who the agent belongs to: by its key if it is registered (which opens nothing else), or a person's token."""
        self._registered = agent = self.hub.store.agent_of_key(self.bearer())
        if agent is None:
            return super().identify()
        return Person(name=agent.owner, capabilities=frozenset(("capture",)))

    def key(self) -> str:
        return f"agent {self._registered.id}" if self._registered else super().key()

    def open(self) -> None:
        self._end = HubEnd()
        self._moved = asyncio.Event()
        if self.take_place():
            self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        if self._dismissed or not self.require_admission():
            return None
        try:
            event = self._end.receive(message)
            if isinstance(event, Hello):
                self._attach(event)
            elif event is not None:
                assert self.run is not None
                self._handle(self.run, event)
        except AisharkError as error:
            self.refuse(str(error))
        return self._wait_for_room() if self._end.pending_batches > MAX_PENDING_BATCHES else None

    async def _wait_for_room(self) -> None:
        """Read nothing more meanwhile: the credit bounds bytes, and each of a million tiny batches has its objects."""
        while self._end.pending_batches > MAX_PENDING_BATCHES and not self._dismissed:
            self._moved.clear()
            await self._moved.wait()

    def _attach(self, hello: Hello) -> None:
        self._link, self._ingest = self.hub.attach(hello, self, self._registered, self.person.name)
        self.run = run = self._link.run
        capture = self.hub.agents.starts_at_once(self._link)
        journal = self._ingest.journal is not None
        # What is in memory, but not durable, comes again: the welcome frees at the agent all that is before it.
        next_sequence = max(hello.first_sequence, run.durable + 1)
        taken = run.received if run.received >= next_sequence else 0
        session = self._link.session.id
        self.send(self._end.open(session, next_sequence=next_sequence, capture=capture, journal=journal, taken=taken))
        self.hub.agents.welcomed(self._link)

    def _handle(self, run: AgentRun, event: Event) -> None:
        assert self._link is not None
        assert self._ingest is not None
        match event:
            case Batch():
                self._ingest.put(self, run, event)
            case Heartbeat():
                run.counters = event.counters
                run.round_trip_ns = event.round_trip_ns
                run.offset_ns = event.offset_ns
                self.send(encode_control(HeartbeatReply(sent_ns=event.sent_ns, hub_ns=time.time_ns())))
            case State():
                asked = self.hub.agents.answered(self._link, event)
                run.capturing = event.capturing
                # Who asked in vain is told; what the agent did before goes on, and that needs no reason.
                run.reason = "" if asked and event.capturing else event.reason
                run.follow(event)
                if event.interfaces is not None:
                    self._link.session.set_interfaces(run, event.interfaces)
            case HostInterfaces() | FilterTrial():
                self.hub.agents.told(self._link, event)
            case End():
                run.ended, run.reason = True, event.reason
                run.counters = event.counters
                self.hub.note_end(self._link)

    def acknowledge(self) -> None:
        """Tell the agent how far its run is in memory, and how far it is durable, if that is news to it."""
        if self.run is None or self._dismissed:
            return
        # Of batches that came by an earlier connection this one knows those alone that were sent again.
        taken = min(self.run.taken, self._end.received)
        durable = min(self.run.durable, taken)
        if taken > self._end.taken or durable > self._end.durable:
            self.send(self._end.acknowledge(max(taken, self._end.taken), max(durable, self._end.durable)))
            self._moved.set()

    def send_again(self) -> None:
        """Have the agent connect anew and go on from the first batch that is not durable."""
        if not self._dismissed:
            self.dismiss(1012, "the journal can be written again and lacks some batches")

    def refuse(self, reason: str) -> None:
        self._dismissed = True
        self._moved.set()
        log.warning("agent %s refused: %s", self.run.hello.agent if self.run else self.request.remote_ip, reason)
        if self.run:
            self.run.reason = reason
            self.run.refusals += 1
        super().refuse(reason)

    def dismiss(self, code: int, reason: str) -> None:
        """Take nothing more from this connection and close it."""
        self._dismissed = True
        self._moved.set()
        log.info("agent %s dismissed: %s", self.run.hello.agent if self.run else self.request.remote_ip, reason)
        if self.run:
            self.run.reason = reason
        self.close(code, reason)

    def on_close(self) -> None:
        self.leave_place()
        self._dismissed = True
        self._moved.set()
        if self.run and self._link:
            reason = self.close_reason or self.run.reason or "Its connection was lost."
            self.hub.detach(self._link, reason)


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that registers an agent."""

    name: Name
    owner: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """person it is to belong to; empty: whoever registers it"""


class Change(CaptureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that changes what an agent captures: settings, over those of the profile if one is named."""

    profile: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Start(Change, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that starts an agent."""

    session: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """session to feed, by id or name; empty: the one it feeds"""


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that asks what a capture filter would keep."""

    filter: Annotated[str, msgspec.Meta(max_length=8_000)] = ""
    seconds: Annotated[float, msgspec.Meta(ge=0.1, le=MAX_TRIAL_S)] = 2.0


class Profile(CaptureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that makes or changes a profile."""

    name: Name


class AgentsHandler(Guarded):
    """`GET /api/agents`: who is registered or connected; `POST`: register one, whose key is told once."""

    def get(self) -> None:
        self.finish({"agents": self.hub.agents.list(self.person)})

    def post(self) -> None:
        wanted = self.body(Registration)
        if wanted.owner:
            self.require("admin")
            check_name(wanted.owner)
        agent, key = self.hub.store.register(wanted.name, wanted.owner or self.person.name)
        self.audit("agent.register", agent.id, name=agent.name, owner=agent.owner)
        self.set_status(201)
        self.finish({"id": agent.id, "name": agent.name, "key": key})


class AgentHandler(Guarded):
    """`PATCH /api/agents/:id`: change what it captures; answers when it does, or with its reason (409).
    `DELETE`: its key is good no longer, its connection ends."""

    async def patch(self, agent_id: str) -> None:
        wanted = self.body(Change)
        self.audit("agent.change", agent_id, **msgspec.to_builtins(wanted))
        self.finish(await self.hub.agents.change(agent_id, self.person, _settings(self, wanted)))

    def delete(self, agent_id: str) -> None:
        name = self.hub.agents.delete(agent_id, self.person)
        self.audit("agent.delete", agent_id, name=name)
        self.set_status(204)


class AgentStart(Guarded):
    """`POST /api/agents/:id/start`: make it capture; answers when it does, or with its reason (409)."""

    async def post(self, agent_id: str) -> None:
        wanted = self.body(Start)
        settings = _settings(self, wanted)
        self.audit("agent.start", agent_id, **msgspec.to_builtins(wanted))
        self.finish(await self.hub.agents.start(agent_id, self.person, wanted.session, settings))


class AgentStop(Guarded):
    """`POST /api/agents/:id/stop`: make it pause; answers when it does, or with its reason (409)."""

    async def post(self, agent_id: str) -> None:
        self.audit("agent.stop", agent_id)
        self.finish(await self.hub.agents.stop(agent_id, self.person))


class AgentInterfaces(Guarded):
    """`GET /api/agents/:id/interfaces`: those of its host, with what passes them now."""

    needs: ClassVar = {"GET": "capture"}

    async def get(self, agent_id: str) -> None:
        self.finish({"interfaces": await self.hub.agents.interfaces(agent_id, self.person)})


class AgentDryRun(Guarded):
    """`POST /api/agents/:id/dry-run`: what share of its traffic a capture filter would keep; changes nothing."""

    async def post(self, agent_id: str) -> None:
        wanted = self.body(Trial)
        self.finish(await self.hub.agents.try_filter(agent_id, self.person, wanted.filter, wanted.seconds))


def _settings(handler: Guarded, wanted: Change) -> CaptureSettings:
    """The settings that are wanted, over those of the profile."""
    if not wanted.profile:
        return wanted
    return wanted.over(handler.hub.store.profile(wanted.profile, handler.person.name).over(UNLIMITED))


class Profiles(Guarded):
    """`GET /api/profiles`: the hub's profiles and one's own; `POST`: make or change one of one's own."""

    def get(self) -> None:
        profiles = self.hub.store.profiles(self.person.name)
        self.finish({"profiles": [{"name": name, **msgspec.to_builtins(s)} for name, s in profiles.items()]})

    def post(self) -> None:
        profile = self.body(Profile)
        settings = profile.over(CaptureSettings())
        self.hub.store.save_profile(profile.name, settings, self.person.name)
        self.audit("profile.save", profile.name, **msgspec.to_builtins(settings))
        self.finish(msgspec.to_builtins(profile))


class ProfileHandler(Guarded):
    """`DELETE /api/profiles/:name`"""

    def delete(self, name: str) -> None:
        self.hub.store.delete_profile(name, self.person.name)
        self.audit("profile.delete", name)
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/agents/ws", AgentSocket),
    (r"/api/agents", AgentsHandler),
    (r"/api/agents/([0-9a-f]+)", AgentHandler),
    (r"/api/agents/([0-9a-f]+)/start", AgentStart),
    (r"/api/agents/([0-9a-f]+)/stop", AgentStop),
    (r"/api/agents/([0-9a-f]+)/interfaces", AgentInterfaces),
    (r"/api/agents/([0-9a-f]+)/dry-run", AgentDryRun),
    (r"/api/profiles", Profiles),
    (r"/api/profiles/([^/]+)", ProfileHandler),
)
