"""Limits: sends every n-th packet or conversation, and no more than so many packets and bits per second.

What is left out is counted by reason: `sampled_out`, `throttled`. Of conversations those are kept whose hash
(dissect.heads) is divisible by n, so all agents keep the same, in both directions. The rates are a *token bucket*
each, filled by the packets' own times and holding BURST_NS' worth: of what comes in each interval the first packets
pass. So a replay is thinned alike at any speed. Compiled, as all that touches single packets is; pure.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.wire.frames import Bytes, Frames

if TYPE_CHECKING:
    from aishark_panel.dissect.heads import Heads

__all__ = ["BURST_NS", "Limiter", "copy_frames"]

BURST_NS: Final = 100_000_000
"""What a bucket holds, as the time it takes to fill: how long a burst may go beyond the rate."""
_STEP_BACK_NS: Final = 1_000_000_000
"""Packets may come a little out of order; beyond this the clock was set back, and the buckets go on from there."""

_SEEN, _LAST_NS = 0, 1
"""places in a limiter's marks: packets seen, time up to which the buckets are filled"""
_PACKETS, _BITS = 0, 1
"""places in a limiter's tokens"""


_UNKNOWN: Final = np.zeros(0, np.int32)


class Limiter:
    """Applies the limits to the frames of one agent; 0 stands for no limit."""

    def __init__(self) -> None:
        self.sampled_out = 0
        """packets left out by sampling"""
        self.throttled = 0
        """packets left out by a rate"""
        self._chosen = np.empty(0, np.int32)
        self._data = np.empty(0, np.uint8)
        self._heads: Heads | None = None
        self.set(sampling=1)

    def set(self, *, sampling: int, by_conversation: bool = False, packets_per_s: int = 0, bits_per_s: int = 0) -> None:
        """Other limits from now on: every `sampling`-th packet, or conversation; of captured bits `bits_per_s`.

        Buckets start full. Telling conversations apart loads the dissector's kernels.
        """
        self._sampling = sampling
        self._heads = None
        if by_conversation and sampling > 1:
            from aishark_panel.dissect.heads import Heads

            self._heads = Heads()
            self._heads.find(Frames.from_list([b""], [0]), np.ones(1, np.int32))
        self._rates = np.array([packets_per_s, bits_per_s], np.float64)
        self._full = np.maximum(self._rates * BURST_NS / 1e9, 1.0)
        self._tokens = self._full.copy()
        self._marks = np.zeros(2, np.int64)
        self.is_idle = sampling == 1 and not packets_per_s and not bits_per_s
        """whether every packet passes"""

    def take(self, frames: Frames, link_types: npt.NDArray[np.int32] = _UNKNOWN) -> Frames:
        """The frames that pass, in order; their memory is valid until the next call and while that of `frames` is.

        `link_types` (LINKTYPE numbers, indexed by `frames.iface`) are needed where conversations are told apart.
        """
        n = len(frames)
        if self.is_idle or not n:
            return frames
        if self._chosen.size < n:
            self._chosen = np.empty(n, np.int32)
        turns = np.empty(0, np.uint64)
        if self._heads is not None:
            _, turns = self._heads.find(frames, link_types)
        passed, sampled = _choose(
            frames.ts,
            frames.offsets,
            turns,
            self._sampling,
            self._rates,
            self._full,
            self._marks,
            self._tokens,
            self._chosen,
        )
        self.sampled_out += n - sampled
        self.throttled += sampled - passed
        return frames if passed == n else self._gather(frames, self._chosen[:passed])

    def _gather(self, frames: Frames, chosen: npt.NDArray[np.int32]) -> Frames:
        lengths = frames.offsets[1:][chosen] - frames.offsets[:-1][chosen]
        offsets = np.zeros(len(chosen) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        if self._data.size < offsets[-1]:
            self._data = np.empty(int(offsets[-1]), np.uint8)
        copy_frames(frames.offsets, frames.data, chosen, offsets, self._data)
        return Frames(frames.ts[chosen], frames.orig_len[chosen], frames.iface[chosen], offsets, self._data)


@kernel
def _choose(
    ts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    turns: npt.NDArray[np.uint64],
    sampling: int,
    rates: npt.NDArray[np.float64],
    full: npt.NDArray[np.float64],
    marks: npt.NDArray[np.int64],
    tokens: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.int32],
) -> tuple[int, int]:
    """Write the rows that pass to `chosen`: (how many pass, how many the sampling let through).

    `turns` of which every n-th is a packet's turn; without them packets are counted.
    """
    counted = turns.size == 0
    passed = 0
    sampled = 0
    for row in range(ts.size):
        turn = np.uint64(marks[_SEEN]) if counted else turns[row]
        marks[_SEEN] += 1
        if turn % np.uint64(sampling):
            continue
        sampled += 1
        elapsed_ns = ts[row] - marks[_LAST_NS]
        if elapsed_ns > 0 or elapsed_ns < -_STEP_BACK_NS:
            marks[_LAST_NS] = ts[row]
            for i in range(2):
                tokens[i] = min(full[i], tokens[i] + max(elapsed_ns, 0) / 1e9 * rates[i])
        # A frame of any length passes a bucket of bits that is not empty, and leaves its debt there.
        if (rates[_PACKETS] and tokens[_PACKETS] < 1.0) or (rates[_BITS] and tokens[_BITS] <= 0.0):
            continue
        tokens[_PACKETS] -= 1.0
        tokens[_BITS] -= 8.0 * (offsets[row + 1] - offsets[row])
        chosen[passed] = row
        passed += 1
    return passed, sampled


@kernel
def copy_frames(
    offsets: npt.NDArray[np.int32],
    data: Bytes,
    chosen: npt.NDArray[np.int32],
    new_offsets: npt.NDArray[np.int32],
    new_data: Bytes,
) -> None:
    """Copy the chosen frames to new_data: of each as many bytes from its start as its new offsets leave room for."""
    for i in range(chosen.size):
        row = chosen[i]
        # Slices first: without index arithmetic in it, the loop becomes vector instructions.
        source = data[offsets[row] : offsets[row + 1]]
        target = new_data[new_offsets[i] : new_offsets[i + 1]]
        for k in range(target.size):
            target[k] = source[k]
