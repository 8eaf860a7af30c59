"""Segments: the files of a session's journal, and the records in them.

A session's folder holds numbered segments, oldest first. A segment is a head and records one after another, each with a
CRC-32. The first record says what came before it (`Totals`), records of the session's runs (`RunNote`) follow, so that
a segment can be understood after all older ones are gone; then come batches, exactly as agents sent them, and marks.

Whoever reads trusts nothing: what is cut, damaged or of another version ends a segment at its last whole record.
"""

import enum
import os
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec

from aishark_panel.wire.messages import MAX_BATCH_BYTES, Hello, InterfaceInfo

__all__ = [
    "SEGMENT_BYTES",
    "ClearMark",
    "Gap",
    "Kind",
    "MergeNote",
    "Record",
    "Refused",
    "RunNote",
    "Segment",
    "Totals",
    "began_ns",
    "decode_note",
    "encode_note",
    "read_segment",
    "record_head",
    "segment_head",
    "segment_path",
    "segments_of",
    "write_all",
]

T = TypeVar("T")

SEGMENT_BYTES: Final = 32 * 2**20
"""A segment that has reached this size is followed by a new one."""
_MAX_SEGMENT_BYTES: Final = 4 * SEGMENT_BYTES + 2 * MAX_BATCH_BYTES
"""What is read of a segment; none that we wrote is longer."""
_MAGIC: Final = b"aishJRNL"
_VERSION: Final = 1
_SEGMENT_HEAD: Final = struct.Struct("<8sII")
"""magic, version, 0"""
_HEAD: Final = struct.Struct("<IIBxxxxxxxQQ16s")
"""CRC-32 of all that follows it, size of the payload, kind, sequence, time (Unix, ns), run"""
_CRC_BYTES: Final = 4
_IOV_MAX: Final = 1_024
"""Most buffers of one writev (POSIX: at least 16; Linux: 1,024)."""
_NAME: Final = re.compile(r"(\d{12})\.journal")


class Kind(enum.IntEnum):
    """What a record is."""

    TOTALS = 1
    RUN = 2
    BATCH = 3
    """an envelope as the agent sent it (wire.messages.Batch)"""
    CLEAR = 4
    GAP = 5
    MERGE = 6


Count = Annotated[int, msgspec.Meta(ge=0)]
RunId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A session's counts at the beginning of a segment, in packets."""

    packets: Count
    """ingested so far; the next packet's number is one more"""
    bytes: Count
    cleared: Count
    lost: Count
    """lost in a crash of the hub, of those ingested"""
    first_ts: int
    holding: bool = False
    """whether batches that follow wait to be merged"""
    waiting_until_ns: int = -(2**63)
    """key (streams/merge.py) of the newest packet of segments before that waits to be merged; before all times if none
    does"""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that was refused."""

    sequence: Count
    reason: str
    packets: Count


class RunNote(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's run as it is when the record is written; batches that follow belong to it as described here."""

    hello: Hello
    interfaces: Annotated[tuple[InterfaceInfo, ...], msgspec.Meta(max_length=1_000)]
    sequence: Count
    """its last batch that is in the journal before this record"""
    packets: Count
    """packets of these batches"""
    lost: Count = 0
    rejected: dict[str, Count] = {}
    rejected_batches: Count = 0
    refused: Refused | None = None
    """of these the last, if its number may come again"""
    counters: dict[str, int] = {}
    cleared: Count = 0
    """its last batch that the user threw away; it is counted, and may stand behind this record"""
    ended: bool = False
    reason: str = ""
    offset_ns: int = 0
    """hub's clock less the agent's, by which batches that follow are merged"""


class ClearMark(msgspec.Struct, frozen=True, kw_only=True):
    """The user threw all packets away. What the runs' notes call `cleared` may stand behind this record."""

    packets: dict[RunId, Count] = {}
    """that each run had brought, those lost in a crash included"""
    bytes: Count = 0
    """as in the totals"""


class MergeNote(msgspec.Struct, frozen=True, kw_only=True):
    """Packets that waited to be merged went on, in that order."""

    until_ns: int
    """up to this key"""
    holding: bool
    """whether batches that follow wait"""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which nothing was heard."""

    what: Literal["agent", "connection", "hub"]
    """who was away: the agent (another run of it came back), its connection only (what it captured meanwhile came
    later), or this hub"""
    agent: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """name; empty for the hub"""
    start_ns: int
    end_ns: int
    """Unix time"""


class Record(NamedTuple):
    """One record of a segment."""

    kind: int
    run: str
    """of a batch"""
    sequence: int
    at_ns: int
    """when the hub wrote it"""
    payload: memoryview


class Segment(NamedTuple):
    """What could be read of a segment."""

    records: list[Record]
    whole_bytes: int
    """size up to the end of the last whole record; 0 if it is no segment of this version"""
    size_bytes: int


def segment_path(folder: Path, number: int) -> Path:
    """Where segment `number` of a session is."""
    return folder / f"{number:012}.journal"


def segments_of(folder: Path) -> list[tuple[int, Path]]:
    """Numbers and files of a session's segments, oldest first. Raises OSError."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def segment_head() -> bytes:
    """The bytes that a segment begins with."""
    return _SEGMENT_HEAD.pack(_MAGIC, _VERSION, 0)


def record_head(kind: Kind, payload: bytes | memoryview, *, at_ns: int, run: str = "", sequence: int = 0) -> bytes:
    """What goes before a record's payload."""
    head = _HEAD.pack(0, len(payload), kind, sequence, at_ns, bytes.fromhex(run))
    crc = zlib.crc32(payload, zlib.crc32(memoryview(head)[_CRC_BYTES:]))
    return crc.to_bytes(_CRC_BYTES, "little") + head[_CRC_BYTES:]


def read_segment(path: Path) -> Segment:
    """The whole records of a segment, up to the first that is cut or damaged. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(fd, "rb") as file:
        size_bytes = os.fstat(fd).st_size
        data = memoryview(file.read(_MAX_SEGMENT_BYTES))
    if len(data) < _SEGMENT_HEAD.size or _SEGMENT_HEAD.unpack_from(data)[:2] != (_MAGIC, _VERSION):
        return Segment([], 0, size_bytes)
    records: list[Record] = []
    at = _SEGMENT_HEAD.size
    while at + _HEAD.size <= len(data):
        crc, size, kind, sequence, at_ns, run = _HEAD.unpack_from(data, at)
        start, end = at + _HEAD.size, at + _HEAD.size + size
        if end > len(data) or zlib.crc32(data[at + _CRC_BYTES : end]) != crc:
            break
        records.append(Record(kind, run.hex(), sequence, at_ns, data[start:end]))
        at = end
    return Segment(records, at, size_bytes)


def began_ns(path: Path) -> int | None:
    """When a segment's first record was written, Unix time; None where it cannot be told."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            head = file.read(_SEGMENT_HEAD.size + _HEAD.size)
    except OSError:
        return None
    return int(_HEAD.unpack_from(head, _SEGMENT_HEAD.size)[4]) if len(head) == _SEGMENT_HEAD.size + _HEAD.size else None


_encoder: Final = msgspec.json.Encoder()


def encode_note(note: Totals | RunNote | ClearMark | MergeNote | Gap) -> bytes:
    """The payload of a record that is no batch."""
    return _encoder.encode(note)


def decode_note(record: Record, kind: type[T]) -> T | None:
    """What `encode_note` made; None where it makes no sense, as in a forged file."""
    try:
        return msgspec.json.decode(record.payload, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def write_all(fd: int, buffers: Sequence[bytes | memoryview]) -> None:
    """Append buffers to a file, all of them or OSError."""
    waiting = [memoryview(b) for b in buffers if len(b)]
    while waiting:
        count = os.writev(fd, waiting[:_IOV_MAX])
        done = 0
        while done < len(waiting) and count >= len(waiting[done]):
            count -= len(waiting[done])
            done += 1
        waiting = waiting[done:]
        if count:
            waiting[0] = waiting[0][count:]
