"""The agents' socket, and the routes to register and drive agents, and their profiles.

The rules of the conversation with an agent are in wire.protocol.HubEnd.
"""

import logging
import time
from typing import Annotated, ClassVar, Final

import msgspec

from aishark_panel.errors import AisharkError
from aishark_panel.streams.agents import Link
from aishark_panel.streams.guard import Guarded, GuardedSocket, Route
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.people import Person, check_name
from aishark_panel.streams.session import AgentRun
from aishark_panel.streams.store import RegisteredAgent
from aishark_panel.wire.frames import MAX_FRAME_BYTES
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


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

UNLIMITED: Final = CaptureSettings(filter="", snaplen=MAX_FRAME_BYTES, sampling=1, max_packets_per_second=0)
"""What a profile means by a setting that it leaves open: no limit beside those of the agent's own configuration."""


class AgentSocket(GuardedSocket):
    """`GET /api/agents/ws`: one agent, which shows its key or the hub's token."""

    run: AgentRun | None = None
    _registered: RegisteredAgent | None = None
    _link: Link | None = None
    _ingest: Ingest | None = None
    _dismissed = False

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
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        if self._dismissed:
            return
        try:
            event = self._end.receive(message)
            if isinstance(event, Hello):
                self._attach(event)
            elif event is not None:
                assert self.run is not None
                self._handle(self.run, event)
        except AisharkError as error:
            self.refuse(str(error))

    def _attach(self, hello: Hello) -> None:
        self._link, self._ingest = self.hub.attach(hello, self, self._registered, self.person.name)
        self.run = self._link.run
        if hello.first_sequence > self.run.received + 1:
            # A hub that restarted knows less than the agent was promised: what was acknowledged then is not sent again.
            self.run.received = self.run.taken = hello.first_sequence - 1
        capture = self.hub.agents.starts_at_once(self._link)
        self.send(self._end.open(self._link.session.id, next_sequence=self.run.received + 1, capture=capture))
        self.hub.agents.welcomed(self._link)

    def _handle(self, run: AgentRun, event: Batch | Heartbeat | State | End) -> None:
        assert self._link is not None
        assert self._ingest is not None
        match event:
            case Batch():
                run.received = event.sequence
                self._ingest.put(self, run, event)
            case Heartbeat() if self.require_admission():
                run.counters = event.counters
                run.round_trip_ns = event.round_trip_ns
                run.offset_ns = event.offset_ns
                self.send(encode_control(HeartbeatReply(sent_ns=event.sent_ns, hub_ns=time.time_ns())))
            case State():
                asked = self.hub.agents.answered(self._link, event)
                run.capturing = event.capturing
                # Who asked in vain is told; what the agent did before goes on, and that needs no reason.
                run.reason = "" if asked and event.capturing else event.reason
                run.sampling, run.max_packets_per_second = event.sampling, event.max_packets_per_second
                if event.interfaces is not None:
                    self._link.session.set_interfaces(run, event.interfaces)
            case End():
                run.ended, run.reason = True, event.reason
                run.counters = event.counters

    def taken(self, sequence: int) -> None:
        """Batches up to here are in memory; without a journal that is also as durable as they get."""
        self.send(self._end.acknowledge(sequence, sequence))

    def refuse(self, reason: str) -> None:
        self._dismissed = True
        log.warning("agent %s refused: %s", self.run.hello.agent if self.run else self.request.remote_ip, reason)
        if self.run:
            self.run.reason = reason
            self.run.received = self.run.taken  # the batch that was refused, and those behind it, were not
        super().refuse(reason)

    def dismiss(self, code: int, reason: str) -> None:
        """Take nothing more from this connection and close it."""
        self._dismissed = True
        log.info("agent %s dismissed: %s", self.run.hello.agent if self.run else self.request.remote_ip, reason)
        if self.run:
            self.run.reason = reason
        self.close(code, reason)

    def on_close(self) -> None:
        if self.run and self._link:
            reason = self.close_reason or self.run.reason or "Its connection was lost."
            self.hub.agents.detach(self._link, reason)


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that registers an agent."""

    name: Name
    owner: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """person it is to belong to; empty: whoever registers it"""


class Start(CaptureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that starts an agent: settings, over those of the profile if one is named."""

    session: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """session to feed, by id or name; empty: the one it feeds"""
    profile: Annotated[str, msgspec.Meta(max_length=200)] = ""


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
    """`DELETE /api/agents/:id`: its key is good no longer, its connection ends."""

    def delete(self, agent_id: str) -> None:
        name = self.hub.agents.delete(agent_id, self.person)
        self.audit("agent.delete", agent_id, name=name)
        self.set_status(204)


class AgentStart(Guarded):
    """`POST /api/agents/:id/start`: make it capture; answers when it does, or with its reason (409)."""

    async def post(self, agent_id: str) -> None:
        wanted = self.body(Start)
        settings: CaptureSettings = wanted
        if wanted.profile:
            settings = wanted.over(self.hub.store.profile(wanted.profile, self.person.name).over(UNLIMITED))
        self.audit("agent.start", agent_id, **msgspec.to_builtins(wanted))
        self.finish(await self.hub.agents.start(agent_id, self.person, wanted.session, settings))


class AgentStop(Guarded):
    """`POST /api/agents/:id/stop`: make it pause; answers when it does, or with its reason (409)."""

    async def post(self, agent_id: str) -> None:
        self.audit("agent.stop", agent_id)
        self.finish(await self.hub.agents.stop(agent_id, self.person))


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
    (r"/api/profiles", Profiles),
    (r"/api/profiles/([^/]+)", ProfileHandler),
)
