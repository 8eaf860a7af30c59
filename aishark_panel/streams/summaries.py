"""Summaries: what a question about many packets adds up to, kept up to date and shared by all who ask the same.

A summary walks the packets that an expression selects, oldest first, and remembers where it is: a later question looks
only at packets that came meanwhile, and one question at a budget of them at most, so a first answer may be partial.
What it counted stays when the packets are evicted.
"""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.streams.matches import MatchSet, rows_of
from aishark_panel.wire.packets import Interface, Packets

if TYPE_CHECKING:
    from aishark_panel.streams.session import Session

__all__ = ["MAX_BYTES", "Counter", "Progress", "Summaries"]

_MAX_SUMMARIES: Final = 32
MAX_BYTES: Final = 64 * 2**20
"""Most memory of a session's summaries, but for the last one asked for; the one longest not asked for goes first."""
_PIECE: Final = 262_144
"""Matches looked at in one piece."""

Rows = npt.NDArray[np.intp]


class Progress(NamedTuple):
    """How far a summary is."""

    first_ts: int
    """time of the first packet that was counted, ns; 0: none was"""
    scanned_to: int
    """number of the next packet to look at"""
    end: int
    """number after the newest packet"""

    @property
    def complete(self) -> bool:
        """Whether all packets were looked at."""
        return self.scanned_to >= self.end

    def as_dict(self) -> dict[str, Any]:
        """As answers tell it."""
        return {
            "complete": self.complete,
            "scanned_to": self.scanned_to,
            "ring_end": self.end,
            "first_ts": self.first_ts,
        }


class Counter(ABC):
    """Adds up packets."""

    @abstractmethod
    def count(self, packets: Packets, rows: Rows, interfaces: Sequence[Interface]) -> None:
        """Take some rows of a block, in their order."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory it takes, of its arrays."""


C = TypeVar("C", bound=Counter)
Table = tuple[dict[str, Any], pa.RecordBatch]


class Summary(Generic[C]):
    """One counter and how far it is; `matches` selects its packets, None: all of them."""

    def __init__(self, counter: C, matches: MatchSet | None) -> None:
        self.counter = counter
        self.lock = threading.Lock()
        """held while the counter is used"""
        self._matches = matches
        self._next = 0  # number of the next packet; of matches: rank of the next one
        self._first_ts = 0

    def update(self, session: "Session", budget: int) -> Progress:
        """Count packets that were not yet, at most `budget` of them. The caller holds `lock`."""
        if self._matches is None:
            return self._count_all(session, budget)
        known = self._matches.update(session.ring, session.interfaces, budget)
        self._next = max(self._next, known.first)
        stop = min(known.end, self._next + budget)
        while self._next < stop:
            count = min(_PIECE, stop - self._next)
            numbers = self._matches.numbers(self._next, count)
            if len(numbers):
                with session.ring.read(int(numbers[0]), int(numbers[-1]) + 1) as views:
                    for packets, rows in rows_of(list(views), numbers):
                        self._count(session, packets, rows)
            self._next += count
        behind = self._next < known.end
        return Progress(self._first_ts, min(known.scanned_to, session.ring.end - behind), session.ring.end)

    def _count_all(self, session: "Session", budget: int) -> Progress:
        end = session.ring.end
        with session.ring.read(self._next, end) as views:
            for view in views:
                stop = min(view.stop, view.start + budget)
                budget -= stop - view.start
                self._count(session, view.packets, np.arange(view.start, stop))
                self._next = view.packets.first_number + stop
                if budget <= 0:
                    break
            else:
                self._next = max(self._next, end)
        return Progress(self._first_ts, self._next, end)

    def _count(self, session: "Session", packets: Packets, rows: Rows) -> None:
        self._first_ts = self._first_ts or int(packets.columns.ts[rows[0]])
        self.counter.count(packets, rows, session.interfaces)


class Summaries:
    """The summaries of one session, by what they count and the text of their expression."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Summary[Any]] = OrderedDict()
        self._answers: OrderedDict[tuple[Any, ...], tuple[object, Table]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, session: "Session", make: Callable[..., C], *parameters: Any, where: str = "") -> Summary[C]:
        """The summary of `make(*parameters)` over what `where` selects; ExpressionError if that does not parse."""
        where = where.strip()
        matches = session.matches.get(where) if where else None
        key = (make, *parameters, where)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = Summary(make(*parameters), matches)
            else:
                self._kept.move_to_end(key)
            held = sum(summary.counter.nbytes for summary in self._kept.values())
            while len(self._kept) > _MAX_SUMMARIES or (held > MAX_BYTES and len(self._kept) > 1):
                held -= self._kept.popitem(last=False)[1].counter.nbytes
            return found

    @property
    def nbytes(self) -> int:
        """Memory of all that are kept."""
        with self._lock:
            return sum(summary.counter.nbytes for summary in self._kept.values())

    def once(self, session: "Session", key: tuple[Any, ...], work: Callable[[], Table]) -> Table:
        """What `work` answers; who asks with the same key at the same moment gets the same, once
        all packets were looked at."""
        moment = _moment(session)
        known = self._answers.get(key)
        if known is not None and known[0] == moment:
            return known[1]
        answer = work()
        if not answer[0]["complete"]:
            return answer
        with self._lock:
            self._answers[key] = moment, answer
            self._answers.move_to_end(key)
            while len(self._answers) > _MAX_SUMMARIES:
                self._answers.popitem(last=False)
        return answer

    def clear(self) -> None:
        """Forget all summaries; the ring was cleared."""
        with self._lock:
            self._kept.clear()
            self._answers.clear()


def _moment(session: "Session") -> tuple[float, int]:
    """Something that changes a few times a second while packets come: what was found out at the same moment need not be
    found out again for somebody else."""
    end, marked_s = session.ring.end, session.rates.marked_s
    return (0.0, end) if marked_s is None else (marked_s, session.ring.cleared)
