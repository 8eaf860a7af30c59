"""Charts draw what the feed holds, in round units."""

import asyncio
from typing import Any, cast

import numpy as np
import pytest
from bokeh.events import SelectionGeometry
from bokeh.models import Range1d

from aishark_panel.views.bandwidth import Bandwidth
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import quantity
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
    bits = np.asarray(bandwidth.source.data["TCP"])
    assert bits.max() == pytest.approx(4 * len(frame("tcp")) * 8 / 0.5)
    assert np.asarray(bandwidth.source.data["DNS"]).max() == 0
    total = np.sum([np.asarray(bandwidth.source.data[f.name]) for f in FAMILIES], axis=0)
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
    slices = protocols.root.state["slices"]
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
    assert chosen == [('protocol == "DNS"', True)]


def test_dragging_over_the_timeline_chooses_that_time(feed: Feed) -> None:
    timeline = Timeline(feed)
    geometry: Any = {"type": "rect", "x0": 1_500.0, "x1": 2_000.0}

    async def drag() -> None:
        timeline._select(SelectionGeometry(None, geometry, final=True))
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    wait(drag())
    assert feed.range == (1_500_000_000, 2_000_000_000)


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
