"""Header: which session, whether packets move and why not, how many, and everything one can do with the capture."""

import sys
from typing import Any, Final

from aishark_panel.errors import NotFoundError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script

__all__ = ["FORMATS", "Header"]

FORMATS: Final = ("pcapng", "pcap", "parquet", "csv")
"""Export formats, by the hub's names."""

MAX_AGENTS: Final = 6
"""Most agents named in the header."""

_BADGES: Final = {"synthetic": "synthetic traffic", "replay": "replayed file", "mixed": "live and made traffic"}
"""What must be said of traffic that is not, or not only, being captured now."""


class HeaderElement(Element):
    _esm = script("header.js")


class Header(View):
    """Session, state, counters, capture filters and actions."""

    root: HeaderElement

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self.root = HeaderElement(
            self._receive, "header.css", css_classes=["header"], sizing_mode="stretch_width", margin=0
        )

    def paint(self) -> None:
        feed, stats = self.feed, self.feed.stats
        self.root.draw(
            sessions=[{"id": s["id"], "name": s["name"]} for s in feed.sessions],
            session=feed.session,
            connected=bool(feed.client.connected) and not feed.problem,
            paused=feed.paused,
            reason=feed.problem or stats.get("reason", ""),
            capture=stats.get("state", ""),
            badge=_BADGES.get(stats.get("source", ""), ""),
            packets=stats.get("packets", 0),
            packets_per_s=round(stats.get("packets_per_s", 0)),
            bits_per_s=round(stats.get("bits_per_s", 0)),
            kept=stats.get("end", 0) - stats.get("first", 0),
            evicted=stats.get("evicted", 0),
            lost=stats.get("lost", 0),
            matched=feed.extent.count if feed.where else None,
            formats=list(FORMATS),
            agents=_agents(stats.get("agents", [])),
        )

    async def _receive(self, message: Any) -> None:
        feed = self.feed
        match message:
            case {"session": str(session)}:
                await feed.choose(session)
            case {"pause": bool(paused)}:
                feed.paused = paused
                await feed.pull()
            case {"capture": "start"}:
                await feed.client.start(feed.session)
            case {"capture": "stop"}:
                await feed.client.stop(feed.session)
            case {"clear": True}:
                await feed.client.clear(feed.session)
                await feed.pull()
            case {"export": str(name), "shown": bool(shown), "purpose": "download" | "wireshark" as purpose}:
                if name not in FORMATS:
                    raise NotFoundError(f"There is no export format {name!r}; choose one of {', '.join(FORMATS)}.")
                follow = purpose == "wireshark" and feed.live
                where = feed.where if shown else ""
                ticket = await feed.client.export_ticket(feed.session, name, where, follow=follow)
                at_page = purpose == "download" and "aishark_panel.views.routes" in sys.modules
                self.root.send({purpose: f"files/{ticket}" if at_page else f"{feed.client.url}/api/export/{ticket}"})
                return
            case _:
                return
        self.paint()


def _agents(agents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the header shows of the agents: those that are connected, or the last one that was."""
    return [
        {
            "name": agent["name"],
            "state": "connected" if agent["connected"] else "ended" if agent["ended"] else "away",
            "reason": agent["reason"],
            "interfaces": [{"name": i["name"], "filter": i["filter"]} for i in agent["interfaces"]],
        }
        for agent in [a for a in agents if a["connected"]][:MAX_AGENTS] or agents[-1:]
    ]
