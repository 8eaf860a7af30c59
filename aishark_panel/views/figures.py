"""The Bokeh figure all charts start from, and the heading above it."""

import time
from typing import Any, Final

import panel as pn
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    CustomJSTickFormatter,
    DatetimeTicker,
    DatetimeTickFormatter,
    HoverTool,
    InlineStyleSheet,
    Range1d,
)
from bokeh.plotting import figure

from aishark_panel.views.bands import Bands
from aishark_panel.views.base import Element, Receive
from aishark_panel.views.columns import nice_ceiling
from aishark_panel.views.theme import FIGURE_CSS, script

__all__ = ["BandLayer", "Ceiling", "Heading", "chart", "pane", "quantity"]

_SI_TICKS: Final = """
const prefixes = ["", " k", " M", " G", " T"]
let value = tick, power = 0
while (value >= 1000 && power < 4) { value /= 1000; power += 1 }
return +value.toPrecision(3) + prefixes[power]
"""
_EMPTY_MS: Final = 60_000
"""An empty chart shows the minute that has just gone by."""
_FONT: Final = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif"


def chart(*, ticks: int, **options: Any) -> figure:
    """An empty figure over time (x in ms since 1970, shown in UTC) in the page's colours; `ticks` on its y axis."""
    now_ms = time.time() * 1e3
    fig = figure(
        x_axis_type="datetime",
        x_range=Range1d(start=now_ms - _EMPTY_MS, end=now_ms),
        y_range=Range1d(start=0, end=1),
        sizing_mode="stretch_both",
        tools="",
        toolbar_location=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_left=56,
        min_border_right=12,
        min_border_top=6,
        min_border_bottom=4,
        stylesheets=[InlineStyleSheet(css=FIGURE_CSS)],
        **options,
    )
    fig.xaxis.formatter = DatetimeTickFormatter(
        microseconds="%H:%M:%S.%3N", milliseconds="%H:%M:%S.%3N", seconds="%H:%M:%S", minsec="%H:%M:%S",
        minutes="%H:%M", hourmin="%H:%M", hours="%H:%M", days="%d %b", months="%b %Y", years="%Y",
    )  # fmt: skip
    fig.yaxis.formatter = CustomJSTickFormatter(code=_SI_TICKS)
    fig.xaxis.ticker = DatetimeTicker(desired_num_ticks=4)  # as many as fit a narrow page too
    fig.yaxis.ticker = BasicTicker(desired_num_ticks=ticks)
    fig.xgrid.grid_line_color = None
    for axis in fig.axis:
        axis.major_label_text_font = _FONT
        axis.major_label_text_font_size = "11px"
        axis.axis_line_color = None
        axis.minor_tick_line_color = None
        axis.major_tick_line_color = None
    return fig


def pane(fig: figure) -> pn.pane.Bokeh:
    """The figure as a part of a page, as big as its place."""
    return pn.pane.Bokeh(fig, sizing_mode="stretch_both", margin=0)


class BandLayer:
    """Bands behind what a figure shows, with a hover that says why."""

    def __init__(self, fig: figure) -> None:
        self.source = ColumnDataSource(Bands.none().columns())
        fig.extra_y_ranges = {**fig.extra_y_ranges, "bands": Range1d(start=0, end=1)}
        quads = fig.quad(
            left="left", right="right", bottom=0, top=1, source=self.source, color="colour", alpha=0.22,
            line_color=None, y_range_name="bands", level="underlay",
        )  # fmt: skip
        fig.add_tools(HoverTool(renderers=[quads], tooltips="@text", show_arrow=False, point_policy="follow_mouse"))

    def show(self, bands: Bands) -> None:
        """Draw these; nothing is sent where nothing changed."""
        columns = bands.columns()
        if columns != self.source.data:
            self.source.data = columns


class Ceiling:
    """Where a y axis ends: it grows at once, and shrinks only after the data was lower for a while."""

    PATIENCE: Final = 8
    """paints"""

    def __init__(self) -> None:
        self.end = 0.0
        self._lower = 0

    def follow(self, value: float) -> float:
        """The end for data up to `value`."""
        wanted = nice_ceiling(value)
        self._lower = self._lower + 1 if wanted < self.end else 0
        if wanted > self.end or self._lower > self.PATIENCE:
            self.end, self._lower = wanted, 0
        return self.end

    def reset(self) -> None:
        """The data is of something else now."""
        self.end = 0.0


class HeadingElement(Element):
    _esm = script("heading.js")


class Heading:
    """A chart's heading: what it is, its unit, one number of now, and what can be chosen.

    `receive` hears {name: value} of choices, {"do": name} of actions, {"key": name, "exclude": bool} of the legend.
    """

    def __init__(self, title: str, receive: Receive | None = None) -> None:
        self._title = title
        self.root = HeadingElement(receive or _nothing, "heading.css", sizing_mode="stretch_width", margin=0)
        self.show("")

    def show(self, unit: str, value: str = "", **more: Any) -> None:
        """Set unit and number. More: choices (name, label, options, chosen), actions (name, text, title), legend
        (name, colour, title)."""
        self.root.draw(title=self._title, unit=unit, value=value, **more)


async def _nothing(_message: Any) -> None:
    """A heading says nothing back."""


def quantity(value: float, unit: str) -> str:
    """Three figures with an SI prefix: quantity(84_200_000, 'bit/s') is '84.2 Mbit/s'."""
    prefixes = ["", "k", "M", "G", "T"]
    while value >= 999.5 and len(prefixes) > 1:
        value /= 1000
        prefixes.pop(0)
    if prefixes[0] == "":
        return f"{value:.0f} {unit}"
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {prefixes[0]}{unit}"
