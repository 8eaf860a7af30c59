"""The page's keyboard: what keys do wherever the focus is, and the map of them that `?` shows.

A view has the keys of what it shows itself; these here are of the page, so notebooks have none of them.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.header import Header
from aishark_panel.views.tabs import Tabs
from aishark_panel.views.theme import script

__all__ = ["Keys"]


class KeysElement(Element):
    _esm = script("keys.js")


class Keys(View):
    """Keys for a page with these parts; `on_packet(number)` goes to a packet, `on_problem(forward)` to the next packet
    with a problem, or back to the one before. Without that there are no keys for it."""

    root: KeysElement

    def __init__(
        self,
        feed: Feed,
        header: Header,
        tabs: Tabs,
        on_packet: Callable[[int], Awaitable[None]],
        on_problem: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(feed)
        self._header, self._tabs, self._on_packet, self._on_problem = header, tabs, on_packet, on_problem
        self.root = KeysElement(self._receive, "keys.css", css_classes=["keys"], margin=0)

    def paint(self) -> None:
        stats = self.feed.stats
        self.root.draw(
            tabs=self._tabs.names,
            first=stats.get("first", 0),
            last=stats.get("end", 0) - 1,
            problems=self._on_problem is not None,
        )

    async def _receive(self, message: Any) -> None:
        match message:
            case {"pause": True}:
                await self._header.pause(not self.feed.paused)
            case {"tab": int(place)} if 1 <= place <= len(self._tabs.names):
                await self._tabs.choose(self._tabs.names[place - 1])
            case {"go_to": int(number)}:
                await self._tabs.choose(self._tabs.names[0])
                await self._on_packet(number)
            case {"problem": bool(forward)} if self._on_problem:
                await self._tabs.choose(self._tabs.names[0])
                await self._on_problem(forward)
