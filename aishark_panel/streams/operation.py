"""What a method of a route takes and answers, said once beside it: `@operation(...)`.

The request is parsed by what is said there, and the OpenAPI document (streams/openapi.py) is made of it, so the two
cannot disagree. A method gets its query and its body as structs, by the names `query` and `body`:

::

    @operation("Change a thing.", body=Change, answer=ThingAnswer, errors=(409,))
    def patch(self, thing_id: str, *, body: Change) -> None: ...

What everybody may ask of any route is not repeated there: no token (401), not allowed (403), too often (429), and, for
a route with an id in its path, 404. Which capability a method asks for, `Guarded.needs` says. Of a WebSocket's handler,
`open` is described.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

__all__ = ["HTTP_METHODS", "JSON", "Answer", "Method", "Operation", "Query", "methods_of", "operation", "operation_of"]

HTTP_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
JSON: Final = "application/json"

Method = Callable[..., Awaitable[None] | None]
"""A handler's method, as Tornado calls it."""


class Query(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of what stands behind the question mark; a list (a field whose default is a tuple) is joined by commas."""


class Answer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of what is answered as JSON; handlers finish with a dict that has just these fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one method of one route takes and answers."""

    summary: str
    query: type[Query] | None = None
    body: type[msgspec.Struct] | None = None
    """of the JSON object that comes"""
    chunk: str = ""
    """media type of a body that is not JSON"""
    headers: Mapping[str, Any] = field(default_factory=dict)
    """headers that must come, and their types"""
    answer: type[msgspec.Struct] | None = None
    """of the JSON object that goes back"""
    media: tuple[str, ...] = ()
    """media types that go back instead, or as the request's Accept says"""
    status: int = 200
    also: tuple[int, ...] = ()
    """other statuses of success, with the same answer"""
    says: Mapping[str, str] = field(default_factory=dict)
    """headers of the answer, and what they mean"""
    errors: tuple[int, ...] = ()
    """beside those that are understood"""
    needs_token: bool = True


def operation(summary: str, **said: Any) -> Callable[[Method], Method]:
    """Describe a handler's method; `said` are the fields of Operation."""
    what = Operation(summary=summary, **said)

    def describe(method: Method) -> Method:
        @functools.wraps(method)
        def answer(handler: Any, *path: str) -> Awaitable[None] | None:
            parts: dict[str, Any] = {}
            if what.query is not None:
                parts["query"] = handler.query(what.query)
            if what.body is not None:
                parts["body"] = handler.body(what.body)
            return method(handler, *path, **parts)

        answer.operation = what  # type: ignore[attr-defined]
        return answer

    return describe


def operation_of(handler: type, http_method: str) -> Operation | None:
    """What a handler's method was described as; None if it was not, or there is no such method."""
    is_socket = issubclass(handler, WebSocketHandler) and http_method == "GET"
    method = getattr(handler, "open" if is_socket else http_method.lower(), None)
    found: Operation | None = getattr(method, "operation", None)
    return found


def methods_of(handler: type[RequestHandler]) -> tuple[str, ...]:
    """The HTTP methods that a handler has."""
    missing = RequestHandler._unimplemented_method
    return tuple(m for m in HTTP_METHODS if getattr(handler, m.lower()) is not missing)
