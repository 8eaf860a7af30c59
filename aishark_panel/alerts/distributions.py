"""How the values of a column are distributed, for each key and bucket of time: what percentiles are read from.

Values are counted in *bins*: each whole number below 128 has one of its own, above there are 64 to each doubling (as in
HdrHistogram, hdrhistogram.github.io), so a percentile is off by less than 1 %. Of each key only the bins that occur are
kept, all together at most so many; what goes beyond is counted as missed.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel, lean_kernel

__all__ = ["MAX_BINS", "Distributions"]

MAX_BINS: Final = 65_536
"""(key, bin) pairs kept of one column; with a count for each bucket and an index, 10 MB at most."""
_FIRST_BINS: Final = 512
_EXACT: Final = 128
_PER_DOUBLING: Final = 64
_MOST: Final = float(2**62)


def _bins(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bin of each value; what is below 0 counts as 0."""
    mantissas, exponents = np.frexp(np.clip(values, 1, _MOST))
    # 2**7 <= value < 2**8 is exponent 8: the first doubling with bins of more than one number.
    wide = _EXACT + (exponents - 8) * _PER_DOUBLING + ((mantissas - 0.5) * 2 * _PER_DOUBLING).astype(np.int64)
    return np.where(values < _EXACT, np.maximum(values, 0).astype(np.int64), wide)


def _values(bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The middle of each bin."""
    doubling, step = np.divmod(np.maximum(bins - _EXACT, 0), _PER_DOUBLING)
    low = np.ldexp(0.5 + step / (2 * _PER_DOUBLING), doubling + 8)
    return np.where(bins < _EXACT, bins, low + np.ldexp(0.25 / _PER_DOUBLING, doubling + 8) - 0.5)


class Distributions:
    """Of one column, for all keys of a rule. Keys are slots, buckets positions, as `windows` numbers them."""

    def __init__(self, buckets: int) -> None:
        self._buckets = buckets
        self._count = 0
        self.missed = 0
        """packets whose value was not counted because its bin was one too many"""
        self._allocate(_FIRST_BINS)

    def _allocate(self, capacity: int) -> None:
        self._bin = np.empty(capacity, np.int64)
        self._slot = np.empty(capacity, np.int32)
        self._seen = np.zeros((capacity, self._buckets), np.uint32)
        self._table = np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32)

    def add(
        self, slots: npt.NDArray[np.int32], positions: npt.NDArray[np.int8], values: npt.NDArray[np.float64]
    ) -> None:
        """Count values, NaN for none; slot -1: of no key."""
        bins = np.where(np.isnan(values), -1, _bins(np.nan_to_num(values)))
        done = 0
        while done < len(slots):
            self._count, done, missed = _tally(
                slots, positions, bins, done, self._count, self._bin, self._slot, self._seen, self._table, MAX_BINS
            )
            self.missed += missed
            if done < len(slots):
                self._rebuild(np.arange(self._count), min(2 * len(self._bin), MAX_BINS))

    def percentiles(
        self, shares: tuple[float, ...], positions: npt.NDArray[np.int64], keys: int
    ) -> npt.NDArray[np.float64]:
        """(keys, shares): the smallest value that this share of the values in these buckets does not exceed; NaN where
        there is none."""
        n = self._count
        counts = self._seen[:n, positions].sum(axis=1, dtype=np.int64)
        order = np.lexsort((self._bin[:n], self._slot[:n]))
        slot, value, running = self._slot[:n][order], _values(self._bin[:n][order]), np.cumsum(counts[order])
        first = np.searchsorted(slot, np.arange(keys))
        before = np.concatenate([[0], running])[first]
        total = np.concatenate([[0], running])[np.searchsorted(slot, np.arange(keys), "right")] - before
        found = np.full((keys, len(shares)), np.nan)
        some = np.flatnonzero(total)
        for column, share in enumerate(shares):
            rank = np.maximum(np.ceil(share * total[some]), 1)
            found[some, column] = value[np.searchsorted(running, before[some] + rank)]
        return found

    def forget(self, position: int, places: npt.NDArray[np.int32]) -> None:
        """Empty a bucket; `places`: the new slot of each slot."""
        n = self._count
        self._seen[:n, position] = 0
        kept = np.flatnonzero(self._seen[:n].any(axis=1))
        if len(kept) < n or not np.array_equal(places, np.arange(len(places))):
            self._slot[:n] = places[self._slot[:n]]
            self._rebuild(kept, len(self._bin))

    def _rebuild(self, kept: npt.NDArray[np.intp], capacity: int) -> None:
        bins, slots, seen = self._bin[kept], self._slot[kept], self._seen[kept]
        if capacity > len(self._bin):
            self._allocate(capacity)
        self._count = n = len(kept)
        self._bin[:n], self._slot[:n], self._seen[:n] = bins, slots, seen
        self._seen[n:] = 0
        self._table.fill(0)
        _index(bins, slots, self._table)


@lean_kernel
def _tally(slots, positions, bins, i, count, known, owners, seen, table, most):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Count values from row i on, until done or out of room that may grow; returns (pairs, next row, missed)."""
    mask = np.uint64(len(table) - 1)
    missed = 0
    while i < len(slots):
        if slots[i] >= 0 and bins[i] >= 0:
            mixed = (np.uint64(slots[i]) << np.uint64(16)) ^ np.uint64(bins[i])
            place = (mixed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & mask
            while table[place] > 0 and (known[table[place] - 1] != bins[i] or owners[table[place] - 1] != slots[i]):
                place = (place + np.uint64(1)) & mask
            if table[place] == 0:
                if count == len(known):
                    if count < most:
                        return count, i, missed
                    missed += 1
                    i += 1
                    continue
                known[count] = bins[i]
                owners[count] = slots[i]
                count += 1
                table[place] = count
            seen[table[place] - 1, positions[i]] += np.uint32(1)
        i += 1
    return count, i, missed


@kernel
def _index(bins, slots, table):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(table) - 1)
    for row in range(len(bins)):
        mixed = (np.uint64(slots[row]) << np.uint64(16)) ^ np.uint64(bins[row])
        place = (mixed * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & mask
        while table[place] > 0:
            place = (place + np.uint64(1)) & mask
        table[place] = row + 1
