"""Follow: what was said in one conversation, both directions in order, and how it fared.

A sheet over the lower part of the page. It asks the hub for a page of bytes at a time, as far as somebody reads; the
browser brings back the cursor of the next one.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import FAMILIES, family_of, script

__all__ = ["PAGE_BYTES", "Follow"]

PAGE_BYTES: Final = 200_000
"""Most bytes of one page, but for the last packet's."""

Add = Callable[[str, bool], Awaitable[None]]
Select = Callable[[int], Awaitable[None]]


class FollowElement(Element):
    _esm = script("follow_numbers.js", "follow.js")


class Follow(View):
    """One conversation, once `read` was called. `on_filter(condition, exclude)` hears that only it should be shown,
    `on_select(number)` which packet should be looked at."""

    root: FollowElement
    every: ClassVar[int] = 3

    def __init__(self, feed: Feed, on_filter: Add | None = None, on_select: Select | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._on_select = on_select
        self._shown: tuple[str, int] | None = None
        """session and conversation"""
        self._known: dict[str, Any] = {}
        self.root = FollowElement(
            self._receive, "follow.css", css_classes=["follow"], sizing_mode="stretch_width", margin=0
        )

    async def read(self, conversation: int) -> None:
        """Open on a conversation."""
        self._shown, self._known = (self.feed.session, conversation), {}
        await self.pull()
        self.paint()

    async def pull(self) -> None:
        shown = self._shown
        if shown is None or (self.feed.paused and self._known):
            return
        try:
            known = await self.feed.client.conversation(self.feed.reach, shown[1])
        except AisharkError as error:
            known = {**self._known, "problem": str(error)}
        if self._shown == shown:
            self._known = known

    def paint(self) -> None:
        if self._shown is None or self._shown[0] != self.feed.session:
            self._shown = None
            self.root.draw()
            return
        counts, kept = self._known.get("counts"), self._known.get("kept")
        protocol = counts["protocol"] if counts else ""
        self.root.draw(
            conversation=str(self._shown[1]),
            family=FAMILIES[family_of(protocol)].key,
            protocol=protocol,
            numbers=_numbers(counts) if counts else None,
            kept=_kept(kept) if kept else None,
            problem=self._known.get("problem", ""),
            filters=self._on_filter is not None,
        )

    async def _receive(self, message: Any) -> None:
        match message:
            case {"close": True}:
                self._shown = None
                self.root.draw()
            case {"page": str(cursor), "conversation": str(conversation)} if self._is_shown(conversation):
                await self._page(cursor)
            case {"only": bool(exclude)} if self._on_filter and self._shown:
                await self._on_filter(f"conversation_id == {self._shown[1]}", exclude)
            case {"select": int(number)} if self._on_select:
                await self._on_select(number)

    def _is_shown(self, conversation: str) -> bool:
        return self._shown is not None and str(self._shown[1]) == conversation

    async def _page(self, cursor: str) -> None:
        """Send a page; without an answer the browser would ask no more."""
        assert self._shown is not None
        _, conversation = self._shown
        answer: dict[str, Any] = {"conversation": str(conversation), "pieces": [], "data": "", "problem": ""}
        try:
            found, body = await self.feed.client.payloads(self.feed.reach, conversation, cursor, PAGE_BYTES)
            answer |= {name: found[name] for name in ("a", "b", "more", "cursor")}
            answer["pieces"] = [
                [p["number"], p["ts"] // 1_000, p["side"], p["length"], p["missing"], p["cut"], p["begins"]]
                for p in found["pieces"]
            ]
            answer["data"] = base64.b64encode(body).decode()
        except AisharkError as error:
            answer["problem"] = str(error)
        self.root.send(answer)


def _numbers(counts: dict[str, Any]) -> dict[str, Any]:
    """Counts for the browser: durations in ms, null where not known."""
    problems = ("retransmissions", "out_of_order", "lost_segments", "duplicate_acks", "zero_windows")
    return {
        **{name: [counts[f"{name}_ab"], counts[f"{name}_ba"]] for name in ("packets", "bytes", *problems)},
        "duration_ms": (counts["last_ts"] - counts["first_ts"]) / 1e6,
        "handshake_ms": _milliseconds(counts["handshake_rtt_ns"]),
        "rtt_ms": [_milliseconds(counts["rtt_ab_ns"]), _milliseconds(counts["rtt_ba_ns"])],
    }


def _milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e6


def _kept(kept: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: kept[name] for name in ("packets", "bytes_ab", "bytes_ba")},
        "bin_ms": kept["bin_ns"] / 1e6,
        "start_ms": kept["start_ns"] / 1e6,
    }
