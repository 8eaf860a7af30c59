"""Evidence: the packets of an alert's key around the moment it fired, saved as pcapng before they leave the ring.

One alert at a time, on a thread of its own, and never more than a quarter of that thread's time: what is asked for in
a storm waits, and the log of alerts bounds how much. Files lie beside the session's journal and go with it; without a
journal they are in memory. The oldest make room for the newest.
"""

import logging
import re
from collections import deque
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.kept import Alert
from aishark_panel.alerts.log import evidence_state
from aishark_panel.errors import ExpressionError, NotFoundError
from aishark_panel.export.writer import open_writer
from aishark_panel.query import compile_expression
from aishark_panel.streams.about import comment
from aishark_panel.streams.matches import rows_of
from aishark_panel.streams.partfile import PartFile
from aishark_panel.streams.session import Session

__all__ = ["AFTER_NS", "Evidence"]

log = logging.getLogger(__name__)

BEFORE_NS: Final = 5 * 10**9
"""So long before the alert's window its packets are of interest,"""
AFTER_NS: Final = 5 * 10**9
"""and so long after it fired."""
PATIENCE_NS: Final = 10 * 10**9
"""How long is waited for packets after the alert, when none come."""
MAX_PACKETS: Final = 10_000
MAX_BYTES: Final = 4 * 2**20
"""Most of one alert, in frames."""
MAX_FILES: Final = 200
MAX_FILES_BYTES: Final = 256 * 2**20
MAX_MEMORY_BYTES: Final = 32 * 2**20
"""Most of one session: on the disk, or in memory."""
_CHUNK_ROWS: Final = 8_192
_NAME: Final = re.compile(r"alert-([1-9][0-9]*)\.pcapng")

Numbers = npt.NDArray[np.int64]


class Evidence:
    """The evidence of one session's alerts. `make` is called by one thread at a time, `read` by any."""

    def __init__(self, session: Session, folder: Path | None) -> None:
        """`folder` is made with the first file; None: in memory."""
        self._session = session
        self._folder = folder
        self._in_memory: dict[int, bytes] = {}
        self._sizes: dict[int, int] | None = None
        """bytes of what there is, by alert, oldest first; None: nobody looked yet"""

    def due(self, now_ns: int) -> Alert | None:
        """The alert whose evidence can be made now (Unix time): packets after it have come, or will not."""
        session = self._session
        wanted = None if session.condition.recovering else session.alerts.next_evidence()
        if wanted is None:
            return None
        alert, since_ns = wanted
        is_over = session.state in ("stopped", "ended")
        has_come = session.last_ts >= alert["fired_ns"] + AFTER_NS
        return alert if has_come or is_over or now_ns - since_ns >= PATIENCE_NS else None

    @property
    def is_stale(self) -> bool:
        """Whether there are files of alerts that are not kept any more."""
        return not all(self._session.alerts.has(number) for number in self._sizes or ())

    def sweep(self) -> None:
        """Remove these files. As `make`, on one thread."""
        for number in list(self._known()):
            if not self._session.alerts.has(number):
                self._remove(number)

    def make(self, alert: Alert) -> None:
        """Save what the ring has of an alert's packets, and tell its log what became of that."""
        number = alert["number"]
        try:
            state = self._make(alert)
        except (ExpressionError, OSError) as error:
            state = evidence_state("failed", _words(error))
        except Exception:
            log.exception("evidence of alert %d of session %s", number, self._session.name)
            state = evidence_state("failed", "It could not be made; the hub's log says why.")
        self._session.alerts.note_evidence(number, state)

    def _make(self, alert: Alert) -> dict[str, Any]:
        found = _Found(self._session, alert)
        if not len(found.numbers):
            gone = "Its packets had left the ring." if found.has_gap else "The ring has no packets of it."
            return evidence_state("none", gone)
        data, packets = found.as_pcapng()
        self._keep(alert["number"], data)
        reason = ""
        if found.is_cut:
            reason = f"At most {MAX_PACKETS:,} packets and {MAX_BYTES // 2**20} MiB are saved."
        elif found.has_gap or packets < len(found.numbers):
            reason = "Some of its packets had left the ring."
        complete = not reason
        if complete and not found.has_bytes:
            reason = "The agents kept the packets' bytes to themselves; there are only their times and lengths."
        return evidence_state("saved", reason, packets=packets, size_bytes=len(data), complete=complete)

    def _keep(self, number: int, data: bytes) -> None:
        """Write it down, in place of what there is too much of. Raises OSError."""
        self.sweep()
        kept = self._known()
        most_bytes = MAX_FILES_BYTES if self._folder else min(MAX_MEMORY_BYTES, self._session.ring.limit_bytes // 8)
        while kept and (len(kept) >= MAX_FILES or sum(kept.values()) + len(data) > most_bytes):
            oldest = next(iter(kept))
            self._remove(oldest)
            self._session.alerts.note_evidence(oldest, evidence_state("none", "It made room for that of newer alerts."))
        if self._folder is None:
            self._in_memory[number] = data
        else:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = PartFile(self._path(number))
            try:
                file.write(data)
                file.finish()
            except BaseException:
                file.discard()
                raise
        kept[number] = len(data)

    def _known(self) -> dict[int, int]:
        if self._sizes is None:
            self._sizes = {}
            if self._folder and self._folder.is_dir():
                for path in self._folder.iterdir():
                    if match := _NAME.fullmatch(path.name):
                        self._sizes[int(match[1])] = path.stat().st_size
                    else:
                        path.unlink()  # of a hub that was killed
                self._sizes = dict(sorted(self._sizes.items()))
        return self._sizes

    def _remove(self, number: int) -> None:
        self._known().pop(number, None)
        if self._folder is None:
            self._in_memory.pop(number, None)
        else:
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"alert-{number}.pcapng"

    def read(self, number: int) -> bytes:
        """The file of an alert; NotFoundError, with the reason, if there is none."""
        alert = self._session.alerts.alert(number)
        evidence = alert["evidence"] or evidence_state("none", "The alert has not fired.")
        try:
            if evidence["state"] != "saved":
                raise KeyError(number)
            return self._in_memory[number] if self._folder is None else self._path(number).read_bytes()
        except (KeyError, OSError) as error:
            waits = "Its packets are being saved; ask again in a few seconds."
            why = waits if evidence["state"] == "waiting" else evidence["reason"] or "Its file is gone."
            raise NotFoundError(f"no evidence of alert {number}: {why}") from error


class _Found:
    """Which packets in the ring are evidence of an alert: those from its window on, and what room is left for before
    it."""

    def __init__(self, session: Session, alert: Alert) -> None:
        """Raises ExpressionError where the alert's filter does not compile."""
        self._session = session
        self._alert = alert
        predicate = compile_expression(alert["filter"])
        window_ns, end_ns = alert["window_start_ns"], alert["fired_ns"] + AFTER_NS
        begin_ns = window_ns - BEFORE_NS
        ring = session.ring
        self._room_bytes = MAX_BYTES
        self._chosen: list[Numbers] = []
        self._room = MAX_PACKETS
        self.is_cut = False
        """whether there was more than is saved"""
        before: deque[tuple[Numbers, Numbers]] = deque()
        cursor, ring_end = ring.first, ring.end
        self.has_gap = ring.evicted + ring.cleared > 0 and self._begins_after(begin_ns)
        """whether packets of that time had left the ring"""
        while cursor < ring_end and not self.is_cut:
            stop_at = min(cursor + _CHUNK_ROWS, ring_end)
            with ring.read(cursor, stop_at) as views:
                for packets, start, stop in views:
                    times = packets.columns.ts[start:stop]
                    wanted = (times >= begin_ns) & (times <= end_ns)
                    if not wanted.any():
                        continue
                    wanted &= predicate.mask(packets, start, stop, session.interfaces)
                    rows = np.flatnonzero(wanted) + start
                    numbers, sizes = rows + packets.first_number, packets.columns.cap_len[rows].astype(np.int64)
                    is_before = packets.columns.ts[rows] < window_ns
                    before.append((numbers[is_before], sizes[is_before]))
                    self._take(numbers[~is_before], sizes[~is_before])
            while sum(len(each) for each, _ in before) - len(before[0][0] if before else ()) > MAX_PACKETS:
                before.popleft()
            cursor = stop_at
        for numbers, sizes in reversed(before):
            self._take(numbers[::-1], sizes[::-1])
        self.numbers = np.sort(np.concatenate(self._chosen)) if self._chosen else np.empty(0, np.int64)

    @property
    def has_bytes(self) -> bool:
        """Whether anything of these packets but the headers in the columns came to the hub."""
        return self._room_bytes < MAX_BYTES

    def _begins_after(self, begin_ns: int) -> bool:
        with self._session.ring.read(0, self._session.ring.first + 1) as views:
            return not views or int(views[0].packets.columns.ts[views[0].start]) > begin_ns

    def _take(self, numbers: Numbers, sizes: Numbers) -> None:
        """As many of these packets as there is room for, in this order."""
        room = min(self._room, int(np.searchsorted(np.cumsum(sizes), self._room_bytes, "right")), len(numbers))
        self.is_cut |= room < len(numbers)
        if self.is_cut:  # what follows is no more of interest than what was left out
            self._room = room
        self._chosen.append(numbers[:room])
        self._room -= room
        self._room_bytes -= int(sizes[:room].sum())

    def as_pcapng(self) -> tuple[bytes, int]:
        """These packets, as far as they are still there, as a file; and how many they are."""
        session, alert = self._session, self._alert
        said = alert["annotations"].get("summary") or alert["description"]
        notes = [comment(session, alert["filter"]), f"alert: {alert['rule']}", *([said] if said else [])]
        sink = _Bytes()
        writer = open_writer(
            sink,
            ".pcapng",
            session.interfaces,
            capture_interfaces=session.runs.described_interfaces,
            comment="\n".join(notes),
        )
        for at in range(0, len(self.numbers), _CHUNK_ROWS):
            chunk = self.numbers[at : at + _CHUNK_ROWS]
            with session.ring.read(int(chunk[0]), int(chunk[-1]) + 1) as views:
                for packets, rows in rows_of(list(views), chunk):
                    writer.write(packets, rows)
        writer.close()
        return bytes(sink.data), writer.packets


class _Bytes:
    """A file in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> int:
        self.data += data
        return len(data)


def _words(error: Exception) -> str:
    return f"It could not be written: {error.strerror}." if isinstance(error, OSError) else str(error)
