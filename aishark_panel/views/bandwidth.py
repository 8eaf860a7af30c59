"""Bandwidth: bits or packets per second over the window, by protocol, agent, interface or host."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from bokeh.models import ColumnDataSource, HoverTool

from aishark_panel.query.literals import quote
from aishark_panel.views.bands import Bands, bands
from aishark_panel.views.base import View, card
from aishark_panel.views.columns import OTHER, Bins, Span, bars_by_group, stack
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import BandLayer, Ceiling, Heading, chart, pane, quantity
from aishark_panel.views.theme import FAMILIES

__all__ = ["Bandwidth"]

Add = Callable[[str, bool], Awaitable[None]]

_UNITS: Final = ("bit/s", "packets/s")
_BY: Final = ("protocol", "agent", "interface", "host")
_SHAPES: Final = ("stacked", "lines")
_SLOTS: Final = tuple(f"s{k}" for k in range(len(FAMILIES)))
"""Columns of the chart: one for each family, or for eight groups and the rest."""
_COLOURS: Final = [family.chart for family in FAMILIES]
_FAMILY_NAMES: Final = [family.name for family in FAMILIES]


class Bandwidth(View):
    """`source`: x (middle of the bar, ms), a column for each of `names`, per second, and total.

    `on_filter(condition, exclude)` hears of clicks on the legend.
    """

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self.unit, self.by, self.shape = _UNITS[0], _BY[0], _SHAPES[0]
        self.names: list[str] = list(_FAMILY_NAMES)
        """what the columns s0, s1 ... are of; '' for one that is free"""
        self.source = ColumnDataSource({name: np.zeros(0, np.float32) for name in ("x", *_SLOTS, "total")})
        self.figure = fig = chart(ticks=5, height=200)
        self._bands = BandLayer(fig)
        self._areas = fig.varea_stack(list(_SLOTS), x="x", source=self.source, color=_COLOURS, fill_alpha=0.85)
        self._lines = [
            fig.line("x", slot, source=self.source, line_color=colour, line_width=1.6, visible=False)
            for slot, colour in zip(_SLOTS, _COLOURS, strict=True)
        ]
        # The hover needs marks of its own: an area is hit only inside its polygon.
        top = fig.line("x", "total", source=self.source, line_color=None)
        self._hover = HoverTool(
            renderers=[top],
            mode="vline",
            line_policy="nearest",
            show_arrow=False,
            formatters={"@x": "datetime"},
        )
        fig.add_tools(self._hover)
        self._heading = Heading("Bandwidth", self._receive)
        self._ceiling = Ceiling()
        self._drawn: tuple[object, ...] = ()
        self.root = card(self._heading.root, pane(fig), "bandwidth")

    async def pull(self) -> None:
        await self.feed.traffic(self.by)

    def paint(self) -> None:
        feed, span = self.feed, self.feed.span
        bins, complete, first_ts = feed.known(self.by)
        told = (len(feed.gaps), len(feed.losses), feed.losses[-1:], complete)
        state = (bins, span, self.by, self.unit, self.shape, told)
        if state == self._drawn:
            return
        self._drawn = state
        if span is None:
            self.source.data = {name: np.zeros(0, np.float32) for name in ("x", *_SLOTS, "total")}
            self._bands.show(Bands.none())
            self._show_heading("no packets yet", "", [])
            return
        rates = self._rates(bins, span)
        total = rates.sum(axis=0)
        data: dict[str, Any] = {slot: rates[k].astype(np.float32) for k, slot in enumerate(_SLOTS)}
        data["x"] = span.start_ms + (np.arange(span.bars) + 0.5) * span.bar_ms
        data["total"] = total.astype(np.float32)
        self.source.data = data
        self._bands.show(bands(span, feed.gaps, feed.losses, feed.known_from_ms(first_ts)))
        self.figure.x_range.update(start=span.start_ms, end=span.end_ms)
        highest = total if self.shape == "stacked" else rates.max(axis=0)
        self.figure.y_range.update(end=self._ceiling.follow(float(highest.max(initial=0)) * 1.05))
        self._show_groups()
        unit = "UTC" if complete else "UTC; still counting"  # what is counted, and by what, stands in the choices
        shown = [int(k) for k in np.argsort(-rates.sum(axis=1), kind="stable") if rates[k].any()]
        self._show_heading(unit, f"peak {quantity(float(total.max(initial=0)), self.unit)}", shown)

    def _rates(self, bins: Bins, span: Span) -> npt.NDArray[np.float64]:
        """Per second, shape (slots, bars)."""
        of_bytes = self.unit == "bit/s"
        if self.by == "protocol":
            self.names = list(_FAMILY_NAMES)
            rates = stack(bins, span)[of_bytes]
        else:
            names, bars = bars_by_group(bins, span, of_bytes=of_bytes)
            self.names = _places(self.names, names)
            rates = np.zeros((len(_SLOTS), span.bars))
            for name, values in zip(names, bars, strict=True):
                rates[self.names.index(name)] = values
        return rates * ((8000 if of_bytes else 1000) / span.bar_ms)

    def _show_groups(self) -> None:
        stacked = self.shape == "stacked"
        for area, line in zip(self._areas, self._lines, strict=True):
            area.visible, line.visible = stacked, not stacked
        tooltips = [("UTC", "@x{%F %H:%M:%S.%3N}"), ("total", f"@total{{0.00 a}}{self.unit}")]
        tooltips += [
            (name, f"@{slot}{{0.00 a}}{self.unit}")
            for name, slot in reversed(list(zip(self.names, _SLOTS, strict=True)))
            if name
        ]
        if tooltips != self._hover.tooltips:
            self._hover.tooltips = tooltips

    def _show_heading(self, unit: str, value: str, shown: list[int]) -> None:
        chosen = {"unit": (_UNITS, self.unit), "by": (_BY, self.by), "shape": (_SHAPES, self.shape)}
        labels = {"unit": "Unit", "by": "Counted by", "shape": "Drawn as"}
        self._heading.show(
            unit,
            value,
            choices=[
                {"name": name, "label": labels[name], "options": list(options), "chosen": now}
                for name, (options, now) in chosen.items()
            ],
            legend=[
                {"name": self.names[k], "colour": _COLOURS[k], "title": _hint(self._condition(self.names[k]))}
                for k in shown
                if self.names[k]
            ],
        )

    def _condition(self, name: str) -> str:
        """The expression for the packets of a group; '' for the rest."""
        if name.lower() == OTHER:
            return ""
        match self.by:
            case "protocol":
                family = next(f for f in FAMILIES if f.name == name)
                names = ", ".join(map(quote, family.protocols))
                return f"protocol in [{names}]" if len(family.protocols) > 1 else f"protocol == {quote(name)}"
            case "agent":
                return f"agent == {quote(name)}"
            case "interface":
                agent, _, interface = name.partition("/")
                return f"agent == {quote(agent)} and iface == {quote(interface)}"
            case _:
                return f"src_ip == {quote(name)}"

    async def _receive(self, message: Any) -> None:
        match message:
            case {"unit": str(unit)} if unit in _UNITS:
                self.unit = unit
            case {"by": str(by)} if by in _BY:
                self.by = by
                self.names = [""] * len(_SLOTS)
            case {"shape": str(shape)} if shape in _SHAPES:
                self.shape = shape
            case {"key": str(name), "exclude": bool(exclude)} if name in self.names:
                condition = self._condition(name)
                if condition and self._on_filter:
                    await self._on_filter(condition, exclude)
                return
            case _:
                return
        self._ceiling.reset()
        await self.pull()
        self.repaint()


def _places(before: list[str], names: list[str]) -> list[str]:
    """Where each name has its column: where it had it, so that colours do not change; the rest is always last."""
    places = [name if name in names and name != OTHER else "" for name in before[: len(_SLOTS) - 1]]
    for name in names:
        if name != OTHER and name not in places:
            places[places.index("")] = name
    return [*places, OTHER if OTHER in names else ""]


def _hint(condition: str) -> str:
    return condition and f"{condition}\nClick: show only these. Alt+click: hide them."
