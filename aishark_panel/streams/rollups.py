"""Rollups: packets and bytes by protocol in bins of 100 ms, 1 s and 1 min of packet time, and those with a TCP problem.

Each resolution is a ring of bins: bin b (start b * resolution) lives in slot b mod n until a newer bin needs the slot.
A packet older than its slot's bin is counted as late and left out. Reads are by cursor: "bins since b".
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.memory import sparse_zeros
from aishark_panel.wire.layers import TcpProblem
from aishark_panel.wire.protocols import PROTOCOLS

__all__ = ["PROBLEMS", "PROBLEM_OF", "RESOLUTIONS_MS", "BinCounts", "Rollups", "TimeBins"]

_BINS: Final = {100: 3_000, 1_000: 3_700, 60_000: 1_440}
"""Bins kept of each resolution: 5 minutes, a little more than 1 hour, 1 day."""
RESOLUTIONS_MS: Final = tuple(_BINS)

PROBLEMS: Final = ("none", "retransmission", "lost segment", "out of order", "duplicate ack", "zero window")
"""What a packet's TCP segment may have been; of several, the first counts. Keep-alives and the like are none."""
_PROBLEM_BITS: Final = (
    TcpProblem.RETRANSMISSION,
    TcpProblem.LOST_SEGMENT | TcpProblem.ACK_LOST_SEGMENT,
    TcpProblem.OUT_OF_ORDER,
    TcpProblem.DUPLICATE_ACK,
    TcpProblem.ZERO_WINDOW,
)
_ANY_BITS: Final = np.arange(2 * max(TcpProblem))
PROBLEM_OF: Final = np.select(
    [_ANY_BITS & problem != 0 for problem in _PROBLEM_BITS], range(1, len(PROBLEMS)), default=0
).astype(np.uint16)
"""Index into PROBLEMS of each value of `tcp_problem`."""


class BinCounts(NamedTuple):
    """Non-zero counts of some bins, oldest bin first; all arrays have the same length."""

    bin: npt.NDArray[np.int64]
    """start of the bin in units of the resolution, since 1970 UTC"""
    group: npt.NDArray[np.int64]
    """what was counted apart: of `Rollups.since` an index into PROTOCOLS"""
    packets: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    """bytes on the wire (orig_len)"""


class TimeBins:
    """The ring of bins of one resolution, with counts of `groups` groups."""

    def __init__(self, resolution_ms: int, groups: int) -> None:
        self._resolution_ns = resolution_ms * 1_000_000
        self._bins = np.full(_BINS[resolution_ms], -1, np.int64)
        self._counts = sparse_zeros((len(self._bins), groups, 2), np.int64)
        self.late = np.zeros(1, np.int64)
        """packets too old for the ring"""

    @property
    def groups(self) -> int:
        """How many groups there is room for."""
        return int(self._counts.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self._bins.nbytes + self._counts.nbytes

    def widen(self, groups: int) -> None:
        """Make room for more groups."""
        counts = np.zeros((len(self._bins), groups, 2), np.int64)
        counts[:, : self.groups] = self._counts
        self._counts = counts

    def regroup(self, place: npt.NDArray[np.int64]) -> None:
        """What was counted for group g goes to group place[g]."""
        counts = np.zeros_like(self._counts)
        for group, target in enumerate(place):
            counts[:, target] += self._counts[:, group]
        self._counts = counts

    def totals(self) -> npt.NDArray[np.int64]:
        """Bytes of each group in all bins."""
        volume: npt.NDArray[np.int64] = self._counts[self._bins >= 0, :, 1].sum(axis=0)
        return volume

    def add(self, ts: npt.NDArray[np.int64], group: npt.NDArray[np.uint16], orig_len: npt.NDArray[np.uint32]) -> None:
        """Count packets: time in ns, group, length on the wire; (n,) each."""
        _add(ts, group, orig_len, self._resolution_ns, self._bins, self._counts, self.late)

    def since(self, first_bin: int) -> BinCounts:
        """Counts of the bins >= first_bin still kept."""
        bins, counts = self._bins, self._counts
        slots = np.flatnonzero(bins >= max(first_bin, 0))
        slots = slots[np.argsort(bins[slots], kind="stable")]
        which, group = np.nonzero(counts[slots, :, 0])
        found: npt.NDArray[Any] = counts[slots[which], group]
        return BinCounts(bins[slots[which]], group, found[:, 0], found[:, 1])

    def clear(self) -> None:
        """Forget all counts."""
        self._bins.fill(-1)
        self._counts.fill(0)


class Rollups:
    """Running counts of one session at the three resolutions."""

    def __init__(self) -> None:
        self._protocols = [TimeBins(resolution_ms, len(PROTOCOLS)) for resolution_ms in RESOLUTIONS_MS]
        self._problems = [TimeBins(resolution_ms, len(PROBLEMS)) for resolution_ms in RESOLUTIONS_MS]

    @property
    def late(self) -> npt.NDArray[np.int64]:
        """Packets too old for each resolution's ring."""
        return np.concatenate([bins.late for bins in self._protocols])

    def add(
        self,
        ts: npt.NDArray[np.int64],
        protocol: npt.NDArray[np.uint16],
        orig_len: npt.NDArray[np.uint32],
        tcp_problem: npt.NDArray[np.uint16] | None = None,
    ) -> None:
        """Count packets: time in ns, protocol code, length on the wire, TcpProblem bits; (n,) each."""
        for bins in self._protocols:
            bins.add(ts, protocol, orig_len)
        if tcp_problem is None:
            return
        rows = np.flatnonzero(tcp_problem)  # few
        if len(rows):
            problem = PROBLEM_OF[tcp_problem[rows]]
            for bins in self._problems:
                bins.add(ts[rows], problem, orig_len[rows])

    def since(self, resolution_ms: int, first_bin: int) -> BinCounts:
        """Counts of the bins >= first_bin still kept; ValueError for a resolution that is not kept."""
        return self._protocols[RESOLUTIONS_MS.index(resolution_ms)].since(first_bin)

    def problems_since(self, resolution_ms: int, first_bin: int) -> BinCounts:
        """As `since`, with indices into PROBLEMS."""
        k = RESOLUTIONS_MS.index(resolution_ms)
        # Read before the totals: what comes between the two is counted as without a problem, for now.
        found = self._problems[k].since(first_bin)
        found = BinCounts(*(column[found.group > 0] for column in found))
        total = self._protocols[k].since(first_bin)
        bins, where = np.unique(np.concatenate([total.bin, found.bin]), return_inverse=True)
        whole = where[: len(total.bin)]
        part = where[len(total.bin) :]
        none = [
            np.bincount(whole, of_all, len(bins)) - np.bincount(part, of_problem, len(bins))
            for of_all, of_problem in ((total.packets, found.packets), (total.bytes, found.bytes))
        ]
        kept = none[0] > 0
        order = np.argsort(np.concatenate([bins[kept], found.bin]), kind="stable")
        return BinCounts(
            np.concatenate([bins[kept], found.bin])[order],
            np.concatenate([np.zeros(kept.sum(), np.int64), found.group])[order],
            np.concatenate([none[0][kept].astype(np.int64), found.packets])[order],
            np.concatenate([none[1][kept].astype(np.int64), found.bytes])[order],
        )

    def clear(self) -> None:
        """Forget all counts."""
        for bins in (*self._protocols, *self._problems):
            bins.clear()


@kernel
def _add(ts, group, orig_len, resolution_ns, bins, counts, late):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
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
        counts[slot, group[i], 0] += 1
        counts[slot, group[i], 1] += orig_len[i]
