"""Health of TCP: how long handshakes take, what is sent again, which connections are refused or never answered."""

from typing import Any, ClassVar, Final

import numpy as np
import panel as pn
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.models.renderers import DataRenderer

from aishark_panel.errors import AisharkError
from aishark_panel.views.bands import Bands, bands
from aishark_panel.views.base import Element, View
from aishark_panel.views.columns import bars_by_group
from aishark_panel.views.feed import Feed
from aishark_panel.views.figures import BandLayer, Ceiling, Heading, chart, pane
from aishark_panel.views.theme import script, style
from aishark_panel.views.words import why_nothing

__all__ = ["TcpHealth"]

_ROLES: Final = ("attempt", "accepted", "refused", "repeated attempt", "retransmission", "reset", "segment")
_LINES: Final = {
    "attempt": ("attempts", "#3d84f5"),
    "refused": ("refused", "#e5484d"),
    "repeated attempt": ("unanswered", "#dd9f17"),
}


class HealthElement(Element):
    _esm = script("tcp_health.js")


class TcpHealth(View):
    """Figures of the time that the charts show; connections per second. `source`: x (ms), a column for each role."""

    every: ClassVar[int] = 2

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._answer: dict[str, Any] = {}
        self.source = ColumnDataSource({name: np.zeros(0, np.float32) for name in ("x", *_ROLES)})
        self.figure = fig = chart(ticks=4, height=140)
        self._bands = BandLayer(fig)
        lines: list[DataRenderer] = [
            fig.line("x", role, source=self.source, line_color=colour, line_width=1.6)
            for role, (_, colour) in _LINES.items()
        ]
        tooltips = [("UTC", "@x{%F %H:%M:%S.%3N}")]
        tooltips += [(text, f"@{{{role}}}{{0.0}}/s") for role, (text, _) in _LINES.items()]
        fig.add_tools(
            HoverTool(
                renderers=lines[:1], mode="vline", formatters={"@x": "datetime"}, tooltips=tooltips, show_arrow=False
            )
        )
        self._heading = Heading("TCP health")
        self._ceiling = Ceiling()
        self._drawn: tuple[object, ...] = ()
        self.figures = HealthElement(_nothing, "tcp_health.css", sizing_mode="stretch_width", margin=0)
        self.root = pn.Column(
            self._heading.root, self.figures, pane(fig), css_classes=["card", "tcp-health"],
            stylesheets=[style("tcp_card.css")], sizing_mode="stretch_both", margin=0,
        )  # fmt: skip

    async def pull(self) -> None:
        feed = self.feed
        if not feed.session or feed.span is None:
            return
        await feed.traffic("tcp")
        since_ns = 0 if feed.range or feed.window == "all" else feed.span.start_ms * 1_000_000
        try:
            self._answer = await feed.client.tcp_health(feed.reach, feed.query, since_ns)
        except AisharkError:
            self._answer = {}

    def paint(self) -> None:
        feed, span = self.feed, self.feed.span
        bins, complete, first_ts = feed.known("tcp")
        state = (bins, span, tuple(self._answer.items()), complete, len(feed.gaps), len(feed.losses))
        if state == self._drawn:
            return
        self._drawn = state
        counts = dict.fromkeys(_ROLES, 0)
        if span is None:
            self.source.data = {name: np.zeros(0, np.float32) for name in ("x", *_ROLES)}
            self._bands.show(Bands.none())
        else:
            names, bars = bars_by_group(bins, span, of_bytes=False)
            by_role = {role: np.zeros(span.bars) for role in _ROLES} | dict(zip(names, bars, strict=True))
            counts = {role: int(by_role[role].sum()) for role in _ROLES}
            rates = {role: (by_role[role] * 1000 / span.bar_ms).astype(np.float32) for role in _ROLES}
            self.source.data = {"x": span.start_ms + (np.arange(span.bars) + 0.5) * span.bar_ms, **rates}
            self._bands.show(bands(span, feed.gaps, feed.losses, feed.known_from_ms(first_ts)))
            self.figure.x_range.update(start=span.start_ms, end=span.end_ms)
            highest = max(float(rates[role].max(initial=0)) for role in _LINES)
            self.figure.y_range.update(end=self._ceiling.follow(highest * 1.05))
        self._heading.show(
            "connections per second, UTC" + ("" if complete else "; still counting"),
            legend=[{"name": text, "colour": colour} for text, colour in _LINES.values()],
        )
        segments = sum(counts.values())
        again = counts["retransmission"] + counts["repeated attempt"]
        self.figures.draw(
            rtt_p50_ms=_milliseconds(self._answer.get("rtt_p50_ns")),
            rtt_p95_ms=_milliseconds(self._answer.get("rtt_p95_ns")),
            handshakes=self._answer.get("handshakes", 0),
            resent=again,
            segments=segments,
            counts=counts,
            empty="" if segments else why_nothing(feed, "TCP segment"),
        )


def _milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / 1e6, 3)


async def _nothing(_message: Any) -> None:
    """The figures say nothing back."""
