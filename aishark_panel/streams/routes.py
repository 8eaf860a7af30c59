"""All routes of the hub, put together. docs/protocol.md lists them."""

import logging
from typing import Final

from tornado.web import Application, RequestHandler

from aishark_panel.streams import (
    account_routes,
    agent_routes,
    alert_routes,
    backtest_routes,
    client_routes,
    conversation_routes,
    packet_routes,
    people_routes,
    recording_routes,
    rule_routes,
    service_routes,
    sharing_routes,
    stream_routes,
    subscription_routes,
    upload_routes,
)
from aishark_panel.streams.guard import Nothing, Route
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.metrics import Answered
from aishark_panel.streams.openapi import path_template
from aishark_panel.wire.messages import MAX_BATCH_BYTES

__all__ = ["ROUTES", "make_application"]

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = MAX_BATCH_BYTES + 2**20
_PING_S: Final = 10.0

ROUTES: Final[tuple[Route, ...]] = (
    *people_routes.ROUTES,
    *account_routes.ROUTES,
    *agent_routes.ROUTES,
    *client_routes.ROUTES,
    *stream_routes.ROUTES,
    *alert_routes.ROUTES,
    *rule_routes.ROUTES,
    *backtest_routes.ROUTES,
    *subscription_routes.ROUTES,
    *sharing_routes.ROUTES,
    *packet_routes.ROUTES,
    *conversation_routes.ROUTES,
    *recording_routes.ROUTES,
    *upload_routes.ROUTES,
    *service_routes.ROUTES,
)


def make_application(hub: Hub) -> Application:
    """The Tornado application of a hub."""
    answered = Answered({handler: path_template(pattern, handler) for pattern, handler in ROUTES})

    def note(handler: RequestHandler) -> None:
        answered.note(handler)
        log.debug("%d %s", handler.get_status(), handler.request.path)

    return Application(
        [(path, handler, {"hub": hub}) for path, handler in ROUTES],
        default_handler_class=Nothing,
        default_handler_args={"hub": hub},
        websocket_max_message_size=MAX_MESSAGE_BYTES,
        websocket_ping_interval=_PING_S,
        log_function=note,
        routes=ROUTES,
        answered=answered,
    )
