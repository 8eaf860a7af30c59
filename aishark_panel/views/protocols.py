"""Protocols: a donut and a list of the window's protocols with their shares of the bytes."""

from collections.abc import Awaitable, Callable
from typing import Any

from aishark_panel.query.literals import quote
from aishark_panel.views.base import Element, View
from aishark_panel.views.columns import shares
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script
from aishark_panel.views.words import why_nothing

__all__ = ["Protocols"]

Choose = Callable[[str, bool], Awaitable[None]]


class ProtocolsElement(Element):
    _esm = script("protocols.js")


class Protocols(View):
    """Shares by protocol, biggest first; the tail is 'other'. `on_choose(filter, exclude)` hears clicks."""

    root: ProtocolsElement

    def __init__(self, feed: Feed, on_choose: Choose | None = None) -> None:
        super().__init__(feed)
        self._on_choose = on_choose
        self.root = ProtocolsElement(
            self._receive, "protocols.css", css_classes=["protocols"], sizing_mode="stretch_both", margin=0
        )

    async def pull(self) -> None:
        await self.feed.traffic("protocol")

    def paint(self) -> None:
        span = self.feed.span
        bins, complete, _ = self.feed.known("protocol")
        found = shares(bins, span) if span else []
        volume = sum(s.bytes for s in found) or 1
        self.root.draw(
            slices=[
                {
                    "name": s.name,
                    "family": s.family,
                    "packets": s.packets,
                    "bytes": s.bytes,
                    "share": round(s.bytes / volume, 4),
                    "members": s.members,
                }
                for s in found
            ],
            window="range" if self.feed.range else self.feed.window,
            complete=complete,
            empty="" if found else why_nothing(self.feed, "packet"),
        )

    async def _receive(self, message: Any) -> None:
        match message:
            case {"protocol": str(name), "exclude": bool(exclude)} if self._on_choose:
                await self._on_choose(f"protocol == {quote(name)}", exclude)
