"""The tab of agents: what it says of each, what it asks of them, profiles, and adding one."""

from typing import Any

import pytest

from aishark_panel.views.agents import Agents
from aishark_panel.views.feed import Feed
from tests.views.hub import MemoryHub, wait
from tests.views.places import agent_line


def test_an_agent_is_shown_with_its_rate_and_losses(hub: MemoryHub, feed: Feed) -> None:
    now_s = 0.0
    view = Agents(feed, clock=lambda: now_s)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    assert view.root.drawn["agents"][0]["packets_per_s"] is None
    now_s, hub.agent_lines = 2.0, [agent_line(packets=300)]
    wait(view.refresh())
    (agent,) = view.root.drawn["agents"]
    assert (agent["packets_per_s"], agent["lost"], agent["left_out"]) == (100, 5, 4)
    assert (agent["here"], agent["filter"], agent["origin"]) == (True, "tcp", "edge.test · Linux 6.1 · live · 1.0")
    assert view.root.drawn["profiles"] == [{"name": "web", "text": "filter 'tcp port 80', 128 bytes a packet"}]


def test_an_agent_that_goes_elsewhere_has_no_negative_rate(hub: MemoryHub, feed: Feed) -> None:
    now_s = 0.0
    view = Agents(feed, clock=lambda: now_s)
    for now_s, packets in ((0.0, 100), (1.0, 200), (2.0, 10)):  # noqa: B007  (the clock reads it)
        hub.agent_lines = [agent_line(packets=packets)]
        wait(view.refresh())
    assert view.root.drawn["agents"][0]["packets_per_s"] is None


def test_an_order_to_an_agent_is_answered_beside_it(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed, clock=lambda: 0.0)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    press = view.root._handle_msg
    wait(press({"start": "a1", "filter": None, "profile": "web", "here": True}))
    assert hub.orders == [("capturing", {"session": "5e55", "profile": "web", "filter": None, "interfaces": None})]
    answer = view.root.drawn["agents"][0]["answer"]
    assert (answer["kind"], answer["text"]) == ("good", "It captures with the filter 'not port 22'.")
    wait(press({"stop": "a1"}))
    assert view.root.drawn["agents"][0]["answer"]["text"] == "It has stopped."
    hub.refusal = "Agent edge: 'tcp prt' is no capture filter."
    wait(press({"start": "a1", "filter": "tcp prt", "profile": "", "here": False}))
    answer = view.root.drawn["agents"][0]["answer"]
    assert (answer["kind"], answer["text"]) == ("bad", hub.refusal)


def test_what_a_filter_would_keep_is_said_beside_the_agent(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed, clock=lambda: 0.0)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    wait(view.root._handle_msg({"try": "a1", "filter": "port 53"}))
    assert hub.orders == [("try", {"filter": "port 53"})]
    answer = view.root.drawn["agents"][0]["answer"]
    assert answer["kind"] == "good"
    assert answer["text"].startswith("It would keep 25.0 % of the packets (2 of 8) and 50.0 % of the bytes")
    hub.refusal = "Agent edge: no."
    wait(view.root._handle_msg({"try": "a1", "filter": "port"}))
    assert view.root.drawn["agents"][0]["answer"]["text"] == hub.refusal


def test_interfaces_are_listed_chosen_and_then_put_away(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed, clock=lambda: 0.0)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    assert view.root.drawn["agents"][0]["choice"] is None
    wait(view.root._handle_msg({"interfaces": "a1"}))
    line = view.root.drawn["agents"][0]
    assert [i["name"] for i in line["choice"]["interfaces"]] == ["eth0", "eth1"]
    assert line["answer"]["text"] == ""
    start = {"start": "a1", "filter": "", "profile": "", "here": False, "interfaces": ["eth1", 7]}
    wait(view.root._handle_msg(start))
    assert hub.orders[-1][1]["interfaces"] == ["eth1"]
    assert view.root.drawn["agents"][0]["choice"] is None
    hub.refusal = "Agent edge: no."
    wait(view.root._handle_msg({"interfaces": "a1"}))
    line = view.root.drawn["agents"][0]
    assert (line["choice"], line["answer"]["text"]) == (None, hub.refusal)


def test_agents_that_cannot_be_asked_for_say_why(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    hub.connected, hub.reason = False, "No hub answers."
    wait(view.refresh())
    assert view.root.drawn["problem"] == "No hub answers."


def test_an_agent_has_rates_by_interface_and_says_what_it_leaves_out(hub: MemoryHub, feed: Feed) -> None:
    now_s = 0.0
    view = Agents(feed, clock=lambda: now_s)
    ethernet = {"name": "eth0", "link_type": 1, "filter": "tcp", "snaplen": 96, "packets": 100, "bytes": 9_000}
    tunnel = {**ethernet, "name": "tun0", "filter": "", "snaplen": 262_144}
    hub.agent_lines = [agent_line(interfaces=[ethernet], sampling=10, sampling_by="conversation", payload="headers")]
    wait(view.refresh())
    now_s = 2.0
    hub.agent_lines[0]["interfaces"] = [{**ethernet, "packets": 300, "bytes": 29_000}, tunnel]
    wait(view.refresh())
    (agent,) = view.root.drawn["agents"]
    assert agent["interfaces"] == [
        {"name": "eth0", "filter": "tcp", "packets_per_s": 100, "bits_per_s": 80_000},
        {"name": "tun0", "filter": "", "packets_per_s": None, "bits_per_s": None},
    ]
    assert agent["sends"] == "96 bytes a packet, payload headers, one packet in 10, sampled by conversation"
    assert agent["origin"] == "edge.test · Linux 6.1 · live · 1.0"


def test_an_agent_that_is_away_says_since_when(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    hub.agent_lines = [
        agent_line(state="offline", sampling=10),
        agent_line(id="a2", state="offline", last_seen_ns=None, interfaces=[]),
    ]
    wait(view.refresh())
    was, never = view.root.drawn["agents"]
    assert (was["since"], was["sends"], never["since"]) == ("2023-11-14 22:13:20 UTC", "", "")


def test_how_much_is_sent_is_changed_with_the_filter(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    given = {"snaplen": 128, "sampling": True, "payload": "none", "sampling_by": "moon", "max_packets_per_second": 1.5}
    start = {"start": "a1", "filter": "tcp", "profile": "", "here": False, "settings": {**given, "api_key": "x"}}
    wait(view.root._handle_msg(start))
    settings = {"filter": "tcp", "interfaces": None, "snaplen": 128, "payload": "none"}
    assert hub.orders == [("capturing", {"session": "", "profile": "", **settings})]


def test_profiles_are_saved_and_forgotten(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    press = view.root._handle_msg
    wait(press({"profile": " few ", "filter": " ", "settings": {"sampling": 10}}))
    assert hub.saved_profiles == {"few": {"filter": None, "sampling": 10}}
    wait(press({"profile_delete": "few"}))
    assert hub.saved_profiles == {}
    wait(press({"profile_delete": "of the hub"}))
    assert view.root.drawn["profile_answer"] == "no profile 'of the hub'"


def test_the_wizard_shows_commands_and_waits_for_a_hello(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    press = view.root._handle_msg
    wait(press({"wizard": "open"}))
    assert view.root.drawn["wizard"]["step"] == "name"
    wait(press({"register": "taken", "interface": "eth0"}))
    assert view.root.drawn["wizard"]["problem"] == "there is an agent of that name"
    wait(press({"register": "edge-7", "interface": "eth0; reboot"}))
    assert "is no name of an interface" in view.root.drawn["wizard"]["problem"]
    wait(press({"register": "edge-7", "interface": "wg0"}))
    state = view.root.drawn["wizard"]
    assert (state["step"], state["name"], state["key"]) == ("wait", "edge-7", "ak_secret")
    commands = [step["command"] for way in state["ways"] for step in way["steps"]]
    assert sum("ak_secret" in command for command in commands) == 3
    hub.agent_lines = [agent_line(id="b2", state="offline")]
    wait(view.refresh())
    assert view.root.drawn["wizard"]["step"] == "wait"
    hub.agent_lines = [agent_line(id="b2", name="edge-7")]
    wait(view.refresh())
    state = view.root.drawn["wizard"]
    here = "edge-7 said hello from edge.test (Linux 6.1). It captures on eth0, into the session lab."
    assert (state["step"], state["here"]) == ("here", here)
    wait(press({"wizard": "close"}))
    assert view.root.drawn["wizard"] is None


def test_another_key_is_shown_in_the_wizard_and_a_removed_agent_is_revoked(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    hub.agent_lines = [agent_line(state="offline")]
    wait(view.refresh())
    wait(view.root._handle_msg({"new_key": "a1"}))
    assert (view.root.drawn["wizard"]["step"], view.root.drawn["wizard"]["key"]) == ("wait", "ak_another")
    wait(view.root._handle_msg({"forget": "a1"}))
    assert hub.deleted == ["a1"]


def test_who_may_not_capture_gets_no_controls(hub: MemoryHub, feed: Feed) -> None:
    feed.rights = ["view"]
    view = Agents(feed)
    wait(view.refresh())
    assert view.root.drawn["may"] is False


def test_it_can_be_painted_while_a_question_is_under_way(
    hub: MemoryHub, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = Agents(feed)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    hub.agent_lines = [agent_line(), agent_line(id="b2", name="new")]
    answer = hub.profiles

    async def painted_meanwhile() -> list[dict[str, Any]]:
        view.paint()
        return await answer()

    monkeypatch.setattr(hub, "profiles", painted_meanwhile)
    wait(view.refresh())
    assert [agent["name"] for agent in view.root.drawn["agents"]] == ["edge", "new"]
