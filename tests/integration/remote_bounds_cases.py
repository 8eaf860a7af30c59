"""What a hub may change and ask of a live agent, within its owner's bounds. test_remote_control.py runs this in a
network namespace of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub
from aishark_panel.errors import ConfigError, ConflictError
from tests.integration.conftest import ask
from tests.integration.edge import Wires, agent_of, arrive, booked, edge_agent, rows, session, wires

__all__ = ["session", "wires"]


def test_a_running_capture_is_changed_and_a_stopped_one_is_not(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    agent = agent_of(hub, session)
    line = ask(hub, lambda c: c.agent_change(agent, filter="dst port 53", snaplen=300))
    assert {(i["filter"], i["snaplen"]) for i in line["interfaces"]} == {("(udp) and (dst port 53)", 300)}
    with pytest.raises(ConflictError, match=r"at most 300 bytes of a frame \(allow\.snaplen\)"):
        ask(hub, lambda c: c.agent_change(agent, snaplen=301))
    ask(hub, lambda c: c.profile_save("thin", sampling=5))
    assert ask(hub, lambda c: c.agent_change(agent, profile="thin"))["settings"]["sampling"] == 5
    ask(hub, lambda c: c.agent_stop(agent))
    with pytest.raises(ConflictError, match="does not capture now"):
        ask(hub, lambda c: c.agent_change(agent, sampling=2))
    with pytest.raises(ConfigError, match="colour"):
        ask(hub, lambda c: c._http("PATCH", f"/api/agents/{agent}", {"colour": "red"}))


def test_the_hub_chooses_interfaces_within_the_bound(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    agent = agent_of(hub, session)
    wires.send(0, 53, 2)
    arrive(hub, session, 2)
    line = ask(hub, lambda c: c.agent_change(agent, interfaces=["far1"]))
    assert [i["name"] for i in line["interfaces"]] == ["far1"]
    wires.send(0, 54, 5)
    wires.send(1, 55, 3)
    arrive(hub, session, 5)
    for wanted, words in (
        (["far1", "near0"], r"far0, far1 \(allow\.interfaces\), not 'near0'"),
        (["far0"] * 2, "twice"),
    ):
        with pytest.raises(ConflictError, match=words):
            ask(hub, lambda c, wanted=wanted: c.agent_change(agent, interfaces=wanted))  # type: ignore[misc]
    wires.send(1, 56)
    arrive(hub, session, 6)
    ask(hub, lambda c: c.agent_change(agent, interfaces=[]))
    wires.send(1, 57)
    arrive(hub, session, 7)
    wires.send(0, 58)
    arrive(hub, session, 8)
    assert rows(hub, session, "iface", "dst_port") == (
        [("far0", 53)] * 2 + [("far1", 55)] * 3 + [("far1", 56), ("far1", 57), ("far0", 58)]
    )
    booked(hub, session, 8)


def test_interfaces_are_listed_with_what_passes_them(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    agent = agent_of(hub, session)
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(lambda: ask(hub, lambda c: c.agent_interfaces(agent)))
        while not listing.done():
            wires.send(0, 99, 10)
            time.sleep(0.01)
        found = {i["name"]: i for i in listing.result()}
    assert {"lo", "near0", "far0", "near1", "far1"} <= found.keys()
    assert found["near0"]["packets_per_s"] > 100
    assert found["near0"]["bits_per_s"] == pytest.approx(found["near0"]["packets_per_s"] * 70 * 8)
    assert found["near1"]["packets_per_s"] == 0
    assert [found["far0"][key] for key in ("up", "captured", "allowed")] == [True, True, True]
    assert [found["near0"][key] for key in ("up", "captured", "allowed")] == [True, False, False]
    assert "127.0.0.1" in found["lo"]["addresses"]


def test_a_trial_says_what_a_filter_would_keep_and_disturbs_nothing(
    hub: EmbeddedHub, wires: Wires, session: str
) -> None:
    agent = agent_of(hub, session)
    sent = 0
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(lambda: ask(hub, lambda c: c.agent_try(agent, "dst port 53", 1.0)))
        while not trying.done():
            for wire in (0, 1):
                wires.send(wire, 53, 1, size=100)
                wires.send(wire, 54, 3)
                sent += 4
            time.sleep(0.02)
        trial = trying.result()
    assert trial["seconds"] == 1.0
    assert trial["packets"] > 50
    assert trial["packets"] == pytest.approx(4 * trial["passed_packets"], abs=8)
    assert trial["passed_bytes"] == 150 * trial["passed_packets"]
    assert trial["bytes"] == 150 * trial["passed_packets"] + 70 * (trial["packets"] - trial["passed_packets"])
    assert trial["missed_packets"] == 0
    stats = arrive(hub, session, sent)
    assert {i["filter"] for i in stats["agents"][0]["interfaces"]} == {"udp"}
    booked(hub, session, sent)


def test_a_trial_of_what_is_no_filter_is_answered_with_the_reason(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    agent = agent_of(hub, session)
    with pytest.raises(ConflictError, match=r"Agent edge: capture filter .*syntax error"):
        ask(hub, lambda c: c.agent_try(agent, "not a filter"))
    for seconds in (0, 11):
        with pytest.raises(ConfigError, match="seconds"):
            ask(hub, lambda c, s=seconds: c.agent_try(agent, "udp", s))  # type: ignore[misc]


def test_a_second_trial_waits_its_turn(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    agent = agent_of(hub, session)

    async def both() -> list[Any]:
        client = HubClient(hub.url, hub.token)
        first = asyncio.create_task(client.agent_try(agent, "udp", 1.0))
        second = asyncio.create_task(client.agent_try(agent, "udp", 1.0))
        return [*await asyncio.gather(first, second, client.agent_change(agent, snaplen=100), return_exceptions=True)]

    answers = asyncio.run(both())
    assert sorted(type(answer).__name__ for answer in answers) == ["ConflictError", "dict", "dict"]
    assert any("busy with another" in str(answer) for answer in answers)
    assert answers[2]["settings"]["snaplen"] == 100


def test_an_owner_can_leave_the_hub_nothing_but_start_and_stop(hub: EmbeddedHub, wires: Wires, tmp_path: Path) -> None:
    text = "agent: {interfaces: [far0]}\nserver: {api_key: '${THE_KEY}'}\nallow: {remote_control: no}\n"
    with edge_agent(hub, tmp_path, "left alone", text) as session:
        agent = agent_of(hub, session)
        asked: list[Callable[[HubClient], Awaitable[Any]]] = [
            lambda c: c.agent_change(agent, filter="udp"),
            lambda c: c.agent_interfaces(agent),
            lambda c: c.agent_try(agent, "udp"),
        ]
        for question in asked:
            with pytest.raises(ConflictError, match=r"allow\.remote_control"):
                ask(hub, question)
        assert ask(hub, lambda c: c.agent_stop(agent))["state"] == "stopped"
        assert ask(hub, lambda c: c.agent_start(agent, filter=""))["state"] == "capturing"
