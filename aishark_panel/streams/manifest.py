"""Manifests: what a hub must know to go on with a recording after it was killed, in a file beside the recording's own.

A manifest is replaced as a whole: written aside, synced, renamed. It is written when a recording begins and ends,
before each of its files gets its name, and every few seconds with what of the file being written is safe on the disk.
So at whatever moment the hub dies, the manifest and the files that it names say the same.
"""

import logging
import os
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import msgspec

from aishark_panel.errors import ConfigError
from aishark_panel.streams.partfile import sync_folder
from aishark_panel.streams.segments import write_all

__all__ = [
    "LISTED_FILES",
    "Counts",
    "FileNote",
    "Manifest",
    "PartNote",
    "Recorded",
    "RecordingOptions",
    "RecordingState",
    "read_manifests",
]

log = logging.getLogger(__name__)

RecordingState = Literal["recording", "waiting", "stopped", "failed"]

LISTED_FILES: Final = 100
"""Most files that a manifest, or a recording's status, names: the newest."""
_SUFFIX: Final = ".recording"
_NEW: Final = ".new"
_MAX_BYTES: Final = 2**20
Count = Annotated[int, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$")]
FilePath = Annotated[
    str, msgspec.Meta(pattern=r"^([a-z]+=[A-Za-z0-9_-]{1,60}/){0,3}[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$")
]


class Recorded(Protocol):
    """A recording of the session, as its statistics see it; counts are packets."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str:
        """recording, waiting, stopped or failed"""

    @property
    def reason(self) -> str:
        """why it waits or failed, in words"""

    @property
    def first(self) -> int:
        """number of the first packet it looked at"""

    @property
    def counts(self) -> "Counts": ...


class RecordingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to record, and in which files."""

    format: Literal["pcapng", "parquet"] = "pcapng"
    where: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    """record packets that match this expression"""
    start: Literal["now", "oldest"] = "now"
    """with the next packet, or with the oldest in the ring"""
    rotate_bytes: Annotated[int, msgspec.Meta(ge=65_536)] | None = None
    """a file ends with the packet that makes it this long; default: 1 GiB, Parquet 64 MiB"""
    rotate_s: Annotated[float, msgspec.Meta(ge=0.1)] | None = None
    """and at this age; default: never, Parquet 10 s, or 10 min where the hub keeps a journal"""
    rotate_packets: Annotated[int, msgspec.Meta(ge=1_000)] | None = None
    """and with so many packets; default: any number"""
    max_files: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """finished files kept, the oldest are deleted; default: all"""

    @classmethod
    def parse(cls, body: object) -> "RecordingOptions":
        """Options from a JSON object. Raises ConfigError."""
        try:
            return msgspec.convert(body, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"these are no options of a recording: {error}") from None


class Counts(msgspec.Struct, frozen=True):
    """How far a recording is, in packets. All packets before the cursor are in one of the other three."""

    cursor: Count
    """number of the next packet to look at"""
    written: Count = 0
    failed: Count = 0
    """gone from the ring before their turn"""
    left_out: Count = 0
    """that do not match"""


class FileNote(msgspec.Struct, frozen=True):
    """A file of a recording."""

    name: FilePath
    """its path within the folder of recordings"""
    packets: Count
    bytes: Count


class PartNote(msgspec.Struct, frozen=True):
    """What of the file being written is safe, and where the recording is behind that."""

    file: FileNote
    counts: Counts


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A recording as it was last written down."""

    version: Literal[1] = 1
    journal: str
    """id of the hub's journal: hubs may share a folder"""
    session: str
    id: str
    stem: Name
    """what the names of its files, and of this one, begin with"""
    options: RecordingOptions
    state: RecordingState
    reason: str
    first: Count
    """number of the first packet that was looked at"""
    counts: Counts
    """behind the last of `files`"""
    opened: Count
    """files begun"""
    ended: Count
    """files that ended whole, those included that are deleted"""
    files: tuple[FileNote, ...]
    """the newest of them, oldest first"""
    part: PartNote | None = None
    """the file being written is to be cut there"""

    def save(self, folder: Path) -> None:
        """Write it in the place of the one before. Raises OSError; then that one stays."""
        path = folder / f"{self.stem}{_SUFFIX}"
        new = path.with_name(path.name + _NEW)
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                write_all(fd, [msgspec.json.encode(self)])
                os.fsync(fd)
            finally:
                os.close(fd)
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        sync_folder(folder)

    def remove(self, folder: Path) -> None:
        """The recording is to be forgotten; its files stay."""
        (folder / f"{self.stem}{_SUFFIX}").unlink(missing_ok=True)


def read_manifests(folder: Path, journal: str) -> list[Manifest]:
    """The manifests of the hub with this journal, oldest first. What cannot be read is said in the log."""
    found = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
                manifest = msgspec.json.decode(file.read(_MAX_BYTES), type=Manifest)
        except (OSError, msgspec.DecodeError, RecursionError, UnicodeError) as error:
            log.error("the manifest %s cannot be read, so its recording does not go on: %s", path, error)
            continue
        if manifest.journal == journal and path.name == f"{manifest.stem}{_SUFFIX}":
            found.append(manifest)
    return sorted(found, key=lambda manifest: manifest.stem[-20:])
