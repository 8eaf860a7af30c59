"""Tabs and what is in them: only what is in sight asks the hub; orders are answered where they were given."""

import asyncio
from typing import Any

import numpy as np
import pytest

from aishark_panel.streams.sessions import DEFAULT_SESSION as DEFAULT_SESSION_OF_THE_HUB
from aishark_panel.views.conversations import Conversations
from aishark_panel.views.endpoints import Endpoints
from aishark_panel.views.feed import Feed
from aishark_panel.views.header import DEFAULT_SESSION, Header
from aishark_panel.views.hierarchy import Hierarchy
from aishark_panel.views.page import Dashboard
from aishark_panel.views.tabs import Tabs
from aishark_panel.views.tcp_health import TcpHealth
from aishark_panel.views.timeline import Timeline
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait
from tests.views.places import agent_line

MS_NS = 1_000_000


def sent_filters() -> tuple[list[tuple[str, bool]], Any]:
    """What a view hands to the display filter, and the function it hands it to."""
    heard: list[tuple[str, bool]] = []

    async def add(condition: str, exclude: bool = False) -> None:
        heard.append((condition, exclude))

    return heard, add


def raise_alert(hub: MemoryHub) -> None:
    """Six questions at once, and enough packet time for the rule to look at them."""
    hub.add(["dns"] * 6, every_ns=MS_NS)
    hub.add(["tcp"], START_NS + 3 * SECOND_NS // 2)


def test_only_the_chosen_tab_is_in_sight(hub: MemoryHub, feed: Feed) -> None:
    dashboard = Dashboard(feed)
    tabs = next(view for view in dashboard.views if isinstance(view, Tabs))
    hidden = {type(view).__name__ for view in dashboard.views if not view.in_sight}
    assert hidden == {
        "Conversations",
        "Endpoints",
        "Hierarchy",
        "TcpHealth",
        "Alerts",
        "RuleEditor",
        "Agents",
        "Sessions",
    }
    wait(tabs.root._handle_msg({"tab": "Alerts"}))
    hidden = {type(view).__name__ for view in dashboard.views if not view.in_sight}
    others = {"Conversations", "Endpoints", "Hierarchy", "TcpHealth", "Agents", "Sessions"}
    assert hidden == {"PacketList", "PacketDetail", *others}
    wait(tabs.root._handle_msg({"tab": "No such tab"}))
    assert tabs.chosen == "Alerts"


def test_tabs_count_firing_alerts_and_connected_agents(hub: MemoryHub, feed: Feed) -> None:
    raise_alert(hub)
    tabs = Tabs(feed, {"Alerts": [], "Agents": []})
    wait(tabs.refresh())
    assert [(tab["name"], tab["count"]) for tab in tabs.root.drawn["tabs"]] == [("Alerts", 1), ("Agents", 1)]


def test_conversations_hold_both_directions(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "tcp", "dns"])
    heard, add = sent_filters()
    view = Conversations(feed, on_filter=add)
    wait(view.refresh())
    first = view.root.drawn["rows"][0]
    assert (first["a"], first["b"], first["packets"]) == ("10.0.0.1:4000", "10.0.0.2:9999", 2)
    assert (first["bytes_ab"], first["bytes_ba"], first["duration_ms"]) == (first["bytes"], 0, 1000)
    assert (first["rtt_ms"], first["retransmissions"]) == (None, 1)
    wait(view.root._handle_msg({"filter": first["id"], "exclude": True}))
    wait(view.root._handle_msg({"filter": "1 or True", "exclude": False}))
    assert heard == [(f"conversation_id == {first['id']}", True)]
    wait(feed.filter(heard[0][0]))
    assert feed.extent.count == 2


def test_conversations_say_why_there_are_none(hub: MemoryHub, feed: Feed) -> None:
    view = Conversations(feed)
    wait(view.refresh())
    assert "No conversation" in view.root.drawn["empty"]
    hub.connected, hub.reason = False, "No hub answers."
    wait(view.refresh())
    assert view.root.drawn["empty"] == "No hub answers."


def test_an_alert_is_pinned_to_the_timeline_and_its_pin_filters(hub: MemoryHub, feed: Feed) -> None:
    heard, add = sent_filters()
    timeline = Timeline(feed, on_filter=add)
    raise_alert(hub)
    hub.run.ended = True
    wait(timeline.refresh())
    (at_ms,) = np.asarray(timeline.pins.data["at_ms"])
    assert START_NS / 1e6 <= at_ms <= (START_NS + SECOND_NS) / 1e6
    assert timeline.pins.data["text"][0].startswith("many_questions: 10.0.0.1 asked")

    async def click() -> None:
        timeline.pins.selected.indices = [0]
        await asyncio.sleep(0)

    wait(click())
    assert timeline.pins.selected.indices == []
    assert heard == [("(dns) and src_ip == '10.0.0.1'", False)]
    hub.session.clear()
    wait(timeline.refresh())
    assert list(timeline.pins.data["at_ms"]) == []


def test_the_default_session_has_the_name_the_hub_gives_it() -> None:
    assert DEFAULT_SESSION == DEFAULT_SESSION_OF_THE_HUB


def test_a_session_is_made_and_shown(hub: MemoryHub, feed: Feed) -> None:
    header = Header(feed)
    wait(header.refresh())
    wait(header.root._handle_msg({"create": "night"}))
    assert header.root.drawn["session"] == "new0"
    assert [session["name"] for session in header.root.drawn["sessions"]] == ["lab", "night"]


@pytest.mark.parametrize("tab", ["Conversations", "Alerts", "Agents", "Sessions"])
def test_a_tab_is_up_to_date_when_it_comes_into_sight(hub: MemoryHub, feed: Feed, tab: str) -> None:
    hub.agent_lines = [agent_line()]
    raise_alert(hub)
    dashboard = Dashboard(feed)
    wait(feed.pull())
    tabs = next(view for view in dashboard.views if isinstance(view, Tabs))
    wait(tabs.choose(tab))
    state = next(view for view in dashboard.views if type(view).__name__ == tab).root.drawn  # type: ignore[attr-defined]
    assert state.get("rows") or state.get("alerts") or state.get("agents") or state.get("sessions")


def test_endpoints_follow_the_filter_and_filter(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "tcp", "dns", "arp"])
    heard: list[tuple[str, bool]] = []

    async def hear(condition: str, exclude: bool) -> None:
        heard.append((condition, exclude))

    view = Endpoints(feed, hear)
    wait(view.refresh())
    assert [row["address"] for row in view.root.drawn["rows"]] == ["10.0.0.1", "10.0.0.2", "10.0.0.53"]
    wait(view.root._handle_msg({"sort": "bytes_received"}))
    assert view.root.drawn["rows"][0]["address"] == "10.0.0.2"
    wait(feed.filter("dns"))
    wait(view.refresh())
    assert {row["address"] for row in view.root.drawn["rows"]} == {"10.0.0.1", "10.0.0.53"}
    wait(view.root._handle_msg({"filter": "10.0.0.53", "exclude": True}))
    wait(view.root._handle_msg({"filter": "no such address", "exclude": True}))
    assert heard == [("ip.addr == 10.0.0.53", True)]
    wait(feed.filter("src_port == 1"))
    wait(view.refresh())
    assert "matches the display filter" in view.root.drawn["empty"]


def test_the_hierarchy_is_a_tree_that_filters(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "tcp", "dns", "arp"])
    heard: list[str] = []

    async def hear(condition: str, exclude: bool) -> None:
        await feed.filter(condition)
        heard.append(condition)

    view = Hierarchy(feed, hear)
    wait(view.refresh())
    lines = [(line["depth"], line["name"], line["packets"]) for line in view.root.drawn["lines"]]
    assert lines == [
        (0, "Ethernet", 4), (1, "IPv4", 3), (2, "TCP", 2), (2, "UDP", 1), (3, "DNS", 1), (1, "ARP", 1),
    ]  # fmt: skip
    for _, name, packets in lines:
        wait(feed.filter(""))
        wait(view.refresh())
        wait(view.root._handle_msg({"layer": name, "exclude": False}))
        assert feed.extent.count == packets
    assert heard[-1] == "arp"


def test_health_of_tcp_counts_what_is_sent_again(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 10 + ["dns"])
    hub.run.ended = True
    view = TcpHealth(feed)
    wait(view.refresh())
    state = view.figures.drawn
    assert (state["segments"], state["resent"], state["rtt_p50_ms"]) == (10, 9, None)
    wait(feed.filter("dns"))
    wait(view.refresh())
    assert "matches" in view.figures.drawn["empty"]


def test_conversations_follow_the_filter(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "tcp", "dns", "dns"])
    view = Conversations(feed)
    wait(feed.filter("dns"))
    wait(view.refresh())
    (row,) = view.root.drawn["rows"]
    assert (row["protocol"], row["packets"], view.root.drawn["total"]) == ("DNS", 2, 1)
    wait(feed.filter(""))
    wait(view.root._handle_msg({"sort": "problems"}))
    assert view.root.drawn["rows"][0]["problems"] == 1
