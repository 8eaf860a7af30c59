"""Routes of sessions: list, start, stop, statistics, export, subscription."""

import asyncio
import logging
import time
from typing import Final

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from aishark_panel.errors import AisharkError, ConfigError
from aishark_panel.streams.exports import FORMATS, export_chunks
from aishark_panel.streams.guard import Guarded, GuardedSocket, Route
from aishark_panel.streams.session import Session
from aishark_panel.streams.subscription import Subscription

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)


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
    """`GET /api/stream/:id/ws?where=&columns=&start=`: new packets as Arrow IPC streams, as fast as they are read."""

    _task: asyncio.Task[None] | None = None

    def open(self, session_id: str) -> None:
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


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream", Streams),
    (r"/api/stream/start", StreamStart),
    (r"/api/stream/([0-9a-f]+)", Stream),
    (r"/api/stream/([0-9a-f]+)/stats", StreamStats),
    (r"/api/stream/([0-9a-f]+)/export", StreamExport),
    (r"/api/stream/([0-9a-f]+)/ws", StreamSocket),
    (r"/api/export/([\w-]+)", TicketExport),
)
