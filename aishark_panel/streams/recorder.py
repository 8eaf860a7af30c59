"""The recorder: all recordings of a hub, each followed by a task that works on threads for the disk.

Those threads are not the queries' ones: a disk that takes seconds to sync delays other recordings at most.

In a hub with a journal recordings outlive it. They write no packet before the journal has it safe: a packet that came
in again would have got another number. After a restart they read along while sessions are read back, which waits for
them, so that the ring lets nothing go that they still need.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from aishark_panel.errors import AisharkError, ConfigError, NotFoundError
from aishark_panel.streams.diskroom import DiskRoom
from aishark_panel.streams.manifest import Manifest, read_manifests
from aishark_panel.streams.partfile import make_folder
from aishark_panel.streams.people import OWNER, Person
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
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """held by who writes"""
    task: "asyncio.Task[None] | None" = None

    @property
    def ended(self) -> bool:
        return self.task is None or self.task.done()


class Recorder:
    """Recordings by id. All methods run on the event loop.

    `limit_bytes` bounds what all files in the folder take; None: the disk does. `journal` is the id of the journal that
    lets sessions and their recordings outlive the hub; "": nothing does.
    """

    def __init__(self, folder: Path, executor: Executor, *, limit_bytes: int | None = None, journal: str = "") -> None:
        self.folder = folder
        self._executor = executor
        self._journal = journal
        self._room = DiskRoom(folder, limit_bytes, self._forget_file)
        self._followed: dict[str, _Followed] = {}
        self._closing = False
        self._starting: list[str] = []
        """owners of the sessions of recordings that are being made"""
        self._begun_ns = 0
        """when the newest was begun; each in a millisecond of its own, as its files and manifest are named by that"""
        self.are_back = asyncio.Event()
        """set once the recordings of the hub before are known"""

    async def resume(self, sessions: Mapping[str, Session]) -> None:
        """Bring back the recordings that the hub before had of these sessions (by id); those that ran go on."""
        loop = asyncio.get_running_loop()
        try:
            manifests: list[Manifest] = []
            if self._journal:
                manifests = await loop.run_in_executor(self._executor, read_manifests, self.folder, self._journal)
            for manifest in manifests:
                if session := sessions.get(manifest.session):
                    recording = await loop.run_in_executor(self._executor, self._resumed, manifest, session)
                    if recording:
                        self._follow_it(recording)
                else:
                    with contextlib.suppress(OSError):
                        await loop.run_in_executor(self._executor, manifest.remove, self.folder)
        finally:
            self.are_back.set()

    def _resumed(self, manifest: Manifest, session: Session) -> Recording | None:
        try:
            return Recording.resume(manifest, session, self.folder, self._room)
        except (AisharkError, OSError) as error:
            log.error("recording %s of session %s does not go on: %s", manifest.id, session.name, error)
            return None

    async def keep_up(self, session: Session) -> None:
        """Write what the ring holds of a session that is being read back: it is to wait for its recordings."""
        for followed in self._of(session):
            async with followed.lock:
                with contextlib.suppress(Exception):  # its own task meets it as well
                    await self._catch_up(followed.recording, session.ring.end)

    def read_back(self, session: Session) -> None:
        """A session has been read back. Recordings that are ahead, as the journal had failed, go on with what comes."""
        for followed in self._of(session):
            followed.recording.turn_back(session.ring.end)

    async def start(self, session: Session, options: RecordingOptions) -> dict[str, Any]:
        """Begin to record a session; its status. Raises ConfigError or ExpressionError, NotFoundError if the session is
        deleted meanwhile."""
        self._starting.append(session.owner)
        try:
            self._require_room(session)
            self._begun_ns = max(time.time_ns(), self._begun_ns + 10**6)
            make = partial(self._made, session, options, self._begun_ns)
            recording = await asyncio.get_running_loop().run_in_executor(self._executor, make)
        finally:
            self._starting.remove(session.owner)
        if session.deleted or self._closing:
            await asyncio.get_running_loop().run_in_executor(self._executor, recording.forget)
            raise NotFoundError("the session was deleted meanwhile")
        self._follow_it(recording)
        await self._forget_old(session)
        return recording.status()

    def _require_room(self, session: Session) -> None:
        """ConfigError where another recording, which is among those that start, would be one too many."""
        owners = [f.recording.session.owner for f in self._followed.values() if not f.ended] + self._starting[:-1]
        if len(owners) >= MAX_RUNNING:
            raise ConfigError(f"this hub makes {MAX_RUNNING} recordings at once, its most; stop one first")
        if session.owner != OWNER.name and owners.count(session.owner) >= MAX_RUNNING_EACH:
            raise ConfigError(
                f"{session.owner} has {MAX_RUNNING_EACH} recordings, the most of one person; stop one first"
            )

    def _made(self, session: Session, options: RecordingOptions, now_ns: int) -> Recording:
        """On a thread for the disk, which may be slow, as expressions may be: a recording that has yet to begin."""
        make_folder(self.folder)
        recording = Recording(
            *(secrets.token_hex(6), session, options, self.folder),
            now_ns=now_ns,
            room=self._room,
            journal=self._journal,
        )
        try:
            recording.save()
        except OSError as error:
            raise ConfigError(f"The hub cannot record: {self.folder} takes nothing ({error.strerror}).") from error
        return recording

    async def stop(self, session: Session, recording_id: str) -> dict[str, Any]:
        """End a recording once it has written what the ring holds now; its last status. Raises NotFoundError."""
        followed = self._followed.get(recording_id)
        if followed is None or followed.recording.session is not session:
            raise NotFoundError(f"no recording {recording_id!r:.60} of this session")
        followed.stop.set()
        if followed.task:
            await asyncio.wait([followed.task])
        return followed.recording.status()

    def recordings(self, session: Session, person: Person) -> list[dict[str, Any]]:
        """The status of each recording of a session, oldest first. Where the hub keeps its files is told to those whose
        session it is."""
        hidden = {} if person.sees(session.owner) else {"folder": ""}
        return [f.recording.status() | hidden for f in self._of(session)]

    def file(self, session: Session, recording_id: str, name: str) -> Path:
        """Where a whole file of a recording is; NotFoundError if there is none of that name."""
        found = next((f.recording for f in self._of(session) if f.recording.id == recording_id), None)
        if found is None or not found.has_file(name):
            raise NotFoundError(
                f"this session has no recorded file {name!r:.100}; it may have made room for newer ones"
            )
        return self.folder / name

    def past(self, session: Session, *, archive: bool = False) -> list[Path]:
        """The finished files of a session in the order of its packets, none of them twice: of recordings that ran at
        the same time those of the longer one. `archive`: only Parquet of whole sessions."""
        recordings = [f.recording for f in self._of(session)]
        if archive:
            recordings = [r for r in recordings if r.options.format == "parquet" and not r.options.where]
        longest = sorted(recordings, key=lambda r: r.first - r.cursor)
        taken: list[Recording] = []
        for recording in longest:
            if all(recording.cursor <= other.first or other.cursor <= recording.first for other in taken):
                taken.append(recording)
        taken.sort(key=lambda recording: recording.first)
        return [path for recording in taken for path in recording.files]

    async def forget(self, session: Session) -> None:
        """End all recordings of a session that is deleted; their files stay."""
        for followed in self._of(session):
            await self.stop(session, followed.recording.id)
            await self._forget(followed.recording)

    async def close(self) -> None:
        """End all recordings. Those of sessions that outlive the hub go on with the next one."""
        self._closing = True
        tasks = [f.task for f in self._followed.values() if f.task]
        for followed in self._followed.values():
            followed.stop.set()
        if tasks:
            await asyncio.wait(tasks)

    def _follow_it(self, recording: Recording) -> None:
        followed = self._followed[recording.id] = _Followed(recording)
        recording.session.recordings.append(recording)
        if recording.goes_on:
            followed.task = asyncio.create_task(self._follow(followed), name=f"recording {recording.id}")

    def _of(self, session: Session) -> list[_Followed]:
        return [f for f in self._followed.values() if f.recording.session is session]

    async def _forget_old(self, session: Session) -> None:
        ended = [f.recording for f in self._of(session) if f.ended]
        for recording in ended[: max(0, len(self._of(session)) - MAX_LISTED)]:
            await self._forget(recording)

    async def _forget(self, recording: Recording) -> None:
        if self._followed.pop(recording.id, None) is None:
            return  # another start, or the session's end, did it meanwhile
        recording.session.recordings.remove(recording)
        await asyncio.get_running_loop().run_in_executor(self._executor, recording.forget)

    def _forget_file(self, name: str) -> None:
        """On a thread for the disk: a file made room for newer ones."""
        if not any(f.recording.forget_file(name) for f in list(self._followed.values())):
            log.info("%s made room for newer recordings", name)

    async def _follow(self, followed: _Followed) -> None:
        loop, recording, stop = asyncio.get_running_loop(), followed.recording, followed.stop
        session, said = recording.session, ""
        try:
            while recording.goes_on:
                stopping = stop.is_set()
                suspending = stopping and self._closing and bool(self._journal)
                end = session.ring.end if stopping and not suspending else session.safe_end
                async with followed.lock:
                    await self._catch_up(recording, end)
                    if suspending:
                        await loop.run_in_executor(self._executor, recording.suspend)
                        return
                    if stopping:
                        await loop.run_in_executor(self._executor, recording.finish, end)
                        break
                    await loop.run_in_executor(self._executor, recording.tidy, time.monotonic())
                if recording.reason != said:
                    said = recording.reason
                    log.warning("recording of session %s: %s", session.name, said or "it goes on")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _STEP_S)
        except Exception:
            log.exception("recording %s of session %s failed", recording.id, session.name)
            await loop.run_in_executor(self._executor, recording.fail, "The recording failed; the hub's log says why.")
        if recording.reason:
            log.warning("recording of session %s: %s", session.name, recording.reason)

    async def _catch_up(self, recording: Recording, end: int) -> None:
        """Write what the ring holds, a chunk at a time, so that recordings take turns on the threads."""
        loop = asyncio.get_running_loop()
        while recording.state == "recording" and recording.cursor < end:
            await loop.run_in_executor(self._executor, recording.advance, end, time.monotonic())
