"""Routes of a session's alerts: list, acknowledge, archive, evidence, silences."""

import time
from typing import Annotated, Any, ClassVar, Final

import msgspec
from tornado.iostream import StreamClosedError

from aishark_panel.alerts.silences import Silence
from aishark_panel.errors import NotAuthorizedError
from aishark_panel.streams.answers import AlertAnswer, AlertsAnswer
from aishark_panel.streams.exportlog import ExportProgress
from aishark_panel.streams.exports import FORMATS
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import Answer, Query, operation
from aishark_panel.streams.session import Session

__all__ = ["ROUTES", "send_evidence"]

_PIECE_BYTES: Final = 2**18
"""Of evidence that is sent."""

ShortText = Annotated[str, msgspec.Meta(max_length=500)]


class AlertsQuery(Query):
    """Which alerts."""

    since: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    """what an earlier answer gave as `next`"""
    archived: bool = False
    """those that were archived as well"""


class AlertChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that changes an alert; what is left out, or null, stays."""

    acknowledged: bool | None = None
    archived: bool | None = None


class SilenceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that silences alerts."""

    rule: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    """name of their rule; null: any"""
    key: Annotated[dict[str, ShortText | int | float | bool | None], msgspec.Meta(max_length=8)] | None = None
    """what their key has, by column; null: any"""
    for_s: float = 3_600.0
    """seconds"""
    reason: ShortText = ""


class SilencesAnswer(Answer):
    """The silences that are not over, oldest first."""

    silences: tuple[Silence, ...]


class StreamAlerts(Guarded):
    """`/api/stream/:id/alerts`"""

    @operation("Alerts that changed, and how the rules fare.", query=AlertsQuery, answer=AlertsAnswer)
    def get(self, session_id: str, *, query: AlertsQuery) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        self.finish(session.alerts.since(query.since, archived=query.archived))


class AlertByNumber(Guarded):
    """`/api/stream/:id/alerts/:number`"""

    @operation("An alert.", answer=AlertAnswer)
    def get(self, session_id: str, number: str) -> None:
        self.finish(dict(self.hub.sessions.find(session_id, self.person).alerts.alert(int(number))))

    @operation("Acknowledge an alert or archive it, or take that back.", body=AlertChange, answer=AlertAnswer)
    async def patch(self, session_id: str, number: str, *, body: AlertChange) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        marks = {"acknowledged": body.acknowledged, "archived": body.archived}
        alert = await self.hub.alerting.mark(session, int(number), self.person.who, **marks)
        self.audit("alert.mark", session_id, number=alert["number"], rule=alert["rule"], **marks)
        self.finish(dict(alert))


class AlertEvidence(Guarded):
    """`/api/stream/:id/alerts/:number/evidence`"""

    needs: ClassVar = {"GET": "export"}

    @operation("The packets around the moment at which an alert fired, as a file.", media=(FORMATS["pcapng"],))
    async def get(self, session_id: str, number: str) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        await send_evidence(self, session, int(number))


async def send_evidence(
    handler: Guarded, session: Session, number: int, progress: ExportProgress | None = None
) -> None:
    """Send the evidence of an alert, piece by piece; NotFoundError, with the reason, if there is none."""
    data = await handler.hub.alerting.evidence(session, number)
    handler.looks_at = session
    handler.audit("alert.evidence", session.id, number=number)
    handler.set_header("Content-Type", FORMATS["pcapng"])
    handler.set_header("Content-Disposition", f'attachment; filename="alert-{number}.pcapng"')
    handler.set_header("Content-Length", str(len(data)))
    try:
        for at in range(0, len(data), _PIECE_BYTES):
            if not handler.is_admitted():
                raise NotAuthorizedError("the token has expired or was revoked, or the session is not shared now")
            handler.write(data[at : at + _PIECE_BYTES])
            await handler.flush()
    except StreamClosedError:
        return
    except NotAuthorizedError:
        # Too late for an error's status; without the last piece the reader knows that this is not the whole file.
        handler.request.connection.stream.close()  # type: ignore[union-attr]
        return
    if progress:
        progress.bytes = len(data)
        progress.end("done")


class Silences(Guarded):
    """`/api/stream/:id/silences`"""

    @operation("The silences of a session that are not over.", answer=SilencesAnswer)
    def get(self, session_id: str) -> None:
        silences = self.hub.sessions.find(session_id, self.person).alerts.silences.good(time.time_ns())
        self.finish({"silences": [msgspec.to_builtins(silence) for silence in silences]})

    @operation("Tell nobody of certain alerts for a while.", body=SilenceRequest, answer=Silence, status=201)
    async def post(self, session_id: str, *, body: SilenceRequest) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        key: dict[str, Any] | None = dict(body.key) if body.key is not None else None
        silence = await self.hub.alerting.silence(session, body.rule, key, body.for_s, body.reason, self.person.who)
        self.audit("silence.add", session_id, **msgspec.to_builtins(silence))
        self.set_status(201)
        self.finish(msgspec.to_builtins(silence))


class SilenceById(Guarded):
    """`/api/stream/:id/silences/:id`"""

    @operation("End a silence.", status=204)
    async def delete(self, session_id: str, silence_id: str) -> None:
        await self.hub.alerting.end_silence(self.hub.sessions.find(session_id, self.person), silence_id)
        self.audit("silence.delete", session_id, silence=silence_id)
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream/([0-9a-f]+)/alerts", StreamAlerts),
    (r"/api/stream/([0-9a-f]+)/alerts/([1-9][0-9]{0,15})", AlertByNumber),
    (r"/api/stream/([0-9a-f]+)/alerts/([1-9][0-9]{0,15})/evidence", AlertEvidence),
    (r"/api/stream/([0-9a-f]+)/silences", Silences),
    (r"/api/stream/([0-9a-f]+)/silences/([0-9a-f]+)", SilenceById),
)
