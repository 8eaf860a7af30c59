"""Conversations: who talks with whom and how much, both directions, most bytes first."""

from typing import Any, ClassVar, Final

import pyarrow as pa

from aishark_panel.views.base import Element
from aishark_panel.views.feed import Feed
from aishark_panel.views.ranking import Add, Ranking
from aishark_panel.views.theme import FAMILIES, family_of, script
from aishark_panel.views.words import why_nothing

__all__ = ["MAX_CONVERSATIONS", "Conversations"]

MAX_CONVERSATIONS: Final = 200
"""Most conversations in the table."""

_SORTS: Final = {
    "packets": "packets",
    "bytes": "bytes",
    "bytes_ab": "bytes_ab",
    "bytes_ba": "bytes_ba",
    "start_ms": "start",
    "duration_ms": "duration",
    "rtt_ms": "rtt",
    "retransmissions": "problems",
    "problems": "problems",
}
"""The hub's words for the table's columns."""
_PROBLEMS: Final = ("retransmissions", "out_of_order", "lost_segments", "duplicate_acks", "zero_windows")


class ConversationsElement(Element):
    _esm = script("conversations.js")


class Conversations(Ranking):
    """The conversations with most bytes. `on_filter(condition, exclude)` hears which one is clicked."""

    root: ConversationsElement
    every: ClassVar[int] = 2
    sorts = _SORTS
    key = "id"
    column = "conversation_id"

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed, on_filter)
        self.root = ConversationsElement(
            self._receive, "conversations.css", css_classes=["conversations"], sizing_mode="stretch_both", margin=0
        )

    async def _ask(self) -> tuple[pa.RecordBatch, dict[str, Any]]:
        feed = self.feed
        return await feed.client.conversations(feed.reach, MAX_CONVERSATIONS, feed.query, self._sort)

    def _lines(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        return _rows(batch)

    def paint(self) -> None:
        rows = self._shown
        self.root.draw(
            rows=rows,
            sort=self._sort,
            total=self._info.get("total", 0),
            forgotten=self.feed.stats.get("conversations_forgotten", 0),
            scope="of what matches" if self.feed.query else "",
            complete=self._info.get("complete", True),
            empty="" if rows else self._problem or why_nothing(self.feed, "conversation"),
        )


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Conversations as the browser wants them: times in ms since 1970; the id as a text, JavaScript's numbers are too
    short for it."""
    return [
        {
            "id": str(each["conversation_id"]),
            "a": _endpoint(each["addr_a"], each["port_a"]),
            "b": _endpoint(each["addr_b"], each["port_b"]),
            "protocol": each["protocol"],
            "family": FAMILIES[family_of(each["protocol"])].key,
            "packets": each["packets_ab"] + each["packets_ba"],
            "bytes": each["bytes_ab"] + each["bytes_ba"],
            "bytes_ab": each["bytes_ab"],
            "bytes_ba": each["bytes_ba"],
            "start_ms": each["first_ts"] // 1_000_000,
            "duration_ms": (each["last_ts"] - each["first_ts"]) // 1_000_000,
            "rtt_ms": _milliseconds(each["handshake_rtt_ns"]),
            "retransmissions": each["retransmissions_ab"] + each["retransmissions_ba"],
            "problems": sum(each[f"{name}_{way}"] for name in _PROBLEMS for way in ("ab", "ba")),
            "kinds": ", ".join(
                f"{each[f'{name}_ab'] + each[f'{name}_ba']:,} {name.replace('_', ' ')}"
                for name in _PROBLEMS
                if each[f"{name}_ab"] + each[f"{name}_ba"]
            ),
        }
        for each in batch.to_pylist()
    ]


def _milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / 1e6, 3)


def _endpoint(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
