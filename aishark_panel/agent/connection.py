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

from aishark_panel.agent.outbox import Outbox
from aishark_panel.agent.status import LinkReport
from aishark_panel.errors import ConfigError, HubUnreachableError, NotAuthorizedError, ProtocolError
from aishark_panel.wire.inquiries import ListInterfaces, TryFilter
from aishark_panel.wire.messages import (
    Ack,
    AgentMessage,
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
_CONNECT_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """How the hub is reached."""

    ca: str = ""
    """PEM file of the certificates that may sign an https hub's; empty: those the system trusts"""
    reconnect_s: float = 0.5
    """first wait before a broken connection is opened again; each further one is twice as long"""
    reconnect_max_s: float = 15.0
    """longest wait"""
    max_retries: int = 5
    """tries to reach a hub never reached before; -1 for ever"""


def websocket_url(hub: str, path: str) -> str:
    """WebSocket address of a hub's route, from its http(s) address."""
    return "ws" + hub.removeprefix("http").rstrip("/") + path


class Connection:
    """Keeps one agent connected: sends its outbox within the credit, frees what is durable.

    `on_order(order)` is called on the event loop when the hub wants packets, or no longer does, `before_batch()` before
    each batch is sent, `on_inquiry(inquiry)` when the hub asks something. ConfigError where the options' `ca` cannot be
    used.
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
        self._tls = _trusted(options.ca) if hub.startswith("https:") else None
        self._new_batch = asyncio.Event()
        self._released = asyncio.Event()
        self._socket: WebSocketClientConnection | None = None
        self._end: AgentEnd | None = None
        self._heard_s = 0.0
        self._round_trip_ns = 0
        self._trouble = "not reached yet"

    def report(self) -> LinkReport:
        """How the connection is."""
        welcome = self._end.welcome if self._end else None
        return LinkReport(
            url=self._hub,
            connected=welcome is not None,
            reason="" if welcome else self._trouble,
            session=welcome.session if welcome else "",
            round_trip_ms=self._round_trip_ns / 1e6,
        )

    def batch_added(self) -> None:
        """There is a new batch in the outbox (call on the event loop)."""
        self._new_batch.set()

    def send(self, message: AgentMessage) -> None:
        """Send a control message now, if connected; state that matters is repeated in the next hello."""
        if self._socket and self._end and self._end.welcome:
            with contextlib.suppress(WebSocketClosedError):
                sent = self._socket.write_message(encode_control(message))
                sent.add_done_callback(lambda future: future.exception())

    async def drained(self) -> None:
        """Wait until the hub holds every batch."""
        while self._outbox.next_sequence > self._outbox.first_sequence:
            self._released.clear()
            await self._released.wait()

    async def run(self) -> None:
        """Stay connected until cancelled. Raises NotAuthorizedError, ProtocolError, or HubUnreachableError when the hub
        was never reached within `max_retries` further tries (-1: try for ever) or is not who its certificate says."""
        failures, ever_welcomed = 0, False
        while True:
            try:
                await self._connect()
                await self._converse()
            except (OSError, StreamClosedError, WebSocketClosedError, TimeoutError, HTTPClientError) as error:
                if isinstance(error, HTTPClientError) and error.code == 401:
                    raise NotAuthorizedError(
                        f"The hub at {self._hub} refused the token. Set AISHARK_TOKEN to the one it printed."
                    ) from error
                if isinstance(error, HTTPClientError) and error.code == 403:
                    raise NotAuthorizedError(
                        f"The token is good at {self._hub}, but does not allow 'capture', which sending packets needs."
                    ) from error
                if isinstance(error, ssl.SSLCertVerificationError) and not ever_welcomed:
                    raise HubUnreachableError(
                        f"The certificate of the hub at {self._hub} is not trusted: {error.verify_message}. "
                        "Name the file of the CA that signed it with --ca."
                    ) from error
                self._trouble = str(error) or type(error).__name__
                log.debug("connection to %s: %s", self._hub, self._trouble)
            welcomed = self._end is not None and self._end.welcome is not None
            ever_welcomed |= welcomed
            failures = 0 if welcomed else failures + 1
            self._socket = self._end = None
            if not ever_welcomed and 0 <= self._options.max_retries < failures:
                raise HubUnreachableError(
                    f"No hub answers at {self._hub}. Start one with 'aishark hub', or give its address with --hub."
                )
            delay_s = min(self._options.reconnect_max_s, self._options.reconnect_s * 2 ** min(failures, 10))
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))

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
            if self._socket:
                self._socket.close()

    async def _read(self) -> None:
        assert self._socket is not None
        assert self._end is not None
        while (message := await self._socket.read_message()) is not None:
            self._heard_s = time.monotonic()
            event = self._end.receive(message)
            match event:
                case Welcome():
                    self._release(event.next_sequence - 1)
                    self._on_order(StartCapture() if event.capture else StopCapture(reason="stopped by the user"))
                    self._new_batch.set()
                case Ack():
                    self._release(event.durable)
                    self._new_batch.set()
                case HeartbeatReply():
                    self._round_trip_ns = max(0, time.time_ns() - event.sent_ns)
                case StartCapture() | StopCapture():
                    self._on_order(event)
                case ListInterfaces() | TryFilter():
                    self._on_inquiry(event)
        if self._socket.close_code == 1008:
            raise ProtocolError(f"The hub closed the connection: {self._socket.close_reason}")
        raise WebSocketClosedError("the hub closed the connection")

    def _release(self, durable: int) -> None:
        self._outbox.release(durable)
        self._released.set()

    async def _write(self) -> None:
        assert self._socket is not None
        assert self._end is not None
        while True:
            await self._new_batch.wait()
            self._new_batch.clear()
            while (packed := self._outbox.get(self._end.sent + 1)) and self._end.may_send(len(packed)):
                self._before_batch()
                self._end.batch_sent(self._end.sent + 1, len(packed))
                await self._socket.write_message(packed, binary=True)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.send(Heartbeat(sent_ns=time.time_ns(), counters=self._counters(), round_trip_ns=self._round_trip_ns))
            if time.monotonic() - self._heard_s > DEAD_AFTER_S:
                raise TimeoutError(f"the hub was silent for {DEAD_AFTER_S:.0f} s")


def _trusted(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise ConfigError(f"{ca} holds no certificates in PEM form: {error.strerror or error}. Check --ca.") from error
