"""Filter bar: the display filter with what it matches or what is wrong with it, and the charts' window.

The display filter chooses among packets that were kept. What an agent keeps at all is its capture filter; that one is
shown with the agent, in the header.

While somebody types, the browser asks what may stand there and what is wrong so far (views/completion.py); nothing of
that is applied. Filters that were used or saved stay with the browser.
"""

from typing import Any

from aishark_panel.errors import ExpressionError
from aishark_panel.query.tokens import MAX_TEXT_CHARS
from aishark_panel.views.base import Element, View
from aishark_panel.views.columns import WINDOWS
from aishark_panel.views.completion import fault_of, place_of
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script
from aishark_panel.views.typing_help import typing_answer, with_values_of

__all__ = ["FilterBar"]


class FilterBarElement(Element):
    _esm = script("menu.js", "completion.js", "filters_menu.js", "filter_bar.js")


class FilterBar(View):
    """The one place where the display filter is kept; other views add to it with `add`."""

    root: FilterBarElement

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._error: dict[str, Any] | None = None
        self.root = FilterBarElement(
            self._receive,
            "completion.css",
            "filter_bar.css",
            css_classes=["filter-bar"],
            sizing_mode="stretch_width",
            margin=0,
        )

    def paint(self) -> None:
        feed = self.feed
        first = 1 if feed.is_read_back else feed.stats.get("first", 0)
        kept = feed.stats.get("end", 0) - first
        self.root.draw(
            where=feed.where,
            error=self._error,
            matched=feed.extent.count if feed.query else None,
            range_ms=[ns / 1_000_000 for ns in feed.range] if feed.range else None,
            complete=feed.extent.complete,
            kept=kept,
            window=feed.window,
            windows=[*WINDOWS, "all"],
        )

    async def add(self, condition: str, exclude: bool = False) -> None:
        """Narrow the filter by a condition, or by its opposite."""
        condition = f"not ({condition})" if exclude else condition
        await self.apply(f"({self.feed.where}) and {condition}" if self.feed.where else condition)

    async def apply(self, where: str) -> None:
        """Use a filter; what is wrong with it is shown under the box."""
        try:
            await self.feed.filter(where)
            self._error = None
        except ExpressionError as error:
            # The hub's word counts; this process may know a newer or older language.
            known = fault_of(where) or {"fix": ""}
            self._error = {**known, "text": where, "message": str(error), "position": error.position}
        self.paint()

    async def _look_at(self, text: str, cursor: int, turn: int) -> None:
        """Answer somebody who types: what may stand at the cursor, and what is wrong with the text."""
        text = text[:MAX_TEXT_CHARS]
        place = await with_values_of(self.feed, place_of(text, min(max(cursor, 0), len(text))))
        self.root.send({"turn": turn, **typing_answer(place, fault_of(text))})

    async def _receive(self, message: Any) -> None:
        match message:
            case {"where": str(where)}:
                await self.apply(where)
            case {"edit": str(text), "cursor": int(cursor), "turn": int(turn)}:
                await self._look_at(text, cursor, turn)
            case {"range": None}:
                await self.feed.choose_range(None)
                self.paint()
            case {"window": str(window)} if window in (*WINDOWS, "all"):
                self.feed.choose_window(window)
                await self.feed.pull()
                self.paint()
