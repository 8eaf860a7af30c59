"""Packet detail: the layers of the selected packet as a tree, and its bytes.

The tree is scapy's, and soon after tshark's where this host has it. Who goes through packets by the keyboard is not
followed by a process for each: tshark is asked for the packet that one stays at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from aishark_panel.errors import NotFoundError
from aishark_panel.query.literals import quote
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.nodes import Node, condition, offered
from aishark_panel.views.theme import FAMILIES, family_of, script
from aishark_panel.views.tshark import Tshark
from aishark_panel.wire.packets import ARROW_NAMES

__all__ = ["MAX_SHOWN_BYTES", "PacketDetail"]

MAX_SHOWN_BYTES: Final = 16_384
"""Most bytes of a frame the hex view shows."""
_STAY_S: Final = 0.15
"""After so long at a packet tshark is asked."""

_NAMES: Final = {"community_id": "Community ID", "ja4": "JA4", "ja3": "JA3"}
"""What other tools call the packet's conversation, and the program that speaks in it."""

Add = Callable[[str, bool], Awaitable[None]]
Follow = Callable[[int], Awaitable[None]]


class PacketDetailElement(Element):
    _esm = script("menu.js", "copy.js", "packet_tree.js", "packet_hex.js", "packet_detail.js")


class PacketDetail(View):
    """One packet in full. `on_filter(condition, exclude)` hears what should join the display filter, and
    `on_follow(conversation)` which conversation somebody wants to read."""

    root: PacketDetailElement

    def __init__(
        self,
        feed: Feed,
        on_filter: Add | None = None,
        on_follow: Follow | None = None,
        tshark: Tshark | None = None,
    ) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self._on_follow = on_follow
        self._tshark = tshark
        self._wanted: int | None = None
        self._conversation: int | None = None
        self.root = PacketDetailElement(
            self._receive, "packet_detail.css", css_classes=["packet-detail"], sizing_mode="stretch_both", margin=0
        )

    def paint(self) -> None:
        if self.feed.session != self.root.drawn.get("session", self.feed.session):
            self._wanted = None
            self.root.draw()

    @property
    def number(self) -> int | None:
        """Of the packet that is looked at."""
        return self._wanted

    def close(self) -> None:
        """Look at no packet."""
        self._wanted = None
        self.root.draw()

    async def look_at(self, number: int) -> None:
        """Fetch a packet and show it; of several calls under way the last one wins."""
        self._wanted = number
        session = self.feed.session
        try:
            packet = await self.feed.client.packet(self.feed.reach, number)
        except NotFoundError as error:
            if self._wanted == number:
                self.root.draw(session=session, number=number, problem=str(error))
            return
        state = await asyncio.to_thread(_state, number, packet)
        if self._wanted != number:
            return
        self._conversation = packet.get("conversation_id")
        state["follows"] = self._on_follow is not None and self._conversation is not None
        self.root.draw(session=session, **state)
        if self._tshark is not None and packet["frame"]:
            await self._look_deeper(self._tshark, number, packet)

    async def _look_deeper(self, tshark: Tshark, number: int, packet: dict[str, Any]) -> None:
        """Put tshark's tree in the place of scapy's, if it has one and the packet is still looked at."""
        shown = self.root.drawn
        await asyncio.sleep(_STAY_S)
        if self._wanted != number:
            return
        layers = await tshark.layers(packet["frame"], packet["link_type"], packet.get("orig_len", 0))
        if layers and self.root.drawn is shown:
            self.root.draw(**{**shown, "layers": offered(layers, packet), "by": "tshark"})

    async def _receive(self, message: Any) -> None:
        match message:
            case {"close": True}:
                self.close()
            case {"follow": True} if self._on_follow and self._conversation is not None:
                await self._on_follow(self._conversation)
            case {"filter": str(chosen), "exclude": bool(exclude)} if self._on_filter:
                state = self.root.drawn
                offers = [
                    *(each["condition"] for each in state.get("filters", ())),
                    *_filters_in(state.get("layers", ())),
                ]
                if chosen in offers:
                    await self._on_filter(chosen, exclude)


def _filters_in(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        if "filter" in node:
            yield node["filter"]
        yield from _filters_in(node.get("fields", ()))


def _state(number: int, packet: dict[str, Any]) -> dict[str, Any]:
    # Here and not on top: scapy takes a second to import, and this runs in a thread when first needed.
    from aishark_panel.views.layers import layer_tree

    frame: bytes = packet["frame"]
    protocol = packet.get("protocol") or "?"
    return {
        "number": number,
        "time": _time(packet.get("ts")),
        "protocol": protocol,
        "family": FAMILIES[family_of(protocol)].key,
        "orig_len": packet.get("orig_len", len(frame)),
        "note": _note(len(frame), packet.get("orig_len", len(frame))),
        "info": packet.get("info") or "",
        "names": [{"name": name, "text": packet[key]} for key, name in _NAMES.items() if packet.get(key)],
        "layers": offered(layer_tree(frame, packet["link_type"]), packet) if frame else [_columns(packet)],
        "by": "scapy" if frame else "",
        "hex": frame[:MAX_SHOWN_BYTES].hex(),
        "filters": _filters(packet),
    }


def _note(cap_len: int, orig_len: int) -> str:
    """What is not shown of the packet's bytes; '' where all are."""
    if orig_len and not cap_len:
        return "The agent sent no bytes of this packet, only its columns."
    kept = f"The capture kept {cap_len:,} of {orig_len:,} bytes. " if cap_len < orig_len else ""
    return (kept + (f"The first {MAX_SHOWN_BYTES:,} bytes are shown." if cap_len > MAX_SHOWN_BYTES else "")).rstrip()


def _columns(packet: dict[str, Any]) -> dict[str, Any]:
    """In place of layers, where there are no bytes to find them in."""
    known = {name: packet[name] for name in ARROW_NAMES if packet.get(name) is not None and name != "number"}
    fields: list[Node] = []
    for name, value in known.items():
        if name == "ts":
            fields.append({"name": name, "value": _time(value)})
        else:
            fields.append({"name": name, "value": str(value), "filter": condition(name, value)})
    return {"name": "Columns", "summary": "", "fields": fields}


def _time(ts: Any) -> str:
    """Capture time in UTC with all its nine digits, from ns since 1970 or a (pandas) datetime."""
    ns = ts if isinstance(ts, int) else getattr(ts, "value", None)
    if ns is None:
        return str(ts or "")
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}.{ns % 1_000_000_000:09d} UTC"


def _filters(packet: dict[str, Any]) -> list[dict[str, str]]:
    """Conditions this packet offers for the display filter."""
    found = []
    for name, column in (("source", "src_ip"), ("destination", "dst_ip")):
        if packet.get(column):
            address = packet[column]
            condition = f"(src_ip == {quote(address)} or dst_ip == {quote(address)})"
            found.append({"name": name, "text": address, "condition": condition})
    if packet.get("dst_port") is not None:
        port = min(packet["src_port"], packet["dst_port"])
        found.append({"name": "port", "text": str(port), "condition": f"(src_port == {port} or dst_port == {port})"})
    if packet.get("conversation_id") is not None:
        conversation = packet["conversation_id"]
        condition = f"conversation_id == {conversation}"
        found.append({"name": "conversation", "text": "both directions", "condition": condition})
    return found
