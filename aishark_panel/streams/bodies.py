"""Bodies of requests that are too long: heard to their end, kept by nobody, refused in our words.

Tornado ends the connection of a body that is longer than it takes, with no word to the peer. So it is let take more,
and what goes beyond the limit is dropped here, but for the one byte that tells the handler (guard.py) to answer 413.
"""

from collections.abc import Awaitable
from typing import Any, Final

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

__all__ = ["MAX_BODY_BYTES", "MAX_HEARD_BYTES", "BodyLimit"]

MAX_BODY_BYTES: Final = 128 * 2**10
"""It is held before anybody has asked for the token."""
MAX_HEARD_BYTES: Final = 64 * 2**20
"""A body that is longer yet ends the connection."""


class BodyLimit(HTTPServerConnectionDelegate):
    """Stands before an application. Handlers that take their body piece by piece see to its length themselves."""

    def __init__(self, application: HTTPServerConnectionDelegate) -> None:
        self._application = application

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Limited(self._application.start_request(server_conn, request_conn))

    def on_close(self, server_conn: object) -> None:
        self._application.on_close(server_conn)


class _Limited(HTTPMessageDelegate):
    """One request."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._left = MAX_BODY_BYTES + 1

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        ready: Awaitable[None] | None = self._request.headers_received(start_line, headers)
        return ready

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if not getattr(self._request.delegate, "stream_request_body", False):
            chunk = chunk[: self._left]
            self._left -= len(chunk)
        taken: Awaitable[None] | None = self._request.data_received(chunk) if chunk else None
        return taken

    def finish(self) -> None:
        self._request.finish()

    def on_connection_close(self) -> None:
        self._request.on_connection_close()
