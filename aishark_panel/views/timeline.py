"""Timeline: packets per bar over the window; dragging over it filters to that time."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import panel as pn
from bokeh.events import Event, SelectionGeometry
from bokeh.models import BoxSelectTool, ColumnDataSource, HoverTool

from aishark_panel.views.base import View, card
from aishark_panel.views.columns import Bins, Span, nice_ceiling, stack
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import Heading, chart, pane

__all__ = ["Timeline"]

TimeRange = Callable[[str], Awaitable[None]]


class Timeline(View):
    """Packets per bar. `source`: x (start of the bar, ms), width (ms), packets.

    `on_range` gets a display filter for the time that was dragged over.
    """

    def __init__(self, feed: Feed, on_range: TimeRange | None = None) -> None:
        super().__init__(feed)
        self._on_range = on_range
        self.source = ColumnDataSource({"x": np.zeros(0), "right": np.zeros(0), "packets": np.zeros(0, np.float32)})
        self.figure = fig = chart(ticks=2, height=80)
        fig.quad(
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
        )
        fig.add_tools(hover, BoxSelectTool(dimensions="width"))
        fig.on_event(SelectionGeometry, self._select)
        self._heading = Heading("Timeline")
        self._drawn: tuple[Bins, Span | None] | None = None
        self.root = card(self._heading.root, pane(fig), "timeline")

    def paint(self) -> None:
        span = self.feed.span
        if (self.feed.bins, span) == self._drawn:
            return
        self._drawn = (self.feed.bins, span)
        if span is None:
            self.source.data = {"x": np.zeros(0), "right": np.zeros(0), "packets": np.zeros(0, np.float32)}
            return
        packets, _ = stack(self.feed.bins, span)
        used = np.flatnonzero(packets)
        left = span.start_ms + used * float(span.bar_ms)
        self.source.data = {"x": left, "right": left + span.bar_ms * 0.9, "packets": packets[used].astype(np.float32)}
        self.figure.x_range.update(start=span.start_ms, end=span.end_ms)
        self.figure.y_range.update(end=nice_ceiling(float(packets.max(initial=0))))
        self._heading.show(f"packets per {duration(span.bar_ms)}, UTC; drag to filter")

    def _select(self, event: Event) -> None:
        assert isinstance(event, SelectionGeometry)
        geometry = cast(dict[str, Any], event.geometry)
        if not event.final or self._on_range is None or "x0" not in geometry:
            return
        first, last = (datetime.fromtimestamp(geometry[k] / 1000, UTC) for k in ("x0", "x1"))
        where = f"ts >= '{first:%Y-%m-%dT%H:%M:%S.%fZ}' and ts < '{last:%Y-%m-%dT%H:%M:%S.%fZ}'"
        self.source.selected.indices = []
        on_range = self._on_range

        async def apply() -> None:
            await on_range(where)

        pn.state.execute(apply)


def duration(milliseconds: int) -> str:
    """'500 ms', '1 s', '10 min'."""
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"
