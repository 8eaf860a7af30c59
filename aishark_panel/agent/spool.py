"""Spool: batches on the agent's disk, in order, until the hub holds them.

A *segment* is a file of records, each a batch's number, size, packets, CRC-32 and envelope; it is only ever appended
to, and deleted once all of it is durable at the hub. What was written survives the death of the process at any moment:
a torn record at a segment's end is cut off when the spool is opened again, and so is everything behind a damaged one.
Segments are synced to the disk when they are full, so a power cut can cost what the kernel had not written by then.
"""

import bisect
import contextlib
import logging
import os
import re
import struct
import threading
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["DEFAULT_SPOOL_BYTES", "MIN_SPOOL_BYTES", "Spool"]

log = logging.getLogger(__name__)

DEFAULT_SPOOL_BYTES: Final = 2**30
MIN_SPOOL_BYTES: Final = 16 * 2**20
"""So that the largest batch has room in a segment of an eighth, or nearly."""
_SEGMENT_BYTES: Final = 16 * 2**20
"""Size at which a segment ends, where the spool is large enough for several."""

_FILE_HEAD: Final = struct.Struct("<8s16s")
"""magic, the folder's id"""
_MAGIC: Final = b"AISPOOL1"
_RECORD: Final = struct.Struct("<QIII")
"""number, bytes of the envelope, packets, CRC-32 of these three and the envelope"""
_CHECKED_BYTES: Final = _RECORD.size - 4
_MAX_ENVELOPE_BYTES: Final = 16 * 2**20
_Read = Callable[[int], bytes]
_NAME: Final = re.compile(r"([0-9]{20})\.segment")


@dataclass(slots=True)
class _Segment:
    """Batches [first, first + len(rows)) in one file."""

    path: Path
    first: int
    size_bytes: int
    offsets: "array[int]" = field(default_factory=lambda: array("I"))
    """where each record begins"""
    rows: "array[int]" = field(default_factory=lambda: array("I"))

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


class Spool:
    """The segments in a folder. `append` is for one thread, all else for any.

    Numbers only grow, but some may be missing: of segments that were damaged. What is not this folder's, by its
    `folder_id`, is put aside. Raises OSError where the folder cannot be read.
    """

    def __init__(self, folder: Path, folder_id: bytes, limit_bytes: int = DEFAULT_SPOOL_BYTES) -> None:
        self._folder = folder
        self._head = _FILE_HEAD.pack(_MAGIC, folder_id)
        self._limit_bytes = limit_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, limit_bytes // 8)
        self._segments: list[_Segment] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        """held while the newest segment is written, ended or deleted"""
        self._fd: int | None = None
        """of the newest segment, while it is written"""
        self.size_bytes = 0
        for path in sorted(folder.iterdir()):
            if _NAME.fullmatch(path.name):
                self._open(path)

    @property
    def is_full(self) -> bool:
        """Whether the next batch would find no room; the bound is exceeded by one batch at most."""
        return self.size_bytes >= self._limit_bytes

    @property
    def fill(self) -> float:
        """Share of the room that is taken, 0 to 1."""
        return min(1.0, self.size_bytes / self._limit_bytes)

    def numbers(self) -> list[int]:
        """Of all batches here, in order."""
        with self._lock:
            return [number for segment in self._segments for number in range(segment.first, segment.end)]

    def rows(self, number: int) -> int:
        """Packets of a batch; 0 for one that is not here."""
        with self._lock:
            segment = self._segment_of(number)
            return segment.rows[number - segment.first] if segment else 0

    def append(self, number: int, envelope: bytes, rows: int) -> None:
        """Write one batch behind the others. Raises OSError, and then nothing has changed: no room on the disk, say."""
        checked = _RECORD.pack(number, len(envelope), rows, 0)[:_CHECKED_BYTES]
        check = zlib.crc32(envelope, zlib.crc32(checked))
        with self._writing:
            segment = self._writable(number)
            assert self._fd is not None
            try:
                _write(self._fd, b"".join((checked, check.to_bytes(4, "little"), envelope)), segment.size_bytes)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, segment.size_bytes)
                raise
            with self._lock:
                segment.offsets.append(segment.size_bytes)
                segment.rows.append(rows)
                segment.size_bytes += _RECORD.size + len(envelope)
                self.size_bytes += _RECORD.size + len(envelope)

    def read(self, number: int) -> bytes | None:
        """The envelope of a batch; None where it is not here, or cannot be read any more."""
        with self._lock:
            segment = self._segment_of(number)
            place = segment.offsets[number - segment.first] if segment else 0
        if segment is None:
            return None
        try:
            with segment.path.open("rb") as file:
                file.seek(place)
                record = _read_record(file.read(_RECORD.size), file.read, number)
        except OSError as error:
            log.warning("batch %d cannot be read from the spool: %s", number, error)
            return None
        return record[0] if record else None

    def forget(self, durable: int) -> None:
        """Delete the segments that hold nothing beyond that batch; not one that is being written this moment."""
        while True:
            with self._lock:
                if not self._segments or self._segments[0].end > durable + 1:
                    return
                is_newest = len(self._segments) == 1
                if is_newest and not self._writing.acquire(blocking=False):
                    return
                gone = self._segments.pop(0)
                self.size_bytes -= gone.size_bytes
                # Deleted before anything else can be written: its name may be wanted again.
                with contextlib.suppress(OSError):
                    gone.path.unlink()
                if is_newest:
                    self._end_segment()
                    self._writing.release()

    def close(self) -> None:
        """Sync what was written; nothing can be appended after this."""
        with self._writing:
            if self._fd is not None:
                self._sync()
            self._end_segment()

    def _segment_of(self, number: int) -> _Segment | None:
        at = bisect.bisect_right(self._segments, number, key=lambda segment: segment.first) - 1
        return self._segments[at] if at >= 0 and number < self._segments[at].end else None

    def _writable(self, number: int) -> _Segment:
        """The segment for the next batch: a new one when the newest is full, or the numbers have a gap."""
        if self._fd is not None:
            newest = self._segments[-1]
            if newest.size_bytes < self._segment_bytes and newest.end == number:
                return newest
            self._sync()
            self._end_segment()
        path = self._folder / f"{number:020}.segment"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, self._head, 0)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        segment = _Segment(path, number, len(self._head))
        self._fd = fd
        with self._lock:
            self._segments.append(segment)
            self.size_bytes += segment.size_bytes
        return segment

    def _sync(self) -> None:
        assert self._fd is not None
        try:
            os.fsync(self._fd)
        except OSError as error:
            log.warning("a spool segment could not be synced to the disk: %s", error.strerror)

    def _end_segment(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self, path: Path) -> None:
        """Take in a segment of an earlier process; what is torn or damaged is cut off."""
        segment = _Segment(path, int(path.stem), _FILE_HEAD.size)
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_FILE_HEAD.size)
            if head and head != self._head:
                log.warning("%s is put aside: it is damaged, or another spool's", path)
                path.rename(path.with_suffix(".damaged"))
                return
            for offset, rows, end in _records(file.read, segment.first):
                segment.offsets.append(offset)
                segment.rows.append(rows)
                segment.size_bytes = end
        if size_bytes > segment.size_bytes:
            log.warning("%s: cut off %d bytes that are no whole batch", path, size_bytes - segment.size_bytes)
        if not segment.rows or (self._segments and self._segments[-1].end > segment.first):
            path.unlink()
            return
        os.truncate(path, segment.size_bytes)
        self._segments.append(segment)
        self.size_bytes += segment.size_bytes


def _write(fd: int, data: bytes, place: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(fd, rest, place)
        rest, place = rest[count:], place + count


def _records(read: _Read, number: int) -> Iterator[tuple[int, int, int]]:
    """(where it begins, packets, where it ends) of each whole record, up to the first that is not."""
    place = _FILE_HEAD.size
    while (record := _read_record(read(_RECORD.size), read, number)) is not None:
        envelope, rows = record
        end = place + _RECORD.size + len(envelope)
        yield place, rows, end
        place, number = end, number + 1


def _read_record(head: bytes, read: _Read, number: int) -> tuple[bytes, int] | None:
    """Envelope and packets of the record of that number; None where it is not whole."""
    if len(head) < _RECORD.size:
        return None
    found, size, rows, check = _RECORD.unpack(head)
    if found != number or size > _MAX_ENVELOPE_BYTES:
        return None
    envelope = read(size)
    if len(envelope) != size or zlib.crc32(envelope, zlib.crc32(head[:_CHECKED_BYTES])) != check:
        return None
    return envelope, rows
