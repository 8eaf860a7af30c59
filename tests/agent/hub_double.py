"""A hub made of wire.protocol's own end and a real socket, which can be told to misbehave; and an agent to feed it.

It takes batches as a journalled hub does: `durable` follows `taken` when a test says so.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from aishark_panel.agent.connection import LinkOptions
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.runner import Agent, AgentConfig
from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.errors import CaptureError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, BatchRefused, Heartbeat, HeartbeatReply, Hello, State, encode_control
from aishark_panel.wire.protocol import HubEnd
from tests.traffic import frames

__all__ = ["HubDouble", "NumberedSource", "agent_config", "running", "until"]


class HubDouble:
    """What the hub knows, over all connections."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.numbers: list[int] = []
        """of the packets taken, in order"""
        self.taken = self.durable = 0
        self.keeps_up = True
        """whether durable follows taken at once"""
        self.refuses = False
        """whether the key is good no longer"""
        self.connections = 0
        self.hellos: list[Hello] = []
        self.heartbeats: list[Heartbeat] = []
        self.counters: list[dict[str, int]] = []
        """as told in hellos, batches and heartbeats"""
        self.states: list[State] = []
        self.welcomed: Callable[[Link], None] | None = None
        """what it does after a welcome"""
        self.next_sequence: int | None = None
        """what it says in its welcome, if not the truth"""
        self.before_batch: Callable[[Link], Awaitable[None]] | None = None
        self.refused_batch: Callable[[Batch], bool] = lambda _: False
        """which batches it does not take"""
        self.refusals = 0
        self.links: list[Link] = []
        self._sockets = bind_sockets(port, "127.0.0.1")
        self._server = HTTPServer(Application([("/api/agents/ws", Link, {"hub": self})]), ssl_options=tls)
        self._server.add_sockets(self._sockets)
        self.port: int = self._sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def make_durable(self) -> None:
        """All that was taken is safe from now on, and the agent is told."""
        self.durable = self.taken
        for link in self.links:
            link.acknowledge()

    async def close(self) -> None:
        self._server.stop()
        for link in list(self.links):
            link.cut()
        await self._server.close_all_connections()


class Link(WebSocketHandler):
    """One connection of the agent."""

    def initialize(self, hub: HubDouble) -> None:
        self.hub = hub
        self.end = HubEnd()

    def prepare(self) -> None:
        self.hub.connections += 1
        if self.hub.refuses:
            raise HTTPError(401)

    def log_exception(self, *_: object) -> None:
        pass

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes) and self.hub.before_batch:
            await self.hub.before_batch(self)
        event = self.end.receive(message)
        match event:
            case Hello():
                self._welcome(event)
            case Batch():
                self._take(event)
            case Heartbeat():
                self.hub.heartbeats.append(event)
                self.hub.counters.append(event.counters)
                self.say(encode_control(HeartbeatReply(sent_ns=event.sent_ns, hub_ns=time.time_ns())))
            case State():
                self.hub.states.append(event)

    def _welcome(self, hello: Hello) -> None:
        hub = self.hub
        hub.hellos.append(hello)
        hub.counters.append(hello.counters)
        hub.taken = max(hub.taken, hello.first_sequence - 1)
        hub.durable = max(hub.durable, hello.first_sequence - 1)
        following = hub.durable + 1 if hub.next_sequence is None else hub.next_sequence
        self.say(self.end.open("s", next_sequence=following, capture=True, journal=True, taken=hub.taken))
        hub.links.append(self)
        if hub.welcomed:
            hub.welcomed(self)

    def _take(self, batch: Batch) -> None:
        self.hub.counters.append(batch.counters)
        if self.hub.refused_batch(batch):
            self.hub.refusals += 1
            self.say(encode_control(BatchRefused(sequence=batch.sequence, reason="it is wrong")))
            self.close(1008, "it is wrong")
            return
        if batch.sequence > self.hub.taken:
            taken = batch.content()
            assert isinstance(taken, Frames)
            self.hub.numbers += [int.from_bytes(taken.frame(i)[42:50], "big") for i in range(len(taken))]
            self.hub.taken = batch.sequence
        if self.hub.keeps_up:
            self.hub.durable = self.hub.taken
        self.acknowledge()

    def acknowledge(self) -> None:
        taken = min(self.hub.taken, self.end.received)
        self.say(self.end.acknowledge(taken, max(self.end.durable, min(taken, self.hub.durable))))

    def say(self, message: str | bytes) -> None:
        with contextlib.suppress(WebSocketClosedError):
            self.write_message(message, binary=isinstance(message, bytes)).add_done_callback(lambda f: f.exception())

    def cut(self) -> None:
        """End the connection without a word."""
        assert self.ws_connection is not None
        stream = getattr(self.ws_connection, "stream", None)
        assert stream is not None
        stream.close()

    def on_close(self) -> None:
        if self in self.hub.links:
            self.hub.links.remove(self)


class NumberedSource:
    """A live source of packets that are numbered; hands out `rows` at each read until `stop_at`, then none."""

    kind: SourceKind = "live"
    exhausted = False

    def __init__(self, *, first: int = 0, rows: int = 20, stop_at: int = 10**9, pause_s: float = 0.002) -> None:
        self.interfaces = [SourceInterface("eth0", 1, 262_144)]
        self.made = first
        self.stop_at = stop_at
        self._rows, self._pause_s = rows, pause_s
        self._counted = 0

    def read(self, timeout_s: float) -> Frames | None:
        time.sleep(min(timeout_s, self._pause_s))
        rows = min(self._rows, self.stop_at - self.made)
        if rows <= 0:
            return None
        self.made += rows
        self._counted += rows
        return frames(rows, first=self.made - rows)

    def counters(self) -> dict[str, int]:
        return {"matched": self._counted, "kernel_dropped": 0}

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass


class FailingSource(NumberedSource):
    """One that fails once it has given all."""

    def read(self, timeout_s: float) -> Frames | None:
        if self.made == self.stop_at:
            raise CaptureError("the device is gone")
        return super().read(timeout_s)


def agent_config(hub: str, spool: Path | None = None, **more: object) -> AgentConfig:
    """A quick agent, which goes on through everything if it has a spool."""
    options: dict[str, object] = {
        "limits": BatchLimits(max_rows=50, max_age_s=0.005),
        "link": LinkOptions(reconnect_s=0.01, reconnect_max_s=0.05, persistent=spool is not None),
    }
    return AgentConfig(hub=hub, token="t", name="edge", spool=spool, **{**options, **more})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(config: AgentConfig, source: NumberedSource) -> AsyncIterator[tuple[Agent, "asyncio.Task[str]"]]:
    """The agent, told to stop at the end."""
    agent = Agent(config, lambda _: source)
    task = asyncio.create_task(agent.run())
    try:
        yield agent, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(check: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait until the check is true."""
    deadline_s = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s} s"
        await asyncio.sleep(0.005)
