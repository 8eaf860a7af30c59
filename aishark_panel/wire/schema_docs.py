"""docs/schema.md as text, made from the schemas themselves, so that the page cannot say anything else than the code.

`make docs` writes the page; a test compares it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from aishark_panel.wire.packets import ARROW_NAMES, Packets
from aishark_panel.wire.schema import COLUMNS, FRAMES, Column, Kind, Layer

__all__ = ["render"]

_INTRODUCTION: Final = """\
# Columns

<!-- Made from aishark_panel/wire/schema.py by `make docs`; edit that file instead. -->

The same columns everywhere: packet list, charts, display filters, REST, notebook, `aishark read`, Parquet.

A *null* column says that the packet has no such field, never that the field is zero. Types are Arrow's; *text* is a
dictionary-encoded string. A display filter may use a column's name or any of its Wireshark names.

Where a packet travels in another (GRE, IP in IP, VXLAN, GENEVE, GTP-U, L2TP ...), both share one row. The addresses,
ports and other columns up to the ports are the outermost packet's, and so is `conversation_id`; the innermost packet's
are in the `inner_*` columns. What comes above the ports (`tcp_*`, `payload_len`, `icmp_*`, `arp_op`, `protocol` and all
columns of applications) is the innermost packet's. So `tcp.flags.syn` finds TCP in tunnels too, as in Wireshark, while
`ip.addr` and `tcp.port` look at the outermost packet; `inner_src_ip` and `inner_dst_port` are there for the other.
"""

_FRAMES_INTRODUCTION: Final = """
## Frames: what agents send

One row per captured record; never null.
"""

_FRAMES_MEANINGS: Final = {
    "ts": "when the frame was captured, by the capturing host's clock",
    "orig_len": "length of the frame on the wire, in bytes",
    "iface": "index into the interfaces the agent announced",
    "frame": "the captured bytes, from the link layer on; their number is `cap_len`",
}

_DERIVED: Final = (
    Column(
        name="number",
        kind=Kind.INTEGER,
        dtype="u8",
        meaning="the packet's number in its session, counted from 1",
        wireshark=("frame.number",),
    ),
    Column(name="agent", kind=Kind.INTERFACE, dtype="u2", meaning="name of the agent that captured it"),
)
"""Columns of the Arrow form that no row stores; their types come from there too."""

_LAYER_TEXTS: Final = {
    Layer.ETH: "an Ethernet header",
    Layer.VLAN: "a VLAN tag",
    Layer.IPV4: "IPv4",
    Layer.IPV6: "IPv6",
    Layer.FRAGMENT: "an IP fragment offset",
    Layer.IP_ID: "an IP identification",
    Layer.PORTS: "ports",
    Layer.DNS_QUESTION: "a DNS question",
    Layer.DNS_RESPONSE: "a DNS response",
    Layer.TLS: "a TLS record",
    Layer.HTTP_REQUEST: "an HTTP request",
    Layer.HTTP_RESPONSE: "an HTTP response",
    Layer.TRANSPORT: "a transport header",
    Layer.INNER_VLAN: "a second VLAN tag",
    Layer.MPLS: "an MPLS label",
    Layer.TUNNEL_ID: "a tunnel with an identifier",
    Layer.INNER_IPV4: "IPv4 in a tunnel",
    Layer.INNER_IPV6: "IPv6 in a tunnel",
    Layer.INNER_PORTS: "ports in a tunnel",
    Layer.INNER_TCP: "TCP in a tunnel",
    Layer.INNER_ARP: "ARP in a tunnel",
    Layer.ICMPV6: "ICMPv6",
    Layer.TCP_MSS: "that TCP option",
    Layer.TCP_WSCALE: "that TCP option",
    Layer.TCP_SACK: "that TCP option",
    Layer.TCP_TIMESTAMPS: "that TCP option",
}
"""Layers whose names in the code are not how a person would say it."""


def render() -> str:
    """The whole page, Markdown, ending in a newline."""
    described = {column.name: column for column in (*_DERIVED, *COLUMNS)}
    schema = Packets(1).to_arrow([]).schema
    packets = (_row(described[name], schema.field(name).type) for name in ARROW_NAMES)
    frames = ([f"`{f.name}`", _type_text(f.type), _FRAMES_MEANINGS[f.name]] for f in FRAMES)
    return "".join(
        [
            _INTRODUCTION,
            "\n## Packets: what everybody sees\n\n",
            *_table(["Column", "Type", "Unit", "Null unless the packet has", "Meaning", "In Wireshark"], packets),
            _FRAMES_INTRODUCTION,
            "\n",
            *_table(["Column", "Type", "Meaning"], frames),
        ]
    )


def _table(titles: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    for row in [titles, ["---"] * len(titles), *rows]:
        yield f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in row)}|\n"


def _row(column: Column, arrow_type: pa.DataType) -> list[str]:
    names = ", ".join(f"`{name}`" for name in column.wireshark)
    return [f"`{column.name}`", _type_text(arrow_type), column.unit, _condition(column), column.meaning, names]


def _type_text(arrow_type: pa.DataType) -> str:
    if pa.types.is_dictionary(arrow_type):
        return "text"
    return str(arrow_type).replace(", tz=", ", ")


def _condition(column: Column) -> str:
    """What a packet must have for the column not to be null; empty where it never is."""
    if column.kind is Kind.TEXT:
        return "such a field"
    layers = [_LAYER_TEXTS.get(layer, str(layer.name)) for layer in Layer if layer in column.present]
    return " or ".join([", ".join(layers[:-1]), layers[-1]] if len(layers) > 1 else layers)
