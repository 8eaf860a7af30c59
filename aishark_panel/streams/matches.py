"""Match sets: which packets of the ring an expression selects, found once and shared by all who ask the same.

A match set walks the ring block by block and keeps one bit a row. Its members are numbered by *rank*: the k-th match
since the set was made has rank k for ever, also after older ones were evicted, so a scrolled list does not shift.
"""

import threading
from collections import OrderedDict
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.query import Predicate, compile_expression
from aishark_panel.streams.ring import BlockView, Ring
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["MatchRange", "MatchSet", "Matches", "rows_of"]

_MAX_SETS: Final = 64
"""Expressions kept at once; the one longest not asked for goes first."""


class MatchRange(NamedTuple):
    """What a match set knows at a moment."""

    first: int
    """rank of the oldest match still in the ring"""
    end: int
    """rank after the newest match"""
    scanned_to: int
    """number of the next packet to look at"""


class _BlockMatches:
    """Matches within one block: a bit a row, and how many."""

    __slots__ = ("bits", "block_number", "count", "first_number", "first_rank", "rows")

    def __init__(self, block_number: int, first_number: int, first_rank: int) -> None:
        self.block_number = block_number
        self.first_number = first_number
        self.first_rank = first_rank
        self.rows = 0
        self.count = 0
        self.bits: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)

    def add(self, mask: npt.NDArray[np.bool_]) -> None:
        """Append the verdicts of the rows that follow."""
        known = np.unpackbits(self.bits, count=self.rows) if self.rows % 8 else None
        if known is None:
            self.bits = np.concatenate([self.bits, np.packbits(mask)])
        else:
            whole = self.rows // 8
            head = known[whole * 8 :].astype(bool)
            self.bits = np.concatenate([self.bits[:whole], np.packbits(np.concatenate([head, mask]))])
        self.rows += len(mask)
        self.count += int(np.count_nonzero(mask))

    def positions(self) -> npt.NDArray[np.intp]:
        """Rows of the block that match, in order."""
        return np.flatnonzero(np.unpackbits(self.bits, count=self.rows))


class MatchSet:
    """The packets of one ring that one predicate selects; extended on demand, at most `budget_rows` rows a call."""

    def __init__(self, predicate: Predicate) -> None:
        self.predicate = predicate
        self._blocks: list[_BlockMatches] = []
        self._next_rank = 0
        self._scanned_to = 0
        self._lock = threading.Lock()

    def update(self, ring: Ring, interfaces: list[Interface], budget_rows: int) -> MatchRange:
        """Look at packets not yet looked at, oldest first, and forget those that were evicted."""
        # The end is read before the snapshot: what comes between the two is left for the next time, never skipped.
        with self._lock, ring.read(self._scanned_to, end := ring.end) as views:
            first = ring.first
            while self._blocks and self._blocks[0].first_number + self._blocks[0].rows <= first:
                self._blocks.pop(0)
            for view in views:
                if budget_rows <= 0:
                    break
                stop = min(view.stop, view.start + budget_rows)
                budget_rows -= stop - view.start
                self._scan(view.packets, view.start, stop, interfaces)
            if not views:
                self._scanned_to = max(self._scanned_to, end)
            start = self._blocks[0].first_rank if self._blocks else self._next_rank
            return MatchRange(start, self._next_rank, self._scanned_to)

    def _scan(self, packets: Packets, start: int, stop: int, interfaces: list[Interface]) -> None:
        number = packets.first_number
        if not self._blocks or self._blocks[-1].block_number != number:
            self._blocks.append(_BlockMatches(number, number + start, self._next_rank))
        entry = self._blocks[-1]
        before = entry.count
        entry.add(self.predicate.mask(packets, start, stop, interfaces))
        self._next_rank += entry.count - before
        self._scanned_to = number + stop

    def numbers(self, first_rank: int, count: int) -> npt.NDArray[np.int64]:
        """Packet numbers of the matches with ranks [first_rank, first_rank + count), as far as they are known."""
        found: list[npt.NDArray[Any]] = []
        with self._lock:
            for entry in self._blocks:
                low, high = first_rank - entry.first_rank, first_rank + count - entry.first_rank
                if high <= 0 or low >= entry.count:
                    continue
                found.append(entry.positions()[max(low, 0) : high] + entry.first_number)
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def rank(self, number: int) -> int:
        """The rank of the first match whose packet number is at least `number`, among those that are known."""
        with self._lock:
            for entry in self._blocks:
                if number < entry.first_number + entry.rows:
                    row = max(0, number - entry.first_number)
                    return entry.first_rank + int(np.searchsorted(entry.positions(), row))
            return self._next_rank


class Matches:
    """The match sets of one session, by the text of their expression."""

    def __init__(self) -> None:
        self._sets: OrderedDict[str, MatchSet] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> MatchSet:
        """The match set of an expression; ExpressionError if it does not parse."""
        with self._lock:
            found = self._sets.get(text)
            if found is None:
                found = self._sets[text] = MatchSet(compile_expression(text))
                while len(self._sets) > _MAX_SETS:
                    self._sets.popitem(last=False)
            else:
                self._sets.move_to_end(text)
            return found

    def clear(self) -> None:
        """Forget all sets; the ring was cleared."""
        with self._lock:
            self._sets.clear()


def rows_of(views: list[BlockView], numbers: npt.NDArray[np.int64]) -> list[tuple[Packets, npt.NDArray[np.intp]]]:
    """Blocks and their rows for ascending packet numbers; numbers that are gone are left out."""
    found = []
    for view in views:
        base = view.packets.first_number
        low, high = np.searchsorted(numbers, [base + view.start, base + view.stop])
        if low < high:
            found.append((view.packets, (numbers[low:high] - base).astype(np.intp)))
    return found
