"""The agent's connection to its hub: one WebSocket, opened again whenever it breaks.

The rules of the conversation are in wire.protocol.AgentEnd; this file has the socket, the timers and the back-off.
"""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from aishark_panel.agent.hubclock import HubClock
from aishark_panel.agent.outbox import Outbox
from aishark_panel.agent.status import NOT_YET, LinkReport
from aishark_panel.agent.trust import WrongPinError, trusted
from aishark_panel.errors import AisharkError, HubUnreachableError, NotAuthorizedError, ProtocolError, token_refused
from aishark_panel.wire.inquiries import ListInterfaces, TryFilter
from aishark_panel.wire.messages import (
    Ack,
    AgentMessage,
    BatchRefused,
    Heartbeat,
    HeartbeatReply,
    Hello,
    StartCapture,
    StopCapture,
    Welcome,
    encode_control,
)
from aishark_panel.wire.protocol import AgentEnd

__all__ = ["Connection", "LinkOptions", "websocket_url"]

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 2.0
DEAD_AFTER_S: Final = 10.0
"""Silence after which the hub is taken for dead; it answers every heartbeat."""
MAX_REFUSALS: Final = 3
"""How often the hub may refuse a batch before an agent that keeps what it has gives that up."""
_MAX_BEATS: Final = 16
"""Most heartbeats without an answer that are remembered."""
_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """How the hub is reached."""

    ca: str = ""
    """PEM file of the certificates that may sign an https hub's; empty: those the system trusts"""
    pin: str = ""
    """SHA-256 of the https hub's own certificate, hex digits; empty: any that is signed"""
    reconnect_s: float = 0.5
    """first wait before a broken connection is opened again; each further one is twice as long"""
    reconnect_max_s: float = 15.0
    """longest wait"""
    max_retries: int = 5
    """tries to reach a hub never reached before; -1 for ever"""
    persistent: bool = False
    """go on trying when a hub that was reached before refuses the agent, or makes no sense: what is captured is kept"""


def websocket_url(hub: str, path: str) -> str:
    """WebSocket address of a hub's route, from its http(s) address."""
    return "ws" + hub.removeprefix("http").rstrip("/") + path


class Connection:
    """Keeps one agent connected: sends its outbox within the credit, frees what is durable.

    `on_order(order)` is called on the event loop when the hub wants packets, or no longer does, `before_batch()` before
    each batch is sent, `on_inquiry(inquiry)` when the hub asks something. `known` says that an earlier life of the run
    was connected. ConfigError where the options' `ca` cannot be used.
    """

    def __init__(
        self,
        hub: str,
        token: str,
        outbox: Outbox,
        *,
        make_hello: Callable[[], Hello],
        counters: Callable[[], dict[str, int]],
        on_order: Callable[[StartCapture | StopCapture], None],
        before_batch: Callable[[], None],
        on_inquiry: Callable[[ListInterfaces | TryFilter], None],
        options: LinkOptions,
        known: bool = False,
    ) -> None:
        self._hub = hub
        self._url = websocket_url(hub, "/api/agents/ws")
        self._token = token
        self._outbox = outbox
        self._make_hello = make_hello
        self._counters = counters
        self._on_order = on_order
        self._before_batch = before_batch
        self._on_inquiry = on_inquiry
        self._options = options
        self._tls = trusted(options.ca, options.pin) if hub.startswith("https:") else None
        self._known = known
        """whether the hub was ever reached"""
        self.reason = NOT_YET
        """why there is no connection, in words; '' while there is one"""
        self._new_batch = asyncio.Event()
        self._released = asyncio.Event()
        self._socket: WebSocketClientConnection | None = None
        self._end: AgentEnd | None = None
        self._closed = False
        """whether the hub has closed the socket"""
        self._heard_s = 0.0
        self._beats: dict[int, int] = {}
        """heartbeats under way: wall clock and monotonic clock when they were sent, ns"""
        self._clock = HubClock()
        self._older: tuple[int, bytes] = (0, b"")
        """the batch that was read from the spool last"""
        self._refusals = (0, 0)
        """the batch that was refused last, and how often in a row"""

    def report(self) -> LinkReport:
        """How the connection is."""
        welcome = self._end.welcome if self._end else None
        return LinkReport(
            url=self._hub,
            connected=welcome is not None,
            reason="" if welcome else self.reason,
            session=welcome.session if welcome else "",
            round_trip_ms=self._clock.round_trip_ns / 1e6,
        )

    @property
    def connected(self) -> bool:
        """Whether the hub takes batches now."""
        return self._end is not None and self._end.welcome is not None

    @property
    def taken(self) -> int:
        """Last batch that the hub says it has in memory; 0 while there is no connection."""
        return self._end.taken if self._end else 0

    def batch_added(self) -> None:
        """There is a new batch in the outbox (call on the event loop)."""
        self._new_batch.set()

    def send(self, message: AgentMessage) -> None:
        """Send a control message now, if connected; state that matters is repeated in the next hello."""
        if self._socket and self._end and self._end.welcome:
            with contextlib.suppress(WebSocketClosedError):
                sent = self._socket.write_message(encode_control(message))
                sent.add_done_callback(_look_at)

    async def drained(self) -> None:
        """Wait until the hub holds every batch."""
        while self._outbox.next_sequence > self._outbox.first_sequence:
            self._released.clear()
            await self._released.wait()

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises HubUnreachableError when a hub never reached before is not within `max_retries` further tries (-1: try
        for ever), or is not who its certificate says; NotAuthorizedError when it refuses the key, ProtocolError when
        it makes no sense or wants no more, unless the connection is persistent and the hub was reached before.
        """
        failures = 0
        while True:
            refusal: AisharkError | None = None
            try:
                await self._connect()
                await self._converse()
            except ProtocolError as error:
                refusal = error
            except (OSError, StreamClosedError, WebSocketClosedError, TimeoutError, HTTPClientError) as error:
                refusal = self._refusal(error)
                self.reason = self.reason if refusal else str(error) or "the connection was lost"
            welcomed = self.connected
            self._socket = self._end = None
            # A certificate may be renewed at any time; who refuses the key, or makes no sense, goes on doing so.
            if refusal and not (self._known and (self._options.persistent or type(refusal) is HubUnreachableError)):
                raise refusal
            failures = 0 if welcomed else failures + 1
            if refusal:
                self.reason = str(refusal)
                log.warning("%s The agent goes on, and tries again.", refusal)
                failures = 10
            else:
                log.debug("connection to %s: %s", self._hub, self.reason)
            if not self._known and 0 <= self._options.max_retries < failures:
                raise HubUnreachableError(
                    f"No hub answers at {self._hub}. Start one with 'aishark hub', or give its address with --hub."
                )
            delay_s = min(self._options.reconnect_max_s, self._options.reconnect_s * 2 ** min(failures, 10))
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))

    def _refusal(self, error: Exception) -> AisharkError | None:
        """What the hub means by an error, if it is more than a connection that broke or did not come about."""
        if isinstance(error, HTTPClientError) and error.code == 401:
            return token_refused(self._hub)
        if isinstance(error, HTTPClientError) and error.code == 403:
            return NotAuthorizedError(
                f"The token is good at {self._hub}, but does not allow 'capture', which sending packets needs."
            )
        if isinstance(error, WrongPinError):
            return HubUnreachableError(
                f"The hub at {self._hub} shows another certificate than server.pin says: its pin is {error.seen}. "
                "If it was renewed, give that; else somebody stands between."
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return HubUnreachableError(
                f"The certificate of the hub at {self._hub} is not trusted: {error.verify_message}. "
                "Name the file of the CA that signed it with --ca."
            )
        return None

    async def _connect(self) -> None:
        request = HTTPRequest(
            self._url,
            headers=HTTPHeaders({"Authorization": f"Bearer {self._token}"}),
            connect_timeout=_CONNECT_TIMEOUT_S,
            request_timeout=_CONNECT_TIMEOUT_S,
            ssl_options=self._tls,
        )
        self._socket = await websocket_connect(request, max_message_size=2**20)
        self._end = AgentEnd(self._make_hello())
        self._beats.clear()
        self._closed = False
        await self._socket.write_message(self._end.open())
        self._heard_s = time.monotonic()

    async def _converse(self) -> None:
        """Run until the connection ends; whichever part fails first ends the others."""
        tasks = [asyncio.create_task(part(), name=part.__name__) for part in (self._read, self._write, self._beat)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._part()

    async def _part(self) -> None:
        """Close the socket, and read what is left until the hub has said goodbye too; it gets a second for that."""
        assert self._socket is not None
        protocol = self._socket.protocol
        self._socket.close()
        if self._closed:
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while (message := await self._socket.read_message()) is not None:
                    await self._hear_parting(message)
        except TimeoutError:
            if protocol and protocol.stream:
                protocol.stream.close()

    async def _hear_parting(self, message: str | bytes) -> None:
        """What comes behind the end of the conversation: where sending failed first, why it ended."""
        assert self._end is not None
        with contextlib.suppress(ProtocolError):
            event = self._end.receive(message)
            if isinstance(event, BatchRefused):
                await self._take_refusal(event)

    async def _read(self) -> None:
        assert self._socket is not None
        assert self._end is not None
        while (message := await self._socket.read_message()) is not None:
            self._heard_s = time.monotonic()
            event = self._end.receive(message)
            match event:
                case Welcome():
                    self._take_welcome(event)
                    self.send_heartbeat()
                case Ack():
                    self._release(event.durable)
                    self._new_batch.set()
                case BatchRefused():
                    await self._take_refusal(event)
                case HeartbeatReply() if event.sent_ns in self._beats:
                    is_first = not self._clock.round_trip_ns
                    self._clock.heard(self._beats.pop(event.sent_ns), event.hub_ns, time.monotonic_ns())
                    if is_first:  # the hub merges packets of several agents by what it told
                        self.send_heartbeat()
                case StartCapture() | StopCapture():
                    self._on_order(event)
                case ListInterfaces() | TryFilter():
                    self._on_inquiry(event)
        self._closed = True
        if self._socket.close_code == 1008:
            raise ProtocolError(f"The hub closed the connection: {self._socket.close_reason}")
        raise WebSocketClosedError("the hub closed the connection")

    def _take_welcome(self, welcome: Welcome) -> None:
        first, following = self._outbox.first_sequence, self._outbox.next_sequence
        if not first <= welcome.next_sequence <= following or welcome.taken >= following:
            raise ProtocolError(
                f"The hub wants batch {welcome.next_sequence} (it has {welcome.taken}) where this agent has {first} to "
                f"{following - 1}: it takes this run for another."
            )
        self._known, self.reason = True, ""
        self._outbox.settle(max(welcome.taken, welcome.next_sequence - 1))
        self._release(welcome.next_sequence - 1)
        self._on_order(StartCapture() if welcome.capture else StopCapture(reason="stopped by the user"))
        self._new_batch.set()

    async def _take_refusal(self, refused: BatchRefused) -> None:
        """Give up what the hub will never take: everything else would wait behind it for ever."""
        before, times = self._refusals
        times = times + 1 if before == refused.sequence else 1
        self._refusals = refused.sequence, times
        if self._options.persistent and times >= MAX_REFUSALS:
            rows = await asyncio.to_thread(self._outbox.give_up, refused.sequence)
            self._older = 0, b""
            log.warning(
                "the hub refused batch %d %d times: its %d packets are given up. %s",
                refused.sequence, times, rows, refused.reason,
            )  # fmt: skip

    def _release(self, durable: int) -> None:
        self._outbox.release(durable)
        self._released.set()

    async def _write(self) -> None:
        assert self._socket is not None
        assert self._end is not None
        while True:
            await self._new_batch.wait()
            self._new_batch.clear()
            while (packed := await self._next(self._end.sent + 1)) and self._end.may_send(len(packed)):
                self._before_batch()
                self._end.batch_sent(self._end.sent + 1, len(packed))
                sent = self._socket.write_message(packed, binary=True)
                sent.add_done_callback(_look_at)
                await asyncio.shield(sent)  # Tornado complains where a write is cancelled

    async def _next(self, sequence: int) -> bytes | None:
        """The batch to send next, if it is there; the spool's are read on another thread."""
        packed = self._outbox.get(sequence)
        if packed is not None or not self._outbox.is_older(sequence):
            return packed
        if self._older[0] != sequence:
            self._older = sequence, await asyncio.to_thread(self._outbox.load, sequence, self._counters)
        return self._older[1]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.send_heartbeat()
            if time.monotonic() - self._heard_s > DEAD_AFTER_S:
                raise TimeoutError(f"the hub was silent for {DEAD_AFTER_S:.0f} s")

    def send_heartbeat(self) -> None:
        """Tell the hub that the agent lives, and its counters."""
        wall_ns, now_ns = time.time_ns(), time.monotonic_ns()
        if len(self._beats) == _MAX_BEATS:
            self._beats.clear()
        self._beats[wall_ns] = now_ns
        self.send(
            Heartbeat(
                sent_ns=wall_ns,
                counters=self._counters(),
                round_trip_ns=self._clock.round_trip_ns,
                offset_ns=self._clock.offset_ns(wall_ns, now_ns),
            )
        )


def _look_at(future: "asyncio.Future[None]") -> None:
    """See the error of a message that did not leave, if any: who reads the socket deals with it."""
    if not future.cancelled():
        future.exception()
