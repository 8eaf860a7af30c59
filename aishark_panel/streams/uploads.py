"""Uploads: capture files that clients send in chunks, and that become sessions.

A file is received into a part file. Each chunk says where it belongs, so a transfer that broke goes on where the hub
says it stopped. Once whole, the file is read in the background into a session (streams/fileingest.py) and removed.
"""

import asyncio
import hashlib
import logging
import secrets
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import AisharkError, ConfigError, ConflictError, NotFoundError, TooManyRequestsError
from aishark_panel.streams.fileingest import ingest_file
from aishark_panel.streams.ingest import Ingest
from aishark_panel.streams.operation import Answer
from aishark_panel.streams.partfile import PartFile, make_folder
from aishark_panel.streams.people import OWNER, Person

__all__ = [
    "DEFAULT_MAX_UPLOAD_BYTES",
    "MAX_CHUNK_BYTES",
    "Upload",
    "UploadAnswer",
    "UploadRequest",
    "UploadState",
    "Uploads",
]

log = logging.getLogger(__name__)

DEFAULT_MAX_UPLOAD_BYTES: Final = 4096 * 2**20
MAX_CHUNK_BYTES: Final = 8 * 2**20
MAX_UPLOADS: Final = 100
"""Uploads that are remembered, those that ended included."""
MAX_UPLOADS_EACH: Final = 25
"""Of one person, so that there are some for others; the hub's owner may have all."""
BYTES_EACH: Final = 2
"""One person's uploads on their way have at most so many times the bytes of the largest file; the owner's may have
all."""
KEEP_FREE_BYTES: Final = 256 * 2**20
"""Of the disk, for journals and recordings: no file is taken that would leave less."""
MAX_CHUNKS_BYTES: Final = 128 * 2**20
"""Chunks in memory at once, of all uploads."""
_IDLE_S: Final = 3_600.0
"""An upload that gets no chunk for so long is given up."""

UploadState = Literal["receiving", "parsing", "done", "failed"]


class UploadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client says of the file it is going to send."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    size: Annotated[int, msgspec.Meta(ge=0)]
    """bytes"""
    session: str | None = None
    """id of a session to add the packets to; None: a new one, named like the file"""


class UploadAnswer(Answer):
    """A capture file on its way to a session."""

    id: str
    name: str
    size: int
    offset: int
    state: UploadState
    progress: float
    bytes_read: int
    packets: int
    session: str
    warning: str
    reason: str


@dataclass(slots=True)
class Upload:
    """One file on its way from a client to a session."""

    id: str
    request: UploadRequest
    owner: str
    """name of the person who sends it"""
    target: Callable[[], Ingest]
    """gives the session's writer once the file turned out to be a capture"""
    part: PartFile
    touched_s: float
    state: UploadState = "receiving"
    offset: int = 0
    """bytes received"""
    bytes_read: int = 0
    packets: int = 0
    session: str = ""
    warning: str = ""
    """what was damaged or cut at the end of the file"""
    reason: str = ""
    """why it failed"""
    given_up: bool = False
    break_off: Callable[[], None] | None = None
    """ends the request by which a chunk is coming in"""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: "asyncio.Task[None] | None" = None

    def status(self) -> dict[str, Any]:
        """State and progress; docs/protocol.md names every field."""
        done = self.offset if self.state == "receiving" else self.bytes_read
        return {
            "id": self.id,
            "name": self.request.name,
            "size": self.request.size,
            "offset": self.offset,
            "state": self.state,
            "progress": 1.0 if self.state == "done" else done / max(self.request.size, 1),
            "bytes_read": self.bytes_read,
            "packets": self.packets,
            "session": self.session,
            "warning": self.warning,
            "reason": self.reason,
        }


class Uploads:
    """Uploads by id. All methods run on the event loop; bytes are written and read on the executor's threads."""

    def __init__(self, folder: Path, executor: Executor, *, max_bytes: int = DEFAULT_MAX_UPLOAD_BYTES) -> None:
        self.folder = folder
        self._executor = executor
        self._max_bytes = max_bytes
        self._uploads: dict[str, Upload] = {}
        self._chunks_bytes = 0

    async def create(self, request: UploadRequest, owner: str, target: Callable[[], Ingest]) -> Upload:
        """Make ready to receive a file. Raises ConfigError where it is too big, or there are too many."""
        if request.size > self._max_bytes:
            raise ConfigError(
                f"{request.name} has {request.size:,} bytes; this hub takes at most {self._max_bytes:,} "
                "(option --max-upload-mib)."
            )
        await self._make_room(owner)
        under_way = [u for u in self._uploads.values() if u.state in ("receiving", "parsing")]
        theirs = sum(u.request.size for u in under_way if u.owner == owner)
        if owner != OWNER.name and theirs + request.size > BYTES_EACH * self._max_bytes:
            raise ConfigError(
                f"{owner} has uploads of {theirs:,} bytes on their way; with {request.name} these would be more than "
                f"{BYTES_EACH * self._max_bytes:,}, the most of one person."
            )
        promised = sum(u.request.size - u.offset for u in under_way)
        upload_id = secrets.token_hex(12)
        loop = asyncio.get_running_loop()
        part = await loop.run_in_executor(self._executor, self._open_part, upload_id, request, promised)
        upload = Upload(upload_id, request, owner, target, part, time.monotonic())
        self._uploads[upload_id] = upload
        self._parse_if_whole(upload)
        return upload

    def _open_part(self, upload_id: str, request: UploadRequest, promised: int) -> PartFile:
        """On a thread for the disk: the file that takes an upload, where there is room beside what is promised."""
        make_folder(self.folder)
        free = max(0, shutil.disk_usage(self.folder).free - promised - KEEP_FREE_BYTES)
        if request.size > free:
            raise ConfigError(f"{request.name} has {request.size:,} bytes; the hub's disk has {free:,} left for it.")
        try:
            return PartFile(self.folder / upload_id)
        except OSError as error:
            raise ConfigError(f"The hub cannot write to {self.folder}: {error.strerror}.") from error

    def find(self, upload_id: str, person: Person) -> Upload:
        """The upload of that id. NotFoundError if there is none that this person sees."""
        upload = self._uploads.get(upload_id)
        if upload is None or not person.sees(upload.owner):
            raise NotFoundError(f"no upload {upload_id!r:.60}; begin it again")
        return upload

    def hold(self, chunk_bytes: int) -> None:
        """A chunk of that size is going to be in memory; call `let_go` in the end. Raises TooManyRequestsError where
        there are too many."""
        if self._chunks_bytes + chunk_bytes > MAX_CHUNKS_BYTES:
            raise TooManyRequestsError("This hub is receiving as much as it can hold; send the chunk again.")
        self._chunks_bytes += chunk_bytes

    def let_go(self, chunk_bytes: int) -> None:
        """The chunk is in memory no more."""
        self._chunks_bytes -= chunk_bytes

    async def append(self, upload: Upload, offset: int, chunk: bytes | bytearray, digest: bytes | None = None) -> None:
        """Take the bytes that belong at `offset`, of which that is the SHA-256. Raises ConflictError where others are
        due or they came damaged, ConfigError beyond the end or where the disk does not take them."""
        async with upload.lock:
            if upload.state != "receiving":
                raise ConflictError(f"{upload.request.name} takes no more bytes: it is {upload.state}.")
            if offset != upload.offset:
                raise ConflictError(f"The next byte of {upload.request.name} is {upload.offset:,}, not {offset:,}.")
            if offset + len(chunk) > upload.request.size:
                raise ConfigError(f"{upload.request.name} was announced with {upload.request.size:,} bytes, no more.")
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, _keep, upload.part, chunk, digest)
            except OSError as error:
                await self._fail(upload, f"The hub could not keep {upload.request.name}: {error.strerror}.")
                raise ConfigError(upload.reason) from error
            upload.offset += len(chunk)
            upload.touched_s = time.monotonic()
            self._parse_if_whole(upload)

    async def delete(self, upload: Upload) -> None:
        """Give an upload up, or forget one that ended; packets it has brought stay."""
        async with upload.lock:
            upload.given_up = True
            if upload.task:
                await asyncio.wait([upload.task])  # it ends with the batch it is at
            if upload.state == "receiving":
                await self._fail(upload, "It was given up.")
            self._uploads.pop(upload.id, None)

    async def close(self) -> None:
        """Give up all uploads."""
        for upload in list(self._uploads.values()):
            await self.delete(upload)

    async def _make_room(self, owner: str) -> None:
        now_s = time.monotonic()
        for upload in list(self._uploads.values()):
            if upload.state == "receiving" and now_s - upload.touched_s > _IDLE_S:
                await self.delete(upload)
        if owner != OWNER.name:
            theirs = [u for u in self._uploads.values() if u.owner == owner]
            if await self._forget_ended(theirs, MAX_UPLOADS_EACH):
                raise ConfigError(f"{owner} has {MAX_UPLOADS_EACH} uploads on their way, the most of one person")
        if await self._forget_ended(list(self._uploads.values()), MAX_UPLOADS):
            raise ConfigError(f"this hub takes {MAX_UPLOADS} uploads at once, its most; try again later")

    async def _forget_ended(self, uploads: list[Upload], most: int) -> bool:
        """Make room for one more among these by forgetting the oldest that ended; whether there is none."""
        surplus = max(0, len(uploads) + 1 - most)
        ended = [u for u in uploads if u.state in ("done", "failed")][:surplus]
        for upload in ended:
            await self.delete(upload)
        return len(ended) < surplus

    def _parse_if_whole(self, upload: Upload) -> None:
        if upload.offset == upload.request.size:
            upload.state = "parsing"
            upload.task = asyncio.create_task(self._parse(upload), name=f"upload {upload.id}")

    async def _parse(self, upload: Upload) -> None:
        try:
            await self._ingest(upload)
        except AisharkError as error:
            await self._fail(upload, str(error))
        except Exception:
            log.exception("upload %s failed", upload.request.name)
            await self._fail(upload, f"{upload.request.name} could not be read; the hub's log says why.")
        else:
            await self._discard(upload)
            upload.bytes_read, upload.state = upload.request.size, "done"

    async def _ingest(self, upload: Upload) -> None:
        loop = asyncio.get_running_loop()
        with open_capture(upload.part.part) as file:
            file.name = upload.request.name  # what people are told; they do not know the part file
            frames = await loop.run_in_executor(self._executor, file.read)
            while not frames and not file.ended:  # a file that is no capture, or is cut before a packet, ends here
                frames = await loop.run_in_executor(self._executor, file.read)
            ingest = upload.target()
            upload.session = ingest.session.id

            def progress() -> None:
                upload.bytes_read, upload.packets = file.bytes_done, file.packets
                if upload.given_up:
                    raise ConflictError("It was given up.")

            await ingest_file(file, frames, ingest, self._executor, progress)
            upload.warning = file.warning or ""

    async def _fail(self, upload: Upload, reason: str) -> None:
        upload.state, upload.reason = "failed", reason
        await self._discard(upload)

    async def _discard(self, upload: Upload) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, upload.part.discard)


def _keep(part: PartFile, chunk: bytes | bytearray, digest: bytes | None) -> None:
    if digest is not None and hashlib.sha256(chunk).digest() != digest:
        raise ConflictError("The chunk was damaged on its way; send it again.")
    part.write(memoryview(chunk))
