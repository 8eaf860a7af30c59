"""The hub's HTTP and WebSocket routes. docs/protocol.md lists them.

Every handler inherits `Guarded`, whose `prepare` asks for the token before anything else happens; a route without it
cannot be written by accident, and a test walks the table to prove it. Errors have one shape everywhere:
`{"error": {"kind": ..., "message": ..., "position": ...}}`.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable
from typing import Any, Final
from urllib.parse import urlsplit

from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from aishark_panel.errors import (
    AisharkError,
    ConfigError,
    ExpressionError,
    HubError,
    NotAuthorizedError,
    NotFoundError,
    ProtocolError,
)
from aishark_panel.query import compile_expression
from aishark_panel.streams.exports import FORMATS, check_format, export_chunks
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.session import AgentRun, Session
from aishark_panel.streams.subscription import Subscription
from aishark_panel.wire.messages import (
    MAX_BATCH_BYTES,
    Batch,
    End,
    Heartbeat,
    HeartbeatReply,
    Hello,
    Reply,
    Request,
    State,
    decode_request,
    encode_control,
    encode_reply,
)
from aishark_panel.wire.protocol import HubEnd, error_reply

__all__ = ["make_application"]

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = MAX_BATCH_BYTES + 2**20
MAX_BODY_BYTES: Final = 2**20
_PING_S: Final = 10.0
_STATUS: Final[dict[type[AisharkError], int]] = {
    NotAuthorizedError: 401,
    NotFoundError: 404,
    ConfigError: 400,
    ExpressionError: 400,
    ProtocolError: 400,
}


class Guarded(RequestHandler):
    """Base of all handlers: no token, no answer."""

    hub: Hub

    def initialize(self, hub: Hub) -> None:
        self.hub = hub

    def prepare(self) -> Awaitable[None] | None:
        if not self.is_authorized():
            raise NotAuthorizedError("This hub asks for its token: send it as 'Authorization: Bearer TOKEN'.")
        return None

    def is_authorized(self) -> bool:
        """Whether the request carries the hub's token."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.hub.accepts(token.strip())

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


class Streams(Guarded):
    """`GET /api/stream`: the sessions."""

    def get(self) -> None:
        self.finish({"sessions": self.hub.sessions()})


class StreamStart(Guarded):
    """`POST /api/stream/start`: start the session with the given id again, or make one with the given name."""

    def post(self) -> None:
        body = self.json_body()
        session_id, name = body.get("id"), body.get("name", "")
        if not isinstance(name, str) or len(name) > 200 or not isinstance(session_id, str | None):
            raise ConfigError("name is a text of at most 200 characters, id a session's id")
        if session_id is None:
            session = self.hub.create_session(name or time.strftime("session %Y-%m-%d %H:%M:%S"))
            self.set_status(201)
        else:
            self.hub.set_capture(session_id, True)
            session = self.hub.session(session_id)
        self.finish(session.stats())


class Stream(Guarded):
    """`DELETE /api/stream/:id`: stop the session's agents and forget its packets."""

    async def delete(self, session_id: str) -> None:
        await self.hub.delete(session_id)
        self.set_status(204)


class StreamStats(Guarded):
    """`GET /api/stream/:id/stats`"""

    def get(self, session_id: str) -> None:
        self.finish(self.hub.session(session_id).stats())


class StreamExport(Guarded):
    """`GET /api/stream/:id/export?format=&where=&follow=`: the packets as a file, streamed."""

    async def get(self, session_id: str) -> None:
        follow = self.get_query_argument("follow", "") not in ("", "0", "false")
        await self.stream(
            self.hub.session(session_id),
            self.get_query_argument("format", "pcapng"),
            self.get_query_argument("where", ""),
            follow=follow,
        )

    async def stream(self, session: Session, export_format: str, where: str, *, follow: bool) -> None:
        """Send chunk by chunk; a reader that is slow, or gone, holds up nothing else."""
        chunks = export_chunks(session, export_format, where, follow=follow, executor=self.hub.query_pool)
        await anext(chunks)  # errors come here, before the first header
        self.set_header("Content-Type", FORMATS[export_format])
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in session.name) or "session"
        self.set_header("Content-Disposition", f'attachment; filename="{name}.{export_format}"')
        try:
            async for chunk in chunks:
                self.write(chunk)
                await self.flush()
        except StreamClosedError:
            log.info("export of session %s was broken off by its reader", session.name)
        finally:
            await chunks.aclose()


class TicketExport(StreamExport):
    """`GET /api/export/:ticket`: the same with a one-use ticket in place of the token."""

    def is_authorized(self) -> bool:
        ticket = self.hub.redeem_ticket(self.request.path.rpartition("/")[2])
        self._ticket = ticket
        return ticket is not None

    async def get(self, ticket: str) -> None:
        assert self._ticket is not None
        session = self.hub.session(self._ticket.session)
        await self.stream(session, self._ticket.format, self._ticket.where, follow=self._ticket.follow)


class StreamSocket(GuardedSocket):
    """`GET /api/stream/:id/ws?where=&columns=&start=`: new packets as Arrow IPC streams, as fast as the client reads."""

    _task: asyncio.Task[None] | None = None

    def open(self, session_id: str) -> None:  # type: ignore[override]
        try:
            subscription = Subscription(
                self.hub.session(session_id),
                where=self.get_query_argument("where", ""),
                columns=[c for c in self.get_query_argument("columns", "").split(",") if c],
                start=self.get_query_argument("start", "now"),
            )
        except AisharkError as error:
            self.refuse(str(error))
            return
        self._task = asyncio.create_task(self._pump(subscription), name="subscription")

    async def _pump(self, subscription: Subscription) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                messages = await loop.run_in_executor(self.hub.query_pool, subscription.next_messages)
                for message in messages:
                    await self.write_message(message, binary=isinstance(message, bytes))
                if not messages:
                    await asyncio.sleep(0.1)
        except (WebSocketClosedError, StreamClosedError):
            log.debug("subscriber left")

    def on_message(self, message: str | bytes) -> None:
        self.refuse("a subscription takes no messages")

    def on_close(self) -> None:
        if self._task:
            self._task.cancel()


class AgentSocket(GuardedSocket):
    """`GET /api/agents/ws`: one agent. The rules of the conversation are in wire.protocol.HubEnd."""

    run: AgentRun | None = None
    _session: Session | None = None
    _ingest: Ingest | None = None

    def open(self) -> None:  # type: ignore[override]
        self._end = HubEnd()
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        try:
            event = self._end.receive(message)
            if isinstance(event, Hello):
                self._attach(event)
            elif event is not None:
                assert self.run is not None
                self._handle(self.run, event)
        except AisharkError as error:
            self.refuse(str(error))

    def _attach(self, hello: Hello) -> None:
        self._session, self._ingest, self.run = self.hub.attach(hello, self.send)
        # A hub that restarted knows less than the agent was promised: what was acknowledged then is not sent again.
        next_sequence = max(self.run.taken + 1, hello.first_sequence)
        self.send(self._end.open(self._session.id, next_sequence=next_sequence, capture=self._session.wanted))

    def _handle(self, run: AgentRun, event: Batch | Heartbeat | State | End) -> None:
        assert self._session is not None
        assert self._ingest is not None
        match event:
            case Batch():
                self._ingest.put(self, run, event)
            case Heartbeat():
                run.counters = event.counters
                run.round_trip_ns = event.round_trip_ns
                self.send(encode_control(HeartbeatReply(sent_ns=event.sent_ns, hub_ns=time.time_ns())))
            case State():
                run.capturing, run.reason = event.capturing, event.reason
                if event.interfaces is not None:
                    self._session.set_interfaces(run, event.interfaces)
            case End():
                run.ended, run.reason = True, event.reason
                run.counters = event.counters

    def taken(self, sequence: int) -> None:
        """Batches up to here are in memory; without a journal that is also as durable as they get."""
        self.send(self._end.acknowledge(sequence, sequence))

    def refuse(self, reason: str) -> None:
        log.warning("agent %s refused: %s", self.run.hello.agent if self.run else self.request.remote_ip, reason)
        if self.run:
            self.run.reason = reason
        super().refuse(reason)

    def on_close(self) -> None:
        if self.run and self._session:
            reason = self.close_reason or self.run.reason or "Its connection was lost."
            self.hub.detach(self._session, self.run, self.send, reason)


class ClientSocket(GuardedSocket):
    """`GET /api/clients/ws`: requests of a dashboard, notebook or tool, answered in order."""

    async def on_message(self, message: str | bytes) -> None:  # type: ignore[override]
        try:
            request = decode_request(message)
        except ProtocolError as error:
            self.refuse(str(error))
            return
        try:
            result, body = await self._answer(request)
            reply = encode_reply(Reply(id=request.id, result=result), body)
        except AisharkError as error:
            reply = encode_reply(error_reply(request.id, error))
        except Exception:
            log.exception("request %s failed", request.method)
            reply = encode_reply(error_reply(request.id, HubError("The hub failed to answer; its log says why.")))
        try:
            await self.write_message(reply, binary=True)
        except (WebSocketClosedError, StreamClosedError):
            log.debug("client left before its answer")

    async def _answer(self, request: Request) -> tuple[dict[str, Any], Any]:
        params = request.params
        session_id = str(params.get("session", ""))
        match request.method:
            case "sessions":
                return {"sessions": self.hub.sessions()}, b""
            case "start" | "stop":
                self.hub.set_capture(session_id, request.method == "start")
                return {}, b""
            case "clear":
                await self.hub.clear(session_id)
                return {}, b""
            case "export_ticket":
                export_format, where = str(params.get("format", "pcapng")), str(params.get("where", ""))
                follow = bool(params.get("follow"))
                check_format(export_format, follow=follow)
                compile_expression(where)
                ticket = self.hub.issue_ticket(session_id, export_format, where, follow=follow)
                return {"ticket": ticket}, b""
        method = METHODS.get(request.method)
        if method is None:
            raise ConfigError(f"no method {request.method!r:.50}")
        session = self.hub.session(session_id)
        return await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, method, session, params)


ROUTES: Final[tuple[tuple[str, type[Guarded]], ...]] = (
    (r"/api/agents/ws", AgentSocket),
    (r"/api/clients/ws", ClientSocket),
    (r"/api/stream", Streams),
    (r"/api/stream/start", StreamStart),
    (r"/api/stream/([0-9a-f]+)", Stream),
    (r"/api/stream/([0-9a-f]+)/stats", StreamStats),
    (r"/api/stream/([0-9a-f]+)/export", StreamExport),
    (r"/api/stream/([0-9a-f]+)/ws", StreamSocket),
    (r"/api/export/([\w-]+)", TicketExport),
)


def make_application(hub: Hub) -> Application:
    """The Tornado application of a hub."""
    return Application(
        [(path, handler, {"hub": hub}) for path, handler in ROUTES],
        default_handler_class=Nothing,
        default_handler_args={"hub": hub},
        websocket_max_message_size=MAX_MESSAGE_BYTES,
        websocket_ping_interval=_PING_S,
        log_function=lambda handler: log.debug("%d %s", handler.get_status(), handler.request.path),
    )
