"""HubClient: the one way every front end (dashboard, notebook, command line) talks to a hub.

One WebSocket, requests numbered, replies awaited by number; it reconnects by itself. `embedded_hub` starts a hub as a
child process on loopback, once per process, for when no hub's address is given.
"""

import asyncio
import atexit
import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from aishark_panel.errors import AisharkError, HubError, HubUnreachableError, NotAuthorizedError, ProtocolError
from aishark_panel.wire.protocol import ClientEnd

__all__ = ["EmbeddedHub", "HubClient", "embedded_hub", "start_hub"]

log = logging.getLogger(__name__)

MAX_REPLY_BYTES: Final = 64 * 2**20
REQUEST_TIMEOUT_S: Final = 30.0
_CONNECT_TIMEOUT_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 1.0
_RECONNECT_S: Final = 0.25
_RECONNECT_MAX_S: Final = 5.0
_START_TIMEOUT_S: Final = 60.0


class HubClient:
    """One person's connection to one hub. All methods raise errors of aishark_panel.errors, HubError among them."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._end = ClientEnd()
        self._socket: WebSocketClientConnection | None = None
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], memoryview]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.reason = "not connected yet"
        """why there is no connection, in words; '' while connected"""

    @property
    def connected(self) -> bool:
        return self._socket is not None

    async def connect(self) -> None:
        """Open the connection and keep it open. Raises NotAuthorizedError or HubUnreachableError if it fails now."""
        await self._open()
        self._task = asyncio.create_task(self._stay_connected(), name="hub client")

    async def close(self) -> None:
        """End the connection; requests under way fail."""
        self._closing = True
        if self._socket:
            self._socket.close()
        if self._task:
            await asyncio.wait([self._task], timeout=_CLOSE_TIMEOUT_S)  # until the hub has said goodbye too
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._lost("closed")

    async def __aenter__(self) -> "HubClient":
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _open(self) -> None:
        request = HTTPRequest(
            "ws" + self.url.removeprefix("http") + "/api/clients/ws",
            headers=HTTPHeaders({"Authorization": f"Bearer {self._token}"}),
            connect_timeout=_CONNECT_TIMEOUT_S,
            request_timeout=_CONNECT_TIMEOUT_S,
        )
        try:
            self._socket = await websocket_connect(request, max_message_size=MAX_REPLY_BYTES, ping_interval=10)
        except HTTPClientError as error:
            if error.code == 401:
                raise NotAuthorizedError("The hub refused this token. Use the one it printed at its start.") from error
            raise HubUnreachableError(f"The hub at {self.url} answered {error.code}.") from error
        except (OSError, StreamClosedError, WebSocketClosedError, TimeoutError, ValueError) as error:
            raise HubUnreachableError(f"No hub answers at {self.url}. Start one with 'aishark hub'.") from error
        self.reason = ""

    async def _stay_connected(self) -> None:
        delay_s = _RECONNECT_S
        while True:
            if self._socket:
                await self._read()
                delay_s = _RECONNECT_S
            if self._closing:
                return
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RECONNECT_MAX_S)
            try:
                await self._open()
            except HubError as error:
                self.reason = str(error)

    async def _read(self) -> None:
        """Hand out replies until the connection ends."""
        assert self._socket is not None
        reason = f"The connection to the hub at {self.url} was lost; trying again."
        while (message := await self._socket.read_message()) is not None:
            try:
                request_id, result, body = self._end.receive(message)
            except ProtocolError as error:
                reason = str(error)
                self._socket.close()
                break
            future = self._waiting.pop(request_id, None)
            if future is None or future.done():
                continue
            if isinstance(result, AisharkError):
                future.set_exception(result)
            else:
                future.set_result((result, body))
        self._lost(reason)

    def _lost(self, reason: str) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self.reason = reason
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(HubUnreachableError(reason))

    async def _ask(self, method: str, **params: object) -> tuple[dict[str, Any], memoryview]:
        if self._socket is None:
            raise HubUnreachableError(self.reason)
        request_id, message = self._end.request(method, params)
        future: asyncio.Future[tuple[dict[str, Any], memoryview]] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await self._socket.write_message(message)
                return await future
        except (WebSocketClosedError, StreamClosedError) as error:
            raise HubUnreachableError(f"The connection to the hub at {self.url} was lost.") from error
        except TimeoutError as error:
            raise HubUnreachableError(f"The hub at {self.url} did not answer for {REQUEST_TIMEOUT_S:.0f} s.") from error
        finally:
            self._waiting.pop(request_id, None)

    async def sessions(self) -> list[dict[str, Any]]:
        """A line about each session: id, name, state, source, packets."""
        result, _ = await self._ask("sessions")
        sessions: list[dict[str, Any]] = result["sessions"]
        return sessions

    async def stats(self, session: str) -> dict[str, Any]:
        """Counts, rates, state and agents of a session (streams.session.Session.stats)."""
        result, _ = await self._ask("stats", session=session)
        return result

    async def rollup(self, session: str, resolution_ms: int, since: int = 0) -> pa.RecordBatch:
        """Packets and bytes by bin and protocol, bins >= `since`: bin, protocol, packets, bytes."""
        _, body = await self._ask("rollup", session=session, resolution_ms=resolution_ms, since=since)
        return _batch(body)

    async def rows(
        self, session: str, first: int, count: int, where: str = "", columns: Sequence[str] | None = None
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        """A page of packets, and what is known of the whole list.

        Without `where`, `first` is a packet number; with it, a rank among the matches. The second value has `first`
        and `end` of the same kind, and `scanned_to`, `ring_first`, `ring_end` as packet numbers. ExpressionError if
        `where` does not parse.
        """
        params: dict[str, object] = {"session": session, "first": first, "count": count, "where": where}
        if columns is not None:
            params["columns"] = list(columns)
        result, body = await self._ask("rows", **params)
        return _batch(body), result

    async def packet(self, session: str, number: int) -> dict[str, Any]:
        """One packet: every column, `info`, `link_type` and `frame` (bytes). NotFoundError once evicted."""
        result, body = await self._ask("packet", session=session, number=number)
        return {**result, "frame": bytes(body)}

    async def conversations(self, session: str, limit: int = 20) -> pa.RecordBatch:
        """The conversations with most bytes, most first."""
        _, body = await self._ask("conversations", session=session, limit=limit)
        return _batch(body)

    async def start(self, session: str) -> None:
        """Ask the session's agents for packets."""
        await self._ask("start", session=session)

    async def stop(self, session: str) -> None:
        """Tell the session's agents to pause; what was captured stays."""
        await self._ask("stop", session=session)

    async def clear(self, session: str) -> None:
        """Throw the session's packets away."""
        await self._ask("clear", session=session)

    async def export_ticket(self, session: str, export_format: str, where: str = "", *, follow: bool = False) -> str:
        """One-use ticket for `GET /api/export/TICKET`, good for a minute; `follow`: go on while capture runs."""
        params: dict[str, object] = {"session": session, "format": export_format, "where": where, "follow": follow}
        result, _ = await self._ask("export_ticket", **params)
        return str(result["ticket"])


def _batch(body: memoryview) -> pa.RecordBatch:
    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all().combine_chunks()
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


@dataclass(slots=True)
class EmbeddedHub:
    """A hub that runs as a child of this process and ends with it."""

    url: str
    token: str = field(repr=False)
    process: "subprocess.Popen[str]"

    def close(self) -> None:
        """Stop the hub: closing its standard input tells it that its parent is done."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


_embedded: EmbeddedHub | None = None
_embedded_lock: Final = threading.Lock()


def start_hub(*options: str, token: str | None = None) -> EmbeddedHub:
    """Start `aishark hub` with these options as a child on loopback and wait until it listens.

    Raises HubError with the hub's own words if it does not start.
    """
    token = token or secrets.token_urlsafe(24)
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "hub", "--embedded", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "AISHARK_TOKEN": token},
        text=True,
        start_new_session=True,  # Ctrl-C reaches us alone; we stop the hub last
    )
    assert process.stdout is not None
    watchdog = threading.Timer(_START_TIMEOUT_S, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    try:
        return EmbeddedHub(json.loads(line)["url"], token, process)
    except (ValueError, KeyError, TypeError) as error:
        process.kill()
        process.wait()
        raise HubError("The hub did not start; it says why above.") from error


def embedded_hub() -> EmbeddedHub:
    """This process's own hub, started on first use; later calls, from any thread or page, return the same one."""
    global _embedded
    with _embedded_lock:
        if _embedded is None or _embedded.process.poll() is not None:
            _embedded = start_hub("--port", "0")
            atexit.register(_embedded.close)
        return _embedded
