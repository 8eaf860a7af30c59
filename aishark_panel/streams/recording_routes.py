"""Routes of recordings: start, list, stop."""

from typing import Final

from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.recording import RecordingOptions

__all__ = ["ROUTES"]


class Recordings(Guarded):
    """`GET /api/stream/:id/recordings`, and `POST` to start one."""

    def get(self, session_id: str) -> None:
        self.finish({"recordings": self.hub.recorder.recordings(self.hub.session(session_id, self.person))})

    def post(self, session_id: str) -> None:
        session = self.hub.session(session_id, self.person)
        body = self.json_body()
        status = self.hub.recorder.start(session, RecordingOptions.parse(body))
        self.audit("recording.start", session_id, **body)
        self.set_status(201)
        self.finish(status)


class RecordingById(Guarded):
    """`DELETE /api/stream/:id/recordings/:id`: stop; answers how it ended."""

    async def delete(self, session_id: str, recording_id: str) -> None:
        status = await self.hub.recorder.stop(self.hub.session(session_id, self.person), recording_id)
        self.audit("recording.stop", session_id, recording=recording_id)
        self.finish(status)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream/([0-9a-f]+)/recordings", Recordings),
    (r"/api/stream/([0-9a-f]+)/recordings/([0-9a-f]+)", RecordingById),
)
