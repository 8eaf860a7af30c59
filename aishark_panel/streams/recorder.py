"""The recorder: all recordings of a hub, each followed by a task that works on threads for the disk.

Those threads are not the queries' ones: a disk that takes seconds to sync delays other recordings at most.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.partfile import make_folder
from aishark_panel.streams.people import OWNER
from aishark_panel.streams.recording import Recording, RecordingOptions
from aishark_panel.streams.session import Session

__all__ = ["Recorder", "default_folder"]

log = logging.getLogger(__name__)

MAX_RUNNING: Final = 16
"""Recordings that run at once, in the whole hub."""
MAX_RUNNING_EACH: Final = 4
"""Of one person's sessions, so that there are some for others; the hub's owner may have all."""
MAX_LISTED: Final = 100
"""Recordings of a session that are remembered, those that ended included."""
_STEP_S: Final = 0.2


def default_folder() -> Path:
    """Where recordings go unless the hub is told: below the user's data directory (XDG Base Directories)."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    return base / "aishark" / "recordings"


@dataclass(slots=True)
class _Followed:
    """A recording and the task that drives it; the task ends with the recording."""

    recording: Recording
    stop: asyncio.Event
    task: "asyncio.Task[None]"


class Recorder:
    """Recordings by id. All methods run on the event loop."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self.folder = folder
        self._executor = executor
        self._followed: dict[str, _Followed] = {}

    def start(self, session: Session, options: RecordingOptions) -> dict[str, Any]:
        """Begin to record a session; its status. Raises ConfigError or ExpressionError."""
        owners = [f.recording.session.owner for f in self._followed.values() if not f.task.done()]
        if len(owners) >= MAX_RUNNING:
            raise ConfigError(f"this hub makes {MAX_RUNNING} recordings at once, its most; stop one first")
        if session.owner != OWNER.name and owners.count(session.owner) >= MAX_RUNNING_EACH:
            raise ConfigError(
                f"{session.owner} has {MAX_RUNNING_EACH} recordings, the most of one person; stop one first"
            )
        make_folder(self.folder)
        recording = Recording(secrets.token_hex(6), session, options, self.folder, now_ns=time.time_ns())
        stop = asyncio.Event()
        task = asyncio.create_task(self._follow(recording, stop), name=f"recording {recording.id}")
        self._followed[recording.id] = _Followed(recording, stop, task)
        self._forget_old(session)
        return recording.status()

    async def stop(self, session: Session, recording_id: str) -> dict[str, Any]:
        """End a recording once it has written what the ring holds now; its last status. Raises NotFoundError."""
        followed = self._followed.get(recording_id)
        if followed is None or followed.recording.session is not session:
            raise NotFoundError(f"no recording {recording_id!r:.60} of this session")
        followed.stop.set()
        await asyncio.wait([followed.task])
        return followed.recording.status()

    def recordings(self, session: Session) -> list[dict[str, Any]]:
        """The status of each recording of a session, oldest first."""
        return [f.recording.status() for f in self._of(session)]

    async def forget(self, session: Session) -> None:
        """End all recordings of a session that is deleted; their files stay."""
        for followed in self._of(session):
            await self.stop(session, followed.recording.id)
            del self._followed[followed.recording.id]

    async def close(self) -> None:
        """End all recordings."""
        tasks = [f.task for f in self._followed.values()]
        for followed in self._followed.values():
            followed.stop.set()
        if tasks:
            await asyncio.wait(tasks)

    def _of(self, session: Session) -> list[_Followed]:
        return [f for f in self._followed.values() if f.recording.session is session]

    def _forget_old(self, session: Session) -> None:
        ended = [f.recording.id for f in self._of(session) if f.task.done()]
        for recording_id in ended[: max(0, len(self._of(session)) - MAX_LISTED)]:
            del self._followed[recording_id]

    async def _follow(self, recording: Recording, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        try:
            while recording.state == "recording":
                stopping = stop.is_set()
                await self._catch_up(recording)
                if stopping:
                    await loop.run_in_executor(self._executor, recording.finish)
                    break
                await loop.run_in_executor(self._executor, recording.rotate_if_due, time.monotonic())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _STEP_S)
        except Exception:
            log.exception("recording %s of session %s failed", recording.id, recording.session.name)
            await loop.run_in_executor(self._executor, recording.fail, "The recording failed; the hub's log says why.")
        if recording.reason:
            log.warning("recording of session %s: %s", recording.session.name, recording.reason)

    async def _catch_up(self, recording: Recording) -> None:
        """Write what the ring holds now, a chunk at a time, so that recordings take turns on the threads."""
        loop = asyncio.get_running_loop()
        end = recording.session.ring.end
        while recording.state == "recording" and recording.cursor < end:
            await loop.run_in_executor(self._executor, recording.advance, end, time.monotonic())
