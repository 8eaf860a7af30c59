"""Routes of recordings: start, list, stop."""

from typing import Final

import msgspec

from aishark_panel.streams.answers import RecordingAnswer, RecordingsAnswer
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import operation
from aishark_panel.streams.recording import RecordingOptions

__all__ = ["ROUTES"]


class Recordings(Guarded):
    """`/api/stream/:id/recordings`"""

    @operation("The recordings of a session.", answer=RecordingsAnswer)
    def get(self, session_id: str) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        self.finish({"recordings": self.hub.recorder.recordings(session, self.person)})

    @operation(
        "Write a session's packets into files, as they arrive.",
        body=RecordingOptions,
        answer=RecordingAnswer,
        status=201,
        errors=(409,),
    )
    async def post(self, session_id: str, *, body: RecordingOptions) -> None:
        status = await self.hub.recorder.start(self.hub.sessions.find(session_id, self.person), body)
        self.audit("recording.start", session_id, **msgspec.to_builtins(body))
        self.set_status(201)
        self.finish(status)


class RecordingById(Guarded):
    """`/api/stream/:id/recordings/:id`"""

    @operation("Stop a recording; answers how it ended.", answer=RecordingAnswer)
    async def delete(self, session_id: str, recording_id: str) -> None:
        status = await self.hub.recorder.stop(self.hub.sessions.find(session_id, self.person), recording_id)
        self.audit("recording.stop", session_id, recording=recording_id)
        self.finish(status)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream/([0-9a-f]+)/recordings", Recordings),
    (r"/api/stream/([0-9a-f]+)/recordings/([0-9a-f]+)", RecordingById),
)
