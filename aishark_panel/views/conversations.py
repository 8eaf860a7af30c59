"""Conversations: who talks with whom and how much, both directions, most bytes first."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

import pyarrow as pa

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import FAMILIES, family_of, script

__all__ = ["MAX_CONVERSATIONS", "Conversations"]

MAX_CONVERSATIONS: Final = 200
"""Most conversations in the table."""

Add = Callable[[str, bool], Awaitable[None]]


class ConversationsElement(Element):
    _esm = script("conversations.js")


class Conversations(View):
    """The conversations with most bytes. `on_filter(condition, exclude)` hears which one is clicked."""

    root: ConversationsElement
    every: ClassVar[int] = 2

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._rows: list[dict[str, Any]] = []
        self._rows_of = ""  # the session they belong to
        self._problem = ""
        self.root = ConversationsElement(
            self._receive, "conversations.css", css_classes=["conversations"], sizing_mode="stretch_both", margin=0
        )

    async def pull(self) -> None:
        feed = self.feed
        if not feed.session or (feed.paused and self._rows_of == feed.session):
            return
        session = feed.session
        try:
            batch = await feed.client.conversations(session, MAX_CONVERSATIONS)
        except AisharkError as error:
            self._problem = str(error)
        else:
            self._rows, self._rows_of, self._problem = _rows(batch), session, ""

    def _empty(self) -> str:
        """Why there is no row."""
        why = self._problem or self.feed.problem or ("" if self.feed.session else self.feed.stats.get("reason"))
        return why or "No conversation has been seen yet."

    def paint(self) -> None:
        rows = self._rows if self._rows_of == self.feed.session else []
        self.root.draw(
            rows=rows,
            total=self.feed.stats.get("conversations", 0),
            forgotten=self.feed.stats.get("conversations_forgotten", 0),
            filtered=bool(self.feed.where),
            empty="" if rows else self._empty(),
        )

    async def _receive(self, message: Any) -> None:
        match message:
            case {"filter": str(conversation), "exclude": bool(exclude)} if self._on_filter:
                if conversation in (row["id"] for row in self._rows):
                    await self._on_filter(f"conversation_id == {conversation}", exclude)


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
        }
        for each in batch.to_pylist()
    ]


def _milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / 1e6, 3)


def _endpoint(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
