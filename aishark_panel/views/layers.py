"""The layer tree of one packet, made by scapy: what a person reads beside the hex bytes.

Only the packet somebody looks at comes here. Bytes are whatever strangers sent: a layer that scapy cannot read ends the
tree with the reason, and the hex view still shows everything. Importing this module takes scapy a second or two.
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
from scapy.packet import NoPayload, Packet, Padding, Raw

if find_spec("cryptography"):  # scapy's TLS cannot be imported without it; then TLS is shown as data
    import_module("scapy.layers.tls.all")

__all__ = ["MAX_VALUE_CHARS", "layer_tree"]

MAX_VALUE_CHARS: Final = 400
"""Longest text of one field; longer ones are cut and say so."""
_MAX_LAYERS: Final = 32

Node = dict[str, Any]


def layer_tree(frame: bytes, link_type: int) -> list[Node]:
    """Layers of a frame, outermost first: {"name", "summary", "start", "length", "fields"}, places in frame bytes.

    `link_type` is a LINKTYPE number (tcpdump.org/linktypes.html). A field is {"name", "value"}, with "start" and
    "length" too where its place is certain. What cannot be read ends the list with a layer that says so.
    """
    decoder = conf.l2types.num2layer.get(link_type)
    if decoder is None:
        return [_plain("Frame", f"link type {link_type}, which has no decoder here", 0, len(frame))]
    nodes: list[Node] = []
    try:
        layer = decoder(frame)
        while not isinstance(layer, NoPayload) and len(nodes) < _MAX_LAYERS:
            nodes.append(_node(layer, len(frame)))
            layer = layer.payload
    except Exception as error:  # scapy raises whatever hostile bytes lead it to
        end = nodes[-1]["start"] + nodes[-1]["length"] if nodes else 0
        nodes.append(_plain("Not readable", f"{type(error).__name__}: {error}", end, len(frame) - end))
    return nodes


def _node(layer: Packet, frame_len: int) -> Node:
    whole, rest = len(layer.original), len(layer.payload.original or b"")
    start, length = max(0, frame_len - whole), max(0, whole - rest)
    if isinstance(layer, Raw | Padding):
        return _plain("Padding" if isinstance(layer, Padding) else "Data", f"{length:,} bytes", start, length)
    present = [f for f in layer.fields_desc if not hasattr(f, "_evalcond") or f._evalcond(layer)]
    fields: list[Node] = [{"name": f.name, "value": _text(f.i2repr(layer, layer.getfieldval(f.name)))} for f in present]
    for node, place in zip(fields, _places(layer, present, length), strict=False):
        node["start"], node["length"] = start + place[0], place[1]
    summary: Any = layer.mysummary()  # some layers answer (text, layers it speaks for)
    text = summary[0] if isinstance(summary, tuple) else summary
    return {"name": str(layer.name), "summary": _text(text), "start": start, "length": length, "fields": fields}


def _places(layer: Packet, fields: list[Any], length: int) -> list[tuple[int, int]]:
    """(offset, length) in bytes of each field, where laid end to end they fill the layer exactly; else [].

    scapy does not keep where it found a field.
    """
    bit, places = 0, []
    for field in fields:
        inner = getattr(field, "fld", field)
        value = layer.getfieldval(field.name)
        try:
            built = inner.addfield(layer, b"", value)
        except Exception:  # a field that cannot be built again has no place we could tell
            return []
        width = inner.size if isinstance(built, tuple) else 8 * len(built)  # a tuple: bits of a byte not yet full
        places.append((bit // 8, (bit + width + 7) // 8 - bit // 8))
        bit += width
    return places if bit == 8 * length else []


def _plain(name: str, summary: str, start: int, length: int) -> Node:
    return {"name": name, "summary": _text(summary), "start": start, "length": length, "fields": []}


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}… ({len(text):,} characters)"
