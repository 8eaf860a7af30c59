"""Nodes of a layer tree, whoever made it (scapy: views/layers.py, tshark: views/tshark.py).

A layer is {name, summary, start, length, fields}; a field {name, value} with, where known, its place (start and length
in bytes of the frame, and `bits` where it is not made of whole bytes: "0100 ...." as Wireshark writes it) and fields of
its own. `key` (the field's name in Wireshark) and `is` (its value) are for `offered` and do not reach the browser.
"""

from collections.abc import Iterable
from typing import Any, Final

from aishark_panel.query.literals import quote
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.schema import COLUMNS

__all__ = ["MAX_NODES", "MAX_VALUE_CHARS", "Node", "condition", "cut_text", "offered", "place"]

MAX_VALUE_CHARS: Final = 400
"""Longest text of one field; longer ones are cut and say so."""
MAX_NODES: Final = 2_000
"""Most fields of one packet."""
_MAX_BITS_BYTES: Final = 4

Node = dict[str, Any]

_BY_KEY: Final = {key: each.name for each in COLUMNS for key in each.wireshark} | {
    "vlan.id": "vlan_id",
    "ipv6.nxt": "ip_proto",
    "tcp.seq": "tcp_seq",
    "tcp.ack": "tcp_ack",
    "sctp.srcport": "src_port",
    "sctp.dstport": "dst_port",
}
_INNER: Final = {each.name.removeprefix("inner_"): each.name for each in COLUMNS if each.name.startswith("inner_")}


def cut_text(value: object) -> str:
    """A text as long as a field may be."""
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}… ({len(text):,} characters)"


def place(frame: bytes, first_bit: int, last_bit: int) -> Node:
    """Where bits [first_bit, last_bit) of the frame are: start, length, and bits where they are no whole bytes."""
    start, stop = first_bit // 8, -(-last_bit // 8)
    found: Node = {"start": start, "length": stop - start}
    if (first_bit % 8 or last_bit % 8) and stop - start <= _MAX_BITS_BYTES:
        digits = "".join(
            (str(frame[bit // 8] >> (7 - bit % 8) & 1) if first_bit <= bit < last_bit else ".") + " " * (bit % 4 == 3)
            for bit in range(8 * start, 8 * stop)
        )
        found["bits"] = digits.rstrip(" ")
    return found


def condition(column: str, value: object) -> str:
    """The display filter for packets that have this value in a column."""
    if isinstance(value, int):
        return f"{column} == {value}"
    return f"{column} == {quote(str(value))}"


def offered(nodes: Iterable[Node], packet: dict[str, Any]) -> list[Node]:
    """The nodes for the browser: those that a column of the packet holds too have a `filter`, the condition for it."""
    found = []
    for each in nodes:
        node = {name: value for name, value in each.items() if name not in ("key", "is")}
        column = _BY_KEY.get(each.get("key", ""), "")
        for name in (column, _INNER.get(column, "")):
            if name in ARROW_NAMES and _same(packet.get(name), each.get("is")):
                node["filter"] = condition(name, packet[name])
                break
        if "fields" in node:
            node["fields"] = offered(node["fields"], packet)
        found.append(node)
    return found


def _same(value: Any, shown: Any) -> bool:
    """Whether a column's value is what a field shows: a number, its text in any base, or a name's bytes."""
    if value is None or shown is None:
        return False
    if isinstance(value, int):
        try:
            return int(shown, 0) == value if isinstance(shown, str) else int(shown) == value
        except (TypeError, ValueError):
            return False
    text = shown.decode("utf-8", "replace") if isinstance(shown, bytes) else str(shown)
    return bool(text.lower().rstrip(".") == str(value).lower().rstrip("."))
