"""The base of every route: who may come in, and what an error looks like.

Every handler inherits `Guarded`, whose `prepare` asks for the token before anything else happens; a route without it
cannot be written by accident, and a test walks the table to prove it. Errors have one shape everywhere:
`{"error": {"kind": ..., "message": ..., "position": ...}}`.
"""

import contextlib
import json
from collections.abc import Awaitable
from typing import Any, Final
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from aishark_panel.errors import (
    AisharkError,
    ConfigError,
    ConflictError,
    ExpressionError,
    NotAuthorizedError,
    NotFoundError,
    ProtocolError,
)
from aishark_panel.streams.hub import Hub

__all__ = ["MAX_BODY_BYTES", "Guarded", "GuardedSocket", "Nothing", "Route"]

MAX_BODY_BYTES: Final = 2**20
_STATUS: Final[dict[type[AisharkError], int]] = {
    NotAuthorizedError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    ConfigError: 400,
    ExpressionError: 400,
    ProtocolError: 400,
}


class Guarded(RequestHandler):
    """Base of all handlers: no token, no answer."""

    hub: Hub
    who: str = "token"
    """by what right this request acts, for the audit"""

    def initialize(self, hub: Hub) -> None:
        self.hub = hub

    def prepare(self) -> Awaitable[None] | None:
        if not self.is_authorized():
            raise NotAuthorizedError("This hub asks for its token: send it as 'Authorization: Bearer TOKEN'.")
        return None

    def is_authorized(self) -> bool:
        """Whether the request carries the hub's token."""
        return self.hub.accepts(self.bearer())

    def bearer(self) -> str:
        """What the request carries as its bearer token (RFC 6750); '' if nothing."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def audit(self, action: str, subject: str, **details: object) -> None:
        """Write down what was done, to what, and by what right; details that are None or '' are left out."""
        self.hub.store.record(self.who, action, subject, **details)

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
        self.finish({"error": {"kind": kind, "message": message, "position": position}})

    def json_body(self) -> dict[str, Any]:
        """The request's JSON object; {} for an empty body, ConfigError for anything else."""
        if not self.request.body:
            return {}
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"the request's body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise ConfigError("the request's body must be a JSON object")
        return body


class GuardedSocket(WebSocketHandler, Guarded):
    """Base of all WebSockets: token before the upgrade, same-origin pages only, no per-message deflate."""

    def check_origin(self, origin: str) -> bool:
        return urlsplit(origin).netloc.lower() == self.request.headers.get("Host", "").lower()

    def get_compression_options(self) -> None:
        return None

    def send(self, message: str | bytes) -> None:
        """Send, ignoring a connection that has just ended; its `on_close` deals with that."""
        with contextlib.suppress(WebSocketClosedError):
            sent = self.write_message(message, binary=isinstance(message, bytes))
            sent.add_done_callback(lambda future: future.exception())

    def refuse(self, reason: str) -> None:
        """Close with a reason (RFC 6455 allows 123 bytes of it)."""
        self.close(1008, reason.encode()[:123].decode("utf-8", "ignore"))


class Nothing(Guarded):
    """All other paths."""

    def prepare(self) -> None:
        super().prepare()
        raise NotFoundError(f"no route {self.request.path:.100}")


Route = tuple[str, type[Guarded]]
"""A path as a regular expression, and its handler."""
