"""The layer tree of one packet, made by scapy: what a person reads beside the hex bytes.

Only the packet somebody looks at comes here. Bytes are whatever strangers sent: a layer that scapy cannot read ends the
tree with the reason, and the hex view still shows everything. Importing this module takes scapy a second or two.

scapy does not keep where it found a field. So each layer is taken apart once more, field by field, by the very
functions that scapy reads it with, and what is left of the bytes after each tells the place. Where this finds another
value than scapy did (some layers are read in a way of their own), the layer's fields have no places from there on.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import scapy.layers.dhcp  # each of these imports registers the layers of a protocol
import scapy.layers.dhcp6
import scapy.layers.dns
import scapy.layers.dot11
import scapy.layers.eap
import scapy.layers.http
import scapy.layers.inet
import scapy.layers.inet6
import scapy.layers.l2
import scapy.layers.llmnr
import scapy.layers.netbios
import scapy.layers.ntp
import scapy.layers.ppp
import scapy.layers.sctp
import scapy.layers.vrrp  # noqa: F401
from scapy.config import conf
from scapy.fields import ConditionalField, PacketField, PacketListField
from scapy.packet import NoPayload, Packet, Padding, Raw

from aishark_panel.views.nodes import MAX_NODES, Node, cut_text, place

if find_spec("cryptography"):  # scapy's TLS cannot be imported without it; then TLS is shown as data
    import_module("scapy.layers.tls.all")

__all__ = ["layer_tree"]

_MAX_LAYERS: Final = 32
_MAX_DEPTH: Final = 4
_MAX_FRAME_BYTES: Final = 16_384
"""scapy sees no more of a frame: it takes some 10 µs a field."""

_WIRESHARK: Final = {
    **{f"{layer}.{name}": f"eth.{name}" for layer in ("Ether", "Dot3") for name in ("src", "dst", "type")},
    "Dot1Q.vlan": "vlan.id",
    "MPLS.label": "mpls.label",
    **{f"IP.{name}": f"ip.{name}" for name in ("version", "src", "dst", "proto", "ttl", "id")},
    **{f"IPv6.{name}": f"ipv6.{name}" for name in ("version", "src", "dst", "hlim")},
    "IPv6.nh": "ipv6.nxt",
    **{
        f"{layer}.{name}port": f"{layer.lower()}.{end}port"
        for layer in ("TCP", "UDP")
        for name, end in (("s", "src"), ("d", "dst"))
    },
    **{f"SCTP.{name}port": f"udp.{end}port" for name, end in (("s", "src"), ("d", "dst"))},
    "TCP.seq": "tcp.seq",
    "TCP.ack": "tcp.ack",
    "TCP.flags": "tcp.flags",
    "TCP.window": "tcp.window_size_value",
    "ICMP.type": "icmp.type",
    "ICMP.code": "icmp.code",
    "ARP.op": "arp.opcode",
    "ARP.psrc": "ip.src",
    "ARP.pdst": "ip.dst",
    "DNS.rcode": "dns.flags.rcode",
    "DNSQR.qname": "dns.qry.name",
    "DNSQR.qtype": "dns.qry.type",
}
"""What Wireshark calls fields that have a column; addresses of ARP are in the columns of IP's."""


def layer_tree(frame: bytes, link_type: int) -> list[Node]:
    """Layers of a frame, outermost first (see views/nodes.py). What cannot be read ends the list with a layer that
    says so. `link_type` is a LINKTYPE number (tcpdump.org/linktypes.html).
    """
    decoder = conf.l2types.num2layer.get(link_type)
    if decoder is None:
        return [_plain("Frame", f"link type {link_type}, which has no decoder here", 0, len(frame))]
    frame = frame[:_MAX_FRAME_BYTES]
    nodes: list[Node] = []
    room = [MAX_NODES]
    try:
        layer = decoder(frame)
        while not isinstance(layer, NoPayload) and len(nodes) < _MAX_LAYERS:
            nodes.append(_node(layer, frame, room))
            layer = layer.payload
    except Exception as error:  # scapy raises whatever hostile bytes lead it to
        end = nodes[-1]["start"] + nodes[-1]["length"] if nodes else 0
        nodes.append(_plain("Not readable", f"{type(error).__name__}: {error}", end, len(frame) - end))
    return nodes


def _node(layer: Packet, frame: bytes, room: list[int]) -> Node:
    whole, rest = len(layer.original), len(layer.payload.original or b"")
    start, length = max(0, len(frame) - whole), max(0, whole - rest)
    if isinstance(layer, Raw | Padding):
        return _plain("Padding" if isinstance(layer, Padding) else "Data", f"{length:,} bytes", start, length)
    summary: Any = layer.mysummary()  # some layers answer (text, layers it speaks for)
    text = cut_text(summary[0] if isinstance(summary, tuple) else summary)
    fields = _fields(layer, frame, start, start + length, room)
    return {"name": str(layer.name), "summary": text, "start": start, "length": length, "fields": fields}


def _fields(layer: Packet, frame: bytes, start: int, stop: int, room: list[int], depth: int = 0) -> list[Node]:
    """The fields that are there, with their places in frame[start:stop] where these are certain."""
    present = [f for f in layer.fields_desc if not isinstance(f, ConditionalField) or f._evalcond(layer)]
    places = _places(layer, frame[start:stop])
    nodes: list[Node] = []
    for field in present:
        if room[0] <= 0:
            nodes.append({"name": "…", "value": "more fields than are shown"})
            break
        room[0] -= 1
        value = layer.getfieldval(field.name)
        node: Node = {"name": field.name, "value": "", "is": value}
        if f"{type(layer).__name__}.{field.name}" in _WIRESHARK:
            node["key"] = _WIRESHARK[f"{type(layer).__name__}.{field.name}"]
        first = last = None
        if field.name in places:
            first, last = (8 * start + bit for bit in places[field.name])
            node |= place(frame, first, last)
        inner = getattr(field, "fld", field)
        if isinstance(inner, PacketListField | PacketField) and value and depth < _MAX_DEPTH:
            node["fields"] = _items(value, frame, first, last, room, depth + 1)
            node["value"] = f"{len(value)} entries" if isinstance(value, list) and len(value) > 1 else ""
        else:
            node["value"] = cut_text(field.i2repr(layer, value))
        nodes.append(node)
    return nodes


def _items(value: Any, frame: bytes, first: int | None, last: int | None, room: list[int], depth: int) -> list[Node]:
    """What a field of packets holds, one node each. Each was read from what the one before left of the same bytes."""
    items = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, Packet)]
    start, stop = (-1, -1) if first is None or last is None else (first // 8, last // 8)
    left = [len(item.original or b"") for item in items]
    starts = [start + left[0] - each for each in left] + [stop] if items else []
    nodes: list[Node] = []
    for k, item in enumerate(items):
        if room[0] <= 0:
            break
        room[0] -= 1
        begin, end = starts[k], starts[k + 1]
        node: Node = {"name": str(item.name), "value": ""}
        if left[k] and 0 <= start <= begin < end <= stop and item.original.startswith(frame[begin:end]):
            node |= {"start": begin, "length": end - begin}
        else:
            begin = end = 0
        node["fields"] = _fields(item, frame, begin, end, room, depth)
        nodes.append(node)
    return nodes


def _places(layer: Packet, data: bytes) -> dict[str, tuple[int, int]]:
    """First bit of each field in the layer's bytes and the one after its last, as far as they are certain."""
    again = type(layer)()
    again.underlayer, again.parent, again.original = layer.underlayer, getattr(layer, "parent", None), layer.original
    again.fields = {}
    left: Any = data
    bit, places = 0, {}
    try:
        for field in layer.fields_desc:
            left, value = field.getfield(again, left)
            if isinstance(field, ConditionalField) and value is None:
                continue
            rest, used = (left[0], left[1]) if isinstance(left, tuple) else (left, 0)
            end = 8 * (len(data) - len(rest)) + used
            if not bit <= end <= 8 * len(data) or not _equal(value, layer.fields.get(field.name)):
                break
            again.fields[field.name] = value
            if end > bit:
                places[field.name] = (bit, end)
            bit = end
            if not rest and not used:
                break
    except Exception:  # read in another way by scapy, or hostile bytes; what was found stands
        return places
    return places


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, Packet) and isinstance(other, Packet):
        return type(one) is type(other) and one.original == other.original
    return bool(one == other)


def _plain(name: str, summary: str, start: int, length: int) -> Node:
    return {"name": name, "summary": cut_text(summary), "start": start, "length": length, "fields": []}
