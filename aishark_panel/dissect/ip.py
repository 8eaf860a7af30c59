"""Network layers: ARP, IPv4 and IPv6 with its extension headers.

The IP parsers return (ip_proto, pos, end, wire_end): the transport header's protocol number, place and bounds (see
load.py); ip_proto -1 where no transport header follows in this packet, and then pos is where the headers end.
"""

from typing import Final

import numpy as np

from aishark_panel.dissect.load import Bytes, note_short, u8, u16, u32, word
from aishark_panel.dissect.row import Row
from aishark_panel.jit import kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer

__all__ = ["NO_TRANSPORT", "Transport", "arp", "ipv4", "ipv6"]

Transport = tuple[int, int, int, int]
"""(ip_proto, pos, end, wire_end)"""

NO_TRANSPORT: Final = -1

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _NO_NEXT, _DESTINATION = 0, 43, 44, 51, 59, 60
_MOBILITY, _HIP, _SHIM6 = 135, 139, 140
_EXTENSIONS: Final = (_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _DESTINATION, _MOBILITY, _HIP, _SHIM6)

_ARP_BIT: Final = int(Layer.ARP)
_IPV4_BITS: Final = int(Layer.IPV4 | Layer.IP_ID)
_IPV6_BIT: Final = int(Layer.IPV6)
_IP_ID_BIT: Final = int(Layer.IP_ID)
_FRAGMENT_BIT: Final = int(Layer.FRAGMENT)


@kernel_part
def _mapped(data: Bytes, pos: int) -> np.uint64:
    """Second half of the IPv4 address at `pos` as ::ffff:a.b.c.d; the first half is 0."""
    address = u8(data, pos) | u8(data, pos + 1) << 8 | u8(data, pos + 2) << 16 | u8(data, pos + 3) << 24
    return np.uint64(address) << np.uint64(32) | np.uint64(0xFFFF0000)


@kernel_part
def arp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> int:
    """ARP (RFC 826) and RARP; the layer counts as seen only where it is about IPv4 addresses. Returns where it ends."""
    row.protocol = protocols.ARP
    if end - pos < 8:
        note_short(row, end, wire_end)
        return end
    hardware_len, protocol_len = u8(data, pos + 4), u8(data, pos + 5)
    arp_end = min(pos + 8 + 2 * (hardware_len + protocol_len), end)
    if u16(data, pos + 2) != 0x0800 or protocol_len != 4:
        return arp_end
    if end - pos < 16 + 2 * hardware_len:
        note_short(row, end, wire_end)
        return end
    row.layers |= _ARP_BIT
    row.arp_op = u16(data, pos + 6)
    row.src_ip_1 = _mapped(data, pos + 8 + hardware_len)
    row.dst_ip_1 = _mapped(data, pos + 12 + 2 * hardware_len)
    return arp_end


@kernel_part
def ipv4(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Transport:
    """IPv4 (RFC 791). A total length of 0 means "to the end of the frame": segmentation left to the network card."""
    row.protocol = protocols.IPV4
    if end - pos < 20:
        note_short(row, end, wire_end)
        return NO_TRANSPORT, end, end, wire_end
    header_len = (u8(data, pos) & 15) * 4
    total_len = u16(data, pos + 2)
    if u8(data, pos) >> 4 != 4 or header_len < 20:
        row.malformed = 1
        return NO_TRANSPORT, pos + 20, end, wire_end
    proto = u8(data, pos + 9)
    fragment = u16(data, pos + 6)
    offset = fragment & 0x1FFF
    layers = _IPV4_BITS
    row.ip_version = 4
    row.ip_proto = proto
    row.ip_ttl = u8(data, pos + 8)
    row.ip_id = u16(data, pos + 4)
    row.src_ip_1 = _mapped(data, pos + 12)
    row.dst_ip_1 = _mapped(data, pos + 16)
    if fragment & 0x3FFF:  # more fragments, or not the first
        layers |= _FRAGMENT_BIT
        row.ip_frag_offset = offset
    row.layers |= layers
    if total_len:
        if total_len < header_len or pos + total_len > wire_end:
            row.malformed = 1
        if total_len < header_len:
            return NO_TRANSPORT, pos + 20, end, wire_end
        wire_end = min(wire_end, pos + total_len)
        end = min(end, wire_end)
    pos += header_len
    if pos > end:
        note_short(row, end, wire_end)
        return NO_TRANSPORT, end, end, wire_end
    return proto if offset == 0 else NO_TRANSPORT, pos, end, wire_end


@kernel_part
def ipv6(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Transport:
    """IPv6 (RFC 8200). A payload length of 0 before a header means "to the end of the frame": a jumbogram (RFC 2675)
    or segmentation left to the network card."""
    row.protocol = protocols.IPV6
    if end - pos < 40:
        note_short(row, end, wire_end)
        return NO_TRANSPORT, end, end, wire_end
    if u8(data, pos) >> 4 != 6:
        row.malformed = 1
        return NO_TRANSPORT, pos + 40, end, wire_end
    payload_len = u16(data, pos + 4)
    proto = u8(data, pos + 6)
    row.layers |= _IPV6_BIT
    row.ip_version = 6
    row.ip_ttl = u8(data, pos + 7)
    row.src_ip_0 = word(data, pos + 8)
    row.src_ip_1 = word(data, pos + 16)
    row.dst_ip_0 = word(data, pos + 24)
    row.dst_ip_1 = word(data, pos + 32)
    pos += 40
    if payload_len or proto == _NO_NEXT:
        if pos + payload_len > wire_end:
            row.malformed = 1
        wire_end = min(wire_end, pos + payload_len)
        end = min(end, wire_end)
    if proto in _EXTENSIONS:
        return _extensions(data, pos, end, wire_end, proto, row)
    row.ip_proto = proto
    return proto, pos, end, wire_end


@kernel_part
def _extensions(data: Bytes, pos: int, end: int, wire_end: int, proto: int, row: Row) -> Transport:
    """Step over IPv6 extension headers (each is 8 bytes at least, so the frame's end bounds the loop)."""
    while proto in _EXTENSIONS:
        row.ip_proto = proto
        if end - pos < 8:
            note_short(row, end, wire_end)
            return NO_TRANSPORT, end, end, wire_end
        following = u8(data, pos)
        header_len = 8
        if proto == _FRAGMENT:
            offset = u16(data, pos + 2) >> 3
            row.layers |= _FRAGMENT_BIT | _IP_ID_BIT
            row.ip_frag_offset = offset
            row.ip_id = u32(data, pos + 4)
            if offset:
                row.ip_proto = following
                return NO_TRANSPORT, pos + 8, end, wire_end
        elif proto == _AH:
            header_len = (u8(data, pos + 1) + 2) * 4
        else:
            header_len = (u8(data, pos + 1) + 1) * 8
        if pos + header_len > end:
            note_short(row, end, wire_end)
            return NO_TRANSPORT, end, end, wire_end
        pos += header_len
        proto = following
    row.ip_proto = proto
    return proto, pos, end, wire_end
