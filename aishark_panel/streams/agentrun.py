"""One run of an agent, as a session knows it: what it is, what came of it, and what became of that."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect import link_type_note
from aishark_panel.wire.messages import Hello, InterfaceInfo, PayloadPolicy, SamplingBy, State

__all__ = ["AgentRun"]


@dataclass(slots=True)
class AgentRun:
    """One life of an agent inside a session; it survives reconnections."""

    hello: Hello
    interfaces: tuple[InterfaceInfo, ...] = ()
    """as the agent last told them"""
    iface_codes: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))
    """session's interface code of each of them"""
    link_types: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    connected: bool = True
    left_ns: int = 0
    """when it was last connected (Unix time), if it is not and has not ended"""
    reason: str = ""
    """why it is not connected or not capturing"""
    ended: bool = False
    capturing: bool = True
    taken: int = 0
    """sequence of the last batch in the ring"""
    received: int = 0
    """sequence of the last batch that came in, on its way to the ring or there"""
    journalled: int = 0
    """sequence of the last batch that the journal was given"""
    unjournalled: int = 0
    """packets of later batches that are in the ring; the journal had no room for them"""
    durable: int = 0
    """sequence of the last batch that survives a crash of the hub"""
    duplicates: int = 0
    """batches that came again"""
    counters: dict[str, int] = field(default_factory=dict)
    """the agent's own counters, as of its last message"""
    sampling: int = 1
    """every how many-th packet, or conversation, it sends"""
    sampling_by: SamplingBy = "packet"
    payload: PayloadPolicy = "full"
    """what it sends of packets"""
    max_packets_per_second: int = 0
    """what goes beyond it is not sent; 0: no limit"""
    packets: int = 0
    """that came into the ring"""
    arrived: int = 0
    """packets of batches that came in, each once"""
    recovered: int = 0
    """packets of those that an earlier hub got"""
    queued: int = 0
    unqueued: int = 0
    """packets of batches that went into the queue, and that left it, whatever became of them"""
    refused: int = 0
    """sequence of the last batch that was rejected"""
    refusals: int = 0
    """connections that were closed because of what came by them"""
    rejected_batches: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """packets of those batches, by reason"""
    lost_in_hub_crash: int = 0
    """packets that an earlier hub acknowledged, and had in its memory only"""
    others: "list[AgentRun]" = field(default_factory=list)
    """the same run in other sessions, which it fed before"""
    is_new_life: bool = False
    """whether the agent was started again, and the time before that is not noted as a gap yet"""
    round_trip_ns: int = 0
    offset_ns: int = 0
    """hub's clock less the agent's"""

    def follow(self, told: Hello | State) -> None:
        """Note what the agent says it leaves out."""
        self.sampling, self.sampling_by, self.payload = told.sampling, told.sampling_by, told.payload
        self.max_packets_per_second = told.max_packets_per_second

    def reject(self, reason: str, packets: int) -> None:
        """A batch was not taken."""
        self.rejected_batches += 1
        self.rejected[reason] = self.rejected.get(reason, 0) + packets

    def go_on_after(self, sequence: int) -> None:
        """Batches up to there are not expected any more: another session has them, or they are gone."""
        if sequence > self.received:
            self.received = self.taken = self.journalled = self.durable = sequence

    @property
    def taken_elsewhere(self) -> int:
        """Packets of this run that other sessions took."""
        return sum(run.arrived + run.lost_in_hub_crash for run in self.others)

    def stats(self) -> dict[str, Any]:
        """An agent's line in the session's statistics; docs/protocol.md names every field."""
        return {
            "name": self.hello.agent,
            "run": self.hello.run,
            "host": self.hello.host,
            "version": self.hello.version,
            "source": self.hello.source,
            "connected": self.connected,
            "capturing": self.capturing,
            "ended": self.ended,
            "reason": self.reason,
            "interfaces": [
                {"name": i.name, "link_type": i.link_type, "filter": i.filter, "note": link_type_note(i.link_type)}
                for i in self.interfaces
                if i.captured
            ],
            "sampling": self.sampling,
            "sampling_by": self.sampling_by,
            "payload": self.payload,
            "max_packets_per_second": self.max_packets_per_second,
            "counters": dict(self.counters),
            "packets": self.packets,
            "refusals": self.refusals,
            "rejected_batches": self.rejected_batches,
            "duplicate_batches": self.duplicates,
            "round_trip_ms": self.round_trip_ns / 1e6,
            "clock_offset_ms": self.offset_ns / 1e6,
            "down_since_ns": self.hello.down_since_ns,
            "down_until_ns": self.hello.down_until_ns,
        }
