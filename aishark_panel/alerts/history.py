"""What aggregates were in the windows before: what `before(...)` compares with.

Time is cut into whole windows that do not overlap, each as long as the rule's, and what a key's aggregates came to in
the last of them is kept. `before` is the mean over the five that ended last before the window that is looked at began;
null until five have passed since the rule's first packet.
"""

from collections import deque
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.keys import Words

__all__ = ["WINDOWS_BEFORE", "History"]

WINDOWS_BEFORE: Final = 5


class _Past(NamedTuple):
    """One window that is over."""

    number: int
    hashes: npt.NDArray[np.uint64]
    """(keys,) in ascending order"""
    values: npt.NDArray[np.float64]
    """(keys, aggregates)"""


class History:
    """The aggregates of one rule. `fill`: what each is in a window without a packet of that key, 0, or NaN for one that
    does not exist then and is left out of the mean."""

    def __init__(self, fill: npt.NDArray[np.float64]) -> None:
        self._fill = fill
        self._past: deque[_Past] = deque(maxlen=2 * WINDOWS_BEFORE)
        self._first = -1
        """number of the first window with a packet of the rule; -1: none yet"""
        self._mean: _Past | None = None
        """what `before` answered last is made of"""

    def forget(self) -> None:
        """Time starts anew."""
        self._past.clear()
        self._first, self._mean = -1, None

    def note(self, number: int, keys: Words, values: npt.NDArray[np.float64]) -> None:
        """Window `number`, counted from 1970, is over; values: (keys, aggregates)."""
        if not len(keys):
            return
        if self._first < 0:
            self._first = number
        hashes = _hashes(keys)
        order = np.argsort(hashes)
        self._past.append(_Past(number, hashes[order], values[order]))

    def before(self, number: int, keys: Words) -> npt.NDArray[np.float64]:
        """(keys, aggregates): the means over the windows number - 5 to number - 1."""
        if self._first < 0 or number - WINDOWS_BEFORE < self._first:
            return np.full((len(keys), len(self._fill)), np.nan)
        if self._mean is None or self._mean.number != number:
            self._mean = self._averaged(number)
        mean = self._mean
        if not len(mean.hashes):
            return np.repeat(self._fill[np.newaxis], len(keys), axis=0)
        wanted = _hashes(keys)
        places = np.minimum(np.searchsorted(mean.hashes, wanted), len(mean.hashes) - 1)
        known = mean.hashes[places] == wanted
        return np.where(known[:, np.newaxis], mean.values[places], self._fill)

    def _averaged(self, number: int) -> _Past:
        """What `before` answers for each key that had packets then."""
        past = [each for each in self._past if number - WINDOWS_BEFORE <= each.number < number]
        if not past:
            return _Past(number, np.empty(0, np.uint64), np.empty((0, len(self._fill))))
        values = np.concatenate([each.values for each in past])
        hashes, places = np.unique(np.concatenate([each.hashes for each in past]), return_inverse=True)
        total = np.zeros((len(hashes), len(self._fill)))
        count = np.zeros_like(total)
        there = np.isfinite(values)
        np.add.at(total, places, np.where(there, values, 0))
        np.add.at(count, places, there)
        # A window without packets of the key counts as `fill`: as 0 that adds nothing to the total, or not at all.
        with np.errstate(invalid="ignore"):
            return _Past(number, hashes, total / np.where(np.isfinite(self._fill), WINDOWS_BEFORE, count))


def _hashes(keys: Words) -> npt.NDArray[np.uint64]:
    """64 bits for each key: the finalizer of splitmix64 after each word. Who finds two keys of one hash makes one of
    them be compared with the past of the other, no more."""
    mixed = np.zeros(len(keys), np.uint64)
    for word in keys.T:
        mixed = (mixed ^ word) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed
