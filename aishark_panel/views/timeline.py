"""Timeline: packets per bar over the window, with a pin for each alert; dragging over it chooses that time."""

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import panel as pn
from bokeh.events import Event, SelectionGeometry
from bokeh.models import BoxSelectTool, ColumnDataSource, HoverTool, Range1d, TapTool

from aishark_panel.views.alert_lines import Pins, pins
from aishark_panel.views.base import Home, View, card
from aishark_panel.views.columns import Bins, Span, nice_ceiling, stack
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import Heading, chart, pane

__all__ = ["Timeline"]

Filter = Callable[[str], Coroutine[Any, Any, None]]


class Timeline(View):
    """Packets per bar, and a pin where an alert fired. `source`: x (start of the bar, ms), right (its end), packets;
    `pins`: the fields of Pins.

    `on_filter` gets a display filter for the packets of a pin that was clicked.
    """

    def __init__(self, feed: Feed, on_filter: Filter | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._home = Home()
        self.source = ColumnDataSource({"x": np.zeros(0), "right": np.zeros(0), "packets": np.zeros(0, np.float32)})
        self.figure = fig = chart(ticks=2, height=80)
        bars = fig.quad(
            left="x",
            right="right",
            top="packets",
            bottom=0,
            source=self.source,
            color="#3d84f5",
            line_color=None,
            nonselection_fill_alpha=0.35,
        )
        hover = HoverTool(
            tooltips=[("UTC", "@x{%F %H:%M:%S.%3N}"), ("packets", "@packets{0,0}")],
            formatters={"@x": "datetime"},
            mode="vline",
            show_arrow=False,
            renderers=[bars],
        )
        fig.add_tools(hover, BoxSelectTool(dimensions="width", renderers=[bars]))
        fig.on_event(SelectionGeometry, self._select)
        self.pins = ColumnDataSource(_columns(None, ()))
        self._add_pins()
        self._heading = Heading("Timeline")
        self._drawn: tuple[Bins, Span | None, int] | None = None
        self.root = card(self._heading.root, pane(fig), "timeline")

    def _add_pins(self) -> None:
        """Pins hang from the top whatever the bars' scale, so they have a y axis of their own."""
        fig = self.figure
        fig.extra_y_ranges = {"pins": Range1d(start=0, end=1)}
        looks: dict[str, Any] = {"source": self.pins, "y_range_name": "pins", "nonselection_alpha": 1.0}
        fig.segment("at_ms", 0, "at_ms", 0.9, line_color="colour", line_width=1.5, line_dash="dotted", **looks)
        heads = fig.scatter("at_ms", 0.9, size=11, marker="inverted_triangle", color="colour", line_color=None, **looks)
        tooltips = [("UTC", "@at_ms{%F %H:%M:%S}"), ("alert", "@text")]
        hover = HoverTool(tooltips=tooltips, formatters={"@at_ms": "datetime"}, show_arrow=False, renderers=[heads])
        fig.add_tools(hover, TapTool(renderers=[heads]))
        self.pins.selected.on_change("indices", self._choose_pin)

    def paint(self) -> None:
        span, cursor = self.feed.span, self.feed.alert_cursor
        if (self.feed.bins, span, cursor) == self._drawn:
            return
        self._drawn = (self.feed.bins, span, cursor)
        self._paint_pins(span)
        if span is None:
            self.source.data = {"x": np.zeros(0), "right": np.zeros(0), "packets": np.zeros(0, np.float32)}
            self._heading.show("")
            return
        packets, _ = stack(self.feed.bins, span)
        used = np.flatnonzero(packets)
        left = span.start_ms + used * float(span.bar_ms)
        self.source.data = {"x": left, "right": left + span.bar_ms * 0.9, "packets": packets[used].astype(np.float32)}
        self.figure.x_range.update(start=span.start_ms, end=span.end_ms)
        self.figure.y_range.update(end=nice_ceiling(float(packets.max(initial=0))))
        self._heading.show(f"packets per {duration(span.bar_ms)}, UTC; drag to choose a time")

    def _paint_pins(self, span: Span | None) -> None:
        data = _columns(span, self.feed.alerts.values())
        if data != self.pins.data:
            self.pins.data = data

    def _select(self, event: Event) -> None:
        assert isinstance(event, SelectionGeometry)
        geometry = cast(dict[str, Any], event.geometry)
        if not event.final or "x0" not in geometry:
            return
        start, end = (round(geometry[k] * 1e6) for k in ("x0", "x1"))
        self.source.selected.indices = []
        self._run(self.feed.choose_range((start, end)))

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


def _columns(span: Span | None, alerts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return asdict(pins(alerts, span) if span else Pins([], [], [], []))


def duration(milliseconds: int) -> str:
    """'500 ms', '1 s', '10 min'."""
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"
