"""The ledger: every stage's parts add up, whoever is told what, and what does not is shown."""

from typing import Any

from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
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


def test_each_stage_adds_up_once_all_has_arrived() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    session.ingest(session.attach(hello()), frames(40), 1, COUNTERS)
    found = stages(session)
    assert {name: stage["difference"] for name, stage in found.items()} == {
        "capture": 0,
        "agent": 0,
        "hub": 0,
        "ring": 0,
    }
    assert found["agent"]["parts"]["taken"] == found["hub"]["packets"] == found["ring"]["packets"] == 40
    assert session.stats()["left_out"] == 57
    assert session.stats()["lost"] == 8


def test_what_nobody_counted_shows_as_a_difference() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    session.ingest(session.attach(hello()), frames(39), 1, COUNTERS | {"delivered": 39})
    assert stages(session)["agent"]["difference"] == 1


def test_what_another_hub_or_session_took_is_a_part() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    session.ingest(session.attach(hello()), frames(10), 5, COUNTERS)
    agent = stages(session)["agent"]
    assert (agent["parts"]["taken"], agent["parts"]["taken_elsewhere"], agent["difference"]) == (10, 30, 0)


def test_evicted_and_cleared_packets_stay_in_the_book() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    run = session.attach(hello())
    for sequence in range(1, 80):
        session.ingest(run, frames(1_000, size=1_200), sequence, {})
    session.clear()
    session.ingest(run, frames(10), 80, {})
    ring = stages(session)["ring"]
    assert ring["packets"] == 79_010
    assert ring["parts"]["in_ring"] == 10
    assert ring["parts"]["evicted"] > 0
    assert ring["parts"]["cleared"] > 0
    assert ring["difference"] == 0


def test_an_agent_that_tells_nothing_has_the_hubs_stage_only() -> None:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    session.ingest(session.attach(hello()), frames(5), 1, {})
    assert [stage["stage"] for stage in ledger(session)["agents"][0]["stages"]] == ["hub"]
