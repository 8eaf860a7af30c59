"""One run of an agent, as a session knows it: what it is, what came of it, and what became of that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect import link_type_note
from aishark_panel.streams.segments import Refused
from aishark_panel.wire.messages import Hello, InterfaceInfo, PayloadPolicy, SamplingBy, State

if TYPE_CHECKING:
    from aishark_panel.streams.gone import GoneRun

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
    """packets of later batches that are in the ring; the journal had no room for them, and does not know of them"""
    cleared: int = 0
    """sequence of the last batch that the user threw away"""
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
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    """packets of each interface, by its name, and their bytes on the wire"""
    arrived: int = 0
    """packets of batches that came in, each once"""
    recovered: int = 0
    """packets of those that an earlier hub got"""
    queued: int = 0
    unqueued: int = 0
    """packets of batches that went into the queue, and that left it, whatever became of them"""
    refusals: int = 0
    """connections that were closed because of what came by them"""
    refused: Refused | None = None
    """the batch that was refused last, as long as nothing else came in under its number"""
    rejected_batches: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """packets of batches that were refused, by reason"""
    lost_in_hub_crash: int = 0
    """packets that an earlier hub acknowledged, and had in its memory only"""
    others: "Sequence[AgentRun | GoneRun]" = ()
    """the same run in other sessions, which it fed before"""
    is_new_life: bool = False
    """whether the agent was started again, and the time before that is not noted as a gap yet"""
    round_trip_ns: int = 0
    offset_ns: int = 0
    """hub's clock less the agent's"""
    merge_offset_ns: int = 0
    """the one by which its newest batch was merged"""

    @property
    def is_active(self) -> bool:
        """Whether something may still come of it, now that it is connected."""
        return self.connected and not self.ended

    @property
    def is_feeding(self) -> bool:
        """Whether live packets may come from it at any time."""
        return self.is_active and self.capturing and self.hello.source != "replay"

    @property
    def lost(self) -> int:
        """Packets that kernels, full outboxes, or an agent that died have cost."""
        return sum(
            count
            for name, count in self.counters.items()
            if name in ("kernel_dropped", "lost_in_agent_crash") or name.startswith("dropped_")
        )

    def follow(self, told: Hello | State) -> None:
        """Note what the agent says it leaves out."""
        self.sampling, self.sampling_by, self.payload = told.sampling, told.sampling_by, told.payload
        self.max_packets_per_second = told.max_packets_per_second

    def count(self, iface: npt.NDArray[np.uint16], orig_len: npt.NDArray[np.uint32]) -> None:
        """A batch came in with these packets, (n,) each."""
        if len(self.interfaces) == 1:  # as most have: it takes a tenth of the time
            counts = [(0, len(iface), int(orig_len.sum(dtype=np.int64)))]
        else:
            packets, sizes = np.bincount(iface), np.bincount(iface, orig_len)
            counts = [(place, int(packets[place]), int(sizes[place])) for place in np.flatnonzero(packets).tolist()]
        for place, number, size in counts:
            name = self.interfaces[place].name
            before = self.seen.get(name, (0, 0))
            self.seen[name] = before[0] + number, before[1] + size

    def reject(self, sequence: int, reason: str, packets: int) -> None:
        """A batch was not taken."""
        self.refused = Refused(sequence=sequence, reason=reason, packets=packets)
        self.rejected_batches += 1
        self.rejected[reason] = self.rejected.get(reason, 0) + packets

    def withdraw_refused(self) -> int:
        """What was refused last is not counted any more: its number comes again, or goes elsewhere. Its packets."""
        before, self.refused = self.refused, None
        if before is None:
            return 0
        self.rejected_batches -= 1
        self.rejected[before.reason] -= before.packets
        return before.packets

    def go_on_after(self, sequence: int) -> None:
        """Batches up to there are not expected any more: another session has them, or they are gone."""
        if sequence > self.received:
            self.received = self.taken = self.journalled = self.durable = sequence

    @property
    def had(self) -> int:
        """Packets that came to this session, those included that an earlier hub lost."""
        return self.arrived + self.lost_in_hub_crash

    @property
    def taken_elsewhere(self) -> int:
        """Packets of this run that other sessions took."""
        return sum(run.had for run in self.others)

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
