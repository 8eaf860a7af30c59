"""Ranking: the first few of many things, such as conversations or addresses, by what a person sorts them by."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed

__all__ = ["Add", "Ranking"]

Add = Callable[[str, bool], Awaitable[None]]


class Ranking(View):
    """Rows that the hub sorts, of what the page shows. `on_filter(condition, exclude)` hears which one is clicked."""

    root: Element
    sorts: ClassVar[Mapping[str, str]]
    """the hub's words for the columns of the browser"""
    key: ClassVar[str]
    """what names a row in the browser"""
    column: ClassVar[str]
    """what the display filter calls it"""

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._sort = "bytes"
        self._rows: list[dict[str, Any]] = []
        self._info: dict[str, Any] = {}
        self._rows_of: tuple[str, str, int] | None = None  # session, question and epoch they belong to
        self._problem = ""

    @abstractmethod
    async def _ask(self) -> tuple[pa.RecordBatch, dict[str, Any]]:
        """What the hub answers, and what it says of its answer: total, complete."""

    @abstractmethod
    def _lines(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        """Rows as the browser wants them."""

    @property
    def _shown(self) -> list[dict[str, Any]]:
        """The rows, if they are of the session that is shown."""
        return self._rows if self._rows_of and self._rows_of[0] == self.feed.session else []

    async def pull(self) -> None:
        feed = self.feed
        asked = (feed.session, feed.query, feed.epoch)
        if not feed.session or (feed.paused and self._rows_of == asked and self._info.get("complete")):
            return
        try:
            batch, info = await self._ask()
        except AisharkError as error:
            self._problem = str(error)
        else:
            self._rows, self._info, self._rows_of, self._problem = self._lines(batch), info, asked, ""

    async def _receive(self, message: Any) -> None:
        match message:
            case {"filter": str(name), "exclude": bool(exclude)} if self._on_filter:
                if name in (row[self.key] for row in self._rows):
                    await self._on_filter(f"{self.column} == {name}", exclude)
            case {"sort": str(column)} if column in self.sorts:
                self._sort = self.sorts[column]
                await self.pull()
                self.paint()
