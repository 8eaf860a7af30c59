"""A page pulls what is new, once a tick, and says what stands in the way."""

from typing import Any

import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.views.feed import Extent, Feed
from aishark_panel.views.header import Header
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, wait


def test_the_list_spans_what_the_ring_holds(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "arp"])
    wait(feed.pull())
    assert (feed.extent.first, feed.extent.end, feed.extent.count) == (1, 4, 3)
    assert feed.problem == ""


def test_a_display_filter_narrows_the_list(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "arp", "dns"])
    wait(feed.filter("dns"))
    assert feed.extent.count == 2
    hub.add(["dns"], START_NS + 10 * SECOND_NS)
    wait(feed.pull())
    assert feed.extent.count == 3


def test_a_time_range_narrows_the_list_and_goes_with_the_filter(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    hub.add(["tcp", "dns", "dns"], START_NS + 10 * SECOND_NS)
    wait(feed.choose_range((START_NS + 10 * SECOND_NS, START_NS + 60 * SECOND_NS)))
    assert feed.extent.count == 3
    epoch = feed.epoch
    wait(feed.filter("dns"))
    assert feed.extent.count == 2
    assert feed.epoch > epoch
    wait(feed.choose_range(None))
    assert (feed.query, feed.extent.count) == ("dns", 3)


def test_a_time_range_is_exact_to_the_nanosecond(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    first = hub.session.first_ts
    wait(feed.choose_range((first, first + 1)))
    assert feed.extent.count == 1
    wait(feed.choose_range((first + 1, first + 2)))
    assert feed.extent.count == 0


def test_a_wrong_filter_leaves_the_one_in_use(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns"])
    wait(feed.filter("dns"))
    epoch = feed.epoch
    with pytest.raises(ExpressionError):
        wait(feed.filter("dns and"))
    assert (feed.where, feed.epoch) == ("dns", epoch)


def test_only_new_bins_are_asked_for(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 5)
    wait(feed.pull())
    before = wait(feed.traffic("protocol"))
    hub.add(["tcp"] * 2, START_NS + 5 * SECOND_NS)
    wait(feed.pull())
    bins = wait(feed.traffic("protocol"))
    assert bins.packets.sum() == 7
    assert len(bins.bin) == len(before.bin) + 2
    assert [since for _, _, since in hub.traffic_asked][1:] == [before.cursor]


def test_what_several_views_draw_is_asked_for_once_a_tick(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 5)
    for tick in range(1, 4):
        wait(feed.pull())
        for _ in range(3):
            wait(feed.traffic("protocol"))
        assert len(hub.traffic_asked) == tick


def test_traffic_follows_filter_and_range(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "tcp", "dns", "arp", "tcp"])
    wait(feed.filter("tcp or dns"))
    wait(feed.choose_range((START_NS + SECOND_NS, START_NS + 4 * SECOND_NS)))
    assert wait(feed.traffic("protocol")).packets.sum() == 3
    assert wait(feed.traffic("protocol", around=True)).packets.sum() == 5
    assert feed.span is not None
    assert feed.around is not None
    assert (feed.span.start_ms, feed.span.end_ms) == (START_NS // 10**6 + 1_000, START_NS // 10**6 + 4_000)
    assert feed.around.start_ms <= START_NS // 10**6
    hub.add(["tcp"], START_NS + 3 * SECOND_NS)
    wait(feed.pull())
    assert wait(feed.traffic("protocol")).packets.sum() == 4


def test_the_window_moves_back_while_packets_come(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 200)
    wait(feed.pull())
    wait(feed.rewind(START_NS + 100 * SECOND_NS))
    assert feed.rewound
    assert feed.span is not None
    span = feed.span
    assert span.end_ms == (START_NS + 100 * SECOND_NS) // 10**6 + span.bar_ms
    shown = wait(feed.traffic("protocol"))
    hub.add(["tcp"] * 50, START_NS + 200 * SECOND_NS)
    wait(feed.pull())
    assert (feed.span, wait(feed.traffic("protocol")).packets.sum() >= shown.packets.sum()) == (span, True)
    wait(feed.rewind(START_NS + 10**6 * SECOND_NS))
    assert not feed.rewound
    assert feed.span.end_ms >= (START_NS + 240 * SECOND_NS) // 10**6


def test_a_paused_page_can_look_back(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 200)
    wait(feed.pull())
    feed.paused = True
    span = feed.span
    hub.add(["tcp"] * 50, START_NS + 200 * SECOND_NS)
    wait(feed.pull())
    assert feed.span == span
    wait(feed.rewind(START_NS + 100 * SECOND_NS))
    assert feed.span != span
    assert wait(feed.traffic("protocol")).packets.sum() > 0


def test_a_pause_stops_the_page_but_not_the_counters(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    wait(feed.pull())
    feed.paused = True
    hub.add(["tcp"], START_NS + SECOND_NS)
    wait(feed.pull())
    assert feed.extent.end == 2
    assert feed.stats["packets"] == 2


def test_clearing_makes_known_rows_worthless(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "tcp"])
    wait(feed.pull())
    epoch = feed.epoch
    hub.session.clear()
    wait(feed.pull())
    assert feed.epoch > epoch
    assert feed.extent.count == 0
    assert feed.span is None


def test_a_lost_hub_is_named_and_found_again(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    wait(feed.pull())
    hub.connected, hub.reason = False, "The connection to the hub was lost; trying again."
    wait(feed.pull())
    assert feed.problem == hub.reason
    assert feed.extent == Extent(first=1, end=2)
    hub.connected = True
    wait(feed.pull())
    assert feed.problem == ""


def test_files_are_shown_whole_and_live_traffic_by_the_minute() -> None:
    file = Feed(MemoryHub("replay"))  # type: ignore[arg-type]
    live = Feed(MemoryHub("live"))  # type: ignore[arg-type]
    wait(file.pull())
    wait(live.pull())
    assert (file.window, live.window) == ("all", "1 min")
    live.window_choice = "5 min"
    assert live.window == "5 min"


def test_a_quiet_line_moves_on_with_the_clock(hub: MemoryHub) -> None:
    now = 0.0
    feed = Feed(hub, clock=lambda: now)  # type: ignore[arg-type]
    hub.add(["tcp"])
    wait(feed.pull())
    assert feed.span is not None
    end_ms = feed.span.end_ms
    now = 30.0
    wait(feed.pull())
    assert feed.span.end_ms == end_ms + 30_000


def test_without_a_session_the_page_says_what_to_do(
    hub: MemoryHub, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none() -> list[dict[str, object]]:
        return []

    monkeypatch.setattr(hub, "sessions", none)
    wait(feed.pull())
    assert (feed.problem, feed.session) == ("", "")
    assert "Start an agent" in feed.stats["reason"]
    header = Header(feed)
    wait(header.pull())
    header.paint()
    assert header.root.drawn["connected"]
    assert "Start an agent" in header.root.drawn["reason"]


def test_a_session_is_found_again_by_its_name(hub: MemoryHub, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[dict[str, object]] = []

    async def sessions() -> list[dict[str, object]]:
        return there

    async def pull() -> str:
        await feed.pull()
        return feed.session

    monkeypatch.setattr(hub, "sessions", sessions)
    there[:] = [{"id": "1", "name": "edge"}, {"id": "2", "name": "live"}]
    wait(feed.choose("1"))
    assert feed.session == "1"
    there[:] = [{"id": "7", "name": "live"}]  # the hub was restarted, and its agents are not back yet
    assert wait(pull()) == "7"
    there.append({"id": "8", "name": "edge"})
    assert wait(pull()) == "8"
    there.append({"id": "9", "name": "new"})
    assert wait(pull()) == "8"
    wait(feed.choose("7"))
    assert wait(pull()) == "7"


def test_without_a_session_there_is_nothing_to_rewind(
    hub: MemoryHub, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none() -> list[dict[str, Any]]:
        return []

    monkeypatch.setattr(hub, "sessions", none)
    wait(feed.pull())
    wait(feed.rewind(START_NS))
    wait(feed.rewind(None))
    assert not feed.rewound
    assert feed.stats["state"] == "waiting"
