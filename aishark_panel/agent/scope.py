"""The scope of a capture: which packets an agent takes, and how much of them it sends.

The agent's own configuration is the scope it starts with; the hub may ask for another within the owner's bounds
(agent/bounds.py). The owner's filter always holds, and so does the sparser sampling. Pure.
"""

from dataclasses import dataclass

from aishark_panel.agent.bpf import join_filters
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.messages import MAX_PAYLOAD_BYTES, CaptureSettings, PayloadPolicy, SamplingBy

__all__ = ["CaptureScope", "payload_order"]


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
    """every how many-th packet, or conversation, is sent"""
    sampling_by: SamplingBy = "packet"
    payload: PayloadPolicy = "full"
    """what is sent of packets"""
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
            sampling_by=(asked.sampling_by or self.sampling_by) if self.sampling == 1 else self.sampling_by,
            payload=self.payload if asked.payload in (None, "full") else asked.payload,
            max_packets_per_second=asked.max_packets_per_second or self.max_packets_per_second,
            max_bits_per_s=self.max_bits_per_s,
        )


def payload_order(policy: PayloadPolicy) -> int:
    """An order of policies: those that send less come first."""
    return policy if isinstance(policy, int) else {"none": -1, "headers": 0, "full": MAX_PAYLOAD_BYTES + 1}[policy]
