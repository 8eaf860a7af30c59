"""Tabs: which of the views below the charts is in sight. The others neither ask the hub nor draw."""

from collections.abc import Mapping, Sequence
from typing import Any

from aishark_panel.errors import NotFoundError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script

__all__ = ["Tabs"]


class TabsElement(Element):
    _esm = script("tabs.js")


class Tabs(View):
    """Shows one of the groups of `pages`, by name, and hides the rest; the first one to begin with."""

    root: TabsElement

    def __init__(self, feed: Feed, pages: Mapping[str, Sequence[View]]) -> None:
        super().__init__(feed)
        self._pages = pages
        self.chosen = next(iter(pages))
        self.root = TabsElement(self._receive, "tabs.css", css_classes=["tabs"], sizing_mode="stretch_width", margin=0)
        self._place()

    @property
    def names(self) -> list[str]:
        """The tabs, first one first."""
        return list(self._pages)

    def paint(self) -> None:
        stats = self.feed.stats
        agents = [agent for agent in stats.get("agents", []) if agent["connected"]]
        firing = stats.get("alerts", {}).get("firing", 0)
        counts = {"Agents": len(agents), "Alerts": firing}
        self.root.draw(
            chosen=self.chosen,
            tabs=[
                {"name": name, "count": counts.get(name, 0), "urgent": name == "Alerts" and firing > self._seen()}
                for name in self._pages
            ],
        )

    def _seen(self) -> int:
        """How many of the alerts that fire somebody has acknowledged or silenced: they call for nobody."""
        return sum(
            alert["state"] == "firing" and bool(alert["acknowledged"] or alert["silenced"])
            for alert in self.feed.alerts.values()
        )

    async def choose(self, name: str) -> None:
        """Show that tab, up to date. NotFoundError if there is none of that name."""
        if name not in self._pages:
            raise NotFoundError(f"There is no tab {name!r:.40}; there are {', '.join(self._pages)}.")
        for view in self._pages[name]:
            await view.pull()
            view.repaint()
        self.chosen = name
        self._place()
        self.paint()

    def _place(self) -> None:
        for name, views in self._pages.items():
            for view in views:
                view.root.visible = name == self.chosen

    async def _receive(self, message: Any) -> None:
        match message:
            case {"tab": str(name)}:
                await self.choose(name)
