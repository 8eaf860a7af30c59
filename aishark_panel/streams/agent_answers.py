"""What the hub answers of agents and their profiles, as streams/answers.py does of all else."""

from typing import Literal

from aishark_panel.streams.operation import Answer
from aishark_panel.wire.inquiries import HostInterface
from aishark_panel.wire.messages import CaptureSettings, InterfaceInfo, PayloadPolicy, SamplingBy

__all__ = [
    "AgentAnswer",
    "AgentsAnswer",
    "InterfacesAnswer",
    "KeyAnswer",
    "ProfileLine",
    "ProfilesAnswer",
    "TrialAnswer",
]


class AgentInterface(InterfaceInfo, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An interface that an agent captures on, and what came of it into the session."""

    packets: int
    bytes: int
    """on the wire"""


class AgentAnswer(Answer):
    """An agent."""

    id: str
    name: str
    owner: str
    registered: bool
    state: Literal["offline", "capturing", "stopped", "ended"]
    reason: str
    session: str
    session_name: str
    source: str
    host: str
    os: str
    version: str
    interfaces: list[AgentInterface]
    settings: CaptureSettings
    """what was asked of it"""
    sampling: int
    sampling_by: SamplingBy
    payload: PayloadPolicy
    max_packets_per_second: int
    """these four: what it says that it does"""
    counters: dict[str, int]
    packets: int
    round_trip_ms: float
    clock_offset_ms: float
    """hub's clock less the agent's"""
    last_seen_ns: int | None


class AgentsAnswer(Answer):
    """The agents that one sees."""

    agents: list[AgentAnswer]


class KeyAnswer(Answer):
    """A registered agent with its key, which is told this once."""

    id: str
    name: str
    key: str


class InterfacesAnswer(Answer):
    """The interfaces of an agent's host."""

    interfaces: list[HostInterface]


class TrialAnswer(Answer):
    """What a capture filter would keep."""

    seconds: float
    packets: int
    bytes: int
    passed_packets: int
    passed_bytes: int
    missed_packets: int


class ProfileLine(CaptureSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile: settings under a name."""

    name: str


class ProfilesAnswer(Answer):
    """The hub's profiles and one's own."""

    profiles: list[ProfileLine]
