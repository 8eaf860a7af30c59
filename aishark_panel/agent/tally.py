"""Tally: where each packet of a run is, in numbers that add up at every moment.

    captured = sampled_out + throttled + dropped_* + lost_in_agent_crash + in_encoder + outbox + spooled + delivered

A change that breaks this is refused. With a file the numbers outlive the process, however it ends: each change writes
the older of two slots, so that one is always whole. It is written, not mapped: what was written survives SIGKILL just
as well, and a full disk is an error here, where a store into a mapped page would kill the process.
"""

import contextlib
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["MAX_UNSPOOLED", "PARTS", "SEEN", "Tally", "TallyFile"]

log = logging.getLogger(__name__)

PARTS: Final = (
    "sampled_out",
    "throttled",
    "dropped_outbox_full",
    "dropped_at_exit",
    "dropped_spool_unreadable",
    "dropped_refused",
    "lost_in_agent_crash",
    "in_encoder",
    "outbox",
    "spooled",
    "delivered",
)
"""where captured packets can be"""
SEEN: Final = ("matched", "kernel_dropped", "gaps", "gap_ms")
"""what the source itself counts"""
_MARKS: Final = (*SEEN, "next_sequence", "durable", "alive_ns", "closed")
"""what is kept beside: those, the run's numbering, when its process was last known to live, and
whether it ended in order (1)"""
_NAMES: Final = ("captured", *PARTS, *_MARKS)

MAX_UNSPOOLED: Final = 65_536
"""Most batches that may be in memory only: of so many the file knows how many packets they hold."""

_MAGIC: Final = b"AITALLY2"
_SLOT: Final = struct.Struct(f"<8sQ{len(_NAMES)}qI")
"""magic, generation, the numbers, CRC-32 of all before"""
_SLOT_BYTES: Final = 512
_ROWS: Final = struct.Struct("<II")
"""low half of a batch's number, its packets"""
_FILE_BYTES: Final = 2 * _SLOT_BYTES + MAX_UNSPOOLED * _ROWS.size


class TallyFile:
    """The numbers on disk. Raises OSError where it is opened; later a failure is said in the log, once."""

    def __init__(self, path: Path, read_clock: Callable[[], int]) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._read_clock = read_clock
        self._generation = 0
        self._failed = False
        if os.fstat(self._fd).st_size < _FILE_BYTES:
            os.posix_fallocate(self._fd, 0, _FILE_BYTES)
            os.fsync(self._fd)

    def read(self) -> dict[str, int] | None:
        """The newest whole slot; None where there is none."""
        newest: dict[str, int] | None = None
        for slot in range(2):
            data = os.pread(self._fd, _SLOT.size, slot * _SLOT_BYTES)
            if len(data) < _SLOT.size:
                continue
            magic, generation, *values, check = _SLOT.unpack(data)
            if magic == _MAGIC and check == zlib.crc32(data[:-4]) and generation > self._generation:
                self._generation, newest = generation, dict(zip(_NAMES, values, strict=True))
        return newest

    def rows(self, sequence: int) -> int:
        """Packets of a batch that was in memory only; 0 where it was overwritten since."""
        data = os.pread(self._fd, _ROWS.size, self._place(sequence))
        low, rows = _ROWS.unpack(data) if len(data) == _ROWS.size else (-1, 0)
        return rows if low == sequence & 0xFFFFFFFF else 0

    def write_rows(self, sequence: int, rows: int) -> None:
        self._write(_ROWS.pack(sequence & 0xFFFFFFFF, rows), self._place(sequence))

    def write(self, numbers: dict[str, int]) -> None:
        """Save all numbers, and that the agent lives."""
        numbers["alive_ns"] = self._read_clock()
        self._generation += 1
        data = _SLOT.pack(_MAGIC, self._generation, *(numbers[name] for name in _NAMES), 0)[:-4]
        self._write(data + zlib.crc32(data).to_bytes(4, "little"), self._generation % 2 * _SLOT_BYTES)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
        os.close(self._fd)

    def _place(self, sequence: int) -> int:
        return 2 * _SLOT_BYTES + sequence % MAX_UNSPOOLED * _ROWS.size

    def _write(self, data: bytes, place: int) -> None:
        try:
            os.pwrite(self._fd, data, place)
        except OSError as error:
            if not self._failed:
                log.warning("the agent's counters cannot be saved; a crash would lose them: %s", error.strerror)
            self._failed = True


class Tally:
    """The numbers of one run. Safe from any thread."""

    def __init__(self, file: TallyFile | None = None, numbers: dict[str, int] | None = None) -> None:
        self._numbers = dict.fromkeys(_NAMES, 0) | {"next_sequence": 1} | (numbers or {})
        self._file = file
        self._numbers["closed"] = 0
        self._lock = threading.Lock()
        if file:
            file.write(self._numbers)

    def __getitem__(self, name: str) -> int:
        return self._numbers[name]

    def move(self, **changes: int) -> None:
        """Change some numbers at once; ValueError where they would not add up."""
        with self._lock:
            self._move(changes)
            self._save()

    def made(self, sequence: int, rows: int) -> None:
        """A batch has this number from now on, whatever becomes of it."""
        with self._lock:
            if self._file:
                self._file.write_rows(sequence, rows)
            self._numbers["next_sequence"] = sequence + 1
            self._save()

    def write_off(self, sequence: int, **changes: int) -> None:
        """A batch that is gone, so that it is not looked for by a later life, either."""
        with self._lock:
            if self._file and self._numbers["next_sequence"] - sequence <= MAX_UNSPOOLED:
                self._file.write_rows(sequence, 0)
            self._move(changes)
            self._save()

    def delivered(self, durable: int, *, outbox: int, spooled: int) -> None:
        """The hub holds all batches up to `durable`: so many packets from each of the two."""
        with self._lock:
            self._move({"outbox": -outbox, "spooled": -spooled, "delivered": outbox + spooled})
            self._numbers["durable"] = durable
            self._save()

    def saw(self, counted: dict[str, int]) -> None:
        """What the source has counted in this run; what is none of SEEN is not kept."""
        with self._lock:
            self._numbers.update((name, counted.get(name, 0)) for name in SEEN)
            self._save()

    def counters(self) -> dict[str, int]:
        """Captured packets and where they are, of one moment."""
        with self._lock:
            return {name: self._numbers[name] for name in ("captured", *PARTS)}

    def close(self) -> None:
        """Say in the file that the process ends in order, and let go of it."""
        with self._lock:
            if self._file:
                self._numbers["closed"] = 1
                self._save()
                self._file.close()
                self._file = None

    def _move(self, changes: dict[str, int]) -> None:
        parts = sum(count for name, count in changes.items() if name != "captured")
        if parts != changes.get("captured", 0) or not changes.keys() <= {"captured", *PARTS}:
            raise ValueError(f"these changes do not add up: {changes}")
        for name, count in changes.items():
            self._numbers[name] += count

    def _save(self) -> None:
        if self._file:
            self._file.write(self._numbers)
