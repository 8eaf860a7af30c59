"""What the hub answers as JSON, as far as no other module has a struct of it: the models of the REST API's document.

Handlers finish with dicts that sessions, agents and recordings make of themselves; tests hold these against the structs
here, field by field.
"""

from typing import Any, Literal

import msgspec

from aishark_panel.streams.condition import SessionState
from aishark_panel.streams.operation import Answer
from aishark_panel.streams.recording import RecordingState
from aishark_panel.streams.segments import Gap
from aishark_panel.wire.messages import PayloadPolicy

__all__ = [
    "AlertAnswer",
    "AlertsAnswer",
    "ErrorAnswer",
    "HealthAnswer",
    "HealthReason",
    "LedgerAnswer",
    "PacketAnswer",
    "RecordingAnswer",
    "RecordingsAnswer",
    "SessionsAnswer",
    "StatsAnswer",
]


class ErrorText(Answer):
    """What went wrong."""

    kind: str
    """class of aishark_panel/errors.py"""
    message: str
    """a sentence for a person"""
    position: int | None
    """place in an expression, from 0"""


class ErrorAnswer(Answer):
    """What every error looks like."""

    error: ErrorText


class SessionLine(Answer):
    """A session in the list of sessions."""

    id: str
    name: str
    owner: str
    state: SessionState
    source: str
    packets: int
    """that came in"""
    kept: int
    """that are still there"""
    kept_bytes: int
    """memory that they take"""
    first_ts: int
    """time of the first packet, ns since 1970; 0 before it"""
    last_ts: int
    agents: list[str]
    """names of the agents that feed it now"""
    may: list[str]
    """what one may do with it"""


class SessionsAnswer(Answer):
    """The sessions that one sees."""

    sessions: list[SessionLine]


class JournalStats(Answer):
    """How a session's journal fares."""

    state: Literal["off", "on", "behind", "failing"]
    reason: str
    disk_bytes: int
    waiting_bytes: int


class DeliveriesAnswer(Answer):
    """What became of the alerts that channels were told of."""

    sent: int
    failed: int
    dropped: int
    reason: str


class AlertCounts(Answer):
    """How many alerts there are and were."""

    firing: int
    pending: int
    raised: int
    forgotten: int
    deliveries: DeliveriesAnswer


class RunInterface(Answer):
    """An interface that an agent captures."""

    name: str
    link_type: int
    filter: str
    note: str


class RunStats(Answer):
    """An agent's run in a session's statistics."""

    name: str
    run: str
    host: str
    version: str
    source: str
    connected: bool
    capturing: bool
    ended: bool
    reason: str
    interfaces: list[RunInterface]
    sampling: int
    sampling_by: str
    payload: PayloadPolicy
    max_packets_per_second: int
    counters: dict[str, int]
    packets: int
    refusals: int
    """connections that were closed because of what came by them"""
    rejected_batches: int
    duplicate_batches: int
    round_trip_ms: float
    clock_offset_ms: float
    down_since_ns: int
    down_until_ns: int


class RecordingCounts(Answer):
    """How many recordings of a session are in each state."""

    recording: int
    waiting: int
    stopped: int
    failed: int
    reason: str
    """why some wait"""


class SubscriptionCounts(Answer):
    """Packets of all subscribers that a session had: offered = delivered + queued + missed."""

    open: int
    """subscribers now"""
    offered: int
    delivered: int
    queued: int
    missed: int


class StatsAnswer(Answer):
    """A session's statistics."""

    id: str
    name: str
    owner: str
    state: SessionState
    reason: str
    source: str
    first: int
    end: int
    packets: int
    bytes: int
    first_ts: int
    last_ts: int
    packets_per_s: float
    bits_per_s: float
    ring_bytes: int
    ring_limit_bytes: int
    evicted: int
    cleared: int
    conversations: int
    conversations_forgotten: int
    forgotten_agents: int
    late_in_rollup: int
    late: int
    lost: int
    journal: JournalStats
    recordings: RecordingCounts
    left_out: int
    alerts: AlertCounts
    subscriptions: SubscriptionCounts
    agents: list[RunStats]


class Acknowledged(Answer):
    """Somebody has seen an alert."""

    by: str
    at_ns: int
    """Unix time"""


class EvidenceAnswer(Answer):
    """What became of an alert's packets."""

    state: Literal["waiting", "saved", "failed", "none"]
    packets: int
    bytes: int
    complete: bool
    """whether all of its packets of that time are in it"""
    reason: str
    """why not, or why there is none"""


class AlertAnswer(Answer):
    """One alert; times are packet times in ns since 1970 UTC, 0 where there is none yet."""

    number: int
    changed: int
    rule: str
    description: str
    """of the rule"""
    severity: str
    state: Literal["pending", "firing", "resolved"]
    key: dict[str, Any]
    values: dict[str, Any]
    window_start_ns: int
    fired_ns: int
    resolved_ns: int
    annotations: dict[str, str]
    labels: dict[str, str]
    runbook: str
    """address of a page that says what to do; "" if there is none"""
    notify: list[str] | None
    """names of the channels that are told; null: all that take alerts of this severity"""
    filter: str
    acknowledged: Acknowledged | None
    archived: bool
    silenced: bool
    """it fired within a silence: nobody was told"""
    evidence: EvidenceAnswer | None
    """null until it fires"""


class RuleLine(Answer):
    """How a rule fares."""

    name: str
    description: str
    severity: str
    state: Literal["on", "off", "broken"]
    reason: str
    keys: int
    missed_keys: int
    missed_values: int
    held_back: int
    """times that a key met the condition and was not armed again yet"""
    muted: int
    """times that a key met the condition and is muted"""
    late: int


class AlertsAnswer(AlertCounts):
    """Alerts that changed since the cursor."""

    alerts: list[AlertAnswer]
    next: int
    rules: list[RuleLine]


class Stage(Answer):
    """A stage of the ledger."""

    stage: str
    what: str
    packets: int
    parts: dict[str, int]
    difference: int


class RunLedger(Answer):
    """The stages of an agent's run."""

    agent: str
    run: str
    connected: bool
    stages: list[Stage]


class RecordingStage(Stage):
    """What became of the packets that a recording was offered."""

    recording: str
    """its id"""
    state: RecordingState
    reason: str


class Loss(Answer):
    """Packets that an agent lost, and when this was noticed, ns since 1970 UTC."""

    agent: str
    packets: int
    start_ns: int
    end_ns: int


class LedgerAnswer(Answer):
    """Where every packet of a session is."""

    agents: list[RunLedger]
    ring: Stage
    recordings: list[RecordingStage]
    late: int
    gaps: list[Gap]
    losses: list[Loss]


class PacketAnswer(Answer):
    """One packet."""

    columns: dict[str, str | int | bool | None]
    """every column (docs/schema.md), ts in ns; and info, community_id, ja3, ja4, link_type"""
    frame: str
    """the bytes that were captured, base64"""


class RecordingFile(Answer):
    """A finished file."""

    name: str
    packets: int
    bytes: int


class RecordingAnswer(Answer):
    """A recording."""

    id: str
    session: str
    format: Literal["pcapng", "parquet"]
    where: str
    state: RecordingState
    reason: str
    folder: str
    files: list[RecordingFile]
    current_file: str
    removed_files: int
    offered: int
    written: int
    failed: int
    bytes: int


class RecordingsAnswer(Answer):
    """The recordings of a session."""

    recordings: list[RecordingAnswer]


class HealthReason(Answer):
    """Something that is not as it should be."""

    part: Literal["journal", "disk", "session", "agent"]
    name: str
    """which one: a folder, the name of a session or an agent"""
    message: str


class HealthAnswer(Answer):
    """How the hub fares."""

    state: Literal["alive", "good", "troubled"]
    """alive: no more is said without a token"""
    reasons: list[HealthReason] | msgspec.UnsetType = msgspec.UNSET
    sessions: int | msgspec.UnsetType = msgspec.UNSET
    agents: int | msgspec.UnsetType = msgspec.UNSET
    """connected now"""
    uptime_s: float | msgspec.UnsetType = msgspec.UNSET
