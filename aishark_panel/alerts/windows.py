"""What the packets of each key add up to, in buckets of time: the memory behind a rule's sliding window.

A window is a run of buckets; at most BUCKETS of them are kept, bucket b at position b mod BUCKETS. For each key and
bucket there are sums, maxima and sets of distinct values (bit p of a value: seen in the bucket at position p).
Everything is bounded: keys and values beyond the limits are counted as missed, and left out.

Nothing here closes a bucket by itself: the owner does, and says when one is to be forgotten.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.clock import MAX_TS, Times
from aishark_panel.alerts.distributions import Distributions
from aishark_panel.alerts.keys import Chosen, Words
from aishark_panel.jit import kernel, kernel_part, lean_kernel
from aishark_panel.memory import sparse_zeros

__all__ = ["BUCKETS", "MAX_KEYS", "MAX_VALUES", "Selected", "Totals", "Windows"]

BUCKETS: Final = 32
MAX_KEYS: Final = 10_000
MAX_VALUES: Final = 100_000
"""(key, value) pairs kept of one counted column; with 16 bytes each and an index, 2.6 MB at most."""
_FIRST_VALUES: Final = 512
_SECRET: Final = np.array([hash(f"word {k}") & (2**64 - 1) for k in range(32)], np.uint64)
"""One for each word of a key. Python salts the hashes of texts anew in each process, so nobody who sends packets knows
which of them collide in the tables."""

Slots = npt.NDArray[np.int32]
Positions = npt.NDArray[np.int8]
Numbers = npt.NDArray[np.float64]


class Selected(NamedTuple):
    """Packets that a rule selects among some rows, in the order they came."""

    chosen: Chosen
    """(n,) which rows"""
    times: Times
    """(rows,) packet time"""
    marks: Times
    """(rows,) the watermark as of each row"""
    lengths: npt.NDArray[np.uint32]
    """(rows,) bytes on the wire"""
    keys: Words
    added: Numbers
    """(n, sums) what each adds to the further sums"""
    topped: Numbers
    """(n, maxima) what may be a maximum; -inf: nothing"""
    values: list[Words]
    """of each column whose values are counted, behind a word that is 0 for null"""
    spread: list[Numbers]
    """(n,) of each column whose distribution is kept; NaN for null"""


class Totals(NamedTuple):
    """What some buckets hold together, a row a key."""

    sums: Numbers
    maxima: Numbers
    """-inf where there was nothing"""
    distinct: npt.NDArray[np.int64]


class Windows:
    """The buckets of one rule, `step_ns` each: keys of `key_words` words; sums of packets, bytes and so many more;
    maxima, sets and distributions."""

    def __init__(
        self,
        step_ns: int,
        key_words: int,
        sums: int,
        maxima: int,
        sets: int,
        distributions: int = 0,
        *,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._step_ns = step_ns
        # Few keys are cheap without any growing: only what is used takes memory.
        self._keys = sparse_zeros((max_keys, key_words), np.uint64)
        self._table = np.zeros(1 << (2 * max_keys - 1).bit_length(), np.int32)
        # What is counted at a time is of one bucket mostly: its numbers lie together, so they stay in the cache.
        self._sums = sparse_zeros((BUCKETS, max_keys, 2 + sums), np.float64)
        self._maxima = sparse_zeros((BUCKETS, max_keys, maxima), np.float64)
        self._sets = [_Sets() for _ in range(sets)]
        self._distributions = [Distributions(BUCKETS) for _ in range(distributions)]
        self._count = 0
        self.missed_keys = 0
        """packets that were not counted because their key was one too many"""
        self.late = 0
        """packets that were not counted because the watermark had left their bucket"""

    def __len__(self) -> int:
        return self._count

    @property
    def missed_values(self) -> int:
        """Packets whose value was not kept because it was one too many: distinct counts are too low by some of these,
        and percentiles do not know of them"""
        return sum(each.missed for each in self._sets) + sum(each.missed for each in self._distributions)

    def keys(self) -> Words:
        """The keys that have packets, by slot; valid until the next `forget`."""
        return self._keys[: self._count]

    def add(self, packets: Selected, first: int) -> int:
        """Count packets from number `first` on, up to the one with which the watermark enters another bucket; returns
        that one's number. Buckets before the watermark's are closed."""
        slots = np.empty(len(packets.chosen), np.int32)
        positions = np.empty(len(packets.chosen), np.int8)
        stop, self._count, missed, late = _add(
            packets.chosen, packets.times, packets.marks, packets.lengths, packets.keys, packets.added, packets.topped,
            first, self._step_ns, self._count, self._keys, self._table, _SECRET, self._sums, self._maxima,
            slots, positions,
        )  # fmt: skip
        self.missed_keys += missed
        self.late += late
        for each, words in zip(self._sets, packets.values, strict=True):
            each.add(slots[first:stop], positions[first:stop], words[first:stop])
        for spread, numbers in zip(self._distributions, packets.spread, strict=True):
            spread.add(slots[first:stop], positions[first:stop], numbers[first:stop])
        return int(stop)

    def totals(self, positions: npt.NDArray[np.int64]) -> Totals:
        """What the buckets at these positions hold together, for each of `keys()`."""
        n = self._count
        sums = self._sums[positions, :n].sum(axis=0)
        maxima = self._maxima[positions, :n].max(axis=0)
        distinct = np.empty((n, len(self._sets)), np.int64)
        for column, each in enumerate(self._sets):
            distinct[:, column] = each.count(positions, n)
        return Totals(sums, maxima, distinct)

    def percentiles(
        self, distribution: int, shares: tuple[float, ...], positions: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """(keys, shares): percentiles of that column over the buckets at these positions; NaN where it has no value."""
        return self._distributions[distribution].percentiles(shares, positions, self._count)

    def forget(self, position: int) -> None:
        """Empty the bucket at a position, and drop the keys that have no packets in any other."""
        n = self._count
        self._sums[position, :n] = 0
        self._maxima[position, :n] = -np.inf
        kept = np.flatnonzero(self._sums[:, :n, 0].any(axis=0))
        places = np.full(n, -1, np.int32)
        places[kept] = np.arange(len(kept), dtype=np.int32)
        for each in self._sets:
            each.forget(position, places)
        for spread in self._distributions:
            spread.forget(position, places)
        if len(kept) == n:
            return
        self._keys[: len(kept)] = self._keys[kept]
        self._sums[:, : len(kept)] = self._sums[:, kept]
        self._maxima[:, : len(kept)] = self._maxima[:, kept]
        self._sums[:, len(kept) : n] = 0
        self._table.fill(0)
        self._count = len(kept)
        _index_keys(self._keys, self._count, self._table, _SECRET)


class _Sets:
    """Distinct values of one column for all keys: pairs of slot and value, each with the buckets it was seen in."""

    def __init__(self) -> None:
        self._allocate(_FIRST_VALUES)
        self._count = 0
        self.missed = 0

    def _allocate(self, capacity: int) -> None:
        self._values = np.empty(capacity, np.uint64)
        self._slots = np.empty(capacity, np.int32)
        self._seen = np.empty(capacity, np.uint32)
        self._table = np.zeros(1 << (2 * capacity - 1).bit_length(), np.int32)

    def add(self, slots: Slots, positions: Positions, words: Words) -> None:
        done = 0
        while done < len(slots):
            self._count, done, missed = _see(
                slots, positions, words, done, self._count, _SECRET[0],
                self._values, self._slots, self._seen, self._table, MAX_VALUES,
            )  # fmt: skip
            self.missed += missed
            if done < len(slots):
                self._rebuild(np.arange(self._count), min(2 * len(self._values), MAX_VALUES))

    def count(self, positions: npt.NDArray[np.int64], keys: int) -> npt.NDArray[np.int64]:
        wanted = np.bitwise_or.reduce(np.left_shift(np.uint32(1), positions.astype(np.uint32)))
        seen = (self._seen[: self._count] & wanted) != 0
        return np.bincount(self._slots[: self._count][seen], minlength=keys).astype(np.int64)

    def forget(self, position: int, places: Slots) -> None:
        """`places`: the new slot of each slot."""
        n = self._count
        self._seen[:n] &= ~(np.uint32(1) << np.uint32(position))
        kept = np.flatnonzero(self._seen[:n])
        if len(kept) < n or not np.array_equal(places, np.arange(len(places))):
            self._slots[:n] = places[self._slots[:n]]
            self._rebuild(kept, len(self._values))

    def _rebuild(self, kept: npt.NDArray[np.intp], capacity: int) -> None:
        values, slots, seen = self._values[kept], self._slots[kept], self._seen[kept]
        if capacity > len(self._values):
            self._allocate(capacity)
        self._count = len(kept)
        self._values[: self._count], self._slots[: self._count], self._seen[: self._count] = values, slots, seen
        self._table.fill(0)
        _index(values, slots, self._table)


@kernel_part
def _mixed(words, seed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """64 bits that depend on every bit of the words (the finalizer of splitmix64 after each)."""
    mixed = seed
    for word in words:
        mixed = (mixed ^ word) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


@kernel_part
def _placed(words, secret):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Where in a table a key is looked for. NH (RFC 4418 section 5.2): equal for two keys by a chance of 2**-32, and
    unlike `_mixed` without a chain of multiplications that each wait for the one before."""
    half = np.uint64(0xFFFFFFFF)
    total = np.uint64(0)
    for k in range(len(words)):
        low = (words[k] + secret[k]) & half
        high = ((words[k] >> np.uint64(32)) + (secret[k] >> np.uint64(32))) & half
        total += low * high
    return (total ^ (total >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)


@lean_kernel
def _add(  # type: ignore[no-untyped-def]  # noqa: ANN202
    chosen, times, marks, lengths, keys, added, topped,  # noqa: ANN001
    first, step_ns, count, known, table, secret, sums, maxima, slots, positions,  # noqa: ANN001
):  # fmt: skip
    """Count packets, each under the slot of its key, which is made where the key is new and there is room. `slots` and
    `positions` say where; a slot of -1: nowhere. Returns the number after the last packet, the number of keys, and how
    many packets found no room and how many were late."""
    mask = np.uint64(len(table) - 1)
    oldest_ns = marks[chosen[first]] // step_ns * step_ns
    start_ns, position = np.int64(-step_ns), np.uint64(0)
    missed = late = 0
    for i in range(first, len(chosen)):
        row = np.uint64(chosen[i])  # unsigned, so that no index is taken for one from the end
        if marks[row] - oldest_ns >= step_ns:
            return i, count, missed, late
        slots[i] = -1
        time = min(max(times[row], 0), MAX_TS)
        if time < oldest_ns:
            late += 1
            continue
        if not 0 <= time - start_ns < step_ns:  # most packets are of the bucket of the one before
            start_ns = time // step_ns * step_ns
            position = np.uint64(time // step_ns % BUCKETS)
        place = _placed(keys[i], secret) & mask
        slot = table[place] - 1
        while slot >= 0:
            same = True
            for k in range(keys.shape[1]):
                same = same and known[slot, k] == keys[i, k]
            if same:
                break
            place = (place + np.uint64(1)) & mask
            slot = table[place] - 1
        if slot < 0:
            if count == len(known):
                missed += 1
                continue
            slot = count
            count += 1
            table[place] = count
            for k in range(keys.shape[1]):
                known[slot, k] = keys[i, k]
            maxima[:, slot] = -np.inf
        slots[i] = slot
        positions[i] = position
        at = np.uint64(slot)
        sums[position, at, 0] += 1
        sums[position, at, 1] += lengths[row]
        for k in range(added.shape[1]):
            sums[position, at, 2 + k] += added[i, k]
        for k in range(topped.shape[1]):
            maxima[position, at, k] = max(maxima[position, at, k], topped[i, k])
    return len(chosen), count, missed, late


@lean_kernel
def _index_keys(known, count, table, secret):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(table) - 1)
    for slot in range(count):
        place = _placed(known[slot], secret) & mask
        while table[place] > 0:
            place = (place + np.uint64(1)) & mask
        table[place] = slot + 1


@lean_kernel
def _see(slots, positions, words, i, count, seed, values, owners, seen, table, most):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Note values from row i on, until done or out of room that may grow; returns (pairs, next row, values missed)."""
    mask = np.uint64(len(table) - 1)
    missed = 0
    while i < len(slots):
        if slots[i] >= 0 and words[i, 0] != 0:
            value = _mixed(words[i], seed)
            place = (value ^ np.uint64(slots[i]) * np.uint64(0x9E3779B97F4A7C15)) & mask
            while table[place] > 0 and (values[table[place] - 1] != value or owners[table[place] - 1] != slots[i]):
                place = (place + np.uint64(1)) & mask
            if table[place] == 0:
                if count == len(values):
                    if count < most:
                        return count, i, missed
                    missed += 1
                    i += 1
                    continue
                values[count] = value
                owners[count] = slots[i]
                seen[count] = 0
                count += 1
                table[place] = count
            seen[table[place] - 1] |= np.uint32(1) << np.uint32(positions[i])
        i += 1
    return count, i, missed


@kernel
def _index(values, owners, table):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(table) - 1)
    for row in range(len(values)):
        place = (values[row] ^ np.uint64(owners[row]) * np.uint64(0x9E3779B97F4A7C15)) & mask
        while table[place] > 0:
            place = (place + np.uint64(1)) & mask
        table[place] = row + 1
