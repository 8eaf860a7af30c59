"""docs/schema.md as text, made from the schemas themselves, so that the page cannot say anything else than the code.

`make docs` writes the page; a test compares it.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import ARROW_NAMES, Packets
from aishark_panel.wire.schema import COLUMNS, FRAMES, Column, Kind

__all__ = ["render"]

_INTRODUCTION: Final = """\
# Columns

<!-- Made from aishark_panel/wire/schema.py and other_names.py by `make docs`; edit these instead. -->

The same columns everywhere: packet list, charts, display filters, REST, notebook, `aishark read`, Parquet.

- [Packets](#packets-what-everybody-sees): what each column means, and when it is null
- [Made on demand](#made-on-demand): columns that `aishark read --columns` makes of a packet
- [Names elsewhere](#names-elsewhere): in Wireshark, Zeek, the Elastic Common Schema, Suricata
- [Frames](#frames-what-agents-send): what agents send

## Packets: what everybody sees

A *null* column says that the packet has no such field, never that the field is zero. Types are Arrow's; *text* is a
dictionary-encoded string.

Where a packet travels in another (GRE, IP in IP, VXLAN, GENEVE, GTP-U, L2TP ...), both share one row. The addresses,
ports and other columns up to the ports are the outermost packet's, and so is `conversation_id`; the innermost packet's
are in the `inner_*` columns. What comes above the ports (`tcp_*`, `payload_len`, `icmp_*`, `arp_op`, `protocol` and all
columns of applications) is the innermost packet's. So `tcp.flags.syn` finds TCP in tunnels too, as in Wireshark, while
`ip.addr` and `tcp.port` look at the outermost packet; `inner_src_ip` and `inner_dst_port` are there for the other.

"""

_ON_DEMAND_INTRODUCTION: Final = """
## Made on demand

No packet stores these, so no filter knows them; they are made when somebody opens a packet, or asks for them by name.
A fingerprint stands in the row of the packet that completes its ClientHello; in an opened packet it is that of the
conversation. Of QUIC it needs the extra `quic`.

"""

_ELSEWHERE_INTRODUCTION: Final = """
## Names elsewhere

A display filter may use a column's name or any of its Wireshark names. So may `--columns` and `columns=`, unless a name
means two columns, as `tcp.port` does; the table's column has its own name. Zeek: log and field, `dns.query` is `query`
of dns.log; without a log in front where every log has it. ECS: the Elastic Common Schema. Suricata: EVE. Zeek and
Suricata write of connections, whose source is who began them; here a source is who sent the packet.

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

_ON_DEMAND: Final = (
    Column(
        name="info",
        kind=Kind.TEXT,
        dtype="u4",
        meaning="one line on the packet, in the words of Wireshark's Info",
        wireshark=("_ws.col.info",),
    ),
    Column(
        name="community_id",
        kind=Kind.TEXT,
        dtype="u4",
        present=Layer.IP,
        meaning="Community ID version 1 (seed 0) of the outermost addresses and ports, equal in both directions",
        wireshark=("communityid",),
    ),
    Column(
        name="ja3",
        kind=Kind.TEXT,
        dtype="u4",
        meaning="JA3 of the TLS ClientHello, over TCP or QUIC, that this packet completes",
        wireshark=("tls.handshake.ja3",),
    ),
    Column(
        name="ja4",
        kind=Kind.TEXT,
        dtype="u4",
        meaning="JA4 of the TLS ClientHello, over TCP or QUIC, that this packet completes",
        wireshark=("tls.handshake.ja4",),
    ),
)

_CONDITIONS: Final = {"info": "", "ja3": "the end of a ClientHello", "ja4": "the end of a ClientHello"}

_LAYER_TEXTS: Final = {
    Layer.ETH: "an Ethernet header",
    Layer.VLAN: "a VLAN tag",
    Layer.INNER_VLAN: "a second VLAN tag",
    Layer.MPLS: "an MPLS label",
    Layer.IPV4: "IPv4",
    Layer.IPV6: "IPv6",
    Layer.FRAGMENT: "an IP fragment offset",
    Layer.IP_ID: "an IP identification",
    Layer.PORTS: "ports",
    Layer.TRANSPORT: "a transport header",
    Layer.TCP_MSS: "that TCP option",
    Layer.TCP_WSCALE: "that TCP option",
    Layer.TCP_SACK: "that TCP option",
    Layer.TCP_TIMESTAMPS: "that TCP option",
    Layer.TUNNEL_ID: "a tunnel with an identifier",
    Layer.INNER_IPV4: "IPv4 in a tunnel",
    Layer.INNER_IPV6: "IPv6 in a tunnel",
    Layer.INNER_PORTS: "ports in a tunnel",
    Layer.DNS_QUESTION: "a DNS question",
    Layer.DNS_RESPONSE: "a DNS response",
    Layer.TLS: "a TLS record",
    Layer.TLS_HANDSHAKE: "a TLS handshake message",
    Layer.QUIC_LONG: "a QUIC long header",
    Layer.HTTP_REQUEST: "an HTTP request",
    Layer.HTTP_RESPONSE: "an HTTP response",
    Layer.INNER_TCP: "TCP in a tunnel",
    Layer.INNER_ARP: "ARP in a tunnel",
    Layer.ICMPV6: "ICMPv6",
}
"""Layers whose names in the code are not how a person would say it."""


def render() -> str:
    """The whole page, Markdown, ending in a newline."""
    described = {column.name: column for column in (*_DERIVED, *COLUMNS)}
    packets = [described[name] for name in ARROW_NAMES]
    schema = Packets(1).to_arrow([]).schema
    titles = ["Column", "Type", "Unit", "Null unless the packet has", "Meaning"]
    frames = ([f"`{f.name}`", _type_text(f.type), _FRAMES_MEANINGS[f.name]] for f in FRAMES)
    return "".join(
        [
            _INTRODUCTION,
            *_table(titles, (_row(column, _type_text(schema.field(column.name).type)) for column in packets)),
            _ON_DEMAND_INTRODUCTION,
            *_table(titles, (_row(column, "text") for column in _ON_DEMAND)),
            _ELSEWHERE_INTRODUCTION,
            *_table(["Column", "Wireshark", "Zeek", "ECS", "Suricata"], map(_names, [*packets, *_ON_DEMAND])),
            _FRAMES_INTRODUCTION,
            *_table(["Column", "Type", "Meaning"], frames),
        ]
    )


def _table(titles: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    for row in [titles, ["---"] * len(titles), *rows]:
        yield f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in row)}|\n"


def _row(column: Column, type_text: str) -> list[str]:
    return [f"`{column.name}`", type_text, column.unit, _condition(column), column.meaning]


def _names(column: Column) -> list[str]:
    names = (column.wireshark, column.zeek, column.ecs, column.suricata)
    return [f"`{column.name}`", *(", ".join(f"`{name}`" for name in each) for each in names)]


def _type_text(arrow_type: pa.DataType) -> str:
    if pa.types.is_dictionary(arrow_type):
        return "text"
    return str(arrow_type).replace(", tz=", ", ")


def _condition(column: Column) -> str:
    """What a packet must have for the column not to be null; empty where it never is."""
    if column.name in _CONDITIONS:
        return _CONDITIONS[column.name]
    if column.kind is Kind.TEXT and not column.present:
        return "such a field"
    layers = [_LAYER_TEXTS.get(layer, str(layer.name)) for layer in Layer if layer in column.present]
    return " or ".join([", ".join(layers[:-1]), layers[-1]] if len(layers) > 1 else layers)
