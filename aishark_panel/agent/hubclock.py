"""The hub's clock, as seen from here: offset and round-trip time from the heartbeats (as NTP does, RFC 5905 section 8).

The time between question and answer is measured with the monotonic clock, and so is the hub's time held against it:
when this host's clock is set, nothing that was measured becomes wrong. Pure.
"""

from collections import deque
from typing import Final, NamedTuple

__all__ = ["HubClock"]

_KEPT: Final = 8


class _Sample(NamedTuple):
    round_trip_ns: int
    ahead_ns: int
    """hub's clock less the monotonic clock, half way; wrong by half the round trip at most"""


class HubClock:
    """The last heartbeats; the one with the shortest round trip tells the offset best."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_KEPT)
        self.round_trip_ns = 0
        """of the newest; 0 before the first"""

    def heard(self, sent_ns: int, hub_ns: int, now_ns: int) -> None:
        """A heartbeat sent at one time of the monotonic clock was answered at another, by a hub that read `hub_ns`."""
        self.round_trip_ns = max(0, now_ns - sent_ns)
        new = _Sample(self.round_trip_ns, hub_ns - (sent_ns + now_ns) // 2)
        # Two honest samples differ by no more than both may be wrong; beyond that the hub's clock was set.
        if any(abs(new.ahead_ns - old.ahead_ns) > new.round_trip_ns + old.round_trip_ns for old in self._samples):
            self._samples.clear()
        self._samples.append(new)

    def offset_ns(self, wall_ns: int, now_ns: int) -> int:
        """The hub's clock less this host's, which reads `wall_ns` as the monotonic one reads `now_ns`.

        0 if unknown, and where it is no more than what may be wrong: clocks that are kept in step, or are the same one,
        order packets better than a correction by noise would.
        """
        if not self._samples:
            return 0
        best = min(self._samples)
        offset_ns = best.ahead_ns - (wall_ns - now_ns)
        return offset_ns if abs(offset_ns) > best.round_trip_ns // 2 else 0
