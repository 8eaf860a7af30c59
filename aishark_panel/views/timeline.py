"""Timeline: packets per bar over the window, those with a TCP problem in red, with a pin for each alert.

Dragging over it chooses that time everywhere; what was chosen stays drawn, can be moved and resized, and a double click
shows all again. The window itself can be moved back over what the hub still knows.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict
from typing import Any, Final, cast

import numpy as np
import panel as pn
from bokeh.events import DoubleTap, Event, SelectionGeometry
from bokeh.models import BoxSelectTool, ColumnDataSource, HoverTool, Range1d, TapTool
from bokeh.models.annotations import BoxAnnotation

from aishark_panel.views.alert_lines import Pins, pins
from aishark_panel.views.bands import Bands, bands
from aishark_panel.views.base import Home, View, card
from aishark_panel.views.columns import Span, bars_by_group
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import BandLayer, Ceiling, Heading, chart, pane

__all__ = ["Timeline"]

Filter = Callable[[str], Coroutine[Any, Any, None]]

_SETTLE_S: Final = 0.2
"""A range that is being moved counts once it has stood still for so long."""
_FINE: Final = "none"
"""the group of packets without a problem"""


class Timeline(View):
    """Packets per bar, and a pin where an alert fired. `source`: x (start of the bar, ms), right (its end), packets,
    problems (of them; bad: the same, or NaN), kinds (in words); `pins`: the fields of Pins; `brush`: the range.

    `on_filter` gets a display filter for the packets of a pin that was clicked.
    """

    def __init__(self, feed: Feed, on_filter: Filter | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._home = Home()
        self.source = ColumnDataSource(_no_bars())
        self.figure = fig = chart(ticks=2, height=80)
        self._bands = BandLayer(fig)
        looks: dict[str, Any] = {"source": self.source, "left": "x", "right": "right", "nonselection_alpha": 1.0}
        bars = fig.quad(top="packets", bottom="problems", fill_color="#3d84f5", line_color=None, **looks)
        # Two among a thousand would not be a pixel high: the outline is.
        bad = fig.quad(top="bad", bottom=0, fill_color="#e5484d", line_color="#e5484d", line_width=2, **looks)
        hover = HoverTool(
            tooltips=[
                ("UTC", "@x{%F %H:%M:%S.%3N}"),
                ("packets", "@packets{0,0}"),
                ("with a TCP problem", "@problems{0,0} @kinds"),
            ],
            formatters={"@x": "datetime"},
            mode="vline",
            show_arrow=False,
            renderers=[bars],
        )
        fig.add_tools(hover, BoxSelectTool(dimensions="width", renderers=[bars, bad]))
        fig.on_event(SelectionGeometry, self._select)
        fig.on_event(DoubleTap, self._show_all)
        self.brush = BoxAnnotation(
            left=0, right=0, visible=False, editable=True, movable="x", resizable="x",
            fill_color="#3d84f5", fill_alpha=0.16, line_color="#3d84f5", line_alpha=0.8, line_width=1,
        )  # fmt: skip
        fig.add_layout(self.brush)
        for edge in ("left", "right"):
            self.brush.on_change(edge, self._move)
        self.pins = ColumnDataSource(_columns(None, ()))
        self._add_pins()
        self._painting = False
        self._moving: tuple[int, int] | None = None  # where the brush is being moved to
        self._heading = Heading("Timeline", self._receive)
        self._ceiling = Ceiling()
        self._drawn: tuple[object, ...] = ()
        self.root = card(self._heading.root, pane(fig), "timeline")

    def _add_pins(self) -> None:
        """Pins hang from the top whatever the bars' scale, so they have a y axis of their own."""
        fig = self.figure
        fig.extra_y_ranges = {**fig.extra_y_ranges, "pins": Range1d(start=0, end=1)}
        looks: dict[str, Any] = {
            "source": self.pins,
            "y_range_name": "pins",
            "alpha": "alpha",
            "nonselection_alpha": "alpha",
        }
        fig.segment("at_ms", 0, "at_ms", 0.9, line_color="colour", line_width=1.5, line_dash="dotted", **looks)
        heads = fig.scatter("at_ms", 0.9, size=11, marker="shape", color="colour", line_color=None, **looks)
        tooltips = [("UTC", "@at_ms{%F %H:%M:%S}"), ("alert", "@text")]
        hover = HoverTool(tooltips=tooltips, formatters={"@at_ms": "datetime"}, show_arrow=False, renderers=[heads])
        fig.add_tools(hover, TapTool(renderers=[heads]))
        self.pins.selected.on_change("indices", self._choose_pin)

    async def pull(self) -> None:
        await self.feed.traffic("problem", around=True)

    def paint(self) -> None:
        feed, span = self.feed, self.feed.around
        bins, complete, _ = feed.known("problem", around=True)
        told = (len(feed.gaps), len(feed.losses), feed.losses[-1:])
        state = (bins, span, feed.alert_cursor, feed.range, feed.rewound, complete, told)
        if state == self._drawn:
            return
        self._drawn = state
        self._paint_pins(span)
        self._paint_brush()
        if span is None:
            self.source.data = _no_bars()
            self._bands.show(Bands.none())
            self._heading.show("no packets yet")
            return
        names, counts = bars_by_group(bins, span, of_bytes=False)
        packets = counts.sum(axis=0)
        problems = packets - (counts[names.index(_FINE)] if _FINE in names else 0)
        used = np.flatnonzero(packets)
        left = span.start_ms + used * float(span.bar_ms)
        self.source.data = {
            "x": left,
            "right": left + span.bar_ms * 0.9,
            "packets": packets[used].astype(np.float32),
            "problems": problems[used].astype(np.float32),
            "bad": np.where(problems > 0, problems, np.nan)[used].astype(np.float32),
            "kinds": _kinds(names, counts[:, used]),
        }
        self._bands.show(bands(span, feed.gaps, feed.losses))
        self.figure.x_range.update(start=span.start_ms, end=span.end_ms)
        self.figure.y_range.update(end=self._ceiling.follow(float(packets.max(initial=0))))
        self._show_heading(span, complete)

    def _show_heading(self, span: Span, complete: bool) -> None:
        hint = "drag to choose a time" if self.feed.range is None else "double click shows all of the time"
        actions: list[dict[str, Any]] = [{"name": "earlier", "text": "◀", "title": "Go back in time"}]
        if self.feed.rewound:
            actions += [
                {"name": "later", "text": "▶", "title": "Go on in time"},
                {"name": "live", "text": "Back to live", "title": "Show what happens now", "primary": True},
            ]
        still = "" if complete else "; still counting"
        self._heading.show(
            f"packets per {duration(span.bar_ms)}, TCP problems in red, UTC; {hint}{still}",
            actions=actions if self.feed.window != "all" else [],
        )

    def _paint_pins(self, span: Span | None) -> None:
        data = _columns(span, self.feed.alerts.values())
        if data != self.pins.data:
            self.pins.data = data

    def _paint_brush(self) -> None:
        chosen = self.feed.range
        if self._moving:  # by hand, now
            return
        self._painting = True
        if chosen is None:
            self.brush.visible = False
        else:
            self.brush.update(left=chosen[0] / 1e6, right=chosen[1] / 1e6, visible=True)
        self._painting = False

    def _select(self, event: Event) -> None:
        assert isinstance(event, SelectionGeometry)
        geometry = cast(dict[str, Any], event.geometry)
        if not event.final or "x0" not in geometry:
            return
        start, end = (round(geometry[k] * 1e6) for k in ("x0", "x1"))
        self.source.selected.indices = []
        self._run(self.feed.choose_range((start, end)))

    def _show_all(self, _event: Event) -> None:
        self._run(self.feed.choose_range(None))

    def _move(self, _attribute: str, _old: object, _new: object) -> None:
        moved = self._brushed()
        if self.brush.visible and not self._painting and moved != self.feed.range:
            self._moving = moved
            self._run(self._choose_moved(moved))

    async def _choose_moved(self, moved: tuple[int, int]) -> None:
        await asyncio.sleep(_SETTLE_S)
        if moved == self._moving:
            await self.feed.choose_range(moved if moved[0] < moved[1] else None)
            self._moving = None

    def _brushed(self) -> tuple[int, int]:
        """What the brush covers, ns; exactly the range where nobody has moved it."""
        chosen = self.feed.range
        left, right = float(cast(float, self.brush.left)), float(cast(float, self.brush.right))
        if chosen and (left, right) == (chosen[0] / 1e6, chosen[1] / 1e6):
            return chosen
        return round(left * 1e6), round(right * 1e6)

    async def _receive(self, message: Any) -> None:
        span = self.feed.around
        if span is None:
            return
        half_ns = (span.end_ms - span.start_ms) * 500_000
        end_ns = self.feed.until or span.end_ms * 1_000_000
        match message:
            case {"do": "earlier"}:
                await self.feed.rewind(end_ns - half_ns)
            case {"do": "later"}:
                await self.feed.rewind(end_ns + half_ns)
            case {"do": "live"}:
                await self.feed.rewind(None)
            case _:
                return
        await self.pull()
        self.repaint()

    def _choose_pin(self, _attribute: str, _old: list[int], chosen: list[int]) -> None:
        if not chosen:
            return
        number = self.pins.data["number"][chosen[0]]
        self.pins.selected.indices = []
        where = self.feed.alerts.get(number, {}).get("filter")
        if where and self._on_filter:
            self._run(self._on_filter(where))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        async def at_home() -> None:
            await self._home.run(work)

        pn.state.execute(at_home)


def _no_bars() -> dict[str, Any]:
    return {**{name: np.zeros(0) for name in ("x", "right", "packets", "problems", "bad")}, "kinds": []}


def _kinds(names: list[str], counts: Any) -> list[str]:
    """What the problems of each bar are: '(3 duplicate ack, 1 zero window)', '' where there are none."""
    texts: list[list[str]] = [[] for _ in range(counts.shape[1])]
    for bar, group in np.argwhere(counts.T).tolist():
        if names[group] != _FINE:
            texts[bar].append(f"{int(counts[group, bar]):,} {names[group]}")
    return [f"({', '.join(text)})" if text else "" for text in texts]


def _columns(span: Span | None, alerts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return asdict(pins(alerts, span) if span else Pins([], [], [], [], [], []))


def duration(milliseconds: int) -> str:
    """'500 ms', '1 s', '10 min'."""
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"
