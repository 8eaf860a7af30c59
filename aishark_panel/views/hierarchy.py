"""The protocol hierarchy: which layers packets are made of, with their shares."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError
from aishark_panel.query.literals import quote
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import FAMILIES, family_of, script
from aishark_panel.views.words import why_nothing

__all__ = ["Hierarchy"]

Add = Callable[[str, bool], Awaitable[None]]

_LAYERS: Final = {
    "Ethernet": "eth", "VLAN": "vlan", "MPLS": "mpls", "ARP": "arp", "IPv4": "ip", "IPv6": "ipv6", "TCP": "tcp",
    "UDP": "udp", "SCTP": "sctp", "GRE": "gre", "VXLAN": "vxlan", "Geneve": "geneve", "GTP": "gtp", "ICMP": "icmp",
    "ICMPv6": "icmpv6",
}  # fmt: skip
"""The words for layers in expressions; every other line is a protocol."""


class HierarchyElement(Element):
    _esm = script("hierarchy.js")


class Hierarchy(View):
    """A tree of layers. `on_filter(condition, exclude)` hears which line is clicked."""

    root: HierarchyElement
    every: ClassVar[int] = 3

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._answer: dict[str, Any] = {}
        self._answer_to: tuple[str, str, int] | None = None
        self._problem = ""
        self.root = HierarchyElement(
            self._receive, "hierarchy.css", css_classes=["hierarchy"], sizing_mode="stretch_both", margin=0
        )

    async def pull(self) -> None:
        feed = self.feed
        asked = (feed.session, feed.query, feed.epoch)
        if not feed.session or (feed.paused and self._answer_to == asked and self._answer.get("complete")):
            return
        try:
            self._answer, self._problem = await feed.client.hierarchy(feed.reach, feed.query), ""
        except AisharkError as error:
            self._problem = str(error)
        else:
            self._answer_to = asked

    def paint(self) -> None:
        here = self._answer_to is not None and self._answer_to[0] == self.feed.session
        lines = self._answer.get("layers", []) if here else []
        whole = sum(line["bytes"] for line in lines if line["depth"] == 0) or 1
        self.root.draw(
            lines=[
                {**line, "share": round(line["bytes"] / whole, 5), "family": FAMILIES[family_of(line["name"])].key}
                for line in lines
            ],
            complete=self._answer.get("complete", True),
            scope="of what matches" if self.feed.query else "of the packets in the ring",
            empty="" if lines else self._problem or why_nothing(self.feed, "packet"),
        )

    async def _receive(self, message: Any) -> None:
        match message:
            case {"layer": str(name), "exclude": bool(exclude)} if self._on_filter:
                if name in (line["name"] for line in self._answer.get("layers", [])):
                    await self._on_filter(_LAYERS.get(name) or f"protocol == {quote(name)}", exclude)
