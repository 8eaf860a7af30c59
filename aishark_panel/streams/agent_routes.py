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
from aishark_panel.streams.agent_answers import (
    AgentAnswer,
    AgentsAnswer,
    InterfacesAnswer,
    KeyAnswer,
    ProfileLine,
    ProfilesAnswer,
    TrialAnswer,
)
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.agents import Link
from aishark_panel.streams.guard import Guarded, GuardedSocket, Route
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.operation import Answer, operation
from aishark_panel.streams.people import Person, check_name
from aishark_panel.streams.store import KEY_GRACE_S, RegisteredAgent
from aishark_panel.streams.store.database import hash_of
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.inquiries import MAX_TRIAL_S, FilterTrial, HostInterfaces
from aishark_panel.wire.messages import (
    Batch,
    BatchRefused,
    CaptureSettings,
    End,
    Heartbeat,
    HeartbeatReply,
    Hello,
    State,
    encode_control,
)
from aishark_panel.wire.protocol import BadBatchError, HubEnd

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


class NewKeyAnswer(Answer):
    """Another key of an agent."""

    id: str
    name: str
    key: str
    """told this once"""
    old_key_good_s: int
    """at most, and no longer than until this one is used"""


class AgentSocket(GuardedSocket):
    """`/api/agents/ws`"""

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
        self.key_hash = hash_of(self.bearer())
        return Person(name=agent.owner, capabilities=frozenset(("capture",)))

    def check(self) -> None:
        """As for all sockets; and a key that another took the place of ends its connection with its time of grace."""
        if self.key_hash and self.ws_connection and self.key_hash not in self.hub.admission.good_keys:
            self.refuse("the key of this agent was replaced by another")
        super().check()

    def key(self) -> str:
        return f"agent {self._registered.id}" if self._registered else super().key()

    @operation("One agent, which shows its key or the hub's token.", status=101)
    def open(self) -> None:
        if self._registered:
            self.hub.store.key_used(self._registered.id, self.bearer())
        self._end = HubEnd()
        self._moved = asyncio.Event()
        if self.take_place():
            self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        """Take a message; what Tornado has to wait for before the next one."""
        if self._dismissed or not self.require_admission():
            return None
        try:
            event = self._end.receive(message)
            if isinstance(event, Hello):
                return self._attach(event)
            if event is not None:
                assert self.run is not None
                self._handle(self.run, event)
        except BadBatchError as error:
            self.refuse_batch(error.sequence, str(error))
        except AisharkError as error:
            self.refuse(str(error))
        return self._wait_for_room() if self._end.pending_batches > MAX_PENDING_BATCHES else None

    async def _attach(self, hello: Hello) -> None:
        try:
            settled = await self.hub.settle(hello, self._registered, self.person.name)
            if self._dismissed or self.ws_connection is None:
                return
            if settled:
                self._welcome(hello)
            else:
                self.dismiss(1012, "the session before has not taken all yet")
        except AisharkError as error:
            self.refuse(str(error))

    async def _wait_for_room(self) -> None:
        """Read nothing more meanwhile: the credit bounds bytes, and each of a million tiny batches has its objects."""
        while self._end.pending_batches > MAX_PENDING_BATCHES and not self._dismissed:
            self._moved.clear()
            await self._moved.wait()

    def _welcome(self, hello: Hello) -> None:
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
                    self._link.session.runs.set_interfaces(run, event.interfaces)
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

    def refuse_batch(self, sequence: int, reason: str) -> None:
        """Close the connection and say which batch was refused: an agent that keeps what it has does not send it for
        ever."""
        if not self._dismissed:
            self.send(encode_control(BatchRefused(sequence=sequence, reason=reason)))
        self.refuse(reason)

    def refuse(self, reason: str) -> None:
        if self._refused:
            return
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
    """`/api/agents`"""

    @operation("Agents that are registered or connected.", answer=AgentsAnswer)
    def get(self) -> None:
        self.finish({"agents": self.hub.agents.list(self.person)})

    @operation("Register an agent: its key is told once.", body=Registration, answer=KeyAnswer, status=201)
    def post(self, *, body: Registration) -> None:
        if body.owner:
            self.require("admin")
            check_name(body.owner)
        agent, key = self.hub.store.register(body.name, body.owner or self.person.name)
        self.audit("agent.register", agent.id, name=agent.name, owner=agent.owner)
        self.set_status(201)
        self.finish({"id": agent.id, "name": agent.name, "key": key})


class AgentHandler(Guarded):
    """`/api/agents/:id`"""

    @operation(
        "Change what an agent captures; answers when it does, or with its reason (409).",
        body=Change,
        answer=AgentAnswer,
        errors=(409,),
    )
    async def patch(self, agent_id: str, *, body: Change) -> None:
        self.hub.agents.require(agent_id, self.person)
        self.audit("agent.change", agent_id, **msgspec.to_builtins(body))
        self.finish(await self.hub.agents.change(agent_id, self.person, _settings(self, body)))

    @operation("An agent's key is good no longer, its connection ends.", status=204)
    def delete(self, agent_id: str) -> None:
        name = self.hub.agents.delete(agent_id, self.person)
        self.audit("agent.delete", agent_id, name=name)
        self.set_status(204)


class AgentKey(Guarded):
    """`/api/agents/:id/key`"""

    @operation(
        "A new key, told once; the old one is good until the new one is used, or for a day.",
        answer=NewKeyAnswer,
        status=201,
    )
    def post(self, agent_id: str) -> None:
        agent, key = self.hub.agents.replace_key(agent_id, self.person)
        self.audit("agent.key", agent_id, name=agent.name)
        self.set_status(201)
        self.finish({"id": agent.id, "name": agent.name, "key": key, "old_key_good_s": KEY_GRACE_S})


class AgentStart(Guarded):
    """`/api/agents/:id/start`"""

    @operation(
        "Make an agent capture; answers when it does, or with its reason (409).",
        body=Start,
        answer=AgentAnswer,
        errors=(409,),
    )
    async def post(self, agent_id: str, *, body: Start) -> None:
        settings = _settings(self, body)
        self.hub.agents.require(agent_id, self.person)
        self.audit("agent.start", agent_id, **msgspec.to_builtins(body))
        self.finish(await self.hub.agents.start(agent_id, self.person, body.session, settings))


class AgentStop(Guarded):
    """`/api/agents/:id/stop`"""

    @operation(
        "Make an agent pause; answers when it does, or with its reason (409).", answer=AgentAnswer, errors=(409,)
    )
    async def post(self, agent_id: str) -> None:
        self.hub.agents.require(agent_id, self.person)
        self.audit("agent.stop", agent_id)
        self.finish(await self.hub.agents.stop(agent_id, self.person))


class AgentInterfaces(Guarded):
    """`/api/agents/:id/interfaces`"""

    needs: ClassVar = {"GET": "capture"}

    @operation("Interfaces of an agent's host, with what passes them now.", answer=InterfacesAnswer, errors=(409,))
    async def get(self, agent_id: str) -> None:
        self.finish({"interfaces": await self.hub.agents.interfaces(agent_id, self.person)})


class AgentDryRun(Guarded):
    """`/api/agents/:id/dry-run`"""

    @operation(
        "What of an agent's traffic a capture filter would keep; changes nothing.",
        body=Trial,
        answer=TrialAnswer,
        errors=(409,),
    )
    async def post(self, agent_id: str, *, body: Trial) -> None:
        self.finish(await self.hub.agents.try_filter(agent_id, self.person, body.filter, body.seconds))


def _settings(handler: Guarded, wanted: Change) -> CaptureSettings:
    """The settings that are wanted, over those of the profile."""
    if not wanted.profile:
        return wanted
    return wanted.over(handler.hub.store.profile(wanted.profile, handler.person.name).over(UNLIMITED))


class Profiles(Guarded):
    """`/api/profiles`"""

    @operation("The hub's profiles and one's own.", answer=ProfilesAnswer)
    def get(self) -> None:
        profiles = self.hub.store.profiles(self.person.name)
        self.finish({"profiles": [{"name": name, **msgspec.to_builtins(s)} for name, s in profiles.items()]})

    @operation("Make a profile of one's own, or change it.", body=Profile, answer=ProfileLine)
    def post(self, *, body: Profile) -> None:
        settings = body.over(CaptureSettings())
        self.hub.store.save_profile(body.name, settings, self.person.name)
        self.audit("profile.save", body.name, **msgspec.to_builtins(settings))
        self.finish(msgspec.to_builtins(body))


class ProfileHandler(Guarded):
    """`/api/profiles/:name`"""

    @operation("Forget a profile.", status=204)
    def delete(self, name: str) -> None:
        self.hub.store.delete_profile(name, self.person.name)
        self.audit("profile.delete", name)
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/agents/ws", AgentSocket),
    (r"/api/agents", AgentsHandler),
    (r"/api/agents/([0-9a-f]+)", AgentHandler),
    (r"/api/agents/([0-9a-f]+)/key", AgentKey),
    (r"/api/agents/([0-9a-f]+)/start", AgentStart),
    (r"/api/agents/([0-9a-f]+)/stop", AgentStop),
    (r"/api/agents/([0-9a-f]+)/interfaces", AgentInterfaces),
    (r"/api/agents/([0-9a-f]+)/dry-run", AgentDryRun),
    (r"/api/profiles", Profiles),
    (r"/api/profiles/([^/]+)", ProfileHandler),
)
