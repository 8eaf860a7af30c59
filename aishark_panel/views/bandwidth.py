"""Bandwidth: bits per second over the window, stacked by protocol family."""

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool

from aishark_panel.views.base import View, card
from aishark_panel.views.columns import Bins, Span, nice_ceiling, stack
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import Heading, chart, pane, quantity
from aishark_panel.views.theme import FAMILIES

__all__ = ["Bandwidth"]


class Bandwidth(View):
    """Stacked bits/s. `source`: x (middle of the bar, ms), one column per family name, bits/s, and total."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        names = [family.name for family in FAMILIES]
        self._columns = ("x", *names, "total")
        self.source = ColumnDataSource({name: np.zeros(0, np.float32) for name in self._columns})
        self.figure = fig = chart(ticks=5, height=200)
        fig.varea_stack(names, x="x", source=self.source, color=[f.chart for f in FAMILIES], fill_alpha=0.85)
        # The hover needs marks of its own: an area is hit only inside its polygon.
        top = fig.line("x", "total", source=self.source, line_color=None)
        fig.add_tools(
            HoverTool(
                renderers=[top],
                mode="vline",
                line_policy="nearest",
                show_arrow=False,
                formatters={"@x": "datetime"},
                tooltips=[("UTC", "@x{%F %H:%M:%S}"), ("total", "@total{0.00 a}bit/s")]
                + [(n, f"@{n}{{0.00 a}}bit/s") for n in reversed(names)],
            )
        )
        self._heading = Heading("Bandwidth")
        self._drawn: tuple[Bins, Span | None, str] | None = None
        self.root = card(self._heading.root, pane(fig), "bandwidth")

    def paint(self) -> None:
        span = self.feed.span
        if (self.feed.bins, span, self.feed.where) == self._drawn:
            return
        self._drawn = (self.feed.bins, span, self.feed.where)
        if span is None:
            self.source.data = {name: np.zeros(0, np.float32) for name in self._columns}
            self._heading.show("")
            return
        _, volume = stack(self.feed.bins, span)
        rates = volume * (8000 / span.bar_ms)
        total = rates.sum(axis=0)
        data: dict[str, Any] = {f.name: rates[k].astype(np.float32) for k, f in enumerate(FAMILIES)}
        data["x"] = span.start_ms + (np.arange(span.bars) + 0.5) * span.bar_ms
        data["total"] = total.astype(np.float32)
        self.source.data = data
        self.figure.x_range.update(start=span.start_ms, end=span.end_ms)
        self.figure.y_range.update(end=nice_ceiling(float(total.max(initial=0)) * 1.05))
        scope = "; the display filter does not apply" if self.feed.where else ""
        self._heading.show(f"bit/s by protocol, UTC{scope}", f"peak {quantity(float(total.max(initial=0)), 'bit/s')}")
