"""What a hub can make a live agent do, on two real interfaces. test_remote_control.py runs this in a network namespace
of its own."""

import pytest

from aishark_panel.embedded import EmbeddedHub
from aishark_panel.errors import ConflictError, HubError
from tests.integration.conftest import ask, stats_when
from tests.integration.edge import Wires, arrive, booked, rows, session, start, wires

__all__ = ["session", "wires"]


def test_both_interfaces_of_the_file_are_captured(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    wires.send(0, 53, 3)
    arrive(hub, session, 3)
    wires.send(1, 54, 2)
    stats = arrive(hub, session, 5)
    assert [i["name"] for i in stats["agents"][0]["interfaces"]] == ["far0", "far1"]
    assert rows(hub, session, "iface", "dst_port") == [("far0", 53)] * 3 + [("far1", 54)] * 2


def test_a_start_with_a_filter_changes_what_arrives(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    wires.send(0, 53)
    arrive(hub, session, 1)
    line = start(hub, session, filter="dst port 53", snaplen=60)
    assert [i["filter"] for i in line["interfaces"]] == ["(udp) and (dst port 53)"] * 2
    for wire in (0, 1):
        wires.send(wire, 54)
        wires.send(wire, 53)
    arrive(hub, session, 3)
    assert rows(hub, session, "dst_port", "cap_len") == [(53, 70), (53, 60), (53, 60)]
    start(hub, session, filter="", snaplen=262_144)
    wires.send(0, 54, size=400)
    arrive(hub, session, 4)
    assert rows(hub, session, "dst_port", "cap_len", "orig_len")[3] == (54, 200, 450)  # the file's snaplen holds


def test_a_filter_that_does_not_compile_is_answered_with_the_reason_and_changes_nothing(
    hub: EmbeddedHub, wires: Wires, session: str
) -> None:
    with pytest.raises(HubError, match=r"capture filter .*not a filter.* on far0: .*syntax error"):
        start(hub, session, filter="not a filter")
    with pytest.raises(HubError, match="parentheses"):
        start(hub, session, filter="udp) or (tcp")
    wires.send(0, 54)
    arrive(hub, session, 1)


def test_sampling_and_rate_are_bounded_by_the_file_and_told(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    with pytest.raises(ConflictError, match=r"at most 1,000 packets/s \(performance\.max_packets_per_second\)"):
        start(hub, session, sampling=4, max_packets_per_second=5_000)
    start(hub, session, sampling=4, max_packets_per_second=900)
    wires.send(0, 53, 40)
    stats = arrive(hub, session, 10)
    agent = stats["agents"][0]
    assert (agent["sampling"], agent["max_packets_per_second"]) == (4, 900)
    start(hub, session, sampling=1, max_packets_per_second=0)
    assert ask(hub, lambda c: c.stats(session))["agents"][0]["max_packets_per_second"] == 1_000


def test_a_stop_loses_nothing_that_was_captured(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    start(hub, session)
    for turn in range(1, 4):
        wires.send(0, 53, 30)
        ask(hub, lambda c: c.stop(session))
        stats_when(hub, session, lambda s: not s["agents"][0]["capturing"], "the stop")
        wires.send(0, 53, 7)  # while stopped: not captured
        arrive(hub, session, 30 * turn)
        ask(hub, lambda c: c.start(session))
        stats_when(hub, session, lambda s: s["agents"][0]["capturing"], "the start")
    booked(hub, session, 90)
