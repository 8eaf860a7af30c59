"""The clients' socket: requests of dashboards, notebooks and tools; streams/queries.py answers most of them."""

import asyncio
import logging
import time
from typing import Any, Final

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from aishark_panel.errors import AisharkError, ConfigError, HubError, NotFoundError, ProtocolError
from aishark_panel.query import compile_expression
from aishark_panel.streams.exports import check_format
from aishark_panel.streams.guard import GuardedSocket, Route
from aishark_panel.streams.operation import operation
from aishark_panel.streams.people import Capability
from aishark_panel.streams.people_routes import told
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.recording import RecordingOptions
from aishark_panel.wire.messages import Reply, Request, decode_request, encode_reply
from aishark_panel.wire.protocol import error_reply

__all__ = ["ROUTES"]

log = logging.getLogger(__name__)


_HISTORY_S: Final = 0.3
"""A question waits so long for a time that is being read back; what is short is then complete at once."""

AUDITED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "start": ("session.start", ()),
    "stop": ("session.stop", ()),
    "clear": ("session.clear", ()),
    "delete": ("session.delete", ()),
    "export_ticket": ("session.export_ticket", ("format", "where")),
    "evidence_ticket": ("alert.evidence_ticket", ("number",)),
    "recording_ticket": ("recording.export_ticket", ("recording", "file")),
    "record_start": ("recording.start", ("options",)),
    "record_stop": ("recording.stop", ("recording",)),
}
"""Methods that are written down, what they are called there, and parameters that are told: those that were checked, as
what is written down stays for ever."""

NEEDS: Final[dict[str, Capability]] = {
    **dict.fromkeys(("start", "stop", "clear", "delete", "record_start", "record_stop"), "capture"),
    **dict.fromkeys(
        ("export_ticket", "export_status", "export_cancel", "recording_ticket", "evidence_ticket"), "export"
    ),
}
"""What methods ask for; the others only look."""


class ClientSocket(GuardedSocket):
    """`/api/clients/ws`"""

    kind = "client"
    for_guests = True

    @operation("Requests of a dashboard, notebook or tool, answered in order.", status=101)
    def open(self) -> None:
        if self.take_place():
            self.hub.sessions.welcome(self.person)

    def on_close(self) -> None:
        self.leave_place()

    async def on_message(self, message: str | bytes) -> None:
        # Who asks too often waits: until then nothing more is read, so it is held up by its own socket.
        while wait_s := self.hub.socket_requests.wait_s(f"{id(self):x}", time.monotonic()):  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
        if not self.require_admission():
            return
        try:
            request = decode_request(message)
        except ProtocolError as error:
            self.refuse(str(error))
            return
        try:
            result, body = await self._answer(request)
            if request.method in AUDITED:
                action, told_of = AUDITED[request.method]
                details = {name: request.params.get(name) for name in told_of}
                self.audit(action, str(request.params.get("session", "")), **details)
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
        self.require(NEEDS.get(request.method, "view"))
        params = request.params
        session_id = str(params.get("session", ""))
        match request.method:
            case "sessions":
                return {"sessions": self.hub.sessions.list(self.person)}, b""
            case "me":
                return told(self.person), b""
            case "start" | "stop":
                self.hub.agents.set_capture(self.hub.sessions.find(session_id, self.person), request.method == "start")
                return {}, b""
            case "clear":
                await self.hub.clear(session_id, self.person)
                return {}, b""
            case "delete":
                await self.hub.delete(session_id, self.person)
                return {}, b""
            case "recordings":
                session = self.hub.sessions.find(session_id, self.person)
                return {"recordings": self.hub.recorder.recordings(session, self.person)}, b""
            case "record_start":
                options = RecordingOptions.parse(params.get("options", {}))
                return await self.hub.recorder.start(self.hub.sessions.find(session_id, self.person), options), b""
            case "record_stop":
                recording_id = str(params.get("recording", ""))
                return await self.hub.recorder.stop(self.hub.sessions.find(session_id, self.person), recording_id), b""
            case "export_ticket":
                export_format, where = str(params.get("format", "pcapng")), str(params.get("where", ""))
                follow = bool(params.get("follow"))
                check_format(export_format, follow=follow)
                await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, compile_expression, where)
                ticket = self.hub.issue_ticket(session_id, self.person, export_format, where, follow=follow)
                return {"ticket": ticket}, b""
            case "recording_ticket":
                session, name = self.hub.sessions.find(session_id, self.person), str(params.get("file", ""))
                file = self.hub.recorder.file(session, str(params.get("recording", "")), name)
                return {"ticket": self.hub.issue_ticket(session.id, self.person, file.suffix[1:], file=file)}, b""
            case "evidence_ticket":
                session, number = self.hub.sessions.find(session_id, self.person), params.get("number")
                if not isinstance(number, int):
                    raise ConfigError(f"number must be that of an alert, got {number!r:.50}")
                await self.hub.alerting.evidence(session, number)
                return {"ticket": self.hub.issue_ticket(session.id, self.person, "pcapng", alert=number)}, b""
            case "export_status" | "export_cancel":
                session = self.hub.sessions.find(session_id, self.person)
                progress = self.hub.exports.get(str(params.get("ticket", "")), session.id, self.person)
                if request.method == "export_cancel":
                    progress.end("cancelled", "It was cancelled.")
                return progress.status(), b""
        method = METHODS.get(request.method)
        if method is None:
            raise ConfigError(f"no method {request.method!r:.50}")
        session, history = await self.hub.look(session_id, self.person, wait_s=_HISTORY_S)
        loop, pool = asyncio.get_running_loop(), self.hub.query_pool
        if history is None:
            return await loop.run_in_executor(pool, method, session, params)
        reading = history.reading  # before the answer: what is read meanwhile may not be in it
        try:
            result, body = await loop.run_in_executor(pool, method, session, params)
        except NotFoundError:  # it may be of another time
            result, body = await loop.run_in_executor(pool, method, history.live, params)
        partial_answer = {"complete": False} if reading and "complete" in result else {}
        return {**result, **partial_answer, "reading": reading, "missing": history.problem}, body


ROUTES: Final[tuple[Route, ...]] = ((r"/api/clients/ws", ClientSocket),)
