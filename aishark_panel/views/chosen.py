"""Bokeh sessions that an address chooses: refused, as whoever made the address could look at the page, and change it.

Bokeh takes the session's name, or a token with it, from an address, and lets everybody who knows it join by WebSocket.
"""

from typing import Any, Final

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, HTTPError, RequestHandler

__all__ = ["is_chosen", "refuse_chosen"]

_ARGUMENTS: Final = frozenset(("bokeh-session-id", "bokeh-token"))
_HEADER: Final = "Bokeh-Session-Id"


def is_chosen(request: HTTPServerRequest) -> bool:
    """Whether a request says which Bokeh session it is to have."""
    return _HEADER in request.headers or not _ARGUMENTS.isdisjoint(request.arguments)


def refuse_chosen(application: Application) -> None:
    """Have such requests answered with 400, whatever their path."""
    application.default_router.rules.insert(0, Rule(_Chosen(), _Refused))


class _Chosen(Matcher):
    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return {} if is_chosen(request) else None


class _Refused(RequestHandler):
    def prepare(self) -> None:
        self.request.uri = self.request.path  # a token may stand beside it, and is not for the server's log
        raise HTTPError(400, reason="This address chooses a Bokeh session: open the page without that")
