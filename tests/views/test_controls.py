"""Header and filter bar: what they say, and what their buttons do."""

from typing import Any

import pytest

from aishark_panel.views.feed import Feed
from aishark_panel.views.filter_bar import FilterBar
from aishark_panel.views.header import HISTORY, Header
from tests.views.hub import START_NS, MemoryHub, wait


def test_the_header_says_what_moves(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    header = Header(feed)
    wait(header.refresh())
    state = header.root.drawn
    assert (state["capture"], state["packets"], state["badge"]) == ("capturing", 2, "synthetic traffic")
    assert state["agents"][0]["interfaces"] == [{"name": "eth0", "filter": "not port 22"}]


def test_the_header_says_why_nothing_moves(hub: MemoryHub, feed: Feed) -> None:
    header = Header(feed)
    hub.run.connected, hub.run.reason = False, "Its connection was lost."
    wait(header.refresh())
    assert header.root.drawn["reason"] == "Agent edge is not connected. Its connection was lost."
    hub.connected, hub.reason = False, "No hub answers."
    wait(header.refresh())
    assert (header.root.drawn["connected"], header.root.drawn["reason"]) == (False, "No hub answers.")


def test_live_traffic_has_no_badge() -> None:
    header = Header(Feed(MemoryHub("live")))  # type: ignore[arg-type]
    wait(header.refresh())
    assert header.root.drawn["badge"] == ""


def test_buttons_start_stop_pause_and_clear(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    header = Header(feed)
    wait(header.refresh())
    press = header.root._handle_msg
    wait(press({"capture": "stop"}))
    assert not hub.session.condition.wanted
    wait(press({"capture": "start"}))
    assert hub.session.condition.wanted
    wait(press({"pause": True}))
    assert header.root.drawn["paused"]
    wait(press({"pause": False}))
    wait(press({"clear": True}))
    assert header.root.drawn["kept"] == 0


def test_an_export_is_a_ticket_for_what_is_shown(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    hub.add(["tcp", "dns"])
    header = Header(feed)
    wait(feed.filter("dns"))
    press = header.root._handle_msg
    wait(press({"export": "parquet", "shown": True, "purpose": "download"}))
    wait(press({"export": "pcapng", "shown": False, "purpose": "wireshark"}))
    wait(press({"export": "exe", "shown": False, "purpose": "download"}))
    assert hub.tickets == [("parquet", "dns", False), ("pcapng", "", True)]
    assert answers[-1] == {"wireshark": "http://127.0.0.1:1/api/export/ticket-1"}


def test_the_filter_bar_counts_matches(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "dns"])
    bar = FilterBar(feed)
    wait(bar.root._handle_msg({"where": " dns "}))
    state = bar.root.drawn
    assert (state["where"], state["matched"], state["kept"], state["error"]) == ("dns", 2, 3, None)


def test_the_filter_bar_shows_where_a_filter_is_wrong(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    bar = FilterBar(feed)
    wait(bar.apply("tcp.port == 443 and"))
    error = bar.root.drawn["error"]
    assert error["text"] == "tcp.port == 443 and"
    assert error["position"] == len(error["text"])
    wait(bar.apply(""))
    assert bar.root.drawn["error"] is None


def test_conditions_are_added_to_the_filter(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "arp"])
    bar = FilterBar(feed)
    wait(bar.add("dns or arp"))
    wait(bar.add("arp", exclude=True))
    assert feed.where == "(dns or arp) and not (arp)"
    assert feed.extent.count == 1


def test_the_window_is_chosen_from_those_there_are(feed: Feed) -> None:
    bar = FilterBar(feed)
    wait(bar.root._handle_msg({"window": "5 min"}))
    assert feed.window == "5 min"
    wait(bar.root._handle_msg({"window": "a year"}))
    assert feed.window == "5 min"


def test_who_types_hears_what_may_stand_there_and_nothing_is_applied(
    hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]
) -> None:
    hub.add(["tcp", "dns", "dns"])
    bar = FilterBar(feed)
    wait(bar.refresh())
    wait(bar.root._handle_msg({"edit": "dns and udp.dstport == ", "cursor": 23, "turn": 7}))
    (answer,) = answers
    assert (answer["turn"], answer["fault"], answer["right"]) == (7, None, False)
    assert answer["choices"] == [{"text": "53", "kind": "", "meaning": "2 of the newest packets"}]
    assert feed.where == ""


def test_what_is_unfinished_is_not_called_wrong(feed: Feed, answers: list[dict[str, Any]]) -> None:
    bar = FilterBar(feed)
    for text, wrong in (("src_prt", False), ("src_prt == 80", True), ("dns and", False), ("tls_sni == 'a", False)):
        wait(bar.root._handle_msg({"edit": text, "cursor": len(text), "turn": 1}))
        assert bool(answers[-1]["fault"]) == wrong


def test_names_are_offered_while_the_hub_is_away(hub: MemoryHub, feed: Feed, answers: list[dict[str, Any]]) -> None:
    bar = FilterBar(feed)
    wait(bar.refresh())
    hub.connected, hub.reason = False, "No hub answers."
    wait(bar.root._handle_msg({"edit": "protocol == 'TLSv1.3", "cursor": 20, "turn": 1}))
    assert [choice["text"] for choice in answers[0]["choices"]] == ["'TLSv1.3'"]


def test_a_wrong_filter_comes_with_what_was_meant(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    bar = FilterBar(feed)
    wait(bar.root._handle_msg({"where": "tcp_port == 1"}))
    error = bar.root.drawn["error"]
    assert (error["position"], error["fix"]) == (0, "tcp.port == 1")


def test_a_chosen_time_is_history_and_a_button_leads_back(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    header = Header(feed)
    wait(feed.choose_range((START_NS, START_NS + 10**9)))
    wait(header.refresh())
    assert (header.root.drawn["history"], header.root.drawn["reason"]) == (True, HISTORY)
    wait(header.root._handle_msg({"live": True}))
    assert (feed.range, header.root.drawn["history"], header.root.drawn["reason"]) == (None, False, "")


def test_the_ledger_is_asked_for_while_somebody_looks_at_it(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    header = Header(feed)
    wait(header.refresh())
    hub.asked.clear()
    wait(header.pull())
    assert (header.root.drawn["ledger"], hub.asked) == (None, [])
    wait(header.root._handle_msg({"ledger": True}))
    assert header.root.drawn["ledger"]["groups"][-1]["stages"][0]["packets"] == 2
    hub.add(["tcp"])
    wait(header.refresh())
    assert header.root.drawn["ledger"]["groups"][-1]["stages"][0]["packets"] == 3
    wait(header.root._handle_msg({"ledger": False}))
    hub.asked.clear()
    wait(header.pull())
    assert (header.root.drawn["ledger"], hub.asked) == (None, [])


@pytest.mark.parametrize(
    ("sampling", "by", "throttled", "said"),
    [
        (1, "packet", 0, None),
        (10, "packet", 0, {"text": "sampled, 1 in 10", "factor": 10}),
        (10, "conversation", 0, {"text": "sampled, 1 in 10 conversations", "factor": 10}),
        (1, "packet", 5, {"text": "rate limited", "factor": 0}),
        (4, "packet", 5, {"text": "sampled, 1 in 4; rate limited", "factor": 0}),
    ],
)
def test_traffic_that_is_not_all_there_is_has_a_badge(
    hub: MemoryHub, feed: Feed, sampling: int, by: str, throttled: int, said: dict[str, Any] | None
) -> None:
    hub.run.sampling, hub.run.sampling_by = sampling, by  # type: ignore[assignment]
    hub.run.counters["throttled"] = throttled
    header = Header(feed)
    wait(header.refresh())
    assert header.root.drawn["sampled"] == said
