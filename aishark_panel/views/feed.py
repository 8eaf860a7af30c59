"""What one page knows of one session: statistics, rollups, alerts, the display filter and which packets it leaves.

A page pulls: each tick `Feed.pull` asks the hub what is new since the cursor it holds, once, however many views draw
it. The views then paint from here; only the packet list and the detail ask the hub for more, for what is in sight.
A page that is paused goes on reading the statistics and leaves everything else as it was.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from aishark_panel.client import HubClient
from aishark_panel.errors import AisharkError, HubUnreachableError, NotFoundError
from aishark_panel.views.columns import WINDOWS, Bins, Span, plan

__all__ = ["Extent", "Feed"]

_AUTO: Final = "auto"
_NO_SESSION: Final = "No session is yours to look at yet. Start an agent, or open a capture file."
_MAX_ALERTS: Final = 500
"""Most alerts a page holds, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The rows the packet list can show: [first, end), packet numbers or, with a display filter, ranks of matches."""

    first: int = 0
    end: int = 0
    complete: bool = True
    """False while the hub has not yet looked at all packets it keeps"""

    @property
    def count(self) -> int:
        return max(0, self.end - self.first)


class Feed:
    """One session as one page sees it: the one with id `session`, or the newest. `clock`: seconds, monotonic."""

    def __init__(self, client: HubClient, session: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.client = client
        self._clock = clock
        self.session = session
        self._name = ""
        """name of the session that was chosen, once it is known"""
        self.sessions: list[dict[str, Any]] = []
        self.person = ""
        """who looks at the page; '' for the hub's owner"""
        self.rights = ["view", "capture", "export", "admin"]
        """what the person may do with sessions of their own"""
        self.window_choice = _AUTO
        self.paused = False
        self.problem = ""
        """why the page shows nothing new, in a sentence; '' when it does"""
        self.where = ""
        """the display filter; '' for none"""
        self.range: tuple[int, int] | None = None
        """the time range that was chosen, [start, end) in ns since 1970; None: all of it"""
        self._pulling = asyncio.Lock()  # a tick must not mix what it asked before a change with what it asked after
        self.epoch = 0
        """changes when the rows of the list change their meaning: another session, another filter, cleared"""
        self._forget()

    def _forget(self) -> None:
        self.stats: dict[str, Any] = {}
        self.bins = Bins.empty(0)
        self._bins_from = 0  # bins before this one were never asked for, or forgotten
        self.span: Span | None = None
        self.extent = Extent()
        self._last_ts = (0, 0.0)
        self._forget_alerts()
        self.epoch += 1

    def _forget_alerts(self) -> None:
        self.alerts: dict[int, dict[str, Any]] = {}
        """alerts by number, oldest first, as the hub tells them (docs/protocol.md)"""
        self.rules: list[dict[str, Any]] = []
        """the rules that watch the session, and how they fare"""
        self.alert_cursor = 0
        """grows with every change of an alert"""

    @property
    def window(self) -> str:
        """The window the charts show: the person's choice, else all of a file and the last minute of live traffic."""
        if self.window_choice != _AUTO:
            return self.window_choice
        return "all" if self.stats.get("source") == "replay" else next(iter(WINDOWS))

    @property
    def window_chosen(self) -> bool:
        """Whether somebody chose the window; else it follows from what the session is."""
        return self.window_choice != _AUTO

    def choose_window(self, window: str) -> None:
        """Show that window from the next pull on; '' for the one that follows from what the session is."""
        self.window_choice = window or _AUTO

    @property
    def live(self) -> bool:
        """Whether packets may still come."""
        return self.stats.get("state") == "capturing"

    @property
    def may(self) -> list[str]:
        """What the person may do with the session that is shown; where there is none, with one that they make."""
        return next((s["may"] for s in self.sessions if s["id"] == self.session), self.rights)

    @property
    def query(self) -> str:
        """What the page shows, as one expression: the display filter within the time range; '' for all packets."""
        if self.range is None:
            return self.where
        within = "ts >= '{}' and ts < '{}'".format(*map(_instant, self.range))
        return f"({self.where}) and {within}" if self.where else within

    async def choose(self, session: str) -> None:
        """Show another session; the display filter stays."""
        async with self._pulling:
            if session != self.session:
                self.session, self._name, self.range = session, "", None
                self._forget()
        await self.pull()

    async def choose_range(self, chosen: tuple[int, int] | None) -> None:
        """Show only what was captured in [start, end), ns since 1970; None shows all of it again."""
        async with self._pulling:
            if chosen != self.range:
                self.range, self.extent = chosen, Extent()
                self.epoch += 1
        await self.pull()

    async def create(self, name: str) -> None:
        """Make a new session and show it."""
        await self.choose((await self.client.create_session(name))["id"])

    async def filter(self, where: str) -> None:
        """Use a display filter from now on. ExpressionError leaves the one in use in place."""
        where = where.strip()
        if where:
            await self.client.rows(self.session, 0, 1, where, ["number"])
        async with self._pulling:
            if where != self.where:
                self.where, self.extent = where, Extent()
                self.epoch += 1
        await self.pull()

    async def pull(self) -> None:
        """Ask the hub for what is new. What stands in the way becomes `problem`; nothing is raised for it."""
        async with self._pulling:
            try:
                await self._pull()
                self.problem = ""
            except NotFoundError:
                self._forget()  # it ended between two questions; the next tick chooses another
            except HubUnreachableError as error:
                self.problem = self.client.reason or str(error)
            except AisharkError as error:
                self.problem = str(error)

    async def _pull(self) -> None:
        self.sessions = await self.client.sessions()
        if not self.sessions:
            self._forget()
            self.session, self.stats = "", {"state": "waiting", "reason": _NO_SESSION}
            return
        shown = self._which()
        if shown["id"] != self.session:
            self.session = shown["id"]
            self._forget()
        await self._pull_session()

    def _which(self) -> dict[str, Any]:
        """The session to show: the chosen one, else the one of its name, else the newest.

        A hub that was restarted makes a session anew, with another id, once its agents are back.
        """
        by_id = next((s for s in self.sessions if s["id"] == self.session), None)
        if by_id and self._name in ("", by_id["name"]):
            self._name = by_id["name"]
            return by_id
        by_name = next((s for s in reversed(self.sessions) if s["name"] == self._name), None)
        return by_name or by_id or self.sessions[-1]

    async def _pull_session(self) -> None:
        before, self.stats = self.stats, await self.client.stats(self.session)
        if self.stats["cleared"] != before.get("cleared", self.stats["cleared"]):
            self.bins, self.span = Bins.empty(0), None
            self._forget_alerts()
            self.epoch += 1
        if self.paused:
            return
        await self._pull_rollup()
        await self._pull_extent()
        await self._pull_alerts()

    async def _pull_rollup(self) -> None:
        if not self.stats["first_ts"]:
            return
        now_ns = self._now_ns()
        self.span = span = plan(self.window, self.stats["first_ts"], now_ns, growing=self.live)
        if span.resolution_ms != self.bins.resolution_ms or span.first < self._bins_from:
            self.bins = Bins.empty(span.resolution_ms)
        since = max(self.bins.cursor, span.first)
        batch: pa.RecordBatch = await self.client.rollup(self.session, span.resolution_ms, since)
        self.bins = self.bins.merge(batch, keep_from=span.first)
        self._bins_from = span.first

    async def _pull_extent(self) -> None:
        if self.query:
            _, info = await self.client.rows(self.session, 0, 1, self.query, ["number"])
            complete = info["scanned_to"] >= info["ring_end"]
            self.extent = Extent(first=info["first"], end=info["end"], complete=complete)
        else:
            self.extent = Extent(first=self.stats["first"], end=self.stats["end"])

    async def _pull_alerts(self) -> None:
        answer = await self.client.alerts(self.session, self.alert_cursor)
        self.alerts.update((alert["number"], alert) for alert in answer["alerts"])
        while len(self.alerts) > _MAX_ALERTS:
            del self.alerts[next(iter(self.alerts))]
        self.alert_cursor, self.rules = answer["next"], answer["rules"]

    def _now_ns(self) -> int:
        """Capture time now: the last packet's, and while capturing live the time since it came (a quiet line is 0)."""
        last_ts, now = int(self.stats["last_ts"]), self._clock()
        if last_ts != self._last_ts[0]:
            self._last_ts = (last_ts, now)
        if not self.live or self.stats.get("source") == "replay":
            return last_ts
        return last_ts + int((now - self._last_ts[1]) * 1e9)


def _instant(ns: int) -> str:
    """A moment as expressions take it, to the nanosecond."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
