"""Endpoints: addresses with what they sent and received; all of them in a table, the busiest ones as bars."""

from typing import Any, ClassVar, Final

import pyarrow as pa

from aishark_panel.views.base import Element
from aishark_panel.views.feed import Feed
from aishark_panel.views.ranking import Add, Ranking
from aishark_panel.views.theme import script
from aishark_panel.views.words import why_nothing

__all__ = ["MAX_ENDPOINTS", "MAX_TALKERS", "Endpoints", "TopTalkers"]

MAX_ENDPOINTS: Final = 200
"""Most addresses in the table."""
MAX_TALKERS: Final = 8
"""Most bars."""
_SORTS: Final = {
    "bytes": "bytes",
    "packets": "packets",
    "bytes_sent": "bytes_sent",
    "bytes_received": "bytes_received",
    "conversations": "conversations",
    "last_ms": "last",
}
"""The hub's words for the table's columns."""


class EndpointsElement(Element):
    _esm = script("endpoints.js")


class TalkersElement(Element):
    _esm = script("talkers.js")


class _Addresses(Ranking):
    """What the table and the bars share."""

    every: ClassVar[int] = 3
    sorts = _SORTS
    key = "address"
    column = "ip.addr"
    limit: ClassVar[int]

    async def _ask(self) -> tuple[pa.RecordBatch, dict[str, Any]]:
        feed = self.feed
        return await feed.client.endpoints(feed.reach, self.limit, feed.query, self._sort)

    def _lines(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        return _rows(batch)

    def paint(self) -> None:
        rows = self._shown
        self.root.draw(
            rows=rows,
            sort=next(name for name, word in _SORTS.items() if word == self._sort),
            total=self._info.get("total", 0),
            complete=self._info.get("complete", True),
            scope="of what matches" if self.feed.query else "whole capture",
            empty="" if rows else self._problem or why_nothing(self.feed, "address"),
        )


class Endpoints(_Addresses):
    """A table of the addresses with most of what it is sorted by."""

    limit = MAX_ENDPOINTS

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed, on_filter)
        self.root = EndpointsElement(
            self._receive, "conversations.css", css_classes=["endpoints"], sizing_mode="stretch_both", margin=0
        )


class TopTalkers(_Addresses):
    """The addresses with most bytes as bars, in both directions."""

    limit = MAX_TALKERS

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed, on_filter)
        self.root = TalkersElement(
            self._receive, "talkers.css", css_classes=["talkers"], sizing_mode="stretch_both", margin=0
        )


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Times in ms since 1970."""
    return [
        {
            "address": each["address"],
            "packets": each["packets_sent"] + each["packets_received"],
            "bytes": each["bytes_sent"] + each["bytes_received"],
            "bytes_sent": each["bytes_sent"],
            "bytes_received": each["bytes_received"],
            "packets_sent": each["packets_sent"],
            "packets_received": each["packets_received"],
            "conversations": each["conversations"],
            "last_ms": each["last_ts"] // 1_000_000,
        }
        for each in batch.to_pylist()
    ]
