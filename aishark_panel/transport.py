"""Transport: what carries a client's requests to a hub, and the answers back.

One WebSocket, requests numbered, replies awaited by number; it is opened again whenever it breaks. HTTP requests go
beside it: those whose answer takes its time, or whose body is large.
"""

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from aishark_panel.errors import (
    AisharkError,
    ConfigError,
    ForbiddenError,
    HubError,
    HubUnreachableError,
    ProtocolError,
    token_refused,
)
from aishark_panel.wire.messages import PROTOCOL_HEADER, PROTOCOL_VERSION
from aishark_panel.wire.protocol import ClientEnd, peer_error

__all__ = ["CONNECT_TIMEOUT_S", "Transport", "hub_address", "server_tls", "trusted"]

MAX_REPLY_BYTES: Final = 64 * 2**20
REQUEST_TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 5.0
_CLOSE_TIMEOUT_S: Final = 1.0
_RECONNECT_S: Final = 0.25
_RECONNECT_MAX_S: Final = 5.0
_PATIENCE: Final = 3
"""How often a request is made again that came too soon after others."""
_MAX_RETRY_AFTER_S: Final = 10.0


class Transport:
    """A connection to a hub, as whoever holds the token.

    `ca` is the PEM file of the certificates that may sign an https hub's; None: that of the environment variable
    AISHARK_CA, or else those the system trusts. ConfigError if it cannot be used.
    """

    def __init__(self, url: str, token: str, *, ca: str | None = None) -> None:
        self.url = hub_address(url)
        self._token = token
        self._tls = trusted(ca) if self.url.startswith("https:") else None
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
        self._closing = False
        await self._open()
        self._task = asyncio.create_task(self._stay_connected(), name="hub client")

    def connect_when_possible(self) -> None:
        """Open the connection as soon as the hub answers, and keep it open; `reason` says what is in the way."""
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

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _open(self) -> None:
        self._socket = await self._dial("/api/clients/ws")
        self.reason = ""

    async def _dial(self, path: str) -> WebSocketClientConnection:
        request = HTTPRequest(
            "ws" + self.url.removeprefix("http") + path,
            headers=HTTPHeaders({"Authorization": f"Bearer {self._token}", PROTOCOL_HEADER: str(PROTOCOL_VERSION)}),
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=CONNECT_TIMEOUT_S,
            ssl_options=self._tls,
        )
        try:
            return await websocket_connect(request, max_message_size=MAX_REPLY_BYTES, ping_interval=10)
        except HTTPClientError as error:
            if error.code == 401:
                raise token_refused(self.url) from error
            if error.code == 403:
                raise ForbiddenError("The hub does not allow this with your token.") from error
            if said := _protocol_refusal(error):
                raise HubError(f"The hub at {self.url} refuses this client: {said}") from error
            raise HubUnreachableError(f"The hub at {self.url} answered {error.code}.") from error
        except (OSError, StreamClosedError, WebSocketClosedError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> HubUnreachableError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return HubUnreachableError(
                f"The certificate of the hub at {self.url} is not trusted: {error.verify_message}. "
                "Name the file of the CA that signed it in AISHARK_CA."
            )
        return HubUnreachableError(f"No hub answers at {self.url}. Start one with 'aishark hub'.")

    async def _stay_connected(self) -> None:
        delay_s = _RECONNECT_S
        try:
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
        finally:
            self._lost("closed")

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
            if future.done() and not future.cancelled():
                future.exception()  # looked at here, in case the connection was lost while the question was written

    async def _http(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """One HTTP request; the JSON it is answered with. Raises what the hub refuses it with."""
        request = HTTPRequest(
            self.url + path,
            method=method,
            headers=HTTPHeaders({"Authorization": f"Bearer {self._token}", **(headers or {})}),
            body=json.dumps(body).encode() if isinstance(body, dict) else body,
            allow_nonstandard_methods=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=REQUEST_TIMEOUT_S,
            ssl_options=self._tls,
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
            for _ in range(_PATIENCE):
                if response.code != 429:
                    break
                await asyncio.sleep(_retry_after_s(response))
                response = await AsyncHTTPClient().fetch(request, raise_error=False)
            answer: dict[str, Any] = json.loads(response.body or b"{}")
        except (OSError, HTTPClientError, StreamClosedError, ValueError) as error:
            raise self._unreachable(error) from error
        if response.code < 400:
            return answer
        if response.code == 401:
            raise token_refused(self.url)
        said = answer.get("error", {})
        raise peer_error(said.get("kind", ""), said.get("message") or str(response.error), said.get("position"))


def _protocol_refusal(error: HTTPClientError) -> str:
    """Why a hub does not speak with us, where it is the protocol; '' for all else."""
    try:
        said = json.loads(error.response.body if error.response else b"{}")["error"]
        return str(said["message"]) if said["kind"] == ProtocolError.__name__ else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _retry_after_s(response: HTTPResponse) -> float:
    """How long the hub wants us to wait, in seconds (RFC 9110 section 10.2.3)."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER_S) if text.isdecimal() else 1.0


def hub_address(text: str) -> str:
    """A hub's address, without a slash at its end. ConfigError unless it is one of HTTP with a host and a port."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{text!r:.100} is no address of a hub; one looks like http://127.0.0.1:8765.")
    return text.rstrip("/")


def trusted(ca: str | None = None) -> ssl.SSLContext:
    """Whose certificates to trust, as HubClient's `ca` says. ConfigError if that file cannot be used."""
    file = ca or os.environ.get("AISHARK_CA") or None
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise ConfigError(
            f"AISHARK_CA: {file} holds no certificates in PEM form: {error.strerror or error}."
        ) from error


def server_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """A server's certificate and key, for use; None without them. ConfigError if they cannot be used."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("--tls-cert and --tls-key go together: the certificate and its private key, as PEM files.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # The empty password: without it OpenSSL asks for one on the terminal when the key is encrypted.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:
        raise ConfigError(
            f"{cert} and {key} are no certificate and its unencrypted key in PEM form: {error.strerror or error}"
        ) from error
    return context
