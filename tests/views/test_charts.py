"""Charts draw what the feed holds, in round units."""

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from bokeh.events import SelectionGeometry
from bokeh.models import Range1d

from aishark_panel.views.bands import bands
from aishark_panel.views.bandwidth import Bandwidth
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import Ceiling, quantity
from aishark_panel.views.protocols import Protocols
from aishark_panel.views.theme import FAMILIES
from aishark_panel.views.timeline import Timeline, duration
from tests.views.hub import SECOND_NS, START_NS, MemoryHub, frame, wait


def test_timeline_counts_packets_per_bar(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 10)
    hub.run.ended = True
    timeline = Timeline(feed)
    wait(timeline.refresh())
    assert np.sum(timeline.source.data["packets"]) == 10
    assert timeline.source.data["x"][0] == START_NS // 10**6
    assert isinstance(timeline.figure.x_range, Range1d)
    assert cast(float, timeline.figure.x_range.end) >= (START_NS + 9 * SECOND_NS) // 10**6


def test_bandwidth_is_in_bits_per_second(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 4, every_ns=100_000_000)
    hub.run.ended = True
    bandwidth = Bandwidth(feed)
    wait(bandwidth.refresh())
    tcp, dns = (f"s{bandwidth.names.index(name)}" for name in ("TCP", "DNS"))
    bits = np.asarray(bandwidth.source.data[tcp])
    assert bits.max() == pytest.approx(4 * len(frame("tcp")) * 8 / 0.5)
    assert np.asarray(bandwidth.source.data[dns]).max() == 0
    total = np.sum([np.asarray(bandwidth.source.data[f"s{k}"]) for k in range(len(FAMILIES))], axis=0)
    assert np.allclose(total, bandwidth.source.data["total"])


def test_charts_of_nothing_are_empty(feed: Feed) -> None:
    for view in (Timeline(feed), Bandwidth(feed)):
        wait(view.refresh())
        assert {len(view.source.data[name]) for name in view.source.column_names} == {0}


def test_protocols_share_the_bytes(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "tcp", "dns", "arp"])
    protocols = Protocols(feed)
    hub.run.ended = True
    wait(protocols.refresh())
    slices = protocols.root.drawn["slices"]
    assert [s["name"] for s in slices] == ["TCP", "DNS", "ARP"]
    assert sum(s["share"] for s in slices) == pytest.approx(1, abs=0.001)
    assert [s["family"] for s in slices] == ["tcp", "dns", "arp"]


def test_a_click_on_a_protocol_becomes_a_filter(feed: Feed) -> None:
    chosen: list[tuple[str, bool]] = []

    async def choose(condition: str, exclude: bool) -> None:
        chosen.append((condition, exclude))

    protocols = Protocols(feed, choose)
    wait(protocols.root._handle_msg({"protocol": "DNS", "exclude": True}))
    wait(protocols.root._handle_msg({"protocol": 7, "exclude": "yes"}))
    assert chosen == [("protocol == 'DNS'", True)]


def test_dragging_over_the_timeline_chooses_that_time(feed: Feed) -> None:
    timeline = Timeline(feed)
    geometry: Any = {"type": "rect", "x0": 1_500.0, "x1": 2_000.0}

    async def drag() -> None:
        timeline._select(SelectionGeometry(None, geometry, final=True))
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    wait(drag())
    assert feed.range == (1_500_000_000, 2_000_000_000)


def test_the_timeline_keeps_the_window_around_the_range_and_the_brush_moves_it(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 40)
    timeline, bandwidth = Timeline(feed), Bandwidth(feed)

    async def look() -> None:
        for view in (timeline, bandwidth):
            await view.refresh()

    wait(look())
    drawn: Any = timeline.figure.x_range
    chosen: Any = bandwidth.figure.x_range
    window = (drawn.start, drawn.end)
    wait(feed.choose_range((START_NS + 10 * SECOND_NS, START_NS + 20 * SECOND_NS)))
    wait(look())
    assert (drawn.start, drawn.end) == window
    assert timeline.brush.visible
    assert (chosen.start, chosen.end) == (
        START_NS // 10**6 + 10_000, START_NS // 10**6 + 20_000,
    )  # fmt: skip
    assert np.sum(timeline.source.data["packets"]) > 10

    async def drag() -> None:
        timeline.brush.left = START_NS / 1e6 + 5_000
        timeline.paint()  # a tick in between does not take it back
        timeline.brush.right = START_NS / 1e6 + 8_000
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert feed.range == (START_NS + 5 * SECOND_NS, START_NS + 8 * SECOND_NS)

    wait(drag())
    wait(feed.choose_range(None))
    wait(look())
    assert not timeline.brush.visible


def test_problems_are_on_top_of_their_bars(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 30, every_ns=10_000_000)  # the same segment again and again
    hub.run.ended = True
    timeline = Timeline(feed)
    wait(timeline.refresh())
    data: Any = timeline.source.data
    assert (np.sum(data["packets"]), np.sum(data["problems"])) == (30, 29)
    assert "29 retransmission" in " ".join(data["kinds"])


def test_losses_and_gaps_are_bands_and_away_agents_stay_open(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 40)
    wait(feed.pull())
    span = feed.span
    assert span is not None
    gaps = [{"what": "agent", "agent": "edge", "start_ns": START_NS + 30 * SECOND_NS, "end_ns": 0}]
    losses = [{"agent": "edge", "packets": 1_234, "start_ns": START_NS + SECOND_NS, "end_ns": START_NS + 2 * SECOND_NS}]
    found = bands(span, gaps, losses, START_NS / 1e6 + 500)
    assert found.right[0] == span.end_ms
    assert "since 22:13:50" in found.text[0]
    assert (found.left[1], found.right[1]) == (START_NS / 1e6 + 1_000, START_NS / 1e6 + 2_000)
    assert "1,234 packets of agent edge" in found.text[1]
    assert bands(span, [], [{**losses[0], "start_ns": 0, "end_ns": 1}]) == bands(span, [], [])


def test_bandwidth_by_host_in_packets(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"] * 30 + ["dns"] * 10, every_ns=100_000_000)
    bandwidth = Bandwidth(feed)
    wait(feed.filter("dns"))
    for message in ({"by": "interface"}, {"by": "host"}, {"unit": "packets/s"}, {"shape": "lines"}, {"by": "colour"}):
        wait(bandwidth._receive(message))
    wait(bandwidth.refresh())
    column = np.asarray(bandwidth.source.data[f"s{bandwidth.names.index('10.0.0.1')}"])
    assert column.sum() * 0.5 == pytest.approx(10, abs=5)  # the newest bar is not drawn yet
    assert bandwidth._condition("10.0.0.1") == "src_ip == '10.0.0.1'"


def test_a_y_axis_grows_at_once_and_shrinks_late() -> None:
    ceiling = Ceiling()
    assert [ceiling.follow(value) for value in (90, 95, 3, 3)] == [100, 100, 100, 100]
    assert [ceiling.follow(3) for _ in range(Ceiling.PATIENCE)][-1] == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bit/s"), (999, "999 bit/s"), (1_000, "1.00 kbit/s"), (84_200_000, "84.2 Mbit/s"), (2e15, "2000 Tbit/s")],
)
def test_quantities_have_si_prefixes(value: float, text: str) -> None:
    assert quantity(value, "bit/s") == text


def test_durations_are_in_their_biggest_whole_unit() -> None:
    assert [duration(ms) for ms in (100, 500, 1000, 90_000, 600_000, 7_200_000)] == [
        "100 ms", "500 ms", "1 s", "90 s", "10 min", "2 h",
    ]  # fmt: skip
