"""The scope of a capture: which packets an agent takes, and how much of them it sends.

The owner of the host has the last word. The hub may ask for less than the agent's own configuration allows, never for
more: filters add up, the smaller snaplen, payload and rate and the sparser sampling hold. Where the configuration
samples, its way to do so holds too. Pure.
"""

from dataclasses import dataclass

from aishark_panel.agent.bpf import join_filters
from aishark_panel.wire.frames import MAX_FRAME_BYTES
from aishark_panel.wire.messages import MAX_PAYLOAD_BYTES, CaptureSettings, PayloadPolicy, SamplingBy

__all__ = ["CaptureScope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureScope:
    """What an agent may capture, by its own configuration, or does capture."""

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

    def narrowed(self, asked: CaptureSettings) -> "CaptureScope":
        """What remains of this scope with the hub's settings within it. FilterError where the filters cannot join."""
        sampling_by = self.sampling_by
        if self.sampling == 1 and asked.sampling_by:
            sampling_by = asked.sampling_by
        return CaptureScope(
            filter=join_filters(self.filter, asked.filter or ""),
            snaplen=min(self.snaplen, asked.snaplen or self.snaplen),
            sampling=max(self.sampling, asked.sampling or 1),
            sampling_by=sampling_by,
            payload=min(self.payload, asked.payload or "full", key=_payload_bytes),
            max_packets_per_second=_lower_limit(self.max_packets_per_second, asked.max_packets_per_second or 0),
            max_bits_per_s=self.max_bits_per_s,
        )


def _payload_bytes(policy: PayloadPolicy) -> int:
    """An order of policies: those that send less come first."""
    return policy if isinstance(policy, int) else {"none": -1, "headers": 0, "full": MAX_PAYLOAD_BYTES + 1}[policy]


def _lower_limit(a: int, b: int) -> int:
    """The stricter of two limits, of which 0 is none."""
    return min(a, b) if a and b else a or b
