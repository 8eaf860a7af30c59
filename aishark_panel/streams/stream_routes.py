"""Routes of sessions: list, start, stop, statistics, export, and what tickets are for."""

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import quote

import msgspec
from tornado.iostream import StreamClosedError

from aishark_panel.errors import AisharkError, NotAuthorizedError, NotFoundError
from aishark_panel.streams.alert_routes import send_evidence
from aishark_panel.streams.answers import LedgerAnswer, SessionsAnswer, StatsAnswer
from aishark_panel.streams.exportlog import ExportProgress
from aishark_panel.streams.exports import FORMATS, export_chunks
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.history import SESSION, WAIT_S
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.operation import Query, operation
from aishark_panel.streams.people import Person
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.streams.tickets import Ticket

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)

_PCAPNG: Final = FORMATS["pcapng"]
_PIECE_BYTES: Final = 2**20
"""Of a file that is sent."""


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that makes a session, or starts one again."""

    id: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    """session to start again; none: a new one"""
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """of a new session; empty: the time"""


class ExportQuery(Query):
    """Which packets, and how."""

    format: Literal["pcapng", "pcap", "parquet", "csv", "json", "arrow"] = "pcapng"
    where: str = ""
    """packets that match this expression"""
    follow: bool = False
    """go on while packets arrive"""


class Streams(Guarded):
    """`/api/stream`"""

    for_guests = True

    @operation("The sessions.", answer=SessionsAnswer)
    def get(self) -> None:
        self.finish({"sessions": self.hub.sessions.list(self.person)})


class StreamStart(Guarded):
    """`/api/stream/start`"""

    @operation(
        "Make a session (201), or start one again (200).",
        body=SessionRequest,
        answer=StatsAnswer,
        status=201,
        also=(200,),
        errors=(404,),
    )
    def post(self, *, body: SessionRequest) -> None:
        session_id = body.id
        if session_id is None:
            name = body.name or time.strftime("session %Y-%m-%d %H:%M:%S")
            session = self.hub.sessions.create(name, self.person.name)
            self.audit("session.create", session.id, name=session.name)
            self.set_status(201)
        else:
            session = self.hub.sessions.find(session_id, self.person)
            self.hub.agents.set_capture(session, True)
            self.audit("session.start", session_id, name=session.name)
        self.finish(stats(session))


class Stream(Guarded):
    """`/api/stream/:id`"""

    @operation("Stop a session's agents and forget its packets.", status=204)
    async def delete(self, session_id: str) -> None:
        await self.hub.delete(session_id, self.person)
        self.audit("session.delete", session_id)
        self.set_status(204)


class StreamStats(Guarded):
    """`/api/stream/:id/stats`"""

    @operation("The statistics of a session.", answer=StatsAnswer)
    def get(self, session_id: str) -> None:
        self.finish(stats(self.hub.sessions.find(session_id, self.person)))


class StreamLedger(Guarded):
    """`/api/stream/:id/ledger`"""

    @operation("Where every packet of a session is.", answer=LedgerAnswer)
    def get(self, session_id: str) -> None:
        self.finish(ledger(self.hub.sessions.find(session_id, self.person)))


class StreamExport(Guarded):
    """`/api/stream/:id/export`"""

    needs: ClassVar = {"GET": "export"}
    _reader_left = False

    @operation("The packets of a session as a file, streamed.", query=ExportQuery, media=tuple(FORMATS.values()))
    async def get(self, session_id: str, *, query: ExportQuery) -> None:
        session, _ = await self.hub.look(session_id, self.person, wait_s=WAIT_S)
        progress = ExportProgress(session=session.id, person="", format=query.format, where=query.where)
        await self.stream(session, query.format, query.where, follow=query.follow, progress=progress)

    async def stream(
        self, session: Session, export_format: str, where: str, *, follow: bool, progress: ExportProgress
    ) -> None:
        """Send chunk by chunk; a reader that is slow, or gone, holds up nothing else."""
        self.looks_at = session
        pool = self.hub.query_pool
        chunks = export_chunks(session, export_format, where, follow=follow, executor=pool, progress=progress)
        try:
            first = await anext(chunks)  # errors of the request come here, before the first header
        except AisharkError as error:
            progress.end("failed", str(error))
            raise
        self.audit("session.export", session.id, name=session.name, format=export_format, where=where)
        self.set_header("Content-Type", FORMATS[export_format])
        self.set_header("Content-Disposition", _attachment(session.name, export_format))
        self.write(first)
        try:
            await self.flush()
            async for chunk in chunks:
                if self._reader_left:
                    break
                if progress.state == "cancelled":
                    raise AisharkError("it was cancelled")
                if not self.is_admitted():
                    raise NotAuthorizedError("the token has expired or was revoked, or the session is not shared now")
                if chunk:
                    self.write(chunk)
                    await self.flush()
            else:
                progress.end("done")
        except StreamClosedError:
            log.info("export of session %s was broken off by its reader", session.name)
        except Exception as error:
            # Too late for an error's status; without the last chunk the reader knows that this is not the whole file.
            progress.end("failed", str(error) if isinstance(error, AisharkError) else "The hub's log says why.")
            unexpected = not isinstance(error, AisharkError)
            log.error("export of session %s failed: %s", session.name, error, exc_info=unexpected)
            self.request.connection.stream.close()  # type: ignore[union-attr]
        finally:
            progress.end("cancelled", "Its reader broke it off.")
            await chunks.aclose()

    def on_connection_close(self) -> None:
        self._reader_left = True
        super().on_connection_close()


def _attachment(name: str, suffix: str) -> str:
    """Content-Disposition of a file called like a session; headers are ASCII, other letters are escaped (RFC 6266)."""
    file = "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "session"
    called = f'filename="{file}.{suffix}"' if file.isascii() else f"filename*=UTF-8''{quote(file)}.{suffix}"
    return f"attachment; {called}"


class LiveQuery(Query):
    """Which packets."""

    where: str = ""
    """packets that match this expression"""


class StreamPcapng(StreamExport):
    """`/api/stream/:id/pcapng`"""

    @operation("What the hub has of a session and what comes, for Wireshark.", query=LiveQuery, media=(_PCAPNG,))
    async def get(self, session_id: str, *, query: LiveQuery) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        progress = ExportProgress(session=session.id, person="", format="pcapng", where=query.where)
        await self.stream(session, "pcapng", query.where, follow=True, progress=progress)


class TicketExport(StreamExport):
    """`/api/export/:ticket`"""

    _ticket: Ticket | None = None

    def identify(self) -> Person | None:
        ticket = self.hub.tickets.redeem(self.request.path.rpartition("/")[2])
        self._ticket = ticket
        return ticket.person if ticket and self.hub.admission.admits(ticket.person, time.time()) else None

    @operation(
        "The export a ticket was issued for, once.", media=tuple(FORMATS.values()), errors=(401,), needs_token=False
    )
    async def get(self, ticket: str) -> None:
        assert self._ticket is not None
        session, _ = await self.hub.look(self._ticket.session, self.person, wait_s=WAIT_S)
        asked = self._ticket
        if asked.file:
            await self._send(session, asked.file, asked.progress)
            return
        if asked.alert:
            await send_evidence(self, session, asked.alert, asked.progress)
            return
        await self.stream(session, asked.format, asked.where, follow=asked.follow, progress=asked.progress)

    async def _send(self, session: Session, path: Path, progress: ExportProgress) -> None:
        """A file that a recording wrote, piece by piece; it may make room for newer ones meanwhile."""
        self.looks_at = session
        pool, loop = self.hub.disk_pool, asyncio.get_running_loop()
        try:
            file = await loop.run_in_executor(pool, path.open, "rb")
        except OSError as error:
            raise NotFoundError(f"{path.name} is gone") from error
        try:
            size = os.fstat(file.fileno()).st_size
            self.set_header("Content-Type", FORMATS[progress.format])
            self.set_header("Content-Disposition", f'attachment; filename="{path.name}"')
            self.set_header("Content-Length", str(size))
            progress.state = "writing"
            while not self._reader_left and (piece := await loop.run_in_executor(pool, file.read, _PIECE_BYTES)):
                if not self.is_admitted():
                    raise NotAuthorizedError("the token has expired or was revoked, or the session is not shared now")
                self.write(piece)
                await self.flush()
                progress.bytes += len(piece)
            if progress.bytes == size:
                progress.end("done")
        except StreamClosedError:
            log.info("%s was broken off by its reader", path.name)
        except (AisharkError, OSError) as error:
            log.error("%s was not sent whole: %s", path.name, error)
            self.request.connection.stream.close()  # type: ignore[union-attr]
        finally:
            progress.end("cancelled", "Its reader broke it off.")
            await loop.run_in_executor(pool, file.close)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream", Streams),
    (r"/api/stream/start", StreamStart),
    (r"/api/stream/([0-9a-f]+)", Stream),
    (r"/api/stream/([0-9a-f]+)/stats", StreamStats),
    (r"/api/stream/([0-9a-f]+)/ledger", StreamLedger),
    (rf"/api/stream/{SESSION}/export", StreamExport),
    (r"/api/stream/([0-9a-f]+)/pcapng", StreamPcapng),
    (r"/api/export/([\w-]+)", TicketExport),
)
