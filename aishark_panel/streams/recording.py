"""One recording: a session's packets written to files while capture goes on.

A recording is a cursor in the ring, as an export is: nothing is queued for it, and it cannot delay ingest. Packets that
are evicted (or cleared) before their turn, and packets of a file that a full disk spoilt, count as failed; so offered
packets are those written and those failed. What the packets were is unknown once they are evicted, so with `where` all
of them count as offered.

Files are rotated by size and time. At every moment all are whole but the newest, a part (streams/partfile.py) that
holds whole blocks up to the last step.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from aishark_panel.errors import ConfigError
from aishark_panel.export.tables import Rows
from aishark_panel.export.writer import Writer, open_writer
from aishark_panel.query import compile_expression
from aishark_panel.streams.partfile import PartFile
from aishark_panel.streams.session import Session
from aishark_panel.wire.packets import Packets

__all__ = ["Recording", "RecordingOptions", "RecordingState"]

RecordingState = Literal["recording", "stopped", "failed"]

_CHUNK_ROWS: Final = 8_192
_BLOCK_BYTES: Final = 36
"""Most bytes of a packet in pcapng beside its frame."""
_PIECE_BYTES: Final = {"pcapng": 2**20, "parquet": 2**40}
"""Most bytes of frames written at once: so much, at most, is taken back when the disk is full in the middle of it."""
_NAME_CHARACTERS: Final = 60
_LISTED_FILES: Final = 100
_ROTATE_BYTES: Final = {"pcapng": 2**30, "parquet": 64 * 2**20}
_ROTATE_S: Final = {"pcapng": float("inf"), "parquet": 10.0}
"""A Parquet file is worth nothing before its end is written: short files bound what a killed hub loses."""


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
    """and at this age; default: never, Parquet 10 s"""
    max_files: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """finished files kept, the oldest are deleted; default: all"""

    @classmethod
    def parse(cls, body: object) -> "RecordingOptions":
        """Options from a JSON object. Raises ConfigError."""
        try:
            return msgspec.convert(body, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"these are no options of a recording: {error}") from None


@dataclass(slots=True)
class _OpenFile:
    """The file being written."""

    part: PartFile
    writer: Writer
    opened_s: float

    @property
    def name(self) -> str:
        return self.part.path.name


@dataclass(frozen=True, slots=True)
class _Finished:
    path: Path
    packets: int
    size_bytes: int


class Recording:
    """One recording.

    `advance`, `rotate_if_due`, `finish` and `fail` do I/O, one of them at a time; `status` may be called meanwhile.
    """

    def __init__(
        self, recording_id: str, session: Session, options: RecordingOptions, folder: Path, *, now_ns: int
    ) -> None:
        """Raises ExpressionError. The files' names begin with the session's name and the time `now_ns`."""
        self.id = recording_id
        self.session = session
        self.options = options
        self.state: RecordingState = "recording"
        self.reason = ""
        """why it failed, in words"""
        self.cursor = session.ring.first if options.start == "oldest" else session.ring.end
        """number of the next packet to look at"""
        self.written = 0
        self.failed = 0
        self.removed_files = 0
        """files that made room for newer ones (max_files)"""
        self._folder = folder
        self._stem = f"{_file_name(session.name)}-{_time_text(now_ns)}"
        self._predicate = compile_expression(options.where)
        self._rotate_bytes = options.rotate_bytes or _ROTATE_BYTES[options.format]
        self._rotate_s = options.rotate_s or _ROTATE_S[options.format]
        self._opened = 0
        self._file: _OpenFile | None = None
        self._finished: list[_Finished] = []
        self._finished_bytes = 0

    def advance(self, end: int, now_s: float) -> None:
        """Write the next packets before `end`; moves the cursor by at least one packet. A full disk ends it."""
        with self.session.ring.read(self.cursor, min(end, self.cursor + _CHUNK_ROWS)) as views:
            for packets, start, stop in views:
                self._skip_to(packets.first_number + start)
                mask = self._predicate.mask(packets, start, stop, self.session.interfaces)
                self._write(packets, np.flatnonzero(mask) + start, now_s)
                self.cursor = packets.first_number + stop
                if self.state != "recording":
                    return
            if not views:
                self._skip_to(min(max(self.cursor + 1, self.session.ring.first), end))

    def rotate_if_due(self, now_s: float) -> None:
        """End the file if it is as old as the options say; the next begins with the next packet."""
        if self._file is not None and now_s - self._file.opened_s >= self._rotate_s:
            self._end_file()

    def finish(self) -> None:
        """End the recording and its file."""
        self._end_file()
        if self.state == "recording":
            self.state = "stopped"

    def fail(self, reason: str) -> None:
        """End the recording for a reason that is not the disk's; what its file holds so far is kept if it can be."""
        self.state, self.reason = "failed", reason
        self._end_file()

    def status(self) -> dict[str, Any]:
        """State, counts and the newest files; docs/protocol.md names every field."""
        file = self._file
        files = [{"name": f.path.name, "packets": f.packets, "bytes": f.size_bytes} for f in list(self._finished)]
        return {
            "id": self.id,
            "session": self.session.id,
            "format": self.options.format,
            "where": self.options.where,
            "state": self.state,
            "reason": self.reason,
            "folder": str(self._folder),
            "files": files[-_LISTED_FILES:],
            "current_file": file.name if file else "",
            "removed_files": self.removed_files,
            "offered": self.written + self.failed,
            "written": self.written,
            "failed": self.failed,
            "bytes": self._finished_bytes + (file.part.size_bytes if file else 0),
        }

    def _skip_to(self, number: int) -> None:
        self.failed += number - self.cursor
        self.cursor = number

    def _write(self, packets: Packets, rows: Rows, now_s: float) -> None:
        while len(rows):
            whole_bytes = 0
            try:
                file = self._file or self._open_file(now_s)
                whole_bytes = file.part.size_bytes
                ends = np.cumsum(packets.columns.cap_len[rows] + np.int64(_BLOCK_BYTES))
                room = min(self._rotate_bytes - whole_bytes, _PIECE_BYTES[self.options.format])
                count = max(1, int(np.searchsorted(ends, room, side="right")))
                file.writer.write(packets, rows[:count])
            except OSError as error:
                self.failed += len(rows)
                self._give_up(error, whole_bytes)
                return
            self.written += count
            rows = rows[count:]
            if file.part.size_bytes >= self._rotate_bytes:
                self._end_file()

    def _open_file(self, now_s: float) -> _OpenFile:
        self._opened += 1
        suffix = f".{self.options.format}"
        part = PartFile(self._folder / f"{self._stem}-{self._opened:04d}{suffix}")
        try:
            session = self.session
            writer = open_writer(part, suffix, session.interfaces, capture_interfaces=session.described_interfaces)
        except BaseException:
            part.discard()
            raise
        self._file = _OpenFile(part, writer, now_s)
        return self._file

    def _end_file(self) -> None:
        """Complete the file and give it its name; what the disk does not let us complete has failed."""
        file = self._file
        if file is None:
            return
        try:
            self._complete(file)
            file.part.finish()
        except OSError as error:
            self._lose_file(file)
            self._explain(error)
            return
        self._file = None
        self._finished.append(_Finished(file.part.path, file.writer.packets, file.part.size_bytes))
        self._finished_bytes += file.part.size_bytes
        self._remove_oldest()

    def _complete(self, file: _OpenFile) -> None:
        """Write the file's end. A pcapng file is whole without it, should the disk have no room left for it."""
        whole_bytes = file.part.size_bytes
        try:
            file.writer.close()
        except OSError as error:
            if self.options.format != "pcapng":
                raise
            self._explain(error)
            file.part.cut(whole_bytes)

    def _give_up(self, error: OSError, whole_bytes: int) -> None:
        """The disk took no more: keep the file up to its last whole block, where its format allows that."""
        self._explain(error)
        file = self._file
        if file is None:
            return
        if self.options.format != "pcapng" or not file.writer.packets:
            self._lose_file(file)
            return
        try:
            file.part.cut(whole_bytes)
        except OSError:
            self._lose_file(file)
        else:
            self._end_file()

    def _lose_file(self, file: _OpenFile) -> None:
        self._file = None
        file.writer.discard()
        file.part.discard()
        self.written -= file.writer.packets
        self.failed += file.writer.packets

    def _explain(self, error: OSError) -> None:
        self.state = "failed"
        self.reason = f"The recording ended: {self._folder} takes no more ({error.strerror or error}). Capture goes on."

    def _remove_oldest(self) -> None:
        while self.options.max_files and len(self._finished) > self.options.max_files:
            oldest = self._finished.pop(0)
            oldest.path.unlink(missing_ok=True)
            self._finished_bytes -= oldest.size_bytes
            self.removed_files += 1


def _file_name(text: str) -> str:
    """A text as part of a file's name: nothing in it leads out of a folder or means something to a shell."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:_NAME_CHARACTERS].strip("-") or "session"


def _time_text(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{rest // 10**6:03d}Z"
