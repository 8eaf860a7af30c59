"""The ledger in words: every part has a name, causes are summed, and what is lost is said to be lost."""

import re
from typing import Any

import pytest

from aishark_panel.streams.ledger import IN_PROGRESS, ledger
from aishark_panel.views.ledger_lines import MAX_RUNS, MOVING, PARTS, ledger_lines, ledger_text
from tests.codebase.sources import ROOT
from tests.views.hub import MemoryHub

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text("utf-8")


def documented_parts() -> set[str]:
    """Names in the protocol's table of stages, and of the counters that its `dropped_*` and `rejected_*` stand for."""
    table = PROTOCOL.split("| stage | packets | parts |")[1].split("\n\n")[0]
    names = set(
        re.findall(
            r"[a-z_]+_[a-z_*]+|captured|throttled|outbox|spooled|taken|ingested|evicted|cleared|failed|written", table
        )
    )
    dropped = set(re.findall(r"`((?:dropped|rejected)_[a-z_]+)`", PROTOCOL))
    return {name.rstrip("*") for name in names} - {"dropped_", "rejected_"} | dropped


def test_every_part_that_the_protocol_names_has_a_name() -> None:
    assert documented_parts() == set(PARTS)
    assert {name for name, (kind, _) in PARTS.items() if kind == MOVING} == set(IN_PROGRESS)


@pytest.fixture
def told(hub: MemoryHub) -> dict[str, Any]:
    hub.add(["tcp", "dns"])
    hub.run.arrived = 2
    hub.run.counters.update(
        matched=20, kernel_dropped=3, captured=17, sampled_out=10, dropped_outbox_full=5, delivered=2, in_encoder=0
    )
    return ledger_lines(ledger(hub.session))


def parts(stage: dict[str, Any]) -> dict[str, tuple[str, int]]:
    return {part["name"]: (part["kind"], part["packets"]) for part in stage["parts"]}


def test_what_was_lost_is_told_by_cause_the_biggest_first(told: dict[str, Any]) -> None:
    assert told["lost"] == [
        {"name": "dropped by the agent, whose outbox was full", "packets": 5},
        {"name": "dropped by the kernel, whose buffer was full", "packets": 3},
    ]
    assert told["left_out"] == [{"name": "left out by sampling", "packets": 10}]


def test_stages_go_from_the_host_to_the_ring_and_add_up(told: dict[str, Any]) -> None:
    agent, session = told["groups"]
    assert (agent["title"], agent["note"]) == ("Agent edge", "connected")
    capture, read, hub = agent["stages"]
    assert parts(capture)["read by the agent"] == ("", 17)
    assert parts(read)["left out by sampling"] == ("left out", 10)
    assert parts(hub) == {"added to the session": ("", 2)}
    for stage in (capture, read, hub, *session["stages"]):
        assert sum(part["packets"] for part in stage["parts"]) == stage["packets"]


def test_packets_between_two_counters_are_told(hub: MemoryHub) -> None:
    hub.run.counters.update(matched=9, captured=7)
    (agent, _) = ledger_lines(ledger(hub.session))["groups"]
    assert parts(agent["stages"][0])["between two counters"] == ("on its way", 2)


def test_a_ledger_of_many_runs_tells_of_the_newest(hub: MemoryHub) -> None:
    told = ledger(hub.session)
    told["agents"] = [{**told["agents"][0], "agent": f"a{k}"} for k in range(20)]
    lines = ledger_lines(told)
    assert [group["title"] for group in lines["groups"][:2]] == ["Agent a19", "Agent a18"]
    assert (len(lines["groups"]), lines["earlier_runs"]) == (MAX_RUNS + 1, 20 - MAX_RUNS)


def test_a_part_of_a_newer_hub_is_still_told() -> None:
    stage = {"stage": "hub", "what": "taken", "packets": 4, "parts": {"rejected_odd": 4}, "difference": 0}
    ring = {"stage": "ring", "what": "ingested", "packets": 0, "parts": {}, "difference": 0}
    told = ledger_lines(
        {"agents": [{"agent": "a", "run": "", "connected": False, "stages": [stage]}], "ring": ring,
         "recordings": [], "late": 0, "gaps": []}
    )  # fmt: skip
    assert told["lost"] == [{"name": "rejected odd", "packets": 4}]


def test_gaps_say_when_and_why() -> None:
    gap = {"what": "hub", "agent": "", "start_ns": 1_700_000_000_000_000_000, "end_ns": 1_700_000_060_000_000_000}
    on = {"what": "connection", "agent": "edge", "start_ns": 1_700_000_000_000_000_000, "end_ns": 0}
    ring = {"stage": "ring", "what": "ingested", "packets": 0, "parts": {}, "difference": 0}
    told = ledger_lines({"agents": [], "ring": ring, "recordings": [], "late": 0, "gaps": [gap, on]})
    assert told["gaps"] == [
        "edge: the agent was not connected; what it captured came later, from 2023-11-14 22:13:20 UTC on",
        "the hub was down, from 2023-11-14 22:13:20 UTC to 2023-11-14 22:14:20 UTC",
    ]


def test_the_same_is_said_in_text(hub: MemoryHub) -> None:
    hub.add(["dns", "tcp"])
    hub.run.counters.update(captured=14, sampled_out=10, dropped_outbox_full=2, delivered=2)
    text = ledger_text(ledger(hub.session))
    assert text[0] == "lost: 2 dropped by the agent, whose outbox was full"
    assert text[1] == "left out: 10 left out by sampling"
    assert "            14  read by the agent" in text
    assert "                10  left out by sampling (left out)" in text
    assert text[text.index("This session") + 1] == "             2  in the session"
