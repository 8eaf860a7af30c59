"""History: packets of a time that the ring does not hold any more, read back from the journal or from recordings.

A session is named by its id, or by `ID@START-END` (ns since 1970) for what it saw in that time. As long as the ring
still has all of that, it answers. Where it has not, a session that nobody sees is filled from the journal, which has
the packets' bytes, or where that does not reach back so far from the Parquet that was recorded of the whole session;
it answers all that sessions are asked. Packets keep their numbers. A few histories are kept, and given up when unused.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from aishark_panel.errors import AisharkError, ConflictError
from aishark_panel.export.parquet_read import ParquetFile
from aishark_panel.export.partitions import Span, hour_of, may_hold
from aishark_panel.export.tables import FRAME
from aishark_panel.streams.recorder import Recorder
from aishark_panel.streams.recovery import Recovery
from aishark_panel.streams.ring import BlockView
from aishark_panel.streams.segments import Kind, Totals, began_ns, decode_note, read_segment, segments_of
from aishark_panel.streams.session import Session
from aishark_panel.wire.from_arrow import from_arrow
from aishark_panel.wire.packets import ARROW_NAMES, LAYERS, Interface

__all__ = ["SESSION", "WAIT_S", "Histories", "History", "split_id"]

log = logging.getLogger(__name__)

SESSION: Final = r"([0-9a-f]+|[0-9a-f]+@[0-9]{1,19}-[0-9]{1,19})"
"""A session in an address."""
WAIT_S: Final = 600.0
"""How long who asks once waits for a time to be read back."""
RING_BYTES: Final = 256 * 2**20
MAX_KEPT: Final = 6
_BUSY_S: Final = 2.0
"""Of a history that was asked so lately somebody still looks at it."""
KEPT_S: Final = 300.0
"""How long a history is kept that nobody asks."""
_STEP_S: Final = 0.02
_THREADS: Final = 2
_CLOCK_NS: Final = 5 * 10**9
"""Packets of live agents bear times that are at most so much after they came."""
_DELAY_NS: Final = 60 * 10**9
"""Packets come at most so long after they were seen, but where a connection was lost."""
_REST: Final = 0.5
"""Of the time that it works, a history rests, so that packets that come in go first."""
_ROWS: Final = 8_192
_NAMED: Final = re.compile(r"([0-9a-f]{1,60})@(\d{1,19})-(\d{1,19})")
_READ: Final = (*ARROW_NAMES, LAYERS, FRAME)


def split_id(text: str) -> tuple[str, Span | None]:
    """A session's id, and the time behind it, if there is one that makes sense."""
    found = _NAMED.fullmatch(text)
    if found is None or int(found[2]) >= int(found[3]) or int(found[3]) >= 2**63:
        return text, None
    return found[1], (int(found[2]), int(found[3]))


class Kept(NamedTuple):
    """What there is of a session beside its ring."""

    journal: Path | None
    """folder of its journal"""
    files: Sequence[Path]
    """Parquet of the whole session, oldest first"""


class History:
    """One session's packets of one time. `session` is filled by `run`, and may be asked meanwhile."""

    def __init__(self, live: Session, span: Span, kept: Kept) -> None:
        self.live = live
        self.span = span
        self.session = Session(live.id, live.name, owner=live.owner, ring_bytes=RING_BYTES)
        self.problem = ""
        """what kept it from being read, in a sentence"""
        self.used_s = self._rested_s = time.monotonic()
        self._kept = kept
        self._is_done = False
        self._cursor = 1
        """number of the next packet of the live ring to look at"""
        self._is_settled = False
        """whether no packet of its time can come any more"""
        self.is_working = False
        self._is_cancelled = False
        self._share = 0.0

    def covers(self, live: Session, span: Span) -> bool:
        """Whether it has what a session saw in that time."""
        is_of = live is self.live and self.span[0] <= span[0] and span[1] <= self.span[1]
        # The ring has let go what this one has not seen: it is read anew.
        return is_of and (self._is_settled or not self._is_done or live.ring.first <= self._cursor)

    @property
    def reading(self) -> str:
        """How far it is, in words; "" once all is read."""
        return "" if self._is_done else f"Reading this time back from the disk: {self._share:.0%}."

    def cancel(self) -> None:
        """Nobody needs it any more."""
        self._is_cancelled = True

    @property
    def is_behind(self) -> bool:
        """Whether packets came since that may be of its time."""
        waits = self._is_done and not self.is_working and not self._is_settled
        return waits and self.live.ring.end > self._cursor

    def run(self) -> None:
        """Read everything, or what came since. On a thread of its own; never raises."""
        try:
            self._rested_s = time.monotonic()
            arrived = self._arrived()
            is_settled = arrived is not None and arrived[1] < time.time_ns()
            if not self._is_done:
                asyncio.run(self._read_back(arrived))
            for share in self._copied():
                self._rest(share)
            self._is_settled = is_settled
        except (AisharkError, OSError) as error:
            self.problem = f"Not all of this time could be read back: {error}"
        except Exception:
            log.exception("the history of session %s", self.live.name)
            self.problem = "Not all of this time could be read back; the hub's log says why."
        finally:
            self._is_done, self.is_working = True, False

    async def wait(self, most_s: float) -> None:
        """Until all is read, or for so long."""
        deadline_s = time.monotonic() + most_s
        while not self._is_done and time.monotonic() < deadline_s:  # noqa: ASYNC110  # it is set on another thread
            await asyncio.sleep(_STEP_S)

    async def _read_back(self, arrived: Span | None) -> None:
        """Take what is on the disk."""
        live, folder = self.live, self._kept.journal
        if folder is None or not _reaches_back(folder, arrived):
            before = live.ring.first if folder is None else _first_number(folder)
            for share in self._archived(before):
                self._rest(share)
            self._note_hole(live.ring.first if folder is None else before)
        if folder is None:
            return
        now_ns = time.time_ns()
        recovery = Recovery(self.session, folder, died_ns=now_ns, now_ns=now_ns, arrived=arrived)
        async for step in recovery.steps():
            step()
            self._rest(recovery.done_bytes / max(recovery.total_bytes, 1))
        self._cursor = self.session.ring.end

    def _arrived(self) -> Span | None:
        """When packets of the time may have come in; None: at any time, as they bear times of a file or a clock."""
        live, (start_ns, end_ns) = self.live, self.span
        runs = list(live.runs)
        if any(run.hello.source == "replay" or abs(run.offset_ns) > _CLOCK_NS for run in runs):
            return None
        late = any(gap.start_ns < end_ns and gap.end_ns > start_ns for gap in list(live.gaps))
        return start_ns - _CLOCK_NS, 2**63 if late else end_ns + _DELAY_NS

    def _rest(self, share: float) -> None:
        """After a piece of work, by which so much of all is done."""
        if self._is_cancelled:
            raise ConflictError("it was broken off")
        self.session.ring.discard(self._is_wanted)
        if self.session.ring.evicted > self.session.ring.passed:
            self.problem = (
                f"The oldest packets of this time did not fit into {RING_BYTES >> 20} MiB; choose a shorter one."
            )
        self._share = max(self._share, min(0.99, share))
        time.sleep(_REST * (time.monotonic() - self._rested_s))
        self._rested_s = time.monotonic()

    def _is_wanted(self, view: BlockView) -> bool:
        ts = view.packets.columns.ts[view.start : view.stop]
        return bool(((ts >= self.span[0]) & (ts < self.span[1])).any())

    def _archived(self, before: int) -> Iterator[float]:
        """Take blocks of recordings, of packets with numbers below a limit."""
        paths = [path for path in self._kept.files if may_hold(hour_of(str(path)), self.span)]
        for place, path in enumerate(paths):
            with ParquetFile(path) as file:
                for packets, _ in file.blocks(within=self.span, before=before):
                    if packets.first_number >= self.session.ring.end:
                        packets.numbers = None
                        self.session.adopt(packets, file.interfaces)
                    yield place / len(paths)

    def _note_hole(self, following: int) -> None:
        """Say so if packets of the time are between the recordings and what follows them, from a number on."""
        number, ts = 0, 0
        for path in self._kept.files[-1:]:
            with ParquetFile(path) as file:
                number, ts = file.last
        if number and ts < self.span[1] and number + 1 < following:
            self.problem = (
                f"{following - number - 1:,} packets of about this time are in no whole file yet, and not in the ring."
            )

    def _copied(self) -> Iterator[float]:
        """Take what the ring has, and was not looked at."""
        live = self.live
        end = live.ring.end
        first = self._cursor = max(live.ring.first, self._cursor)
        while self._cursor < end:
            with live.ring.read(self._cursor, min(end, self._cursor + _ROWS)) as views:
                for view in views:
                    packets, start, stop = view
                    self._cursor = packets.first_number + stop
                    if not self._is_wanted(view):
                        continue
                    batch = packets.to_arrow(live.interfaces, _READ, np.arange(start, stop))
                    interfaces: list[Interface] = []
                    copy = from_arrow(batch, interfaces, live.runs.interfaces.link_type)
                    copy.first_number, copy.numbers = packets.first_number + start, None
                    self.session.adopt(copy, interfaces)
                if not views:
                    self._cursor = live.ring.following(self._cursor, end)
            yield (self._cursor - first) / (end - first)


class Histories:
    """The histories of a hub. `journal` is the folder of its journal; None: it keeps none."""

    def __init__(self, recorder: Recorder, journal: Path | None) -> None:
        self._recorder, self._journal = recorder, journal
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="history")
        self._kept: list[History] = []

    def reach(self, live: Session, span: Span) -> History | None:
        """The history that answers for what a session saw in a time; None where its ring does, or nothing else can.
        ConflictError where people look at MAX_KEPT others."""
        now_s = time.monotonic()
        self._let_go([h for h in self._kept if now_s - h.used_s > KEPT_S])
        span = max(span[0], live.first_ts), span[1]  # what is older was cleared
        if not live.first_ts or _has(live, span[0]):
            return None
        found = next((history for history in self._kept if history.covers(live, span)), None)
        if found is None:
            journal = self._journal / live.id if self._journal else None
            files = self._recorder.past(live, archive=True)
            if journal is None and not files:
                return None
            self._make_room(now_s)
            found = History(live, span, Kept(journal, files))
            self._kept.append(found)
            self._work(found)
        elif found.is_behind:
            self._work(found)
        found.used_s = now_s
        return found

    def _make_room(self, now_s: float) -> None:
        if len(self._kept) < MAX_KEPT:
            return
        oldest = min(self._kept, key=lambda history: history.used_s)
        if now_s - oldest.used_s < _BUSY_S:
            raise ConflictError(f"The hub reads {MAX_KEPT} times of the past back at once, its most; try again later.")
        self._let_go([oldest])

    def _work(self, history: History) -> None:
        history.is_working = True
        self._pool.submit(history.run)

    def forget(self, live: Session) -> None:
        """A session was cleared or deleted."""
        self._let_go([history for history in self._kept if history.live is live])

    def close(self) -> None:
        """Break all off, and wait for them."""
        self._let_go(list(self._kept))
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _let_go(self, histories: Sequence[History]) -> None:
        for history in histories:
            history.cancel()
            self._kept.remove(history)


def _has(live: Session, start_ns: int) -> bool:
    """Whether a session's ring has all packets from a time on."""
    if not live.ring.evicted:
        return True
    with live.ring.read(live.ring.first, live.ring.first + 1) as views:
        oldest_ns = int(views[0].packets.columns.ts[views[0].start]) if views else start_ns + 1
    return live.runs.source not in ("replay", "mixed") and oldest_ns <= start_ns


def _reaches_back(folder: Path, arrived: Span | None) -> bool:
    """Whether a journal has all that came in from a time on."""
    try:
        oldest = segments_of(folder)[0][1]
    except (OSError, IndexError):
        return False
    began = began_ns(oldest)
    return _first_number(folder) == 1 or bool(arrived and began and began <= arrived[0])


def _first_number(folder: Path) -> int:
    """Number of the first packet that a journal has; beyond all where it has none."""
    for _, path in segments_of(folder):
        head = next(iter(read_segment(path).records), None)
        if head and head.kind == Kind.TOTALS and (totals := decode_note(head, Totals)):
            return totals.packets + 1
    return 2**62
