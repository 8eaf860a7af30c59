"""The ledger: every stage's parts add up, whoever is told what, and what does not is shown."""

from typing import Any

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.ledger import IN_PROGRESS, ledger
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.segments import Gap
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from tests.ledgers import ON_ITS_WAY, identities, is_drained
from tests.traffic import frames, hello

COUNTERS = {
    "matched": 105,
    "kernel_dropped": 5,
    "captured": 100,
    "sampled_out": 50,
    "throttled": 7,
    "dropped_outbox_full": 3,
    "in_encoder": 0,
    "outbox": 0,
    "delivered": 40,
}


def stages(session: Session) -> dict[str, dict[str, Any]]:
    book = ledger(session)
    return {stage["stage"]: stage for stage in (*book["agents"][-1]["stages"], book["ring"])}


def take(session: Session, packets: int, counters: dict[str, int], sequence: int = 1, size: int = 20) -> AgentRun:
    """A batch arrives and is ingested."""
    run = session.runs.attach(hello())
    run.arrived += packets
    session.ingest(run, frames(packets, size=size), sequence, counters)
    return run


def test_each_stage_adds_up_once_all_has_arrived() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    take(session, 40, COUNTERS)
    assert identities(ledger(session)) == []
    assert is_drained(ledger(session))
    assert stages(session)["agent"]["parts"]["taken"] == 40
    assert stats(session)["left_out"] == 57
    assert stats(session)["lost"] == 8


def test_what_nobody_counted_shows_as_a_difference() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    take(session, 39, COUNTERS | {"delivered": 39})
    assert stages(session)["agent"]["difference"] == 1
    assert identities(ledger(session)) == [
        f"edge agent: 100 captured and {stages(session)['agent']['parts']} differ by 1"
    ]


def test_a_packet_that_the_agent_still_keeps_counts_once() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    take(session, 40, COUNTERS | {"delivered": 10, "outbox": 20, "spooled": 15, "captured": 105, "matched": 110})
    parts = stages(session)["agent"]["parts"]
    assert (parts["taken"], parts["outbox"], parts["spooled"]) == (40, 0, 5)
    assert identities(ledger(session)) == []


def test_what_another_session_took_is_a_part() -> None:
    session, other = (Session(name, name, ring_bytes=MIN_LIMIT_BYTES) for name in "ab")
    take(session, 10, COUNTERS).others = [take(other, 30, {})]
    agent = stages(session)["agent"]
    assert (agent["parts"]["taken"], agent["parts"]["taken_elsewhere"], agent["difference"]) == (10, 30, 0)


def test_what_waits_was_refused_or_went_with_an_earlier_hub_is_a_part() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    run = take(session, 10, COUNTERS)
    run.arrived += 25
    run.queued, run.unqueued = 35, 15
    run.reject(1, "invalid", 5)
    run.lost_in_hub_crash = session.lost_in_hub_crash = 5
    book = stages(session)
    assert book["hub"]["packets"] == book["agent"]["parts"]["taken"] == 40
    assert book["hub"]["parts"] == {"ingested": 15, "rejected_invalid": 5, "in_hub_queue": 20}
    assert book["ring"]["parts"]["lost_in_hub_crash"] == 5
    assert identities(ledger(session)) == []
    assert not is_drained(ledger(session))
    assert stats(session)["lost"] == 13


def test_evicted_and_cleared_packets_stay_in_the_book() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    for sequence in range(1, 80):
        take(session, 1_000, {}, sequence, size=1_200)
    session.clear()
    take(session, 10, {}, 80)
    ring = stages(session)["ring"]
    assert ring["packets"] == 79_010
    assert ring["parts"]["in_ring"] == 10
    assert ring["parts"]["evicted"] > 0
    assert ring["parts"]["cleared"] > 0
    assert identities(ledger(session)) == []


def test_an_agent_that_tells_nothing_has_the_hubs_stage_only() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    take(session, 5, {})
    assert [stage["stage"] for stage in ledger(session)["agents"][0]["stages"]] == ["hub"]


def test_gaps_have_their_start_and_their_end() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    run = session.runs.attach(hello())
    assert session.runs.end_of_gap(run, 5, since_ns=0) is None
    run.connected, run.left_ns = False, 10
    assert ledger(session)["gaps"] == [{"what": "connection", "agent": "edge", "start_ns": 10, "end_ns": 0}]
    assert session.runs.end_of_gap(session.runs.attach(hello()), 30, since_ns=0) == Gap(
        what="connection", agent="edge", start_ns=10, end_ns=30
    )
    run.connected, run.left_ns = False, 40
    another = session.runs.attach(hello(run="cd" * 16))
    gap = session.runs.end_of_gap(another, 50, since_ns=0)
    assert gap == Gap(what="agent", agent="edge", start_ns=40, end_ns=50)
    session.gaps.append(gap)
    assert ledger(session)["gaps"] == [{"what": "agent", "agent": "edge", "start_ns": 40, "end_ns": 50}]
    another.left_ns = 60  # before this hub was started: that is in the hub's own gap
    assert session.runs.end_of_gap(another, 80, since_ns=70) is None


def test_parts_on_their_way_are_those_of_the_ledger() -> None:
    assert set(IN_PROGRESS) == ON_ITS_WAY
