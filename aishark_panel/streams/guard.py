"""The base of every route: who may come in, what they may do there, and what an error looks like.

Every handler inherits `Guarded`, whose `prepare` asks for the token before anything else happens; a route without it
cannot be written by accident, and a test walks the table to prove it. What a handler then looks up, it looks up for
that person: what belongs to others is not there (404). Errors have one shape everywhere:
`{"error": {"kind": ..., "message": ..., "position": ...}}`.
"""

import asyncio
import contextlib
import dataclasses
import logging
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
from aishark_panel.streams.bodies import MAX_BODY_BYTES
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.operation import methods_of, operation_of
from aishark_panel.streams.people import Capability, Person
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import PROTOCOL_HEADER
from aishark_panel.wire.protocol import check_protocol

__all__ = ["Guarded", "GuardedSocket", "Nothing", "Open", "Route"]

T = TypeVar("T")

log = logging.getLogger(__name__)

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
    for_guests: ClassVar[bool] = False
    """whether somebody who came by a link may ask here; below the path of the link's session they may anyway"""
    looks_at: Session | None = None
    """the session that a request goes on with for a while: it ends when the person may not see that any more"""

    def initialize(self, hub: Hub) -> None:
        self.hub = hub

    def prepare(self) -> Awaitable[None] | None:
        person = self.identify()
        if person is None:
            raise self.failure("This hub asks for a good token: send it as 'Authorization: Bearer TOKEN'.")
        self.person = person
        self.hub.door.leave(self.request.connection.stream)  # type: ignore[union-attr]
        wait_s = self.hub.requests.wait_s(self.key(), time.monotonic())
        if wait_s:
            raise TooManyRequestsError(f"This key asks too often; wait {wait_s:.2f} s.", wait_s)
        self.require(self.capability(self.method))
        own_path = f"/api/stream/{person.guest.session}/" if person.guest else ""
        if person.guest and not (self.for_guests or self.request.path.startswith(own_path)):
            raise ForbiddenError("A link shows one session and nothing else.")
        self.bound_body()
        return None

    def bound_body(self) -> None:
        """Refuse a body that is too long."""
        if len(self.request.body) > MAX_BODY_BYTES:
            raise HTTPError(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")

    @classmethod
    def capability(cls, method: str) -> Capability:
        """What a method of this handler asks for."""
        return cls.needs.get(method, "view" if method in ("GET", "HEAD") else "capture")

    def failure(self, message: str) -> AisharkError:
        """The error for who did not prove to be anybody; another one for who tries that too often."""
        if self.hub.failures.wait_s(self.visitor, time.monotonic()):
            return TooManyRequestsError("Too many requests with wrong tokens come from this address.")
        return NotAuthorizedError(message)

    @property
    def method(self) -> str:
        return self.request.method or ""

    @property
    def visitor(self) -> str:
        """What who is not known yet is counted by."""
        forwarded_for = self.request.headers.get("X-Forwarded-For", "")
        return self.hub.addresses.visitor(str(self.request.remote_ip), forwarded_for)

    def identify(self) -> Person | None:
        """Who sends the request, by its token; None if it is nobody's."""
        return self.hub.admission.identify(self.bearer(), time.time())

    def key(self) -> str:
        """What the rate of requests is counted by: each person's tokens are counted apart."""
        return f"{self.person.name} {self.person.token_id}"

    def require(self, capability: Capability) -> None:
        """ForbiddenError unless the person may do that, which is what they ask for from now on."""
        if not self.person.may(capability):
            raise ForbiddenError(f"{self.person.who} may not do this: the token does not allow '{capability}'.")
        self.person = dataclasses.replace(self.person, asks=capability)

    def is_admitted(self) -> bool:
        """Whether that with which this request began is still good: the token, and the view of a session."""
        return self.hub.admission.admits(self.person, time.time(), self.looks_at)

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
        if not isinstance(value, AisharkError | HTTPError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        kind, message, position = "HubError", self._reason, None
        if isinstance(error, AisharkError):
            self.set_status(next((s for e, s in _STATUS.items() if isinstance(error, e)), 500))
            kind, message = type(error).__name__, str(error)
            expression = error if isinstance(error, ExpressionError) else error.__cause__  # in a rule, it is the cause
            position = expression.position if isinstance(expression, ExpressionError) else None
        elif isinstance(error, HTTPError):
            message = error.log_message or self._reason
        if self.get_status() == 401:
            self.set_header("WWW-Authenticate", self.hub.admission.challenge)
        if self.get_status() == 405:
            self.set_header("Allow", ", ".join(methods_of(type(self))))
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

    def query(self, kind: type[T]) -> T:
        """What stands behind the question mark as a struct of that kind; ConfigError if it is none. Lists are joined by
        commas."""
        given: dict[str, Any] = {}
        lists = {field.name for field in msgspec.structs.fields(kind) if isinstance(field.default, tuple)}  # type: ignore[arg-type]
        for name in self.request.query_arguments:
            values = self.get_query_arguments(name, strip=False)
            if len(values) > 1:
                raise ConfigError(f"{name:.50} is given more than once")
            given[name] = [part for part in values[0].split(",") if part] if name in lists else values[0]
        try:
            return msgspec.convert(given, kind, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"the query is not understood: {error}") from error

    def body(self, kind: type[T]) -> T:
        """The request's JSON object as a struct of that kind; ConfigError if it is none."""
        try:
            return msgspec.convert(self.json_body(), kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f"the request's body is not understood: {error}") from error


class Open(Guarded):
    """Base of routes that ask for something else than a token: what the body of a POST says. Nothing else is open."""

    is_guess: ClassVar[bool] = True
    """whether it counts among the logins tried from an address"""

    def prepare(self) -> Awaitable[None] | None:
        if self.method != "POST":
            return super().prepare()
        if not self.request.body:
            raise self.failure("Nothing is said here: name what lets you in, as docs/protocol.md has it.")
        if self.is_guess:
            self.hub.accounts.let_try(self.visitor)
        self.bound_body()
        return None


class GuardedSocket(WebSocketHandler, Guarded):
    """Base of all WebSockets: token before the upgrade, same-origin pages only, no per-message deflate.

    A subclass begins its `open` with `take_place`, and its `on_close` with `leave_place`. The hub asks
    each of them every second whether it is still admitted, whatever its peer does.
    """

    kind: ClassVar[str]
    """what its places, and refusals, are counted as"""
    key_hash = b""
    _has_place = False
    _refused = False

    def take_place(self) -> bool:
        """Whether there is room for one more of its kind, of this person; if not it is refused."""
        try:
            self.hub.places[self.kind].take(self._holder)
        except TooManyRequestsError as error:
            self.refuse(str(error))
            return False
        self._has_place = True
        return True

    def leave_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self.hub.places[self.kind].leave(self._holder)

    @property
    def _holder(self) -> str:
        """Whose place it is: all guests of one person's links have together what one person has."""
        guest = self.person.guest
        return f"who came by a link of {guest.person}".strip() if guest else self.person.name

    def prepare(self) -> Awaitable[None] | None:
        waits = super().prepare()
        self.hub.admission.open_sockets.add(self)
        return waits

    def check(self) -> None:
        """Close the connection if it is open and its peer is not admitted any more."""
        if self.ws_connection is not None:
            self.require_admission()

    async def get(self, *path: Any, **_: Any) -> None:
        # What Tornado refuses before the upgrade it would refuse in words of its own, not in our shape.
        headers = self.request.headers
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in headers.get("Connection", "").lower():
            raise ProtocolError("This route is a WebSocket; connect to it as one.")
        self._check_protocol(headers.get(PROTOCOL_HEADER, ""))
        what = operation_of(type(self), "GET")
        if what and what.query:
            self.query(what.query)
        await super().get(*path)

    def _check_protocol(self, spoken: str) -> None:
        """A client that says which version it speaks has to speak ours; an agent says it in its hello."""
        try:
            check_protocol(int(spoken[:9]) if spoken.isdecimal() else None, peer=self.kind, me="hub")
        except ProtocolError as error:
            self.hub.refusals[self.kind] += 1
            log.warning("%s at %s refused: %s", self.kind, self.request.remote_ip, error)
            raise

    def check_origin(self, origin: str) -> bool:
        if urlsplit(origin).netloc.lower() != self.request.headers.get("Host", "").lower():
            raise ForbiddenError("Pages of other sites cannot open this WebSocket.")
        return True

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
        good = self.hub.admission.admits(self.person, time.time())
        self.refuse("the session is not shared any more" if good else "the token has expired or was revoked")
        return False

    def refuse(self, reason: str) -> None:
        """Close with a reason (RFC 6455 allows 123 bytes of it), and count it: the first, if there are several."""
        if self._refused:
            return  # the peer takes its time to close as well
        self._refused = True
        self.hub.refusals[self.kind] += 1
        self.close(1008, reason.encode()[:123].decode("utf-8", "ignore"))


class Nothing(Guarded):
    """All other paths."""

    def prepare(self) -> None:
        super().prepare()
        raise NotFoundError(f"no route {self.request.path:.100}")


Route = tuple[str, type[Guarded]]
"""A path as a regular expression, and its handler."""
