"""What one page knows of one session: statistics, rollups, alerts, the display filter and which packets it leaves.

A page pulls: each tick `Feed.pull` asks the hub what is new since the cursor it holds, once, however many views draw
it. The views then paint from here. Traffic by time is asked for by the views in sight that draw it (`traffic`), once a
tick; only the packet list and the detail ask the hub for more, for what is in sight.
A page that is paused goes on reading the statistics and leaves everything else as it was.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from aishark_panel.client import HubClient
from aishark_panel.errors import AisharkError, HubUnreachableError, NotFoundError
from aishark_panel.views.columns import WINDOWS, Bins, Span, plan, zoom
from aishark_panel.wire.times import within

__all__ = ["Extent", "Feed"]

_AUTO: Final = "auto"
_NO_SESSION: Final = "No session is yours to look at yet. Start an agent, or open a capture file."
_LEDGER_TICKS: Final = 5
_MAX_SERIES: Final = 8
_END_OF_TIME: Final = 2**63 - 1
_MAX_ALERTS: Final = 500
"""Most alerts a page holds, the newest."""


@dataclass(slots=True)
class _Series:
    """Traffic by one grouping, as far as it was asked for."""

    where: str
    bins: Bins
    first: int
    """bins before this one were never asked for, or forgotten"""
    complete: bool = False
    first_ts: int = 0
    fresh: tuple[int, Span] | None = None
    """tick and span of the last question"""

    @property
    def span(self) -> Span | None:
        return self.fresh[1] if self.fresh else None

    def covers(self, span: Span) -> bool:
        return span.resolution_ms == self.bins.resolution_ms and span.first >= self.first

    def take(self, batch: pa.RecordBatch, info: dict[str, Any], span: Span, fresh: tuple[int, Span]) -> None:
        if not self.complete:  # what grows now may be older than what is known
            merged = Bins.empty(span.resolution_ms).merge(batch)
        else:
            merged = self.bins.merge(batch, keep_from=span.first)
        self.bins, self.first = merged, span.first
        self.complete, self.first_ts, self.fresh = info["complete"], info["first_ts"], fresh


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
        self.changed: list[Callable[[], Awaitable[None]]] = []
        """who is called as soon as the page shows other packets, and does not wait for the next tick"""
        self.epoch = 0
        """changes when the rows of the list change their meaning: another session, another filter, cleared"""
        self._forget()

    def _forget(self) -> None:
        self.stats: dict[str, Any] = {}
        self._series: dict[tuple[str, bool], _Series] = {}
        self.span: Span | None = None
        """the time that charts show: the range, else the window"""
        self.around: Span | None = None
        """the window, in which the timeline draws the range"""
        self.until: int | None = None
        """where the window ends, ns since 1970; None: now"""
        self._held_ns = 0  # where it ends while the page is paused
        self.gaps: list[dict[str, Any]] = []
        """times in which nothing was heard of an agent (docs/protocol.md)"""
        self.losses: list[dict[str, Any]] = []
        """times in which packets were lost"""
        self._ticks = 0
        self.extent = Extent()
        self.reading = ""
        """how far the hub is with reading the chosen time back from its disk, in words; "" when there is nothing to"""
        self.missing = ""
        """what it could not read of that"""
        self.is_read_back = False
        """whether what is shown comes from there"""
        self._counted = -1  # epoch that the extent is of
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
    def rewound(self) -> bool:
        """Whether the charts show the past while packets go on to come."""
        return self.until is not None

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
        return within(*self.range, self.where) if self.range else self.where

    @property
    def reach(self) -> str:
        """What to ask the hub about packets: the session, or what it saw in the time that was chosen, which may be on
        the hub's disk only (HubClient.within)."""
        return self._within(self.range) if self.range else self.session

    def _within(self, span: tuple[int, int]) -> str:
        start, end = (min(max(moment, 0), _END_OF_TIME) for moment in span)
        return self.client.within(self.session, start, end) if start < end else self.session

    async def choose(self, session: str) -> None:
        """Show another session; the display filter stays."""
        async with self._pulling:
            if session != self.session:
                self.session, self._name, self.range = session, "", None
                self._forget()
        await self._tell()

    async def choose_range(self, chosen: tuple[int, int] | None) -> None:
        """Show only what was captured in [start, end), ns since 1970; None shows all of it again."""
        async with self._pulling:
            if chosen != self.range:
                self.range, self.extent = chosen, Extent()
                self.epoch += 1
        await self._tell()

    async def rewind(self, until: int | None) -> None:
        """Let the window end at that time, ns since 1970, or now (None)."""
        async with self._pulling:
            first, last = self.stats.get("first_ts", 0), self._now_ns()
            self.until = None if until is None or until >= last else max(until, first + 1)
            self._plan()
        await self.pull()

    async def traffic(self, by: str, *, around: bool = False) -> Bins:
        """Traffic by group over `span`, of what the page shows; with `around` over the window, whatever range was
        chosen in it. It is asked for once a tick; a view that draws it calls this in its `pull`."""
        span, where = (self.around, self.where) if around else (self.span, self.query)
        if span is None:
            return Bins.empty(0)
        series = self._series.pop((by, around), None)
        if series is None or series.where != where or not series.covers(span):
            series = _Series(where, Bins.empty(span.resolution_ms), span.first)
        self._series[by, around] = series  # the one asked for last comes last
        while len(self._series) > _MAX_SERIES:
            del self._series[next(iter(self._series))]
        fresh = (self._ticks, span)
        if series.fresh != fresh and not (self.paused and series.complete and series.span == span):
            since = max(series.bins.cursor, span.first) if series.complete else span.first
            with contextlib.suppress(AisharkError):  # `pull` tells what stands in the way
                session = self.session
                if where and (self.range or self.rewound):
                    session = self._within((int(span.start_ms * 1e6), int(span.end_ms * 1e6)))
                answer = await self.client.traffic(session, span.resolution_ms, since, where, by)
                series.take(*answer, span, fresh)
        return series.bins

    def known(self, by: str, *, around: bool = False) -> "tuple[Bins, bool, int]":
        """What `traffic` brought last, for `paint`: the bins, whether the hub had looked at all packets, and the time
        of the first packet that was counted, ns."""
        series = self._series.get((by, around))
        return (series.bins, series.complete, series.first_ts) if series else (Bins.empty(0), True, 0)

    def known_from_ms(self, first_ts: int) -> float:
        """When a count begins that `known` told the first packet of: 0 if it is of all packets there were."""
        whole = bool(self.query) or first_ts <= self.stats.get("first_ts", 0)
        return 0 if whole else first_ts / 1e6

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
        await self._tell()

    async def _tell(self) -> None:
        await self.pull()
        for tell in self.changed:
            await tell()

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
            self._series, self.span, self.around, self.until = {}, None, None, None
            self._forget_alerts()
            self.epoch += 1
        self._plan()
        if self.paused:
            if self._counted != self.epoch or not self.extent.complete:  # there are no rows yet that could stay
                await self._pull_extent()
            return
        self._ticks += 1
        if self._ticks % _LEDGER_TICKS == 1:
            book = await self.client.ledger(self.session)
            self.gaps, self.losses = book["gaps"], book.get("losses", [])
        await self._pull_extent()
        await self._pull_alerts()

    def _plan(self) -> None:
        """Which time the charts show now."""
        if not self.stats.get("first_ts"):
            return
        if not self.paused or not self._held_ns:
            self._held_ns = self._now_ns()
        now_ns = self._held_ns
        growing = self.live and not self.rewound
        first_ts = self.stats["first_ts"]
        self.around = plan(self.window, first_ts, self.until or now_ns, growing=growing, now_ts=now_ns)
        self.span = zoom(*self.range) if self.range else self.around

    async def _pull_extent(self) -> None:
        self._counted = self.epoch
        if self.query:
            _, info = await self.client.rows(self.reach, 0, 1, self.query, ["number"])
            self.reading, self.missing = info.get("reading", ""), info.get("missing", "")
            if self.is_read_back != ("reading" in info):  # the ring let the time go: rows are counted anew
                self.is_read_back = not self.is_read_back
                self.epoch += 1
                self._counted = self.epoch
            complete = info["scanned_to"] >= info["ring_end"] and not self.reading
            self.extent = Extent(first=info["first"], end=info["end"], complete=complete)
        else:
            self.reading, self.missing, self.is_read_back = "", "", False
            self.extent = Extent(first=self.stats["first"], end=self.stats["end"])

    async def _pull_alerts(self) -> None:
        answer = await self.client.alerts(self.session, self.alert_cursor)
        self.alerts.update((alert["number"], alert) for alert in answer["alerts"])
        while len(self.alerts) > _MAX_ALERTS:
            del self.alerts[next(iter(self.alerts))]
        self.alert_cursor, self.rules = answer["next"], answer["rules"]

    def _now_ns(self) -> int:
        """Capture time now: the last packet's, and while capturing live the time since it came (a quiet line is 0)."""
        last_ts, now = int(self.stats.get("last_ts", 0)), self._clock()
        if last_ts != self._last_ts[0]:
            self._last_ts = (last_ts, now)
        if not self.live or self.stats.get("source") == "replay":
            return last_ts
        return last_ts + int((now - self._last_ts[1]) * 1e9)
