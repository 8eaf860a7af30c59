"""Only the rows that are asked for travel, whatever the browser says."""

from typing import Any

import pytest

from aishark_panel.views.feed import Feed
from aishark_panel.views.packet_list import MAX_ROWS, PacketList
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the list sent to the browser."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("aishark_panel.views.base.Element.send", lambda self, message: sent.append(message))
    return sent


def test_a_range_of_rows_comes_as_columns(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    hub.add(["tcp", "arp", "dns"])
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"rows": [2, 2], "epoch": feed.epoch}))
    (answer,) = answers
    assert answer["first"] == 2
    rows = answer["rows"]
    assert rows["number"] == [2, 3]
    assert rows["protocol"] == ["ARP", "DNS"]
    assert rows["family"] == ["arp", "dns"]
    assert rows["src"] == ["10.0.0.1", "10.0.0.1"]
    assert rows["date"][0] == "2023-11-14"
    assert rows["time"] == ["22:13:21.000000", "22:13:22.000000"]
    assert {len(values) for values in rows.values()} == {2}


def test_with_a_filter_rows_are_counted_among_the_matches(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp", "dns", "tcp", "dns"])
    wait(feed.filter("dns"))
    view = PacketList(feed)
    wait(view.root._handle_msg({"rows": [feed.extent.first + 1, 5], "epoch": feed.epoch}))
    assert answers[0]["rows"]["number"] == [4]


def test_a_question_from_before_a_change_is_answered_with_nothing(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp"])
    view = PacketList(feed)
    wait(view.refresh())
    old = feed.epoch
    wait(feed.filter("tcp"))
    wait(view.root._handle_msg({"rows": [1, 1], "epoch": old}))
    assert answers == [{"epoch": old, "first": 1, "rows": {}}]


def test_a_greedy_browser_gets_no_more_than_the_limit(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["arp"] * (MAX_ROWS + 50), every_ns=1000)
    view = PacketList(feed)
    wait(view.refresh())
    wait(view.root._handle_msg({"rows": [-5, 10**12], "epoch": feed.epoch}))
    assert len(answers[0]["rows"]["number"]) <= MAX_ROWS


@pytest.mark.parametrize(
    "message", [None, 7, [], {}, {"rows": "all"}, {"rows": [1, "x"], "epoch": 1}, {"select": None}]
)
def test_messages_of_another_form_are_ignored(feed: Feed, answers: list[dict[str, Any]], message: Any) -> None:
    wait(PacketList(feed).root._handle_msg(message))
    assert answers == []


def test_a_lost_hub_still_gets_an_answer_to_the_browser(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp"])
    view = PacketList(feed)
    wait(view.refresh())
    hub.connected = False
    wait(view.root._handle_msg({"rows": [1, 1], "epoch": feed.epoch}))
    assert answers == [{"epoch": feed.epoch, "first": 1, "rows": {}}]


def test_an_empty_list_says_why(hub: MemoryHub, feed: Feed) -> None:
    view = PacketList(feed)
    wait(view.refresh())
    assert view.root.state["empty"]
    hub.add(["tcp"], START_NS + SECOND_NS)
    wait(view.refresh())
    assert view.root.state["empty"] == ""
    wait(feed.filter("arp"))
    view.paint()
    assert view.root.state["empty"] == "None of the 1 packets kept matches the display filter."


def test_a_selected_row_is_passed_on(feed: Feed) -> None:
    chosen: list[int] = []

    async def select(number: int) -> None:
        chosen.append(number)

    wait(PacketList(feed, select).root._handle_msg({"select": 12}))
    assert chosen == [12]
