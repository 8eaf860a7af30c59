"""One recording: a session's packets written to files while capture goes on.

A recording is a cursor in the ring, as an export is: nothing is queued for it, and it cannot delay ingest. Packets that
are evicted (or cleared) before their turn count as failed; so offered packets are those written and those failed. What
the packets were is unknown once they are evicted, so with `where` all of them count as offered.

Files are rotated by size, time and packets; those of Parquet stand in the partitions of an archive
(export/partitions.py), and end with the hour. At every moment all are whole but the newest, which is being written
(streams/recordingfile.py). A disk that takes no more makes a recording wait: what that file holds is kept if its format
allows, and is written again otherwise, as long as the ring has it.

Where the hub has a journal, a manifest (streams/manifest.py) lets the next hub go on with it.
"""

import contextlib
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from aishark_panel.export.partitions import Partitions, name_part
from aishark_panel.export.tables import Rows
from aishark_panel.query import compile_expression
from aishark_panel.streams.diskroom import DiskRoom, remove_empty
from aishark_panel.streams.manifest import (
    LISTED_FILES,
    Counts,
    FileNote,
    Manifest,
    PartNote,
    RecordingOptions,
    RecordingState,
)
from aishark_panel.streams.partfile import PART, recover_part
from aishark_panel.streams.recordingfile import RecordingFile
from aishark_panel.streams.session import Session
from aishark_panel.wire.packets import Packets

__all__ = ["Recording", "RecordingOptions", "RecordingState"]

_CHUNK_ROWS: Final = 8_192
_BLOCK_BYTES: Final = 36
"""Most bytes of a packet in pcapng beside its frame."""
_PIECE_BYTES: Final = {"pcapng": 2**20, "parquet": 2**40}
"""Most bytes of frames written at once: so much, at most, is taken back when the disk is full in the middle of it."""
_ASKED_BYTES: Final = 2 * 2**20
"""Room asked for before a piece is written; a piece of Parquet is smaller."""
_ROTATE_BYTES: Final = {"pcapng": 2**30, "parquet": 64 * 2**20}
_PARQUET_ROTATE_S: Final = 10.0
_JOURNALLED_ROTATE_S: Final = 600.0
"""A Parquet file is worth nothing before its end is written: short files bound what a killed hub loses. What a journal
has is written again, so there files may be long, which is what makes an archive fast to read."""
_SAVE_S: Final = 2.0
"""How often what a pcapng part holds is made safe."""
_RETRY_S: Final = 2.0


class Recording:
    """One recording.

    `advance`, `tidy`, `finish`, `suspend`, `fail` and `save` do I/O, one of them at a time; `status` and `forget_file`
    may be called meanwhile.
    """

    def __init__(
        self,
        recording_id: str,
        session: Session,
        options: RecordingOptions,
        folder: Path,
        *,
        now_ns: int,
        room: DiskRoom | None = None,
        journal: str = "",
    ) -> None:
        """Raises ExpressionError. The files' names begin with the session's name and the time `now_ns`.

        `room` is asked before anything is written; None: there is no quota. `journal` is the id of the journal that the
        session is kept in; "": the recording ends with the hub.
        """
        self.id = recording_id
        self.session = session
        self.options = options
        self.state: RecordingState = "recording"
        self.reason = ""
        """why it failed or waits, in words"""
        self.first = session.ring.first if options.start == "oldest" else session.ring.end
        """number of the first packet to look at"""
        self.counts = Counts(self.first)
        self._folder = folder
        self._journal = journal
        self._room = room or DiskRoom(folder, None, lambda _: None)
        self._stem = f"{name_part(session.name)}-{_time_text(now_ns)}"
        self._partitions = Partitions(session.name) if options.format == "parquet" else None
        self._predicate = compile_expression(options.where)
        own_bytes = options.rotate_bytes or _ROTATE_BYTES[options.format]
        self._rotate_bytes = int(min(own_bytes, self._room.most_bytes_of_a_file))
        own_s = _JOURNALLED_ROTATE_S if journal else _PARQUET_ROTATE_S
        self._rotate_s = options.rotate_s or (own_s if options.format == "parquet" else float("inf"))
        self._rotate_packets = options.rotate_packets or 2**62
        self._opened = 0
        self._ended = 0
        """files that ended whole"""
        self._ended_counts = self.counts
        """behind the last of them"""
        self._file: RecordingFile | None = None
        self._finished: dict[str, FileNote] = {}
        """by name, oldest first; other threads take some out"""
        self._retry_s = 0.0
        self._saved_s = 0.0
        self._saved_counts = self.counts

    @classmethod
    def resume(cls, manifest: Manifest, session: Session, folder: Path, room: DiskRoom) -> "Recording":
        """The recording as the last hub left it, with those of its files that are there.

        Raises ExpressionError or OSError.
        """
        self = cls(manifest.id, session, manifest.options, folder, now_ns=0, room=room, journal=manifest.journal)
        self._stem = manifest.stem
        self.state, self.reason, self.first = manifest.state, manifest.reason, manifest.first
        self._opened, self._ended, self.counts = manifest.opened, manifest.ended, manifest.counts
        notes = {note.name: note for note in manifest.files}
        for note in manifest.files[-1:]:  # the hub may have died before it could give it its name
            recover_part(folder / note.name, note.bytes)
        if (part := manifest.part) and recover_part(folder / part.file.name, part.file.bytes):
            notes[part.file.name] = part.file
            self.counts = part.counts
            self._ended += 1
        self._ended_counts = self._saved_counts = self.counts
        for path in folder.rglob(f"{manifest.stem}-*{PART}"):
            recover_part(path.with_name(path.name.removesuffix(PART)), 0)
        for path in sorted(folder.rglob(f"{manifest.stem}-*.{manifest.options.format}"), key=_number):
            self._opened = max(self._opened, _number(path))
            name = path.relative_to(folder).as_posix()
            self._finished[name] = notes.get(name) or FileNote(name, 0, path.stat().st_size)
        return self

    @property
    def cursor(self) -> int:
        """Number of the next packet to look at."""
        return self.counts.cursor

    @property
    def written(self) -> int:
        """Packets in its files."""
        return self.counts.written

    @property
    def failed(self) -> int:
        """Packets that were gone before their turn."""
        return self.counts.failed

    @property
    def left_out(self) -> int:
        """Packets that do not match."""
        return self.counts.left_out

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("recording", "waiting")

    def advance(self, end: int, now_s: float) -> None:
        """Write the next packets before `end`; moves the cursor by at least one packet, or makes the recording wait."""
        try:
            self._advance(end, now_s)
        except OSError as error:
            self._wait(error, now_s)

    def tidy(self, now_s: float) -> None:
        """End the file if it is old enough, else make safe what it holds; or try again whether the disk takes more."""
        try:
            if self.state == "waiting":
                self._skip_to(self.session.ring.first)
                if now_s < self._retry_s:
                    return
            if self._file is not None and (self._file.is_whole or now_s - self._file.opened_s >= self._rotate_s):
                self._end_file()
            if self.state == "waiting":
                self._room.ask(_ASKED_BYTES)
            self.state, self.reason = "recording", ""
            self._save_now_and_then(now_s)
        except OSError as error:
            self._wait(error, now_s)

    def finish(self, end: int) -> None:
        """End the recording and its file. Packets before `end` that the disk did not take have failed."""
        try:
            self._end_file(last=True)
        except OSError as error:
            self._explain(error, "The recording ended")
            self._lose_file()
        self._skip_to(end)
        self.state = "failed" if self.reason else "stopped"
        self._ended_counts = self.counts
        try:
            self.save()
        except OSError:
            self.forget()  # or the next hub would go on with it

    def suspend(self) -> None:
        """The hub stops: end the file. The next hub goes on behind it, or behind the one before if the disk is full."""
        try:
            self._end_file()
        except OSError as error:
            self._explain(error, "The file was not finished")
            self._lose_file()
        self._ended_counts = self.counts
        with contextlib.suppress(OSError):
            self.save()

    def fail(self, reason: str) -> None:
        """End the recording for a reason that is not the disk's; what its file holds so far is kept if it can be."""
        self.reason = reason
        self.finish(self.cursor)

    def turn_back(self, end: int) -> None:
        """The session was read back, and has packets before `end` only: go on there."""
        if self.cursor > end:
            self.first = min(self.first, end)
            written = min(self.written, end - self.first)
            self.counts = Counts(end, written, 0, end - self.first - written)
            self._ended_counts = self.counts

    @property
    def files(self) -> list[Path]:
        """Its whole files, oldest first."""
        return [self._folder / name for name in list(self._finished)]

    def has_file(self, name: str) -> bool:
        """Whether a whole file of that name is one of this recording."""
        return name in self._finished

    def forget_file(self, name: str) -> bool:
        """A file of that name was removed; whether it was one of this recording."""
        return self._finished.pop(name, None) is not None

    def save(self, part: PartNote | None = None) -> None:
        """Write down how far it is, if it is to go on in the next hub. Raises OSError."""
        if self._journal:
            self._manifest(part).save(self._folder)

    def forget(self) -> None:
        """It ended, and need not be known any more; its files stay."""
        self._manifest(None).remove(self._folder)

    def status(self) -> dict[str, Any]:
        """State, counts and the newest files; docs/protocol.md names every field."""
        file, counts = self._file, self.counts
        files = list(self._finished.values())
        return {
            "id": self.id,
            "session": self.session.id,
            "format": self.options.format,
            "where": self.options.where,
            "state": self.state,
            "reason": self.reason,
            "folder": str(self._folder),
            "files": [msgspec.to_builtins(each) for each in files[-LISTED_FILES:]],
            "current_file": file.name if file else "",
            "removed_files": max(0, self._ended - len(files)),
            "offered": counts.written + counts.failed,
            "written": counts.written,
            "failed": counts.failed,
            "bytes": sum(each.bytes for each in files) + (file.size_bytes if file else 0),
        }

    def _manifest(self, part: PartNote | None) -> Manifest:
        return Manifest(
            journal=self._journal,
            session=self.session.id,
            id=self.id,
            stem=self._stem,
            options=self.options,
            state=self.state,
            reason=self.reason,
            first=self.first,
            counts=self._ended_counts,
            opened=self._opened,
            ended=self._ended,
            files=tuple(list(self._finished.values())[-LISTED_FILES:]),
            part=part,
        )

    def _advance(self, end: int, now_s: float) -> None:
        with self.session.ring.read(self.cursor, min(end, self.cursor + _CHUNK_ROWS)) as views:
            for packets, start, stop in views:
                self._skip_to(packets.first_number + start)
                mask = self._predicate.mask(packets, start, stop, self.session.interfaces)
                self._write(packets, np.flatnonzero(mask) + start, stop, now_s)
            if not views:
                self._skip_to(self.session.ring.following(self.cursor, end))

    def _skip_to(self, number: int) -> None:
        if (gone := number - self.cursor) > 0:
            self.counts = msgspec.structs.replace(self.counts, cursor=number, failed=self.failed + gone)

    def _go_to(self, number: int, written: int) -> None:
        c = self.counts
        self.counts = Counts(number, c.written + written, c.failed, c.left_out + number - c.cursor - written)

    def _write(self, packets: Packets, rows: Rows, stop: int, now_s: float) -> None:
        """Write rows of a block, and go to its row `stop`. Raises OSError; the cursor is then where that began."""
        ends = np.cumsum(packets.columns.cap_len[rows] + np.int64(_BLOCK_BYTES))
        done = 0
        while done < len(rows):
            self._room.ask(_ASKED_BYTES)
            partition, together = self._partition(packets, rows[done:])
            file = self._file or self._open_file(partition, now_s)
            room = min(self._rotate_bytes - file.size_bytes, _PIECE_BYTES[self.options.format])
            before = int(ends[done - 1]) if done else 0
            fitting = int(np.searchsorted(ends, before + room, side="right")) - done
            count = min(max(1, fitting), together, self._rotate_packets - file.packets)
            file.write(packets, rows[done : done + count])
            done += count
            self._go_to(packets.first_number + (int(rows[done]) if done < len(rows) else stop), count)
            if file.size_bytes >= self._rotate_bytes or file.packets >= self._rotate_packets:
                self._end_file()
        self._go_to(packets.first_number + stop, 0)

    def _partition(self, packets: Packets, rows: Rows) -> tuple[str, int]:
        """The folder of the first row, and how many from it on belong there; a file that stands elsewhere is ended."""
        if self._partitions is None:
            return "", len(rows)
        partition, together = self._partitions.next(packets.columns.ts[rows])
        if self._file and self._file.name.rpartition("/")[0] != partition:
            self._partitions.ended(self._file.packets)
            self._end_file()
        return partition, together

    def _open_file(self, partition: str, now_s: float) -> RecordingFile:
        (self._folder / partition).mkdir(mode=0o700, parents=True, exist_ok=True)
        file = None
        while file is None:
            self._opened += 1
            name = Path(partition, f"{self._stem}-{self._opened:04d}.{self.options.format}").as_posix()
            with contextlib.suppress(FileExistsError):
                file = RecordingFile(
                    self._folder,
                    name,
                    self.session,
                    self.options.where,
                    opened_s=now_s,
                    before=self.counts,
                    failed=lambda: self.failed,
                )
        self._file = file
        return file

    def _end_file(self, *, last: bool = False) -> None:
        """Complete the file and give it its name. Raises OSError: it is lost, or what is left is to be tried again.

        Behind the `last` file nothing is written any more, so it needs no manifest to be used."""
        file = self._file
        if file is None:
            return
        file.complete()
        if file.name not in self._finished:
            file.sync()
            self._note_end(file, needed=not last)
        file.give_name()
        self._file = None
        self._remove_oldest()

    def _note_end(self, file: RecordingFile, *, needed: bool) -> None:
        """Write down that the file ended: from now on its packets are never written again. Raises OSError."""
        before = self._ended_counts
        self._finished[file.name], self._ended_counts = file.note, self.counts
        self._ended += 1
        try:
            self.save()
        except OSError:
            if needed:
                self._forget_end(file, before)
                raise

    def _forget_end(self, file: RecordingFile, before: Counts) -> None:
        if self._finished.pop(file.name, None):
            self._ended -= 1
            self._ended_counts = before

    def _save_now_and_then(self, now_s: float) -> None:
        """Write down how far it is, and have the disk keep what a pcapng part holds up to there. Raises OSError."""
        file = self._file
        if not self._journal or now_s - self._saved_s < _SAVE_S or self.counts == self._saved_counts:
            return
        if file is None:
            self._ended_counts = self.counts
            self.save()
        elif self.options.format == "pcapng":
            file.sync()
            self.save(PartNote(file.note, self.counts))
        self._saved_s, self._saved_counts = now_s, self.counts

    def _lose_file(self) -> None:
        """Go back to where the file began: what it held is written again, if it is still there."""
        file, self._file = self._file, None
        if file is not None:
            file.discard()
            self._forget_end(file, file.before)
            self.counts = file.before

    def _wait(self, error: OSError, now_s: float) -> None:
        if self._file is not None and self._file.is_lost:
            self._lose_file()
        self._retry_s = now_s + _RETRY_S
        self.state = "waiting"
        self._explain(error, "The recording waits")

    def _explain(self, error: OSError, what: str) -> None:
        self.reason = f"{what}: the disk takes no more ({error.strerror or error}). Capture goes on."

    def _remove_oldest(self) -> None:
        while self.options.max_files and len(self._finished) > self.options.max_files:
            oldest = next(iter(self._finished))
            (self._folder / oldest).unlink(missing_ok=True)
            remove_empty((self._folder / oldest).parent, self._folder)
            self._finished.pop(oldest, None)


def _number(path: Path) -> int:
    """Which of its recording's files it is."""
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _time_text(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{rest // 10**6:03d}Z"
