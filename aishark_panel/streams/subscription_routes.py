"""The subscribers' socket: a session's packets as they come, or from any that the ring holds."""

import asyncio
import logging
from typing import Final

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from aishark_panel.errors import AisharkError, TooManyRequestsError
from aishark_panel.streams.feeds import Wanted
from aishark_panel.streams.guard import GuardedSocket, Route
from aishark_panel.streams.session import Session
from aishark_panel.streams.subscription import Subscription, Whence

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)

MAX_SUBSCRIBERS: Final = 100
"""Of one session."""


class SubscriberSocket(GuardedSocket):
    """`GET /api/stream/:id/ws?where=&columns=&format=&start=&end=&slow=`: packets as binary messages, Arrow IPC streams
    or JSON lines; what else there is to say is text."""

    kind = "subscriber"
    _task: asyncio.Task[None] | None = None

    def open(self, session_id: str) -> None:
        if not self.take_place():
            return
        try:
            session = self.hub.session(session_id, self.person)
            if session.feeds.stats()["open"] >= MAX_SUBSCRIBERS:
                raise TooManyRequestsError(f"a session has at most {MAX_SUBSCRIBERS} subscribers; try again later")
            columns = [c for c in self.get_query_argument("columns", "").split(",") if c]
            where, form = self.get_query_argument("where", ""), self.get_query_argument("format", "arrow")
            wanted = Wanted.parse(where, columns, form)
            start, end = self.get_query_argument("start", "now"), self.get_query_argument("end", "")
            whence = Whence.parse(start, end, self.get_query_argument("slow", "skip"))
        except AisharkError as error:
            self.refuse(str(error))
            return
        self._task = asyncio.create_task(self._serve(session, wanted, whence), name="subscription")

    async def _serve(self, session: Session, wanted: Wanted, whence: Whence) -> None:
        try:
            feed = await session.feeds.join(session, wanted, self.hub.query_pool)
            try:
                await self._pump(session, Subscription(feed, whence))
            finally:
                session.feeds.leave(feed)
        except AisharkError as error:
            self.refuse(str(error))
        except (WebSocketClosedError, StreamClosedError):
            log.debug("subscriber left")
        except Exception:
            log.exception("a subscription failed")
            self.close(1011, "the subscription failed; the hub's log says why")

    async def _pump(self, session: Session, subscription: Subscription) -> None:
        session.feeds.count(subscription.counts)
        filling = asyncio.create_task(subscription.fill(self.require_admission), name="subscription queue")
        try:
            await subscription.drain(lambda message: self.write_message(message, isinstance(message, bytes)))
            if reason := await filling:
                self.close(1000, reason)
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            subscription.close()
            session.feeds.count_out(subscription.counts)

    def on_message(self, message: str | bytes) -> None:
        self.refuse("a subscription takes no messages")

    def on_close(self) -> None:
        self.leave_place()
        if self._task:
            self._task.cancel()


ROUTES: Final[tuple[Route, ...]] = ((r"/api/stream/([0-9a-f]+)/ws", SubscriberSocket),)
