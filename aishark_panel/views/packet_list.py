"""Packet list: any number of packets, of which only the rows in sight travel.

The browser asks for a range of rows and names its columns, at most one question at a time; the answer is one message.
What the list spans (`Feed.extent`) goes down with every tick, and while the list follows what is new, the newest rows
go with it: as many as fit, whatever the packet rate.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aishark_panel.errors import AisharkError, NotFoundError
from aishark_panel.views.access import public_url
from aishark_panel.views.base import Element, View
from aishark_panel.views.cells import PROBLEMS, choices, condition, needed, row_columns
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script
from aishark_panel.wire.times import instant

__all__ = ["MAX_COLUMNS", "MAX_ROWS", "PacketList"]

MAX_ROWS: Final = 400
"""Most rows in one answer: a tall screen and as much again."""
MAX_COLUMNS: Final = 40
"""Most columns of a list."""

Select = Callable[[int], Awaitable[None]]
Add = Callable[[str, bool], Awaitable[None]]


class PacketListElement(Element):
    _esm = script(
        "menu.js", "list_columns.js", "list_times.js", "list_menu.js", "list_store.js", "list_rows.js", "packet_list.js"
    )


class PacketList(View):
    """The list of packets the page shows. `on_select(number)` hears which one is looked at, and
    `on_filter(condition, exclude)` what should join the display filter."""

    root: PacketListElement

    def __init__(self, feed: Feed, on_select: Select | None = None, on_filter: Add | None = None) -> None:
        super().__init__(feed)
        self._on_select, self._on_filter = on_select, on_filter
        self._selected = 0
        """number of the packet that is looked at; 0 for none"""
        self._fits = 0
        """rows that fit into the list"""
        self._follows = False
        """whether it shows what is new"""
        self._columns: list[str] = []
        self._newest: dict[str, Any] | None = None
        self._goal: dict[str, Any] | None = None
        """the row to go to, until the browser says that it did"""
        self._turn = 0
        self.root = PacketListElement(
            self._receive, "packet_list.css", css_classes=["packet-list"], sizing_mode="stretch_both", margin=0
        )
        feed.changed.append(self._start_anew)

    async def _start_anew(self) -> None:
        """The page shows other packets: the first rows of them are on their way before the rest of the page asks. A
        packet that somebody looks at stays in sight if it is among them; else the list follows what is new."""
        with contextlib.suppress(AisharkError):  # the feed says what is the matter
            if not self._selected or self._follows or not await self.select(self._selected):
                self._follows, self._selected = True, 0
                await self.pull(although_paused=True)
        self.repaint()

    async def pull(self, *, although_paused: bool = False) -> None:
        """The newest rows, while the list follows them."""
        feed, self._newest = self.feed, None
        if not self._follows or not self._fits or not feed.extent.count or (feed.paused and not although_paused):
            return
        first, epoch = max(feed.extent.first, feed.extent.end - self._fits), feed.epoch
        with contextlib.suppress(AisharkError):  # the feed says what is the matter
            newest = await self._rows(first, feed.extent.end - first, self._columns)
            self._newest = {"epoch": epoch, **newest}

    def paint(self) -> None:
        feed = self.feed
        self.root.draw(
            epoch=feed.epoch,
            first=feed.extent.first,
            end=feed.extent.end,
            paused=feed.paused,
            start_ns=str(feed.stats.get("first_ts", 0)),
            several=_several(feed.stats.get("agents", ())),
            newest=self._newest,
            go=self._goal,
            empty=self._empty(),
        )

    def _empty(self) -> str:
        """Why there is no row; '' where there is one."""
        feed = self.feed
        if feed.extent.count:
            return ""
        kept = feed.stats.get("end", 0) - feed.stats.get("first", 0)
        if feed.query and kept:
            what = "the display filter" if feed.where else "the time range"
            what += " in the time range" if feed.where and feed.range else ""
            return f"None of the {kept:,} packets kept matches {what}."
        return feed.problem or feed.stats.get("reason") or "No packet has arrived yet."

    async def go_to(self, number: int) -> None:
        """Show a packet, or the one of the list that is nearest to it. NotFoundError if the list has none."""
        found = await self._seek(number, "", back=False)
        if not found["number"]:
            raise NotFoundError("The list has no packets.")
        if found["number"] != number:
            before = await self._seek(number, "", back=True)
            found = min((found, before), key=lambda each: abs(each["number"] - number))
        self._go(found, "" if found["number"] == number else self._why_not(number))

    def _why_not(self, number: int) -> str:
        """Why a packet is not in the list, and that another is shown."""
        stats = self.feed.stats
        why = "does not match what the page shows"
        if number < stats.get("first", 0):
            why = "has left the ring" if number > 0 else "does not exist"
        elif number >= stats.get("end", 0):
            why = "has not come yet"
        return f"Packet {number:,} {why}; this one is nearest."

    async def select(self, number: int) -> bool:
        """Show a packet if the list has it."""
        found = await self._seek(number, "", back=False)
        is_there = bool(found["number"] == number)
        if is_there:
            self._go(found, "")
        return is_there

    async def next_problem(self, forward: bool = True) -> None:
        """Show the next packet, or the one before, that is marked: TCP had trouble, a connection was reset, or it is
        malformed. NotFoundError if the list has none."""
        at = self._selected or (0 if forward else int(self.feed.stats.get("end", 0)))
        found = await self._seek(at + 1 if forward else at - 1, PROBLEMS, back=not forward)
        if not found["number"]:
            raise NotFoundError("No packet of the list has a problem.")
        note = (
            "There is none after that one: this is the first." if forward else "There is none before: this is the last."
        )
        self._go(found, note if found["wrapped"] else "")

    async def _seek(self, number: int, only: str, *, back: bool) -> dict[str, Any]:
        feed, epoch = self.feed, self.feed.epoch
        found = await feed.client.seek(feed.reach, number, feed.query, only, back=back)
        return {**found, "epoch": epoch}

    def _go(self, found: dict[str, Any], note: str) -> None:
        if found["epoch"] != self.feed.epoch:
            return  # the list became another one meanwhile
        self._selected, self._follows, self._turn = found["number"], False, self._turn + 1
        self._goal = {"row": found["row"], "note": note, "turn": self._turn, "epoch": found["epoch"]}
        self.repaint()

    async def _receive(self, message: Any) -> None:
        match message:
            case {"rows": [int(first), int(count)], "epoch": int(epoch), "columns": [*columns]}:
                await self._answer(first, min(max(count, 0), MAX_ROWS), epoch, _names(columns))
            case {"fits": int(rows), "follows": bool(follows), "columns": [*columns]}:
                self._fits, self._columns = min(max(rows, 0), MAX_ROWS), _names(columns)
                self._follows = follows
            case {"select": int(number)}:
                self._selected, self._goal = number, None
                if self._on_select:
                    await self._on_select(number)
            case {"go_to": int(number)}:
                await self.go_to(number)
            case {"problem": bool(forward)}:
                await self.next_problem(forward)
            case {"choices": True}:
                self.root.send({"choices": choices()})
            case {"filter": str(name), "packet": int(number), "exclude": bool(exclude)} if self._on_filter:
                await self._on_filter(await self._condition(name, number), exclude)
            case {"copy": "filter", "column": str(name), "packet": int(number)}:
                self.root.send({"copied": await self._condition(name, number)})
            case {"copy": "wireshark", "packet": int(number)}:
                self.root.send({"copied": await self._command(number)})
            case {"copy": "bytes", "packet": int(number)}:
                packet = await self.feed.client.packet(self.feed.reach, number)
                self.root.send({"copied": packet["frame"].hex(" ")})

    async def _answer(self, first: int, count: int, epoch: int, columns: Sequence[str]) -> None:
        answer: dict[str, Any] = {"first": first, "kept": 0, "rows": {}}
        try:
            if epoch == self.feed.epoch:
                answer = await self._rows(first, count, columns)
        finally:  # without an answer the list would ask no more
            self.root.send({"epoch": epoch, **answer})

    async def _rows(self, first: int, count: int, columns: Sequence[str]) -> dict[str, Any]:
        feed = self.feed
        batch, info = await feed.client.rows(feed.reach, first, count, feed.query, needed(columns))
        kept = int(info["first"])
        return {"first": max(first, kept), "kept": kept, "rows": row_columns(batch, columns)}

    async def _command(self, number: int) -> str:
        """What opens Wireshark at a packet, also when it has left the ring."""
        packet = await self.feed.client.packet(self.feed.reach, number)
        url = public_url() or self.feed.client.url
        hub = f"AISHARK_HUB={url} " if url else ""
        return f"{hub}aishark wireshark {self.feed.session} --packet {number} --at {instant(packet['ts'])}"

    async def _condition(self, name: str, number: int) -> str:
        columns = needed([name])
        if len(columns) == len(needed([])) and name not in columns:
            raise NotFoundError(f"There is no column {name!r:.60}.")
        batch, _ = await self.feed.client.rows(self.feed.reach, number, 1, "", columns)
        if not batch.num_rows:
            raise NotFoundError(f"Packet {number:,} has left the ring.")
        return condition(name, batch)


def _several(agents: Sequence[dict[str, Any]]) -> str:
    """The column that tells apart where packets come from: '' where they all come from one interface."""
    if any(len(agent["interfaces"]) > 1 for agent in agents):
        return "iface"
    return "agent" if len({agent["name"] for agent in agents}) > 1 else ""


def _names(columns: Sequence[Any]) -> list[str]:
    return [name for name in columns if isinstance(name, str)][:MAX_COLUMNS]
