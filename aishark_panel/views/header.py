"""Header: which session, whether packets move and why not, how many, and everything one can do with the capture.

Sessions are chosen, made and opened from files here, and packets are exported.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.exports import FORMATS, Exports, at_page
from aishark_panel.views.feed import Feed
from aishark_panel.views.ledger_lines import ledger_lines
from aishark_panel.views.theme import script

__all__ = ["DEFAULT_SESSION", "HISTORY", "Header"]

DEFAULT_SESSION: Final = "live"
"""Name of the session every hub has; alone it goes without saying."""

MAX_AGENTS: Final = 6
"""Most agents named in the header."""

HISTORY: Final = "The past is shown; the capture goes on."
"""Why a page that could be live is not."""

_BADGES: Final = {"synthetic": "synthetic traffic", "replay": "replayed file", "mixed": "live and made traffic"}
"""What must be said of traffic that is not, or not only, being captured now."""


class HeaderElement(Element):
    _esm = script(
        *("menu.js", "copy.js", "upload.js", "session_menu.js", "export_menu.js", "ledger_panel.js", "theme_button.js"),
        "header.js",
    )


def _is_history(feed: Feed) -> bool:
    return feed.range is not None or feed.rewound


def _history(feed: Feed) -> str:
    """What is to be said of the past that is shown."""
    if not _is_history(feed):
        return ""
    return feed.reading or feed.missing or (HISTORY if feed.live else "")


class Header(View):
    """Session, state, counters, capture filters and actions; `on_pause()` hears of a pause before it is shown here.

    A `bare` one only tells, for a screen that nobody touches.
    """

    root: HeaderElement
    every: ClassVar[int] = 2

    def __init__(self, feed: Feed, on_pause: Callable[[], None] | None = None, *, bare: bool = False) -> None:
        super().__init__(feed)
        self._bare = bare
        self._on_pause = on_pause
        self._exports = Exports(feed)
        self._ledger: dict[str, Any] | None = None
        """where every packet is, while somebody looks at that"""
        self._ledger_open = False
        self._ledger_problem = ""
        self.root = HeaderElement(
            self._receive, "header.css", css_classes=["header"], sizing_mode="stretch_width", margin=0
        )

    async def pull(self) -> None:
        if not self.feed.session:
            return
        await self._exports.pull()
        if self._ledger_open:
            await self._pull_ledger()

    async def _pull_ledger(self) -> None:
        try:
            self._ledger = ledger_lines(await self.feed.client.ledger(self.feed.session))
        except AisharkError as error:
            self._ledger_problem = str(error)
        else:
            self._ledger_problem = ""

    def paint(self) -> None:
        feed, stats = self.feed, self.feed.stats
        history = _is_history(feed)
        self.root.draw(
            bare=self._bare,
            sessions=[{key: s[key] for key in ("id", "name", "owner", "state", "packets")} for s in feed.sessions],
            session=feed.session,
            default_session=DEFAULT_SESSION,
            uploads=at_page(),
            may=feed.may,
            makes="capture" in feed.rights or "admin" in feed.rights,
            person=feed.person,
            recordings=stats.get("recordings", {}).get("recording", 0),
            exports=self._exports.lines(),
            connected=bool(feed.client.connected) and not feed.problem,
            paused=feed.paused,
            history=history,
            reason=feed.problem or _history(feed) or stats.get("reason", ""),
            capture=stats.get("state", ""),
            badge=_BADGES.get(stats.get("source", ""), ""),
            sampled=_sampled(stats.get("agents", [])),
            ledger=self._ledger if self._ledger_open else None,
            ledger_problem=self._ledger_problem,
            packets=stats.get("packets", 0),
            packets_per_s=round(stats.get("packets_per_s", 0)),
            bits_per_s=round(stats.get("bits_per_s", 0)),
            kept=stats.get("end", 0) - stats.get("first", 0),
            evicted=stats.get("evicted", 0),
            lost=stats.get("lost", 0),
            matched=feed.extent.count if feed.query else None,
            matched_complete=feed.extent.complete,
            filtered=bool(feed.where),
            ranged=feed.range is not None,
            formats=FORMATS,
            agents=_agents(stats.get("agents", [])),
        )

    async def pause(self, paused: bool) -> None:
        """Hold the page as it is, or go on; the capture does not stop."""
        self.feed.paused = paused
        if self._on_pause:
            self._on_pause()
        await self.feed.pull()
        self.paint()

    async def _receive(self, message: Any) -> None:
        feed = self.feed
        match message:
            case {"session": str(session)}:
                await feed.choose(session)
                await self.pull()
            case {"create": str(name)}:
                await feed.create(name)
                await self.pull()
            case {"pause": bool(paused)}:
                await self.pause(paused)
            case {"live": True}:
                feed.paused = False
                await feed.choose_range(None)
                await feed.rewind(None)
            case {"ledger": bool(is_open)}:
                self._ledger_open = is_open
                if is_open:
                    await self._pull_ledger()
            case {"capture": "start"}:
                await feed.client.start(feed.session)
            case {"capture": "stop"}:
                await feed.client.stop(feed.session)
            case {"clear": True}:
                await feed.client.clear(feed.session)
                await feed.pull()
            case {"export": str(name), "shown": bool(shown), "purpose": "download"}:
                self.root.send({"download": await self._exports.begin(name, shown=shown)})
            case {"export": "pcapng", "shown": bool(shown), "purpose": "wireshark"}:
                where = feed.query if shown else ""
                ticket = await feed.client.export_ticket(feed.session, "pcapng", where, follow=feed.live)
                self.root.send({"wireshark": f"{feed.client.url}/api/export/{ticket}"})
                return
            case {"export_cancel": str(ticket)}:
                await self._exports.cancel(ticket)
            case _:
                return
        self.paint()


def _sampled(agents: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What agents leave out as they were told to: `text`, and the `factor` from packets to an estimate of all, 0 where
    there is no one factor; None if they leave out nothing."""
    agents = [agent for agent in agents if agent["connected"] or agent["packets"]]
    factors = sorted({agent["sampling"] for agent in agents})
    limited = [agent for agent in agents if agent["counters"].get("throttled")]
    said = []
    if factors and factors[-1] > 1:
        unit = " conversations" if any(a["sampling_by"] == "conversation" for a in agents if a["sampling"] > 1) else ""
        said.append(f"sampled, 1 in {factors[-1]:,}{unit}" if len(factors) == 1 else "sampled in part")
    if limited:
        said.append("rate limited")
    if not said:
        return None
    return {"text": "; ".join(said), "factor": factors[-1] if len(factors) == 1 and not limited else 0}


def _agents(agents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the header shows of the agents: those that are connected, or the last one that was."""
    return [
        {
            "name": agent["name"],
            "state": _agent_state(agent),
            "reason": agent["reason"],
            "interfaces": [{"name": i["name"], "filter": i["filter"]} for i in agent["interfaces"]],
        }
        for agent in [a for a in agents if a["connected"]][:MAX_AGENTS] or agents[-1:]
    ]


def _agent_state(agent: dict[str, Any]) -> str:
    if agent["connected"]:
        return "connected" if agent["capturing"] else "idle"
    return "ended" if agent["ended"] else "away"
