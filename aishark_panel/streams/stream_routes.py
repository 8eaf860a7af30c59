"""Routes of sessions: list, start, stop, statistics, export."""

import logging
import time
from typing import ClassVar, Final
from urllib.parse import quote

from tornado.iostream import StreamClosedError

from aishark_panel.errors import AisharkError, ConfigError, NotAuthorizedError
from aishark_panel.streams.exports import FORMATS, export_chunks
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.hub import Ticket
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.people import Person
from aishark_panel.streams.session import Session

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)


class Streams(Guarded):
    """`GET /api/stream`: the sessions."""

    def get(self) -> None:
        self.finish({"sessions": self.hub.sessions(self.person)})


class StreamStart(Guarded):
    """`POST /api/stream/start`: start the session with the given id again, or make one with the given name."""

    def post(self) -> None:
        body = self.json_body()
        session_id, name = body.get("id"), body.get("name", "")
        if not isinstance(name, str) or len(name) > 200 or not isinstance(session_id, str | None):
            raise ConfigError("name is a text of at most 200 characters, id a session's id")
        if session_id is None:
            name = name or time.strftime("session %Y-%m-%d %H:%M:%S")
            session = self.hub.create_session(name, self.person.name)
            self.audit("session.create", session.id, name=session.name)
            self.set_status(201)
        else:
            session = self.hub.session(session_id, self.person)
            self.hub.agents.set_capture(session, True)
            self.audit("session.start", session_id, name=session.name)
        self.finish(session.stats())


class Stream(Guarded):
    """`DELETE /api/stream/:id`: stop the session's agents and forget its packets."""

    async def delete(self, session_id: str) -> None:
        await self.hub.delete(session_id, self.person)
        self.audit("session.delete", session_id)
        self.set_status(204)


class StreamStats(Guarded):
    """`GET /api/stream/:id/stats`"""

    def get(self, session_id: str) -> None:
        self.finish(self.hub.session(session_id, self.person).stats())


class StreamLedger(Guarded):
    """`GET /api/stream/:id/ledger`: where every packet is."""

    def get(self, session_id: str) -> None:
        self.finish(ledger(self.hub.session(session_id, self.person)))


class StreamAlerts(Guarded):
    """`GET /api/stream/:id/alerts?since=`: alerts that changed since that cursor, and how the rules fare."""

    def get(self, session_id: str) -> None:
        since = self.get_query_argument("since", "0")
        if not since.isdecimal() or len(since) > 18:
            raise ConfigError("since is the number that an earlier answer gave as next")
        self.finish(self.hub.session(session_id, self.person).alerts.since(int(since)))


class StreamExport(Guarded):
    """`GET /api/stream/:id/export?format=&where=&follow=`: the packets as a file, streamed."""

    needs: ClassVar = {"GET": "export"}
    _reader_left = False

    async def get(self, session_id: str) -> None:
        follow = self.get_query_argument("follow", "") not in ("", "0", "false")
        await self.stream(
            self.hub.session(session_id, self.person),
            self.get_query_argument("format", "pcapng"),
            self.get_query_argument("where", ""),
            follow=follow,
        )

    async def stream(self, session: Session, export_format: str, where: str, *, follow: bool) -> None:
        """Send chunk by chunk; a reader that is slow, or gone, holds up nothing else."""
        chunks = export_chunks(session, export_format, where, follow=follow, executor=self.hub.query_pool)
        first = await anext(chunks)  # errors of the request come here, before the first header
        self.audit("session.export", session.id, name=session.name, format=export_format, where=where)
        self.set_header("Content-Type", FORMATS[export_format])
        self.set_header("Content-Disposition", _attachment(session.name, export_format))
        self.write(first)
        try:
            await self.flush()
            async for chunk in chunks:
                if self._reader_left:
                    break
                if not self.is_admitted():
                    raise NotAuthorizedError("the token has expired or was revoked")
                if chunk:
                    self.write(chunk)
                    await self.flush()
        except StreamClosedError:
            log.info("export of session %s was broken off by its reader", session.name)
        except Exception as error:
            # Too late for an error's status; without the last chunk the reader knows that this is not the whole file.
            unexpected = not isinstance(error, AisharkError)
            log.error("export of session %s failed: %s", session.name, error, exc_info=unexpected)
            self.request.connection.stream.close()  # type: ignore[union-attr]
        finally:
            await chunks.aclose()

    def on_connection_close(self) -> None:
        self._reader_left = True
        super().on_connection_close()


def _attachment(name: str, suffix: str) -> str:
    """Content-Disposition of a file called like a session; headers are ASCII, other letters are escaped (RFC 6266)."""
    file = "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "session"
    called = f'filename="{file}.{suffix}"' if file.isascii() else f"filename*=UTF-8''{quote(file)}.{suffix}"
    return f"attachment; {called}"


class TicketExport(StreamExport):
    """`GET /api/export/:ticket`: the same with a one-use ticket in place of the token."""

    _ticket: Ticket | None = None

    def identify(self) -> Person | None:
        ticket = self.hub.redeem_ticket(self.request.path.rpartition("/")[2])
        self._ticket = ticket
        return ticket.person if ticket and self.hub.people.admits(ticket.person, time.time()) else None

    async def get(self, ticket: str) -> None:
        assert self._ticket is not None
        session = self.hub.session(self._ticket.session, self.person)
        await self.stream(session, self._ticket.format, self._ticket.where, follow=self._ticket.follow)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream", Streams),
    (r"/api/stream/start", StreamStart),
    (r"/api/stream/([0-9a-f]+)", Stream),
    (r"/api/stream/([0-9a-f]+)/stats", StreamStats),
    (r"/api/stream/([0-9a-f]+)/ledger", StreamLedger),
    (r"/api/stream/([0-9a-f]+)/alerts", StreamAlerts),
    (r"/api/stream/([0-9a-f]+)/export", StreamExport),
    (r"/api/export/([\w-]+)", TicketExport),
)
