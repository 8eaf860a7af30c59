"""The journal: every session's batches on disk, exactly as they arrived, so that they survive the death of the hub.

`Journal` is the folder of one hub. One thread writes for all sessions and syncs every SYNC_INTERVAL_S; then the durable
marks of the runs move. Nobody waits for it: batches that wait for the disk are kept in memory, and bounded there.

- A disk that is slow: beyond LAG_BYTES `is_behind` says so, and the hub acknowledges nothing more until it has caught
  up; the agents' credit holds them back.
- A disk that fails or is full: durable marks stand still, it is tried again every RETRY_S, and the hub goes on taking
  batches. What no longer fits into QUEUE_BYTES is let go: the agents still have it, and are asked for it again.

An error leaves nothing half done: a segment is cut back to what was synced, and all that was not is written again.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aishark_panel.errors import ConfigError
from aishark_panel.streams.partfile import make_folder, sync_folder
from aishark_panel.streams.segments import (
    SEGMENT_BYTES,
    Kind,
    record_head,
    segment_head,
    segment_path,
    segments_of,
    write_all,
)

__all__ = [
    "DEFAULT_JOURNAL_BYTES",
    "MIN_JOURNAL_BYTES",
    "Entry",
    "Journal",
    "JournalLog",
    "chosen_journal_dir",
    "default_journal_dir",
]

log = logging.getLogger(__name__)

DEFAULT_JOURNAL_BYTES: Final = 4 * 2**30
"""of one session; then the oldest segments go"""
MIN_JOURNAL_BYTES: Final = 128 * 2**20
SYNC_INTERVAL_S: Final = 0.1
RETRY_S: Final = 2.0
LAG_BYTES: Final = 32 * 2**20
QUEUE_BYTES: Final = 64 * 2**20
_SYNC_BYTES: Final = LAG_BYTES // 2
"""With so much in memory a sync comes before its time: a disk that is fast enough is never behind."""
_WAKE_BYTES: Final = 2**20
"""The writer is woken for so many bytes before its time."""
_RETRY_BYTES: Final = 2**20
"""So much is written at once while the disk may be full."""
_ALIVE_S: Final = 2.0
"""How often an idle hub marks that it lives."""
_CLOSE_S: Final = 10.0
_RECORD_HEAD_BYTES: Final = 48
_LOCK: Final = "journal.lock"
_DELETED: Final = ".deleted"
_FORMAT: Final = 1

Moved = Callable[[dict[str, int]], None]
"""Is told the runs' last durable batches (those that moved), on the writer's thread; {} when only the state changed."""


def default_journal_dir() -> Path:
    """Where a hub that is not told otherwise keeps its journal (XDG base directory specification)."""
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share"
    return base / "aishark" / "journal"


def chosen_journal_dir(journal: Path | None, *, no_journal: bool, embedded: bool) -> Path | None:
    """Where a hub with these options keeps its journal; None: nowhere. ConfigError if they exclude each other."""
    if journal and no_journal:
        raise ConfigError("--journal and --no-journal exclude each other.")
    return journal or (None if no_journal or embedded else default_journal_dir())


@dataclass(frozen=True, slots=True)
class Entry:
    """A record on its way to the disk."""

    kind: Kind
    payload: bytes
    at_ns: int
    run: str = ""
    sequence: int = 0
    begins_segment: bool = False

    @property
    def size_bytes(self) -> int:
        return _RECORD_HEAD_BYTES + len(self.payload)


@dataclass(slots=True, eq=False)
class JournalLog:
    """One session's journal, as its writer sees it; `waiting` and what is marked so are shared under the lock."""

    folder: Path
    moved: Moved
    waiting: deque[Entry] = field(default_factory=deque)
    """shared: not written yet"""
    problem: str = ""
    """why nothing is written, in words; '' while all is well"""
    forgotten: bool = False
    may_go: bool = False
    """shared: the session was deleted; and its folder has got the name under which it can be removed"""
    unsynced: list[Entry] = field(default_factory=list)
    """written, but not safe yet"""
    put: int = 0
    """shared: records ever queued"""
    safe: int = 0
    """shared: of these, records that are safe"""
    marks: deque[tuple[int, int]] = field(default_factory=deque)
    """shared: how many records must be safe for so many packets to be"""
    safe_packets: int = 0
    """how many of the session's packets a crash of the hub cannot take"""
    segments: deque[tuple[Path, int]] = field(default_factory=deque)
    """files and sizes of those that are finished, oldest first"""
    number: int = 0
    """of the newest segment"""
    fd: int = -1
    size_bytes: int = 0
    """of the segment that is being written"""
    synced_bytes: int = 0
    torn: bool = False
    """whether there may be something half written behind `synced_bytes`"""
    retry_s: float = 0.0

    def settle_marks(self) -> None:
        """Take over the marks that all records before are safe of."""
        while self.marks and self.marks[0][0] <= self.safe:
            self.safe_packets = self.marks.popleft()[1]

    @property
    def disk_bytes(self) -> int:
        """What the session's journal takes on the disk."""
        return self.size_bytes + sum(size for _, size in list(self.segments))


class Journal:
    """The folder of a hub's journal. Raises ConfigError where it cannot be used, or another hub uses it."""

    def __init__(self, folder: Path, *, limit_bytes: int = DEFAULT_JOURNAL_BYTES) -> None:
        """`limit_bytes`: most bytes of one session."""
        self.folder = folder
        self.limit_bytes = limit_bytes
        make_folder(folder)
        self._lock_fd = self._lock_folder()
        self.id, self.died_ns = self._identity()
        """Name of this journal, and when its last hub was alive (Unix time in ns; 0: never before)."""
        self._logs: dict[str, JournalLog] = {}
        self._changed = threading.Condition()
        self._waiting_bytes = 0
        self._closing = False
        self._is_up = False
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def _lock_folder(self) -> int:
        try:
            fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigError(f"The hub cannot keep its journal in {self.folder}: {error.strerror}.") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno != errno.EWOULDBLOCK:
                raise ConfigError(f"The journal in {self.folder} cannot be locked: {error.strerror}.") from error
            raise ConfigError(
                f"Another hub keeps its journal in {self.folder}. Give this one a folder of its own with --journal, "
                "or let it keep none: --no-journal."
            ) from error
        return fd

    def _identity(self) -> tuple[str, int]:
        text = os.pread(self._lock_fd, 1_000, 0)
        try:
            if text:
                known = json.loads(text)
                if known["format"] == _FORMAT and re.fullmatch("[0-9a-f]{32}", known["id"]):
                    return known["id"], os.fstat(self._lock_fd).st_mtime_ns
                raise ValueError
            new_id = secrets.token_hex(16)
            write_all(self._lock_fd, [json.dumps({"format": _FORMAT, "id": new_id}).encode()])
            os.fsync(self._lock_fd)
        except (ValueError, KeyError, TypeError) as error:
            os.close(self._lock_fd)
            raise ConfigError(
                f"The journal in {self.folder} is of another version of aishark, or damaged. Give this hub another "
                "folder with --journal, or remove that one."
            ) from error
        except OSError as error:
            os.close(self._lock_fd)
            raise ConfigError(f"The hub cannot keep its journal in {self.folder}: {error.strerror}.") from error
        return new_id, 0

    def mark_up(self) -> None:
        """All sessions are back: from now on the hub marks that it is alive. Had it died before, the time without a hub
        would still begin where the last one died."""
        self._is_up = True

    @property
    def waiting_bytes(self) -> int:
        """What is in memory because it is not safe on the disk yet, of all sessions."""
        return self._waiting_bytes

    @property
    def is_behind(self) -> bool:
        """Whether the disk is slower than the agents, and they should wait."""
        return self._waiting_bytes > LAG_BYTES

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be kept for a disk that does not take it."""
        return self._waiting_bytes > QUEUE_BYTES

    def open(self, session_id: str, moved: Moved) -> JournalLog:
        """The journal of a session, to be written to. Segments that are there already stay."""
        opened = JournalLog(self.folder / session_id, moved)
        try:
            found = segments_of(opened.folder)
            opened.segments.extend((path, path.stat().st_size) for _, path in found)
            opened.number = found[-1][0] if found else 0
        except FileNotFoundError:
            pass
        except OSError as error:
            opened.problem = _words(error)
        with self._changed:
            self._logs[session_id] = opened
        return opened

    def put(self, target: JournalLog, entries: list[Entry]) -> None:
        """Queue records, in this order. Never waits."""
        with self._changed:
            if target.forgotten:
                return
            target.waiting.extend(entries)
            target.put += len(entries)
            before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + sum(e.size_bytes for e in entries)
            if not before or before // _WAKE_BYTES != self._waiting_bytes // _WAKE_BYTES:
                self._changed.notify()

    def mark(self, target: JournalLog, packets: int) -> None:
        """The records queued so far are all there is to know of the session's first `packets` packets."""
        with self._changed:
            target.marks.append((target.put, packets))
            target.settle_marks()

    def forget(self, target: JournalLog) -> None:
        """The session was deleted: its journal goes. Its folder gets another name at once, so that it never returns."""
        with self._changed:
            target.forgotten = True
            self._waiting_bytes -= sum(e.size_bytes for e in target.waiting)
            target.waiting.clear()
        try:
            target.folder.rename(target.folder.with_name(target.folder.name + _DELETED))
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("the journal of a deleted session stays in %s: %s", target.folder, error.strerror)
        with self._changed:
            target.may_go = True
            self._changed.notify()

    def remove_deleted(self) -> list[str]:
        """Remove what `forget` left when the hub was killed; ids of these sessions."""
        leftovers = sorted(self.folder.glob(f"*{_DELETED}"))
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        return [folder.name.removesuffix(_DELETED) for folder in leftovers]

    def close(self) -> None:
        """Write and sync what waits, unless the disk does not take it, and let go of the folder."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            return  # a disk that hangs; the lock goes with the process
        for each in self._logs.values():
            if each.fd >= 0:
                os.close(each.fd)
        os.close(self._lock_fd)

    # The writer's thread

    def _work(self) -> None:
        synced_s = alive_s = 0.0
        while True:
            with self._changed:
                if not self._closing:
                    self._changed.wait(self._idle_s(synced_s))
                closing = self._closing
                logs = list(self._logs.items())
            now_s = time.monotonic()
            for session_id, target in logs:
                if target.may_go:
                    self._remove(session_id, target)
                elif now_s >= target.retry_s or closing:
                    self._try(session_id, target, self._write)
            if now_s - synced_s >= SYNC_INTERVAL_S or self._waiting_bytes >= _SYNC_BYTES or closing:
                synced_s = now_s
                for session_id, target in logs:
                    self._try(session_id, target, self._sync)
            if self._is_up and (now_s - alive_s >= _ALIVE_S or closing):
                alive_s = now_s
                with contextlib.suppress(OSError):
                    os.utime(self._lock_fd)
            if closing:
                return

    def _idle_s(self, synced_s: float) -> float:
        """How long there is nothing to do, unless somebody wakes us."""
        if any(each.unsynced or each.waiting for each in self._logs.values()):
            return max(0.001, synced_s + SYNC_INTERVAL_S - time.monotonic())
        return _ALIVE_S

    def _try(self, session_id: str, target: JournalLog, step: Callable[[JournalLog], None]) -> None:
        """Write or sync; after an error all that is not safe yet waits again."""
        try:
            step(target)
        except Exception as error:
            expected = isinstance(error, OSError)
            with self._changed:
                target.waiting.extendleft(reversed(target.unsynced))
                target.unsynced.clear()
            target.torn = target.fd >= 0
            target.retry_s = time.monotonic() + RETRY_S
            if not target.problem:
                target.problem = _words(error) if isinstance(error, OSError) else "It failed; the hub's log says why."
                log.error("journal of session %s: %s", session_id, target.problem, exc_info=not expected)
                target.moved({})

    def _write(self, target: JournalLog) -> None:
        """Write what waits. Raises OSError; then nothing that is not in `unsynced` or `waiting` was touched."""
        if target.torn:
            os.ftruncate(target.fd, target.synced_bytes)
            os.lseek(target.fd, target.synced_bytes, os.SEEK_SET)
            target.size_bytes, target.torn = target.synced_bytes, False
        while target.waiting:
            if _begins_segment(target.waiting):
                self._sync(target)
                self._begin_segment(target)
            with self._changed:
                if target.forgotten:
                    return
                entries = _to_the_next_segment(target.waiting, _RETRY_BYTES if target.problem else QUEUE_BYTES)
                target.unsynced.extend(entries)
            buffers: list[bytes | memoryview] = []
            for e in entries:
                buffers += (record_head(e.kind, e.payload, at_ns=e.at_ns, run=e.run, sequence=e.sequence), e.payload)
            write_all(target.fd, buffers)
            target.size_bytes += sum(e.size_bytes for e in entries)
            if target.problem:  # there may be room for a little
                self._sync(target)

    def _begin_segment(self, target: JournalLog) -> None:
        """Finish the segment that is being written, open the next, and let go of the oldest beyond the limit."""
        if target.fd >= 0:
            path = segment_path(target.folder, target.number)
            os.close(target.fd)
            target.fd = -1
            if target.synced_bytes:
                target.segments.append((path, target.synced_bytes))
            else:
                path.unlink(missing_ok=True)
        target.size_bytes = target.synced_bytes = 0
        with self._changed:
            if target.forgotten:
                return
            target.folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self.folder)
        target.number += 1
        path = segment_path(target.folder, target.number)
        target.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        write_all(target.fd, [segment_head()])
        target.size_bytes = len(segment_head())
        sync_folder(target.folder)
        while target.segments and target.disk_bytes + SEGMENT_BYTES > self.limit_bytes:
            target.segments.popleft()[0].unlink(missing_ok=True)

    def _sync(self, target: JournalLog) -> None:
        """Make what was written safe, and say so."""
        if not target.unsynced:
            return
        os.fdatasync(target.fd)
        target.synced_bytes = target.size_bytes
        with self._changed:
            done, target.unsynced = target.unsynced, []
            target.safe += len(done)
            target.settle_marks()
            self._waiting_bytes -= sum(e.size_bytes for e in done)
        if target.problem:
            target.problem = ""
            log.warning("the journal in %s is written again", target.folder)
        target.moved({e.run: e.sequence for e in done if e.run})

    def _remove(self, session_id: str, target: JournalLog) -> None:
        with self._changed:
            # After an error what was written waits again, in a session that was deleted meanwhile as well.
            self._waiting_bytes -= sum(e.size_bytes for e in (*target.waiting, *target.unsynced))
            target.waiting.clear()
            target.unsynced.clear()
            del self._logs[session_id]
        if target.fd >= 0:
            os.close(target.fd)
            target.fd = -1
        shutil.rmtree(target.folder.with_name(target.folder.name + _DELETED), ignore_errors=True)


def _begins_segment(waiting: deque[Entry]) -> bool:
    try:
        return waiting[0].begins_segment
    except IndexError:  # the session was deleted meanwhile
        return False


def _to_the_next_segment(waiting: deque[Entry], most_bytes: int) -> list[Entry]:
    """Take entries of one segment off the queue: so many bytes, or a little more."""
    entries = [waiting.popleft()]
    size_bytes = entries[0].size_bytes
    while waiting and not waiting[0].begins_segment and size_bytes < most_bytes:
        entries.append(waiting.popleft())
        size_bytes += entries[-1].size_bytes
    return entries


def _words(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of the hub's journal is full."
    if error.errno == errno.EFBIG:
        return "The hub may not write a file of the journal this long."
    return f"The hub's journal cannot be written: {error.strerror}."
