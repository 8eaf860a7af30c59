"""Rollups: packets and bytes by protocol in bins of 100 ms, 1 s and 1 min of packet time.

Each resolution is a ring of bins: bin b (start b * resolution) lives in slot b mod n until a newer bin needs the slot.
A packet older than its slot's bin is counted as late and left out. Reads are by cursor: "bins since b".
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.wire.protocols import PROTOCOLS

__all__ = ["RESOLUTIONS_MS", "BinCounts", "Rollups"]

RESOLUTIONS_MS: Final = (100, 1_000, 60_000)
_BINS: Final = (3_000, 3_600, 1_440)
"""Bins kept of each resolution: 5 minutes, 1 hour, 1 day."""


class BinCounts(NamedTuple):
    """Non-zero counts of some bins, oldest bin first; all arrays have the same length."""

    bin: npt.NDArray[np.int64]
    """start of the bin in units of the resolution, since 1970 UTC"""
    protocol: npt.NDArray[np.int64]
    """index into PROTOCOLS"""
    packets: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    """bytes on the wire (orig_len)"""


class Rollups:
    """Running counts of one session at the three resolutions."""

    def __init__(self) -> None:
        self._bins = [np.full(n, -1, np.int64) for n in _BINS]
        self._counts = [np.zeros((n, len(PROTOCOLS), 2), np.int64) for n in _BINS]
        self.late = np.zeros(len(_BINS), np.int64)
        """packets too old for their resolution's ring"""

    def add(
        self, ts: npt.NDArray[np.int64], protocol: npt.NDArray[np.uint16], orig_len: npt.NDArray[np.uint32]
    ) -> None:
        """Count packets: time in ns, protocol code, length on the wire; (n,) each."""
        for k, resolution_ms in enumerate(RESOLUTIONS_MS):
            _add(
                ts, protocol, orig_len, resolution_ms * 1_000_000, self._bins[k], self._counts[k], self.late[k : k + 1]
            )

    def since(self, resolution_ms: int, first_bin: int) -> BinCounts:
        """Counts of the bins >= first_bin still kept; ValueError for a resolution that is not kept."""
        k = RESOLUTIONS_MS.index(resolution_ms)
        bins, counts = self._bins[k], self._counts[k]
        slots = np.flatnonzero(bins >= max(first_bin, 0))
        slots = slots[np.argsort(bins[slots], kind="stable")]
        which, protocol = np.nonzero(counts[slots, :, 0])
        found: npt.NDArray[Any] = counts[slots[which], protocol]
        return BinCounts(bins[slots[which]], protocol, found[:, 0], found[:, 1])

    def clear(self) -> None:
        """Forget all counts."""
        for bins, counts in zip(self._bins, self._counts, strict=True):
            bins.fill(-1)
            counts.fill(0)


@kernel
def _add(ts, protocol, orig_len, resolution_ns, bins, counts, late):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    n = len(bins)
    current = np.int64(-1)
    slot = np.int64(0)
    for i in range(len(ts)):
        b = ts[i] // resolution_ns
        if b < 0:
            late[0] += 1
            continue
        if b != current:
            slot = b % n
            if bins[slot] != b:
                if bins[slot] > b:
                    late[0] += 1
                    current = np.int64(-1)
                    continue
                bins[slot] = b
                counts[slot] = 0
            current = b
        counts[slot, protocol[i], 0] += 1
        counts[slot, protocol[i], 1] += orig_len[i]
