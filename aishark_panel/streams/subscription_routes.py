"""The subscribers' socket: a session's packets as they come, or from any that the ring holds."""

import asyncio
import logging
from typing import Final, Literal

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from aishark_panel.errors import AisharkError, TooManyRequestsError
from aishark_panel.streams.feeds import Wanted
from aishark_panel.streams.guard import GuardedSocket, Route
from aishark_panel.streams.operation import Query, operation
from aishark_panel.streams.session import Session
from aishark_panel.streams.subscription import Subscription, Whence

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)

MAX_SUBSCRIBERS: Final = 100
"""Of one session."""


class SubscriptionQuery(Query):
    """Which packets a subscription has, and how."""

    where: str = ""
    """packets that match this expression"""
    columns: tuple[str, ...] = ()
    """of docs/schema.md, and frame in Arrow; none: all columns"""
    format: Literal["arrow", "json"] = "arrow"
    """an Arrow IPC stream in each message, or JSON lines"""
    start: str = "now"
    """now, oldest, or a packet number"""
    end: str = ""
    """packet number before which it ends; empty: never"""
    slow: Literal["skip", "wait"] = "skip"
    """whether a client that is slower than the packets skips some or falls behind"""


class SubscriberSocket(GuardedSocket):
    """`/api/stream/:id/ws`: packets are binary messages, what else there is to say is text."""

    kind = "subscriber"
    _task: asyncio.Task[None] | None = None

    @operation("New packets as they come, or from any that the ring holds.", query=SubscriptionQuery, status=101)
    def open(self, session_id: str, *, query: SubscriptionQuery) -> None:
        if not self.take_place():
            return
        try:
            self.looks_at = session = self.hub.sessions.find(session_id, self.person)
            if session.feeds.seats >= MAX_SUBSCRIBERS:
                raise TooManyRequestsError(f"a session has at most {MAX_SUBSCRIBERS} subscribers; try again later")
            wanted = Wanted.parse(query.where, query.columns, query.format)
            whence = Whence.parse(query.start, query.end, query.slow)
        except AisharkError as error:
            self.refuse(str(error))
            return
        session.feeds.seats += 1
        self._task = asyncio.create_task(self._serve(session, wanted, whence), name="subscription")
        self._task.add_done_callback(lambda _: _leave_seat(session))

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


def _leave_seat(session: Session) -> None:
    session.feeds.seats -= 1


ROUTES: Final[tuple[Route, ...]] = ((r"/api/stream/([0-9a-f]+)/ws", SubscriberSocket),)
