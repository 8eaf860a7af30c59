"""The address bar: kept true to what the page shows, and followed when the page opens or somebody goes back.

What an address asks for and there is not, or not for this person, is said in a line; the page then shows what there is.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from aishark_panel.errors import AisharkError
from aishark_panel.views.base import Element, View
from aishark_panel.views.columns import WINDOWS
from aishark_panel.views.feed import Feed
from aishark_panel.views.filter_bar import FilterBar
from aishark_panel.views.link import Link, link_query, read_link
from aishark_panel.views.packet_detail import PacketDetail
from aishark_panel.views.tabs import Tabs
from aishark_panel.views.theme import script

__all__ = ["Address", "open_session"]


class AddressElement(Element):
    _esm = script("address.js")


class Address(View):
    """Links to the page's state, and what is to be said about the one that was followed. `on_packet(number)` goes to a
    packet."""

    root: AddressElement

    def __init__(
        self,
        feed: Feed,
        filter_bar: FilterBar,
        tabs: Tabs,
        detail: PacketDetail,
        on_packet: Callable[[int], Awaitable[None]],
    ) -> None:
        super().__init__(feed)
        self._filter_bar, self._tabs, self._detail, self._on_packet = filter_bar, tabs, detail, on_packet
        self._first_tab = tabs.chosen
        self._notice = ""
        self._following = False
        self.root = AddressElement(self._receive, "address.css", css_classes=["address"], margin=0)

    @property
    def link(self) -> Link:
        """A link to what the page shows now."""
        feed, tab = self.feed, self._tabs.chosen
        return Link(
            session=feed.session,
            where=feed.where,
            range=feed.range,
            window=feed.window if feed.window_chosen else "",
            until=feed.until,
            tab="" if tab == self._first_tab else tab,
            packet=self._detail.number,
        )

    def paint(self) -> None:
        if not self._following:
            self.root.draw(query=link_query(self.link), notice=self._notice)

    async def follow(self, arguments: Mapping[str, Sequence[str]]) -> None:
        """Show what the query of an address names; what is missing from it is as on a page without one."""
        link, problems = read_link(arguments)
        self._following = True
        try:
            problems += await self._follow(link)
        finally:
            self._following = False
        self._notice = " ".join(problems)
        self.paint()

    async def _follow(self, link: Link) -> list[str]:
        problems, there = await open_session(self.feed, link)
        for change in (
            self._filter_bar.apply(link.where),
            self._tabs.choose(link.tab or self._first_tab),
            self._select(link.packet if there else None),
        ):
            try:
                await change
            except AisharkError as error:
                problems.append(str(error))
        return problems

    async def _select(self, packet: int | None) -> None:
        if packet is None:
            self._detail.close()
        else:
            await self._on_packet(packet)

    async def _receive(self, message: Any) -> None:
        match message:
            case {"went": str(query)}:
                await self.follow(parse_qs(query[:10_000], max_num_fields=50))
            case {"read": True}:
                self._notice = ""
                self.paint()


async def open_session(feed: Feed, link: Link) -> tuple[list[str], bool]:
    """Show the session, window and time of a link: what is to be said of them, and whether its session is shown.

    Where that is not there, neither is the time: it means nothing in another one.
    """
    problems = []
    await feed.pull()
    found = _session_named(feed.sessions, link.session)
    there = not link.session or found is not None
    if found:
        await feed.choose(found["id"])
    elif not there:
        shown = next((f" Shown is {s['name']}." for s in feed.sessions if s["id"] == feed.session), "")
        problems.append(f"The session {link.session!r:.60} is gone, or not yours to see.{shown}")
    if link.window in ("", *WINDOWS, "all"):
        feed.choose_window(link.window)
    else:
        problems.append(f"There is no window {link.window!r:.40}.")
    await feed.choose_range(link.range if there else None)
    await feed.rewind(link.until if there else None)
    return problems, there


def _session_named(sessions: Sequence[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """The session of that id, else the newest of that name."""
    by_id = next((s for s in sessions if s["id"] == name), None)
    return by_id or next((s for s in reversed(sessions) if s["name"] == name), None)
