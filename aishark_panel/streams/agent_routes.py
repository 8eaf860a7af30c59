"""The agents' socket. The rules of the conversation are in wire.protocol.HubEnd."""

import logging
import time
from typing import Final

from aishark_panel.errors import AisharkError
from aishark_panel.streams.guard import GuardedSocket, Route
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.session import AgentRun, Session
from aishark_panel.wire.messages import Batch, End, Heartbeat, HeartbeatReply, Hello, State, encode_control
from aishark_panel.wire.protocol import HubEnd

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)


class AgentSocket(GuardedSocket):
    """`GET /api/agents/ws`: one agent."""

    run: AgentRun | None = None
    _session: Session | None = None
    _ingest: Ingest | None = None

    def open(self) -> None:
        self._end = HubEnd()
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
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
        self._session, self._ingest, self.run = self.hub.attach(hello, self.send)
        # A hub that restarted knows less than the agent was promised: what was acknowledged then is not sent again.
        next_sequence = max(self.run.taken + 1, hello.first_sequence)
        self.send(self._end.open(self._session.id, next_sequence=next_sequence, capture=self._session.wanted))

    def _handle(self, run: AgentRun, event: Batch | Heartbeat | State | End) -> None:
        assert self._session is not None
        assert self._ingest is not None
        match event:
            case Batch():
                self._ingest.put(self, run, event)
            case Heartbeat():
                run.counters = event.counters
                run.round_trip_ns = event.round_trip_ns
                self.send(encode_control(HeartbeatReply(sent_ns=event.sent_ns, hub_ns=time.time_ns())))
            case State():
                run.capturing, run.reason = event.capturing, event.reason
                if event.interfaces is not None:
                    self._session.set_interfaces(run, event.interfaces)
            case End():
                run.ended, run.reason = True, event.reason
                run.counters = event.counters

    def taken(self, sequence: int) -> None:
        """Batches up to here are in memory; without a journal that is also as durable as they get."""
        self.send(self._end.acknowledge(sequence, sequence))

    def refuse(self, reason: str) -> None:
        log.warning("agent %s refused: %s", self.run.hello.agent if self.run else self.request.remote_ip, reason)
        if self.run:
            self.run.reason = reason
        super().refuse(reason)

    def on_close(self) -> None:
        if self.run and self._session:
            reason = self.close_reason or self.run.reason or "Its connection was lost."
            self.hub.detach(self._session, self.run, self.send, reason)


ROUTES: Final[tuple[Route, ...]] = ((r"/api/agents/ws", AgentSocket),)
