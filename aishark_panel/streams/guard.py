"""The base of every route: who may come in, what they may do there, and what an error looks like.

Every handler inherits `Guarded`, whose `prepare` asks for the token before anything else happens; a route without it
cannot be written by accident, and a test walks the table to prove it. What a handler then looks up, it looks up for
that person: what belongs to others is not there (404). Errors have one shape everywhere:
`{"error": {"kind": ..., "message": ..., "position": ...}}`.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from aishark_panel.errors import (
    AisharkError,
    ConfigError,
    ConflictError,
    ExpressionError,
    ForbiddenError,
    NotAuthorizedError,
    NotFoundError,
    ProtocolError,
    TooManyRequestsError,
)
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.people import Capability, Person

__all__ = ["MAX_BODY_BYTES", "Guarded", "GuardedSocket", "Nothing", "Route"]

T = TypeVar("T")

MAX_BODY_BYTES: Final = 128 * 2**10
"""Of a request; it is held before anybody has asked for the token. Uploads have their own way."""
MAX_UNSENT: Final = 1_000
"""Most messages that wait for a socket's peer to read them."""
_STATUS: Final[dict[type[AisharkError], int]] = {
    NotAuthorizedError: 401,
    ForbiddenError: 403,
    TooManyRequestsError: 429,
    NotFoundError: 404,
    ConflictError: 409,
    ConfigError: 400,
    ExpressionError: 400,
    ProtocolError: 400,
}


class Guarded(RequestHandler):
    """Base of all handlers: no token, no answer."""

    hub: Hub
    person: Person
    """who asks"""
    needs: ClassVar[Mapping[str, Capability]] = {}
    """what each method asks for; those left out: `view` to read, `capture` to change"""

    def initialize(self, hub: Hub) -> None:
        self.hub = hub

    def prepare(self) -> Awaitable[None] | None:
        person = self.identify()
        if person is None:
            if self.hub.failures.wait_s(str(self.request.remote_ip), time.monotonic()):
                raise TooManyRequestsError("Too many requests with wrong tokens come from this address.")
            raise NotAuthorizedError("This hub asks for a good token: send it as 'Authorization: Bearer TOKEN'.")
        self.person = person
        self.hub.door.leave(self.request.connection.stream)  # type: ignore[union-attr]
        wait_s = self.hub.requests.wait_s(self.key(), time.monotonic())
        if wait_s:
            raise TooManyRequestsError(f"This key asks too often; wait {wait_s:.2f} s.", wait_s)
        self.require(self.needs.get(self.method, "view" if self.method in ("GET", "HEAD") else "capture"))
        return None

    @property
    def method(self) -> str:
        return self.request.method or ""

    def identify(self) -> Person | None:
        """Who sends the request, by its token; None if it is nobody's."""
        return self.hub.people.person(self.bearer(), time.time())

    def key(self) -> str:
        """What the rate of requests is counted by: each person's tokens are counted apart."""
        return f"{self.person.name} {self.person.token_id}"

    def require(self, capability: Capability) -> None:
        """ForbiddenError unless the person may do that."""
        if not self.person.may(capability):
            raise ForbiddenError(f"{self.person.who} may not do this: the token does not allow '{capability}'.")

    def is_admitted(self) -> bool:
        """Whether the token with which this request began is still good."""
        return self.hub.people.admits(self.person, time.time())

    def bearer(self) -> str:
        """What the request carries as its bearer token (RFC 6750); '' if nothing."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def audit(self, action: str, subject: str, **details: object) -> None:
        """Write down who did what to what; details that are None or '' are left out."""
        self.hub.store.record(self.person.who, action, subject, **details)

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, AisharkError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        kind, message, position = "HubError", self._reason, None
        if isinstance(error, AisharkError):
            self.set_status(next((s for e, s in _STATUS.items() if isinstance(error, e)), 500))
            kind, message = type(error).__name__, str(error)
            position = error.position if isinstance(error, ExpressionError) else None
        elif isinstance(error, HTTPError):
            message = error.log_message or self._reason
        if self.get_status() == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        if isinstance(error, TooManyRequestsError):
            self.set_header("Retry-After", str(math.ceil(error.retry_s)))
        self.finish({"error": {"kind": kind, "message": message, "position": position}})

    def json_body(self) -> dict[str, Any]:
        """The request's JSON object; {} for an empty body, ConfigError for anything else."""
        if not self.request.body:
            return {}
        try:
            # Unlike json it takes no half characters (lone surrogates): every answer that had to say one would fail.
            body = msgspec.json.decode(self.request.body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ConfigError(f"the request's body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise ConfigError("the request's body must be a JSON object")
        return body

    def body(self, kind: type[T]) -> T:
        """The request's JSON object as a struct of that kind; ConfigError if it is none."""
        try:
            return msgspec.convert(self.json_body(), kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f"the request's body is not understood: {error}") from error


class GuardedSocket(WebSocketHandler, Guarded):
    """Base of all WebSockets: token before the upgrade, same-origin pages only, no per-message deflate.

    A subclass begins its `open` with `take_place`, and its `on_close` with `leave_place`.
    """

    kind: ClassVar[str]
    """what its places, and refusals, are counted as"""
    _has_place = False

    def take_place(self) -> bool:
        """Whether there is room for one more of its kind, of this person; if not it is refused."""
        try:
            self.hub.places[self.kind].take(self.person.name)
        except TooManyRequestsError as error:
            self.refuse(str(error))
            return False
        self._has_place = True
        return True

    def leave_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self.hub.places[self.kind].leave(self.person.name)

    def check_origin(self, origin: str) -> bool:
        return urlsplit(origin).netloc.lower() == self.request.headers.get("Host", "").lower()

    def get_compression_options(self) -> None:
        return None

    _unsent = 0

    def send(self, message: str | bytes) -> None:
        """Send, ignoring a connection that has just ended; its `on_close` deals with that. A peer that goes on talking
        but does not read what it is answered is closed, as all of that would be kept for it."""
        if self._unsent >= MAX_UNSENT:
            self.refuse(f"{MAX_UNSENT:,} messages were not read")
            return
        with contextlib.suppress(WebSocketClosedError):
            sent = self.write_message(message, binary=isinstance(message, bytes))
            self._unsent += 1
            sent.add_done_callback(self._sent)

    def _sent(self, future: "asyncio.Future[None]") -> None:
        self._unsent -= 1
        if not future.cancelled():
            future.exception()

    def require_admission(self) -> bool:
        """Close, with the reason, what goes on after its token expired or was taken back; False if so."""
        if self.is_admitted():
            return True
        self.refuse("the token has expired or was revoked")
        return False

    def refuse(self, reason: str) -> None:
        """Close with a reason (RFC 6455 allows 123 bytes of it), and count it."""
        self.hub.refusals[self.kind] += 1
        self.close(1008, reason.encode()[:123].decode("utf-8", "ignore"))


class Nothing(Guarded):
    """All other paths."""

    def prepare(self) -> None:
        super().prepare()
        raise NotFoundError(f"no route {self.request.path:.100}")


Route = tuple[str, type[Guarded]]
"""A path as a regular expression, and its handler."""
