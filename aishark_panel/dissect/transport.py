"""Transport layers: TCP, UDP, SCTP, ICMP and ICMPv6.

`transport` fills their columns and returns (pos, kind): where the payload starts, and which protocols to look for
in it. Lengths come from the headers, so padding after an IP packet is no payload.
"""

from typing import Final

import numpy as np

from aishark_panel.dissect.load import Bytes, note_short, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.schema import Layer

__all__ = ["OVER_NOTHING", "OVER_TCP", "OVER_UDP", "Payload", "conversation", "transport"]

OVER_TCP: Final = 0
OVER_UDP: Final = 1
OVER_NOTHING: Final = -1

Payload = tuple[int, int]
"""(pos, OVER_TCP | OVER_UDP | OVER_NOTHING)"""

_ICMP, _TCP, _UDP, _ICMPV6, _SCTP = 1, 6, 17, 58, 132

_NAMES: Final = np.zeros(256, np.uint16)
"""protocol column by IP protocol number; 0: stays the network layer's"""
for _number, _name in {
    _ICMP: protocols.ICMP,
    2: protocols.IGMP,
    _TCP: protocols.TCP,
    _UDP: protocols.UDP,
    47: protocols.GRE,
    50: protocols.ESP,
    51: protocols.AH,
    _ICMPV6: protocols.ICMPV6,
    89: protocols.OSPF,
    103: protocols.PIM,
    112: protocols.VRRP,
    _SCTP: protocols.SCTP,
}.items():
    _NAMES[_number] = _name

_TCP_BITS: Final = int(Layer.TCP | Layer.TRANSPORT)
_WSCALE_BIT: Final = int(Layer.TCP_WSCALE)
_UDP_BITS: Final = int(Layer.UDP | Layer.TRANSPORT)
_SCTP_BITS: Final = int(Layer.SCTP | Layer.TRANSPORT)
_PORTS_BIT: Final = int(Layer.PORTS)
_ICMP_BIT: Final = int(Layer.ICMP)
_FRAGMENT_BIT: Final = int(Layer.FRAGMENT)


@kernel_part
def transport(data: Bytes, pos: int, end: int, wire_end: int, proto: int, row: Row) -> Payload:
    """Dissect the header of IP protocol `proto` (0-255) at `pos`."""
    name = _NAMES[proto]
    if name:
        row.protocol = name
    if proto == _TCP:
        return _tcp(data, pos, end, wire_end, row)
    if proto == _UDP:
        return _udp(data, pos, end, wire_end, row)
    if proto == _SCTP:
        if _ports(data, pos, end, wire_end, 12, row):
            row.layers |= _SCTP_BITS
            row.payload_len = wire_end - pos - 12
    elif proto in (_ICMP, _ICMPV6):
        if end - pos < 4:
            _note_short(row, end, wire_end)
        else:
            row.layers |= _ICMP_BIT
            row.icmp_type = u8(data, pos)
            row.icmp_code = u8(data, pos + 1)
    return pos, OVER_NOTHING


@kernel_part
def _note_short(row: Row, end: int, wire_end: int) -> None:
    """As load.note_short, but a first fragment may rightly end inside the transport header."""
    if end < wire_end or not row.layers & _FRAGMENT_BIT:
        note_short(row, end, wire_end)


@kernel_part
def _ports(data: Bytes, pos: int, end: int, wire_end: int, header_len: int, row: Row) -> bool:
    """Read the ports, which TCP, UDP and SCTP have in the same place; is the whole header there?"""
    if end - pos >= 4:
        row.layers |= _PORTS_BIT
        row.src_port = u16(data, pos)
        row.dst_port = u16(data, pos + 2)
    if end - pos < header_len:
        _note_short(row, end, wire_end)
        return False
    return True


@kernel_part
def _tcp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Payload:
    """TCP (RFC 9293)."""
    if not _ports(data, pos, end, wire_end, 20, row):
        return pos, OVER_NOTHING
    header_len = (u8(data, pos + 12) >> 4) * 4
    row.layers |= _TCP_BITS
    row.tcp_seq = u32(data, pos + 4)
    row.tcp_ack = u32(data, pos + 8)
    row.tcp_flags = u16(data, pos + 12) & 0x01FF
    row.tcp_window = u16(data, pos + 14)
    if header_len < 20 or pos + header_len > wire_end:
        if header_len < 20 or not row.layers & _FRAGMENT_BIT:
            row.malformed = 1
        return pos, OVER_NOTHING
    row.payload_len = wire_end - pos - header_len
    if pos + header_len > end:
        row.truncated = 1
        return pos, OVER_NOTHING
    _options(data, pos + 20, pos + header_len, row)
    return pos + header_len, OVER_TCP


@kernel_part
def _options(data: Bytes, pos: int, end: int, row: Row) -> None:
    """The window scale option (RFC 7323)."""
    while end - pos >= 2 and u8(data, pos) != 0:
        kind, length = u8(data, pos), u8(data, pos + 1)
        if kind == 1:
            pos += 1
            continue
        if length < 2 or length > end - pos:
            return
        if kind == 3 and length == 3:
            row.layers |= _WSCALE_BIT
            row.tcp_wscale = u8(data, pos + 2)
        pos += length


@kernel_part
def _udp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Payload:
    """UDP (RFC 768); a length of 0 means "to the end of the IP payload" (RFC 2675 section 4)."""
    if not _ports(data, pos, end, wire_end, 8, row):
        return pos, OVER_NOTHING
    row.layers |= _UDP_BITS
    length = u16(data, pos + 4)
    available = wire_end - pos
    if length and (length < 8 or (length > available and not row.layers & _FRAGMENT_BIT)):
        row.malformed = 1
    row.payload_len = (min(length, available) if length >= 8 else available) - 8
    return pos + 8, OVER_UDP


@kernel_part
def _mix(x: np.uint64) -> np.uint64:
    """The finaliser of splitmix64: every bit of the input changes every bit of the output with probability 1/2."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


@kernel_part
def _endpoint(high: np.uint64, low: np.uint64, port: int) -> np.uint64:
    return _mix(low + high * np.uint64(0xD6E8FEB86659FD93) + np.uint64(port) * np.uint64(0x9E3779B97F4A7C15))


@kernel_part
def conversation(row: Row) -> np.uint64:
    """Hash of a dissected row's two endpoints and IP protocol; a sum, so that both directions give the same."""
    source = _endpoint(row.src_ip_0, row.src_ip_1, row.src_port)
    destination = _endpoint(row.dst_ip_0, row.dst_ip_1, row.dst_port)
    return _mix(source + destination + np.uint64(row.ip_proto))
