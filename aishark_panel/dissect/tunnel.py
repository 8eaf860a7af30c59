"""Packets in packets: GRE, IP in IP, Ethernet in IP, VXLAN, GENEVE, GTP-U, L2TP, MPLS and NSH over UDP, Teredo.

The record is filled anew by each packet further in, so that all parsers need not know about tunnels, and the
outermost packet's fields are set aside meanwhile. `unnest` puts them back and the innermost packet's into `inner_*`.
"""

from typing import Final

from aishark_panel.dissect.encapsulation import (
    BY_VERSION,
    ETHERTYPE_ARP,
    ETHERTYPE_ETHERNET,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_MPLS,
    ETHERTYPE_NSH,
    ETHERTYPE_PPP,
    MIN_ETHERTYPE,
    Following,
    encapsulation,
)
from aishark_panel.dissect.ip import NO_TRANSPORT, arp, ipv4, ipv6
from aishark_panel.dissect.load import Bytes, note_short, u8, u16, u24, u32
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.transport import (
    OVER_ETHERIP,
    OVER_ETHERNET,
    OVER_GENEVE,
    OVER_GRE,
    OVER_GTP,
    OVER_IP,
    OVER_L2TP,
    OVER_LISP,
    OVER_MPLS,
    OVER_NOTHING,
    OVER_NSH,
    OVER_TEREDO,
    OVER_VXLAN,
    OVER_VXLAN_GPE,
    TUNNELS,
    transport,
)
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer

__all__ = ["nest", "unnest"]

_MAX_DEPTH: Final = 8
"""Most tunnels gone into, one in another"""

_OUTERMOST: Final = int(
    Layer.ARP | Layer.IP | Layer.FRAGMENT | Layer.IP_ID | Layer.TCP | Layer.UDP | Layer.SCTP | Layer.PORTS
)
"""Layers of which the plain bit is the outermost packet's"""
_IP_BITS: Final = int(Layer.IP)
_ARP_BIT: Final = int(Layer.ARP)
_UDP_BIT: Final = int(Layer.UDP)
_PORTS_BIT: Final = int(Layer.PORTS)
_TRANSPORTS: Final = int(Layer.TCP | Layer.UDP | Layer.SCTP)
_TUNNEL_ID_BIT: Final = int(Layer.TUNNEL_ID)
_GRE_BIT: Final = int(Layer.GRE)
_VXLAN_BIT: Final = int(Layer.VXLAN)
_GENEVE_BIT: Final = int(Layer.GENEVE)
_GTP_BIT: Final = int(Layer.GTP)


def _shift(plain: Layer, inner: Layer) -> int:
    """By how many bits the bit of an innermost layer stands higher."""
    return int(inner).bit_length() - int(plain).bit_length()


_IP_SHIFT: Final = _shift(Layer.IPV4, Layer.INNER_IPV4)
_TRANSPORT_SHIFT: Final = _shift(Layer.TCP, Layer.INNER_TCP)
_PORTS_SHIFT: Final = _shift(Layer.PORTS, Layer.INNER_PORTS)
_ARP_SHIFT: Final = _shift(Layer.ARP, Layer.INNER_ARP)

_ERSPAN_2, _ERSPAN_3, _WCCP, _CISCO_METADATA = 0x88BE, 0x22EB, 0x883E, 0x8909

Nested = tuple[int, int, int, int]
"""(pos, end, wire_end, kind): the innermost transport's payload, as transport.Payload says its kind"""


@called_part
def nest(data: Bytes, pos: int, end: int, wire_end: int, kind: int, row: Row, outer: Row) -> Nested:
    """Go into the tunnel of a `kind` from transport.TUNNELS on, and into those within, to the innermost packet.

    `outer.layers` is 0 before, and afterwards not, where a packet was found; then `unnest` must follow. Where a
    datagram holds no packet after all, pos is behind its UDP header: that its port is a tunnel's may be chance.
    """
    for depth in range(_MAX_DEPTH):
        carried = pos
        ether_type, pos, end, wire_end = _open(data, pos, end, wire_end, kind, row)
        ether_type, pos, end, wire_end = encapsulation(data, ether_type, pos, end, wire_end, row)
        if ether_type not in (ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP):
            if row.layers & _UDP_BIT:
                pos = carried
            break
        _set_aside(row, outer, depth == 0)
        if ether_type == ETHERTYPE_ARP:
            pos = arp(data, pos, end, wire_end, row)
            break
        if ether_type == ETHERTYPE_IPV4:
            proto, pos, end, wire_end = ipv4(data, pos, end, wire_end, row)
        else:
            proto, pos, end, wire_end = ipv6(data, pos, end, wire_end, row)
        if proto == NO_TRANSPORT:
            break
        pos, end, wire_end, kind = transport(data, pos, end, wire_end, proto, row)
        if kind < TUNNELS:
            return pos, end, wire_end, kind
    return pos, end, wire_end, OVER_NOTHING


@kernel_part
def _set_aside(row: Row, outer: Row, is_outermost: bool) -> None:
    """Make room for the next packet's fields; those of the outermost packet are kept."""
    if is_outermost:
        outer.layers = row.layers & _OUTERMOST
        outer.ip_version = row.ip_version
        outer.src_ip_0 = row.src_ip_0
        outer.src_ip_1 = row.src_ip_1
        outer.dst_ip_0 = row.dst_ip_0
        outer.dst_ip_1 = row.dst_ip_1
        outer.ip_proto = row.ip_proto
        outer.ip_ttl = row.ip_ttl
        outer.ip_id = row.ip_id
        outer.ip_frag_offset = row.ip_frag_offset
        outer.src_port = row.src_port
        outer.dst_port = row.dst_port
    else:  # of those between, it is told only that UDP was there
        row.layers |= (row.layers & _UDP_BIT) << _TRANSPORT_SHIFT
    row.layers &= ~_OUTERMOST
    row.ip_version = 0
    row.src_ip_0 = 0
    row.src_ip_1 = 0
    row.dst_ip_0 = 0
    row.dst_ip_1 = 0
    row.ip_proto = 0
    row.ip_ttl = 0
    row.ip_id = 0
    row.ip_frag_offset = 0
    row.src_port = 0
    row.dst_port = 0


@called_part
def unnest(row: Row, outer: Row) -> None:
    """Give the innermost packet's fields their own names, and the row the outermost packet's."""
    inner = row.layers
    layers = (inner & ~_OUTERMOST) | outer.layers
    layers |= (inner & _IP_BITS) << _IP_SHIFT | (inner & _TRANSPORTS) << _TRANSPORT_SHIFT
    row.layers = layers | (inner & _PORTS_BIT) << _PORTS_SHIFT | (inner & _ARP_BIT) << _ARP_SHIFT
    row.inner_src_ip_0 = row.src_ip_0
    row.inner_src_ip_1 = row.src_ip_1
    row.inner_dst_ip_0 = row.dst_ip_0
    row.inner_dst_ip_1 = row.dst_ip_1
    row.inner_ip_proto = row.ip_proto
    row.inner_src_port = row.src_port
    row.inner_dst_port = row.dst_port
    row.ip_version = outer.ip_version
    row.src_ip_0 = outer.src_ip_0
    row.src_ip_1 = outer.src_ip_1
    row.dst_ip_0 = outer.dst_ip_0
    row.dst_ip_1 = outer.dst_ip_1
    row.ip_proto = outer.ip_proto
    row.ip_ttl = outer.ip_ttl
    row.ip_id = outer.ip_id
    row.ip_frag_offset = outer.ip_frag_offset
    row.src_port = outer.src_port
    row.dst_port = outer.dst_port
    outer.layers = 0


@kernel_part
def _open(data: Bytes, pos: int, end: int, wire_end: int, kind: int, row: Row) -> Following:
    """Step over the header of a tunnel."""
    if kind == OVER_IP:
        return BY_VERSION, pos, end, wire_end
    if kind == OVER_ETHERNET:
        return ETHERTYPE_ETHERNET, pos, end, wire_end
    if kind == OVER_GRE:
        return _gre(data, pos, end, wire_end, row)
    if kind == OVER_MPLS:
        return ETHERTYPE_MPLS, pos, end, wire_end
    if kind == OVER_NSH:
        return ETHERTYPE_NSH, pos, end, wire_end
    if kind == OVER_GTP:
        return _gtp(data, pos, end, wire_end, row)
    if kind == OVER_L2TP:
        return _l2tp(data, pos, end, wire_end, row)
    if kind == OVER_TEREDO:
        return _teredo(data, pos, end, wire_end, row)
    length = 2 if kind == OVER_ETHERIP else 8
    if kind == OVER_ETHERIP:
        row.protocol = protocols.ETHERIP
    elif kind in (OVER_VXLAN, OVER_VXLAN_GPE):
        row.protocol = protocols.VXLAN
    elif kind == OVER_GENEVE:
        row.protocol = protocols.GENEVE
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    if kind == OVER_ETHERIP:  # RFC 3378
        return ETHERTYPE_ETHERNET if u8(data, pos) >> 4 == 3 else 0, pos + 2, end, wire_end
    if kind == OVER_LISP:  # RFC 9300
        return BY_VERSION, pos + 8, end, wire_end
    if kind == OVER_GENEVE:
        return _geneve(data, pos, end, wire_end, row)
    return _vxlan(data, pos, end, wire_end, kind, row)


@kernel_part
def _identify(row: Row, identifier: int) -> None:
    """Note the identifier of a tunnel, if no other had one before."""
    if not row.layers & _TUNNEL_ID_BIT:
        row.layers |= _TUNNEL_ID_BIT
        row.tunnel_id = identifier


@kernel_part
def _gre(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """GRE (RFC 2784, 2890; version 1: RFC 2637), with ERSPAN's header, if it has one."""
    if end - pos < 4:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    flags, ether_type = u16(data, pos), u16(data, pos + 2)
    length = 4
    if flags & 0xC000:  # checksum or routing: one has a place where the other is
        length += 4
    key_at = pos + length
    if flags & 0x2000:
        length += 4
    if flags & 0x1000:
        length += 4
    if flags & 0x0080 and flags & 7 == 1:
        length += 4
    row.layers |= _GRE_BIT
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    if flags & 0x2000:
        _identify(row, u32(data, key_at))
    if flags & 0x4000:  # source route entries, which end with an empty one (RFC 1701), are not stepped over
        return 0, pos + length, end, wire_end
    pos += length
    if ether_type in (_ERSPAN_2, _ERSPAN_3):
        row.protocol = protocols.ERSPAN
        length = 0  # type I has no header
        if ether_type == _ERSPAN_3:
            if end - pos < 12:
                note_short(row, end, wire_end)
                return 0, end, end, wire_end
            length = 20 if u8(data, pos + 11) & 1 else 12
        elif flags & 0x1000:
            length = 8
        if end - pos < length:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        return ETHERTYPE_ETHERNET, pos + length, end, wire_end
    if ether_type == ETHERTYPE_PPP and pos == wire_end:  # an acknowledgement alone
        return 0, pos, end, wire_end
    if ether_type == _WCCP:  # redirected packets (draft-wilson-wrec-wccp-v2), since version 2 behind four bytes
        if pos < end and u8(data, pos) >> 4 != 4:
            pos = min(pos + 4, end)
        return BY_VERSION, pos, end, wire_end
    if ether_type == _CISCO_METADATA and end - pos >= 8:  # here, unlike behind Ethernet, the type comes first
        ether_type = u16(data, pos)
        pos += 8
    return ether_type if ether_type >= MIN_ETHERTYPE else 0, pos, end, wire_end


@kernel_part
def _vxlan(data: Bytes, pos: int, end: int, wire_end: int, kind: int, row: Row) -> Following:
    """VXLAN (RFC 7348), and with a protocol field (draft-ietf-nvo3-vxlan-gpe)."""
    if not u8(data, pos) & 0x08:  # there is no identifier: "this flag MUST be set"
        return 0, pos, end, wire_end
    row.layers |= _VXLAN_BIT
    _identify(row, u24(data, pos + 4))
    if kind == OVER_VXLAN:
        return ETHERTYPE_ETHERNET, pos + 8, end, wire_end
    following = u8(data, pos + 3)
    if following == 1:
        return ETHERTYPE_IPV4, pos + 8, end, wire_end
    if following == 2:
        return ETHERTYPE_IPV6, pos + 8, end, wire_end
    if following == 3:
        return ETHERTYPE_ETHERNET, pos + 8, end, wire_end
    return ETHERTYPE_NSH if following == 4 else 0, pos + 8, end, wire_end


@kernel_part
def _geneve(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """GENEVE (RFC 8926), its options stepped over."""
    row.layers |= _GENEVE_BIT
    first = u8(data, pos)
    _identify(row, u24(data, pos + 4))
    if first >> 6:
        row.malformed = 1
        return 0, pos, end, wire_end
    length = 8 + (first & 0x3F) * 4
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, pos, end, wire_end
    return u16(data, pos + 2), pos + length, end, wire_end


@kernel_part
def _gtp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """GTP-U (3GPP TS 29.281 section 5), its extension headers stepped over; other messages than user data are named."""
    row.protocol = protocols.GTP
    if end - pos < 8:
        note_short(row, end, wire_end)
        return 0, pos, end, wire_end
    first, message = u8(data, pos), u8(data, pos + 1)
    if first >> 4 != 3:  # version 1 of GTP, and not of GTP'
        return 0, pos, end, wire_end
    row.layers |= _GTP_BIT
    _identify(row, u32(data, pos + 4))
    message_end = pos + 8 + u16(data, pos + 2)
    if message_end > wire_end:
        row.malformed = 1
    wire_end = min(wire_end, message_end)
    end = min(end, wire_end)
    pos += 8
    if first & 7:
        if end - pos < 4:
            note_short(row, end, wire_end)
            return 0, pos, end, wire_end
        following = u8(data, pos + 3) if first & 4 else 0
        pos += 4
        while following:
            length = u8(data, pos) * 4 if pos < end else 0
            if length == 0 and pos < end:
                row.malformed = 1
                return 0, pos, end, wire_end
            if pos + length > end or pos >= end:
                note_short(row, end, wire_end)
                return 0, pos, end, wire_end
            following = u8(data, pos + length - 1)
            pos += length
    if message != 0xFF or pos == wire_end:
        return 0, pos, end, wire_end
    return BY_VERSION, pos, end, wire_end


@kernel_part
def _l2tp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """L2TP data messages (RFC 2661 section 3.1); control messages are named."""
    row.protocol = protocols.L2TP
    if end - pos < 2:
        note_short(row, end, wire_end)
        return 0, pos, end, wire_end
    flags = u16(data, pos)
    if flags & 0x800F != 2:  # a control message, or not version 2
        return 0, pos, end, wire_end
    length = 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        length += 2
        if end - pos >= length:
            length += u16(data, pos + length - 2)
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, pos, end, wire_end
    return ETHERTYPE_PPP, pos + length, end, wire_end


@kernel_part
def _teredo(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """IPv6 over UDP (RFC 4380 section 5.1.1), after an authentication or an origin indication, or both."""
    if end - pos >= 13 and u16(data, pos) == 1:
        pos += 13 + u8(data, pos + 2) + u8(data, pos + 3)
    if end - pos >= 8 and u16(data, pos) == 0:
        pos += 8
    if end - pos < 8 and end < wire_end:
        row.truncated = 1
        return 0, pos, end, wire_end
    is_ipv6 = pos < end and u8(data, pos) >> 4 == 6
    return ETHERTYPE_IPV6 if is_ipv6 else 0, pos, end, wire_end
