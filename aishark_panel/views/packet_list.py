"""Packet list: any number of packets, of which only the rows in sight travel.

The browser asks for a range of rows, at most one question at a time; the answer is one message of columns. What the
list spans (`Feed.extent`) goes down with every tick, a few bytes whatever the packet rate.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import FAMILIES, family_of, script

__all__ = ["MAX_ROWS", "PacketList", "row_columns"]

MAX_ROWS: Final = 400
"""Most rows in one answer: a tall screen and as much again."""

COLUMNS: Final = ("number", "ts", "src_ip", "dst_ip", "eth_src", "eth_dst", "protocol", "orig_len", "info", "malformed")

Select = Callable[[int], Awaitable[None]]


class PacketListElement(Element):
    _esm = script("packet_list.js")


class PacketList(View):
    """The list of packets the display filter leaves. `on_select(number)` hears which one is looked at."""

    root: PacketListElement

    def __init__(self, feed: Feed, on_select: Select | None = None) -> None:
        super().__init__(feed)
        self._on_select = on_select
        self.root = PacketListElement(
            self._receive, "packet_list.css", css_classes=["packet-list"], sizing_mode="stretch_both", margin=0
        )

    def paint(self) -> None:
        feed = self.feed
        self.root.draw(
            epoch=feed.epoch,
            first=feed.extent.first,
            end=feed.extent.end,
            paused=feed.paused,
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

    async def _receive(self, message: Any) -> None:
        match message:
            case {"rows": [int(first), int(count)], "epoch": int(epoch)}:
                await self._answer(first, min(max(count, 0), MAX_ROWS), epoch)
            case {"select": int(number)} if self._on_select:
                await self._on_select(number)

    async def _answer(self, first: int, count: int, epoch: int) -> None:
        feed = self.feed
        rows: dict[str, list[Any]] = {}
        try:
            if epoch == feed.epoch:
                batch, info = await feed.client.rows(feed.session, first, count, feed.query, list(COLUMNS))
                first = max(first, int(info["first"]))
                rows = row_columns(batch)
        finally:  # without an answer the list would ask no more
            self.root.send({"epoch": epoch, "first": first, "rows": rows})


def row_columns(batch: pa.RecordBatch) -> dict[str, list[Any]]:
    """Rows as the browser wants them: number, time (HH:MM:SS.ffffff UTC), date, src, dst, protocol, family, length,
    info, bad. Packets without network addresses show their link-layer ones."""
    ts = batch.column("ts").cast(pa.int64()).to_numpy(zero_copy_only=False).astype("datetime64[ns]")
    stamps = np.datetime_as_string(ts, unit="us")
    protocol = batch.column("protocol").to_pylist()
    return {
        "number": batch.column("number").to_pylist(),
        "date": [s[:10] for s in stamps],
        "time": [s[11:] for s in stamps],
        "src": _either(batch, "src_ip", "eth_src"),
        "dst": _either(batch, "dst_ip", "eth_dst"),
        "protocol": protocol,
        "family": [FAMILIES[family_of(p)].key for p in protocol],
        "length": batch.column("orig_len").to_pylist(),
        "info": [text or "" for text in batch.column("info").to_pylist()],
        "bad": [bool(b) for b in batch.column("malformed").to_pylist()],
    }


def _either(batch: pa.RecordBatch, name: str, otherwise: str) -> list[str]:
    pairs = zip(batch.column(name).to_pylist(), batch.column(otherwise).to_pylist(), strict=True)
    return [a or b or "" for a, b in pairs]
