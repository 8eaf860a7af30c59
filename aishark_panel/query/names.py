"""What a name in an expression stands for: the columns of PACKETS, Wireshark's fields, and protocols.

A *field* is a column as one name sees it: `tcp.srcport` and `src_port` read the same column, but the first has a value
in TCP packets only. A Wireshark name can stand for two fields (`tcp.port`); a protocol stands for none.

Wireshark names mean what they mean in Wireshark, but for two things: `ip.addr`, `ip.src` and `ip.dst` are the addresses
of IPv6 packets too; and names of addresses and ports mean the outermost packet's, where one travels in another.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from aishark_panel.errors import ExpressionError
from aishark_panel.query.parser import FUNCTIONS
from aishark_panel.wire.layers import TCP_FLAG_NAMES, Layer, TcpProblem
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import COLUMNS, Column, Kind, column

__all__ = [
    "PACKET_NAMES", "PAYLOADS", "Field", "Meaning", "Presence", "Word", "nearest", "protocol_named", "resolve",
    "suggestion", "vocabulary",
]  # fmt: skip


class Presence(NamedTuple):
    """A row has a value where any of `bits` is set in the stored column `column`; bits 0: where it is not zero."""

    column: str
    bits: int = 0


def _layers(layers: Layer) -> Presence:
    return Presence("layers", int(layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column as one name sees it."""

    name: str
    """of the column, as in wire.packets.ARROW_NAMES"""
    kind: Kind
    stored: str
    """the column of wire.packets.Columns that holds it; '' for `number`, which follows from the row"""
    dtype: str
    presence: tuple[Presence, ...] = ()
    """null unless all of these hold"""
    limits: tuple[int, int] | None = None
    """of its values; None: whatever the dtype holds"""
    bit: int = 0
    """if not 0, the field is this one bit of the column, as 0 or 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a name stands for."""

    fields: tuple[Field, ...] = ()
    """its fields: one, or two where the name means either direction; none for a protocol"""
    presence: tuple[Presence, ...] = ()
    """of a protocol: its packets are those where all of these hold"""
    protocols: tuple[int, ...] = ()
    """of a protocol that has no layer: its index in PROTOCOLS, or those of its versions"""
    description: str = ""


class Word(NamedTuple):
    """One entry of the vocabulary."""

    name: str
    kind: str
    """the value of a wire.schema.Kind for a field, else `protocol name` or `function`"""
    meaning: str


_NULL_WHERE_ZERO: Final = frozenset({"eth_type"})
"""An IEEE 802.3 frame has a length in the EtherType's place; it is kept as 0."""

_GUARDS: Final = {
    "tcp": Layer.ANY_TCP, "udp": Layer.UDP, "sctp": Layer.SCTP, "ip": Layer.IPV4, "ipv6": Layer.IPV6,
    "icmp": Layer.ICMP, "icmpv6": Layer.ICMPV6, "arp": Layer.ANY_ARP, "dns": Layer.DNS,
    "vxlan": Layer.VXLAN, "geneve": Layer.GENEVE, "gtp": Layer.GTP, "gre": Layer.GRE,
}  # fmt: skip
"""A Wireshark field of this protocol (the name up to the first dot) exists where the layer was found."""
_INNER: Final = Layer.INNER_TCP | Layer.INNER_ARP
_OUTERMOST_COLUMNS: Final = frozenset({"src_ip", "dst_ip", "src_port", "dst_port"})
"""Columns of the outermost packet: what a tunnel carries does not make a field of them exist."""
_ANY_IP: Final = frozenset({"ip.src", "ip.dst"})

_MORE_SPELLINGS: Final = {
    "arp.src.proto_ipv4": "src_ip",
    "arp.dst.proto_ipv4": "dst_ip",
    "sctp.srcport": "src_port",
    "sctp.dstport": "dst_port",
    "ssl.handshake.extensions_server_name": "tls_sni",
}
"""Wireshark fields that a column holds among others, so that the schema does not give them as its name."""

_EITHER: Final = {
    "ip.addr": ("ip.src", "ip.dst"),
    "ipv6.addr": ("ipv6.src", "ipv6.dst"),
    "eth.addr": ("eth.src", "eth.dst"),
    "tcp.port": ("tcp.srcport", "tcp.dstport"),
    "udp.port": ("udp.srcport", "udp.dstport"),
    "sctp.port": ("sctp.srcport", "sctp.dstport"),
    "vlan.id": ("vlan_id", "vlan_inner_id"),
}
_WIRESHARK_FLAGS: Final = {"RST": "reset", "PSH": "push", "ACK": "ack"}
"""Where Wireshark's name of a TCP flag is not just ours in lower case."""

_PROTOCOL_LAYERS: Final = {
    "eth": (Layer.ETH,), "vlan": (Layer.VLAN,), "arp": (Layer.ANY_ARP,),
    "ip": (Layer.IPV4 | Layer.INNER_IPV4,), "ipv6": (Layer.IPV6 | Layer.INNER_IPV6,),
    "icmp": (Layer.ICMP,), "icmpv6": (Layer.ICMPV6,),
    "tcp": (Layer.ANY_TCP,), "udp": (Layer.UDP | Layer.INNER_UDP,), "sctp": (Layer.SCTP | Layer.INNER_SCTP,),
    "mpls": (Layer.MPLS,), "pppoes": (Layer.PPPOE,), "gre": (Layer.GRE,), "vxlan": (Layer.VXLAN,),
    "geneve": (Layer.GENEVE,), "gtp": (Layer.GTP,),
    "dns": (Layer.DNS,), "tls": (Layer.TLS,), "ssl": (Layer.TLS,),
    "http": (Layer.HTTP_REQUEST | Layer.HTTP_RESPONSE,),
    "http.request": (Layer.HTTP_REQUEST,), "http.response": (Layer.HTTP_RESPONSE,),
}  # fmt: skip
"""Protocols that are seen below the highest one too: `tcp` finds TLS packets."""

PAYLOADS: Final = {
    "payload": Layer.TRANSPORT, "tcp.payload": Layer.ANY_TCP, "udp.payload": Layer.UDP | Layer.INNER_UDP,
}  # fmt: skip
"""Names of what the innermost transport carries; null where that is nothing."""


_VERSIONS: Final = {
    "ssh": ("SSH", "SSHv1", "SSHv2"),
    "rip": ("RIP", "RIPv1", "RIPv2"),
    "dtls": ("DTLS", "DTLSv1.0", "DTLSv1.2", "DTLS 1.0 (OpenSSL pre 0.9.8f)"),
    "dhcp": ("DHCP", "BOOTP"),
    "stun": ("STUN", "CLASSIC-STUN"),
    "gtp": ("GTP", "GTPv2"),
    "modbus": ("Modbus/TCP",),
}
"""Wireshark's filter names of protocols whose short names in the `protocol` column are others, or several."""

_WORD: Final = re.compile(r"[A-Za-z][\w.]*")
"""Names an expression can hold as a word; others, like CIP PCCC, are compared: protocol == 'CIP PCCC'."""


def _of_column(spec: Column, guard: Layer = Layer.NONE) -> Field:
    if spec.name in _OUTERMOST_COLUMNS:
        guard &= ~_INNER
    layers = [spec.present & guard] if spec.present & guard else [bits for bits in (spec.present, guard) if bits]
    presence = [_layers(bits) for bits in layers]
    if spec.kind is Kind.TEXT or spec.name in _NULL_WHERE_ZERO:
        presence.append(Presence(spec.name))
    return Field(name=spec.name, kind=spec.kind, stored=spec.name, dtype=spec.dtype, presence=tuple(presence))


def _spelled(name: str, spec: Column) -> Field:
    """The field of a column that Wireshark calls `name`."""
    return _of_column(spec, Layer.IP if name in _ANY_IP else _GUARDS.get(name.partition(".")[0], Layer(0)))


def _bit(stored: str, bit: int, present: Layer) -> Field:
    return Field(
        name=stored, kind=Kind.BOOLEAN, stored=stored, dtype=column(stored).dtype, bit=bit, presence=(_layers(present),)
    )


def _one(field: Field, description: str) -> Meaning:
    return Meaning(fields=(field,), description=description)


def _columns() -> Iterator[tuple[str, Meaning]]:
    number = _one(Field(name="number", kind=Kind.INTEGER, stored="", dtype="i8"), "the packet's number, from 1")
    yield from (("number", number), ("frame.number", number))
    yield "agent", _one(Field(name="agent", kind=Kind.INTERFACE, stored="iface", dtype="u2"), "name of its agent")
    for spec in COLUMNS:
        if spec.name in ARROW_NAMES:
            yield spec.name, _one(_of_column(spec), spec.meaning)
            for name in spec.wireshark:
                yield name, _one(_spelled(name, spec), spec.meaning)


def _wireshark(columns: dict[str, Meaning]) -> Iterator[tuple[str, Meaning]]:
    single = columns | {name: _one(_spelled(name, column(of)), f"as {of}") for name, of in _MORE_SPELLINGS.items()}
    for name in _MORE_SPELLINGS:
        yield name, single[name]
    for name, (source, destination) in _EITHER.items():
        fields = single[source].fields + single[destination].fields
        yield name, Meaning(fields=fields, description=f"{source} or {destination}")
    for shift, flag in enumerate(TCP_FLAG_NAMES):
        field = _bit("tcp_flags", 1 << shift, Layer.ANY_TCP)
        yield f"tcp.flags.{_WIRESHARK_FLAGS.get(flag, flag.lower())}", _one(field, f"the TCP flag {flag}")
    response = _bit("layers", int(Layer.DNS_RESPONSE), Layer.DNS)
    yield "dns.flags.response", _one(response, "1 in DNS responses, 0 in queries")


def _protocols() -> Iterator[tuple[str, Meaning]]:
    for code, protocol in enumerate(PROTOCOLS):
        if _WORD.fullmatch(protocol):
            yield protocol.lower(), Meaning(protocols=(code,), description=f"{protocol} is the highest protocol known")
    for name, versions in _VERSIONS.items():
        codes = tuple(PROTOCOLS.index(version) for version in versions)
        yield name, Meaning(protocols=codes, description=f"the highest protocol known is {' or '.join(versions)}")
    for name, layers in _PROTOCOL_LAYERS.items():
        yield name, Meaning(presence=tuple(map(_layers, layers)), description=f"has {name}")
    any_problem = (_layers(Layer.TCP), Presence("tcp_problem"))
    yield "tcp.analysis.flags", Meaning(presence=any_problem, description="any of tcp.analysis.*")
    for problem in TcpProblem:
        presence = (_layers(Layer.TCP), Presence("tcp_problem", int(problem)))
        meaning = Meaning(presence=presence, description=f"TCP problem {problem.name}")
        yield f"tcp.analysis.{str(problem.name).lower()}", meaning
    for name, layer in PAYLOADS.items():
        carries = (_layers(layer), _layers(Layer.TRANSPORT), Presence("payload_len"))
        yield name, Meaning(presence=carries, description=f"has payload; or its bytes: {name} contains 'text'")
    yield "frame", Meaning(description="all packets; or their bytes: frame contains 'text'")


_COLUMN_MEANINGS: Final = dict(_columns())
_FIELDS: Final = _COLUMN_MEANINGS | dict(_wireshark(_COLUMN_MEANINGS))
PACKET_NAMES: Final[Mapping[str, Meaning]] = dict(_protocols()) | _FIELDS
"""What names stand for in expressions over PACKETS."""

_PROTOCOL_NAMES: Final = {name.lower(): name for name in PROTOCOLS}

_MAX_SHOWN_CHARS: Final = 40
"""Longer names are cut in messages, and not compared with all others: nobody meant one of them."""


def resolve(name: str, position: int, names: Mapping[str, Meaning] = PACKET_NAMES) -> Meaning:
    """What a name stands for. Raises ExpressionError with the nearest known name."""
    meaning = names.get(name)
    if meaning is None:
        what = "column or protocol" if names is PACKET_NAMES else "column"
        raise ExpressionError(f"no {what} {_shown(name)}{suggestion(name, names)}", position, nearest(name, names))
    return meaning


def protocol_named(name: str, position: int) -> str:
    """A protocol as the `protocol` column spells it, whatever case was typed. Raises ExpressionError."""
    protocol = _PROTOCOL_NAMES.get(name.lower())
    if protocol is None:
        message = f"no protocol {_shown(name)}{suggestion(name, PROTOCOLS)}"
        raise ExpressionError(message, position, nearest(name, PROTOCOLS))
    return protocol


def vocabulary() -> list[Word]:
    """All names an expression may use, for completion: columns first, then Wireshark's, protocols, functions."""
    words = [Word(name, meaning.fields[0].kind.value, meaning.description) for name, meaning in _FIELDS.items()]
    words += [Word(name, "protocol name", m.description) for name, m in PACKET_NAMES.items() if not m.fields]
    words += [Word(name, "function", meaning) for name, meaning in FUNCTIONS.items()]
    return sorted(words, key=lambda word: word.name not in ARROW_NAMES)


def _shown(name: str) -> str:
    return repr(name if len(name) <= _MAX_SHOWN_CHARS else f"{name[:_MAX_SHOWN_CHARS]}...")


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of the known names that was probably meant; '' if none is near."""
    by_lower = {spelled.lower(): spelled for spelled in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1) if len(name) <= _MAX_SHOWN_CHARS else []
    return by_lower[near[0]] if near else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest of the known names, or ''."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""
