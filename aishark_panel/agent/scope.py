"""The scope of a capture: which packets an agent takes, and how much of them it sends.

The agent's own configuration is the scope it starts with; the hub may ask for another within the owner's bounds
(agent/bounds.py). The owner's filter always holds, and so does the sparser sampling. Pure.
"""

from dataclasses import dataclass

from aishark_panel.agent.bpf import join_filters
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.messages import CaptureSettings

__all__ = ["CaptureScope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureScope:
    """What an agent may capture, by its own configuration, or does capture."""

    interfaces: tuple[str, ...] = ()
    """interfaces captured live; none where packets come from elsewhere"""
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

    def adjusted(self, asked: CaptureSettings) -> "CaptureScope":
        """This scope with what the hub asks for. FilterError where the filters cannot join."""
        whole_frames = asked.snaplen in (None, MAX_FRAME_BYTES)
        return CaptureScope(
            interfaces=asked.interfaces or self.interfaces,
            filter=join_filters(self.filter, asked.filter or ""),
            snaplen=self.snaplen if whole_frames else asked.snaplen or self.snaplen,
            sampling=max(self.sampling, asked.sampling or 1),
            max_packets_per_second=asked.max_packets_per_second or self.max_packets_per_second,
            max_bits_per_s=self.max_bits_per_s,
        )
