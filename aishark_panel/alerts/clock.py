"""Packet time for rules: how far it has come with each packet.

The *watermark* follows the newest packet at a distance of LATENESS_NS: time up to there is over, because packets that
come later than that are left out.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel

__all__ = ["LATENESS_NS", "MAX_TS", "PacketClock", "Times"]

LATENESS_NS: Final = 10**9
MAX_TS: Final = 2**62
"""in the year 2116; forged times beyond are taken for this one"""
_RESTART_NS: Final = 60 * 10**9
"""Time that goes back by more than this starts anew: another capture is being played, or a clock was set."""
_RESTART_PACKETS: Final = 1_000
"""... but not more often than every so many packets on the whole, or a forger could make it cost a lot."""
_MAX_CREDIT: Final = 10 * _RESTART_PACKETS
"""Ten at once: a folder may hold as many small captures, the newest first."""

Times = npt.NDArray[np.int64]


class PacketClock:
    """The watermark of packets that come one after another."""

    def __init__(self, credit: int = _MAX_CREDIT) -> None:
        self.newest_ns = 0
        """time of the newest packet; 0 before the first"""
        self._told_ns = 0
        """watermark by `tell`"""
        self._credit = credit
        """packets for which time has not gone back"""

    def anew(self) -> "PacketClock":
        """The clock to go on with where time goes back for good."""
        return PacketClock(self._credit - _RESTART_PACKETS)

    def tell(self, now_ns: int) -> int:
        """It is this late, and all packets up to LATENESS_NS before have come; returns the watermark by that."""
        self._told_ns = max(self._told_ns, now_ns - LATENESS_NS)
        return self._told_ns

    def follow(self, times: Times) -> Times:
        """The watermark as of each packet, up to the first before which time goes back for good."""
        marks = np.empty(len(times), np.int64)
        count, self.newest_ns = _follow(times, self.newest_ns, self._told_ns, self._credit, marks)
        self._credit = min(self._credit + count, _MAX_CREDIT)
        return marks[:count]


@kernel
def _follow(times: Times, newest: int, told: int, credit: int, marks: Times) -> tuple[int, int]:
    for i in range(len(times)):
        time = min(max(times[i], 0), MAX_TS)
        if time < newest - _RESTART_NS and credit + i >= _RESTART_PACKETS:
            return i, newest
        newest = max(newest, time)
        marks[i] = max(newest - LATENESS_NS, told)
    return len(times), newest
