"""The tab of agents: what it says of each, what it asks of them, profiles, and adding one."""

from aishark_panel.views.agents import Agents
from aishark_panel.views.feed import Feed
from tests.views.hub import MemoryHub, wait
from tests.views.places import agent_line


def test_an_agent_is_shown_with_its_rate_and_losses(hub: MemoryHub, feed: Feed) -> None:
    now_s = 0.0
    view = Agents(feed, clock=lambda: now_s)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    assert view.root.state["agents"][0]["packets_per_s"] is None
    now_s, hub.agent_lines = 2.0, [agent_line(packets=300)]
    wait(view.refresh())
    (agent,) = view.root.state["agents"]
    assert (agent["packets_per_s"], agent["lost"], agent["left_out"]) == (100, 5, 4)
    assert (agent["here"], agent["filter"], agent["origin"]) == (True, "tcp", "edge.test · live · 1.0")
    assert view.root.state["profiles"] == [{"name": "web", "text": "filter 'tcp port 80', 128 bytes a packet"}]


def test_an_agent_that_goes_elsewhere_has_no_negative_rate(hub: MemoryHub, feed: Feed) -> None:
    now_s = 0.0
    view = Agents(feed, clock=lambda: now_s)
    for now_s, packets in ((0.0, 100), (1.0, 200), (2.0, 10)):  # noqa: B007  (the clock reads it)
        hub.agent_lines = [agent_line(packets=packets)]
        wait(view.refresh())
    assert view.root.state["agents"][0]["packets_per_s"] is None


def test_an_order_to_an_agent_is_answered_beside_it(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed, clock=lambda: 0.0)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    press = view.root._handle_msg
    wait(press({"start": "a1", "filter": None, "profile": "web", "here": True}))
    assert hub.orders == [("capturing", {"session": "5e55", "profile": "web", "filter": None, "interfaces": None})]
    answer = view.root.state["agents"][0]["answer"]
    assert (answer["kind"], answer["text"]) == ("good", "It captures with the filter 'not port 22'.")
    wait(press({"stop": "a1"}))
    assert view.root.state["agents"][0]["answer"]["text"] == "It has stopped."
    hub.refusal = "Agent edge: 'tcp prt' is no capture filter."
    wait(press({"start": "a1", "filter": "tcp prt", "profile": "", "here": False}))
    answer = view.root.state["agents"][0]["answer"]
    assert (answer["kind"], answer["text"]) == ("bad", hub.refusal)


def test_what_a_filter_would_keep_is_said_beside_the_agent(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed, clock=lambda: 0.0)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    wait(view.root._handle_msg({"try": "a1", "filter": "port 53"}))
    assert hub.orders == [("try", {"filter": "port 53"})]
    answer = view.root.state["agents"][0]["answer"]
    assert answer["kind"] == "good"
    assert answer["text"].startswith("It would keep 25.0 % of the packets (2 of 8) and 50.0 % of the bytes")
    hub.refusal = "Agent edge: no."
    wait(view.root._handle_msg({"try": "a1", "filter": "port"}))
    assert view.root.state["agents"][0]["answer"]["text"] == hub.refusal


def test_interfaces_are_listed_chosen_and_then_put_away(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed, clock=lambda: 0.0)
    hub.agent_lines = [agent_line()]
    wait(view.refresh())
    assert view.root.state["agents"][0]["choice"] is None
    wait(view.root._handle_msg({"interfaces": "a1"}))
    line = view.root.state["agents"][0]
    assert [i["name"] for i in line["choice"]["interfaces"]] == ["eth0", "eth1"]
    assert line["answer"]["text"] == ""
    start = {"start": "a1", "filter": "", "profile": "", "here": False, "interfaces": ["eth1", 7]}
    wait(view.root._handle_msg(start))
    assert hub.orders[-1][1]["interfaces"] == ["eth1"]
    assert view.root.state["agents"][0]["choice"] is None
    hub.refusal = "Agent edge: no."
    wait(view.root._handle_msg({"interfaces": "a1"}))
    line = view.root.state["agents"][0]
    assert (line["choice"], line["answer"]["text"]) == (None, hub.refusal)


def test_agents_that_cannot_be_asked_for_say_why(hub: MemoryHub, feed: Feed) -> None:
    view = Agents(feed)
    hub.connected, hub.reason = False, "No hub answers."
    wait(view.refresh())
    assert view.root.state["problem"] == "No hub answers."
