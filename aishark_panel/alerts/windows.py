"""What the packets of each key add up to, in buckets of time: the memory behind a rule's sliding window.

A window is a run of buckets; at most BUCKETS of them are kept, bucket b at position b mod BUCKETS. For each key and
bucket there are sums, maxima and sets of distinct values (bit p of a value: seen in the bucket at position p).
Everything is bounded: keys and values beyond the limits are counted as missed, and left out.

Nothing here knows the time: the owner says which position a packet belongs to, and when one is to be forgotten.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.keys import Words
from aishark_panel.jit import kernel

__all__ = ["BUCKETS", "MAX_KEYS", "MAX_VALUES", "Totals", "Windows"]

BUCKETS: Final = 32
MAX_KEYS: Final = 10_000
MAX_VALUES: Final = 100_000
"""(key, value) pairs kept of one counted column; with 16 bytes each and an index, 2.6 MB at most."""
_FIRST_VALUES: Final = 512
_SEED: Final = np.uint64(hash("aishark") & (2**64 - 1))
"""Python salts the hashes of texts anew in each process, so nobody can send packets that collide in the tables."""

Slots = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.float64]


class Totals(NamedTuple):
    """What some buckets hold together, a row a key."""

    sums: Numbers
    maxima: Numbers
    """-inf where there was nothing"""
    distinct: npt.NDArray[np.int64]


class Windows:
    """The buckets of one rule: keys of `key_words` words, so many sums (the first counts packets), maxima and sets."""

    def __init__(self, key_words: int, sums: int, maxima: int, sets: int, *, max_keys: int = MAX_KEYS) -> None:
        # Pages of a fresh array that nobody touches take no memory, so few keys are cheap without any growing.
        self._keys = np.zeros((max_keys, key_words), np.uint64)
        self._table = np.zeros(1 << (2 * max_keys - 1).bit_length(), np.int32)
        self._sums = np.zeros((max_keys, BUCKETS, sums))
        self._maxima = np.zeros((max_keys, BUCKETS, maxima))
        self._sets = [_Sets() for _ in range(sets)]
        self._count = 0
        self.missed_keys = 0
        """packets that were not counted because their key was one too many"""

    def __len__(self) -> int:
        return self._count

    @property
    def missed_values(self) -> int:
        """Packets whose value was not kept because it was one too many; distinct counts are too low by some of these"""
        return sum(each.missed for each in self._sets)

    def keys(self) -> Words:
        """The keys that have packets, by slot; valid until the next `forget`."""
        return self._keys[: self._count]

    def add(
        self, keys: Words, positions: npt.NDArray[np.int64], added: Numbers, topped: Numbers, values: list[Words]
    ) -> None:
        """Count packets: their keys, the position of their bucket, what they add to the sums, what may be a maximum
        (-inf: nothing), and the words of each column whose values are counted, behind a word that is 0 for null."""
        slots = np.empty(len(keys), np.int32)
        before = self._count
        self._count = _assign(keys, self._keys, self._table, self._count, _SEED, slots)
        self._maxima[before : self._count] = -np.inf
        self.missed_keys += int(np.count_nonzero(slots < 0))
        _accumulate(slots, positions, added, topped, self._sums, self._maxima)
        for each, words in zip(self._sets, values, strict=True):
            each.add(slots, positions, words)

    def totals(self, positions: npt.NDArray[np.int64]) -> Totals:
        """What the buckets at these positions hold together, for each of `keys()`."""
        n = self._count
        sums = self._sums[:n, positions].sum(axis=1)
        maxima = self._maxima[:n, positions].max(axis=1)
        distinct = np.empty((n, len(self._sets)), np.int64)
        for column, each in enumerate(self._sets):
            distinct[:, column] = each.count(positions, n)
        return Totals(sums, maxima, distinct)

    def forget(self, position: int) -> None:
        """Empty the bucket at a position, and drop the keys that have no packets in any other."""
        n = self._count
        self._sums[:n, position] = 0
        self._maxima[:n, position] = -np.inf
        kept = np.flatnonzero(self._sums[:n, :, 0].any(axis=1))
        places = np.full(n, -1, np.int32)
        places[kept] = np.arange(len(kept), dtype=np.int32)
        for each in self._sets:
            each.forget(position, places)
        if len(kept) == n:
            return
        self._keys[: len(kept)] = self._keys[kept]
        self._sums[: len(kept)] = self._sums[kept]
        self._maxima[: len(kept)] = self._maxima[kept]
        self._sums[len(kept) : n] = 0
        self._table.fill(0)
        slots = np.empty(len(kept), np.int32)
        self._count = _assign(self._keys[: len(kept)].copy(), self._keys, self._table, 0, _SEED, slots)


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

    def add(self, slots: Slots, positions: npt.NDArray[np.int64], words: Words) -> None:
        done = 0
        while done < len(slots):
            self._count, done, missed = _see(
                slots, positions, words, done, self._count, _SEED,
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


@kernel
def _mixed(words, seed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """64 bits that depend on every bit of the words (the finalizer of splitmix64 after each)."""
    mixed = seed
    for word in words:
        mixed = (mixed ^ word) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed


@kernel
def _assign(wanted, keys, table, count, seed, slots):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """The slot of each wanted key, made where it is new and there is room, else -1; returns the number of keys."""
    mask = np.uint64(len(table) - 1)
    for i in range(len(wanted)):
        place = _mixed(wanted[i], seed) & mask
        while True:
            slot = table[place] - 1
            if slot < 0:
                if count < len(keys):
                    slot = count
                    keys[slot] = wanted[i]
                    count += 1
                    table[place] = count
                break
            same = True
            for k in range(wanted.shape[1]):
                same = same and keys[slot, k] == wanted[i, k]
            if same:
                break
            place = (place + np.uint64(1)) & mask
        slots[i] = slot
    return count


@kernel
def _accumulate(slots, positions, added, topped, sums, maxima):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        for k in range(added.shape[1]):
            sums[slot, positions[i], k] += added[i, k]
        for k in range(topped.shape[1]):
            maxima[slot, positions[i], k] = max(maxima[slot, positions[i], k], topped[i, k])


@kernel
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
