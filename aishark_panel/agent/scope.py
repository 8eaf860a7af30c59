"""The scope of a capture: which packets an agent takes, and how much of them it sends.

The owner of the host has the last word. The hub may ask for less than the agent's own configuration allows, never for
more: filters add up, the smaller snaplen and rate and the sparser sampling hold. Pure.
"""

from dataclasses import dataclass

from aishark_panel.agent.bpf import join_filters
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.messages import CaptureSettings

__all__ = ["CaptureScope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureScope:
    """What an agent may capture, by its own configuration, or does capture."""

    filter: str = ""
    """capture filter (BPF)"""
    snaplen: int = MAX_FRAME_BYTES
    """most bytes kept of a frame"""
    sampling: int = 1
    """every how many-th packet is sent"""
    max_packets_per_second: int = 0
    """0: no limit"""
    max_bits_per_s: int = 0
    """of captured bytes; 0: no limit"""

    def narrowed(self, asked: CaptureSettings) -> "CaptureScope":
        """What remains of this scope with the hub's settings within it. FilterError where the filters cannot join."""
        return CaptureScope(
            filter=join_filters(self.filter, asked.filter or ""),
            snaplen=min(self.snaplen, asked.snaplen or self.snaplen),
            sampling=max(self.sampling, asked.sampling or 1),
            max_packets_per_second=_lower_limit(self.max_packets_per_second, asked.max_packets_per_second or 0),
            max_bits_per_s=self.max_bits_per_s,
        )


def _lower_limit(a: int, b: int) -> int:
    """The stricter of two limits, of which 0 is none."""
    return min(a, b) if a and b else a or b
