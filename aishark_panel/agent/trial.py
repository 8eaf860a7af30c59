"""A trial of a capture filter: what share of the traffic it would keep, while the capture goes on as it is.

Two captures of a few bytes a packet look at the same interfaces, one through the agent's own filter and one through
that with the filter on trial. The kernel stamps a packet for all sockets alike, so counting from one moment to another
gives both the same packets.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from aishark_panel.agent.source import Source

__all__ = ["BUFFER_BYTES", "SNAPLEN", "Tally", "run_trial"]

SNAPLEN: Final = 16
"""bytes of each packet that the kernel copies for a trial"""
BUFFER_BYTES: Final = 4 << 20
"""kernel ring of each interface for a trial"""
_SETTLE_S: Final = 0.05
"""How long the kernel may keep a packet to itself (capture.RETIRE_MS), with a margin."""
_POLL_S: Final = 0.02


@dataclass(slots=True)
class Tally:
    """What one filter let through."""

    packets: int = 0
    octets: int = 0
    """lengths on the wire"""
    missed: int = 0
    """packets that the ring had no room for"""


def run_trial(open_own: Callable[[], Source], open_tried: Callable[[], Source], seconds: float) -> tuple[Tally, Tally]:
    """Look for so long through two live captures; what each counted. Raises what opening them raises."""
    with closing(open_own()) as own, closing(open_tried()) as tried:
        start_ns = time.time_ns()
        end_ns = start_ns + round(seconds * 1e9)
        tallies = (own, Tally()), (tried, Tally())
        deadline_s = time.monotonic() + seconds + _SETTLE_S
        while time.monotonic() < deadline_s:
            busy = [_look(source, tally, start_ns, end_ns) for source, tally in tallies]
            if not any(busy):
                time.sleep(_POLL_S)
        for source, tally in tallies:
            tally.missed = source.counters()["kernel_dropped"]
        return tallies[0][1], tallies[1][1]


def _look(source: Source, tally: Tally, start_ns: int, end_ns: int) -> bool:
    """Count what a source has now; whether it had anything."""
    frames = source.read(0)
    if frames is None:
        return False
    inside = (frames.ts >= start_ns) & (frames.ts < end_ns)
    tally.packets += int(np.count_nonzero(inside))
    tally.octets += int(frames.orig_len[inside].sum(dtype=np.int64))
    return True
