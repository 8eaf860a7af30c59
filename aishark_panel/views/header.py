"""Header: which session, whether packets move and why not, how many, and everything one can do with the capture.

Sessions are chosen, made and opened from files here; packets are exported and recorded.
"""

import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError, NotFoundError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.ledger_lines import ledger_lines
from aishark_panel.views.theme import script

__all__ = ["DEFAULT_SESSION", "FORMATS", "HISTORY", "Header"]

DEFAULT_SESSION: Final = "live"
"""Name of the session every hub has; alone it goes without saying."""

FORMATS: Final = ("pcapng", "pcap", "parquet", "csv")
"""Export formats, by the hub's names."""

MAX_RECORDINGS: Final = 5
"""Most recordings in the export menu, the newest."""

MAX_AGENTS: Final = 6
"""Most agents named in the header."""

HISTORY: Final = "The past is shown; the capture goes on."
"""Why a page that could be live is not."""

_BADGES: Final = {"synthetic": "synthetic traffic", "replay": "replayed file", "mixed": "live and made traffic"}
"""What must be said of traffic that is not, or not only, being captured now."""


class HeaderElement(Element):
    _esm = script(
        *("menu.js", "upload.js", "session_menu.js", "record_menu.js", "ledger_panel.js", "theme_button.js"),
        "header.js",
    )


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
        self._recordings: list[dict[str, Any]] = []
        self._recording_problem = ""
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
        try:
            self._recordings = await self.feed.client.recordings(self.feed.session)
        except AisharkError as error:
            self._recordings, self._recording_problem = [], str(error)
        else:
            self._recording_problem = ""
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
        history = feed.range is not None or feed.rewound
        self.root.draw(
            bare=self._bare,
            sessions=[{key: s[key] for key in ("id", "name", "owner", "state", "packets")} for s in feed.sessions],
            session=feed.session,
            default_session=DEFAULT_SESSION,
            uploads=_at_page(),
            may=feed.may,
            makes="capture" in feed.rights or "admin" in feed.rights,
            person=feed.person,
            recordings=[_recording(r) for r in self._recordings[-MAX_RECORDINGS:]],
            recording_problem=self._recording_problem,
            connected=bool(feed.client.connected) and not feed.problem,
            paused=feed.paused,
            history=history,
            reason=feed.problem or (HISTORY if history and feed.live else stats.get("reason", "")),
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
            formats=list(FORMATS),
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
            case {"record": str(name), "shown": bool(shown)}:
                await feed.client.record_start(feed.session, name, where=feed.query if shown else "")
                await self.pull()
            case {"record_stop": str(recording)}:
                await feed.client.record_stop(feed.session, recording)
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
            case {"export": str(name), "shown": bool(shown), "purpose": "download" | "wireshark" as purpose}:
                if name not in FORMATS:
                    raise NotFoundError(f"There is no export format {name!r}; choose one of {', '.join(FORMATS)}.")
                follow = purpose == "wireshark" and feed.live
                where = feed.query if shown else ""
                ticket = await feed.client.export_ticket(feed.session, name, where, follow=follow)
                at_page = purpose == "download" and _at_page()
                self.root.send({purpose: f"files/{ticket}" if at_page else f"{feed.client.url}/api/export/{ticket}"})
                return
            case _:
                return
        self.paint()


def _at_page() -> bool:
    """Whether the page's server has our routes (views/routes.py): a notebook's has none."""
    return "aishark_panel.views.routes" in sys.modules


def _recording(recording: dict[str, Any]) -> dict[str, Any]:
    """What the export menu shows of a recording."""
    newest = recording["current_file"] or next((file["name"] for file in reversed(recording["files"])), "")
    facts = {key: recording[key] for key in ("id", "format", "state", "reason", "folder", "written", "failed", "bytes")}
    return {**facts, "file": newest}


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
