"""Transport layers: TCP with its options, UDP, UDP-Lite, SCTP, DCCP, ICMP and ICMPv6.

`transport` fills their columns and returns (pos, end, wire_end, kind): the payload, its bounds (see load.py), and
which protocols to look for in it. Where the header is cut, pos is `end`. Lengths come from the headers, so padding
after an IP packet is no payload.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.load import Bytes, note_short, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer

__all__ = [
    "OVER_ETHERIP",
    "OVER_ETHERNET",
    "OVER_GENEVE",
    "OVER_GRE",
    "OVER_GTP",
    "OVER_IP",
    "OVER_L2TP",
    "OVER_LISP",
    "OVER_MPLS",
    "OVER_NOTHING",
    "OVER_NSH",
    "OVER_TCP",
    "OVER_TEREDO",
    "OVER_UDP",
    "OVER_VXLAN",
    "OVER_VXLAN_GPE",
    "TUNNELS",
    "Payload",
    "conversation",
    "transport",
]

OVER_NOTHING: Final = 0
OVER_TCP: Final = 1
OVER_UDP: Final = 2
TUNNELS: Final = 3
"""Kinds of payload from this on are other packets, behind a header of that kind."""
(
    OVER_IP, OVER_ETHERNET, OVER_GRE, OVER_ETHERIP, OVER_MPLS, OVER_NSH, OVER_VXLAN, OVER_VXLAN_GPE, OVER_GENEVE,
    OVER_GTP, OVER_L2TP, OVER_LISP, OVER_TEREDO,
) = range(TUNNELS, TUNNELS + 13)  # fmt: skip

Payload = tuple[int, int, int, int]
"""(pos, end, wire_end, OVER_...)"""

_ICMP, _TCP, _UDP, _DCCP, _AH, _ICMPV6, _SCTP, _UDPLITE = 1, 6, 17, 33, 51, 58, 132, 136

_NAMES: Final = np.zeros(256, np.uint16)
"""protocol column by IP protocol number; 0: stays the network layer's"""
for _number, _name in {
    _ICMP: protocols.ICMP,
    2: protocols.IGMP,
    _TCP: protocols.TCP,
    _UDP: protocols.UDP,
    _DCCP: protocols.DCCP,
    47: protocols.GRE,
    50: protocols.ESP,
    _AH: protocols.AH,
    _ICMPV6: protocols.ICMPV6,
    89: protocols.OSPF,
    103: protocols.PIM,
    112: protocols.VRRP,
    _SCTP: protocols.SCTP,
    _UDPLITE: protocols.UDPLITE,
}.items():
    _NAMES[_number] = _name


def _kinds(size: int, kinds: dict[int, int]) -> npt.NDArray[np.uint8]:
    table = np.zeros(size, np.uint8)
    for number, kind in kinds.items():
        table[number] = kind
    return table


_TUNNEL_PROTOCOLS: Final = _kinds(
    256, {4: OVER_IP, 41: OVER_IP, 47: OVER_GRE, 97: OVER_ETHERIP, 137: OVER_MPLS, 143: OVER_ETHERNET}
)
"""What packets of an IP protocol number carry; 0: no packets"""

_TUNNEL_PORTS: Final = _kinds(
    65_536,
    {
        1701: OVER_L2TP,
        2152: OVER_GTP,
        3544: OVER_TEREDO,
        4341: OVER_LISP,
        4789: OVER_VXLAN,
        4790: OVER_VXLAN_GPE,
        6081: OVER_GENEVE,
        6633: OVER_NSH,
        6635: OVER_MPLS,
        8472: OVER_VXLAN,
    },
)
"""What datagrams to, or from, a UDP port carry; 0: no packets"""

_TCP_BIT: Final = int(Layer.TCP)
_TCP_BITS: Final = int(Layer.TCP | Layer.TRANSPORT)
_UDP_BITS: Final = int(Layer.UDP | Layer.TRANSPORT)
_SCTP_BITS: Final = int(Layer.SCTP | Layer.TRANSPORT)
_TRANSPORT_BIT: Final = int(Layer.TRANSPORT)
_PORTS_BIT: Final = int(Layer.PORTS)
_ICMP_BIT: Final = int(Layer.ICMP)
_ICMPV6_BIT: Final = int(Layer.ICMPV6)
_FRAGMENT_BIT: Final = int(Layer.FRAGMENT)
_MSS_BIT: Final = int(Layer.TCP_MSS)
_WSCALE_BIT: Final = int(Layer.TCP_WSCALE)
_SACK_BIT: Final = int(Layer.TCP_SACK)
_TIMESTAMPS_BIT: Final = int(Layer.TCP_TIMESTAMPS)

_NOP_NOP_TIMESTAMPS: Final = 0x0101080A
"""How the options of nearly every TCP segment begin that has any (RFC 7323 appendix A)"""


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
    return _other(data, pos, end, wire_end, proto, row)


@called_part
def _other(data: Bytes, pos: int, end: int, wire_end: int, proto: int, row: Row) -> Payload:
    """Every transport but TCP and UDP."""
    if proto in (_ICMP, _ICMPV6):
        if end - pos < 4:
            _note_short(row, end, wire_end)
        else:
            row.layers |= _ICMP_BIT if proto == _ICMP else _ICMPV6_BIT
            row.icmp_type = u8(data, pos)
            row.icmp_code = u8(data, pos + 1)
        return min(pos + 8, end), end, wire_end, OVER_NOTHING
    if proto == _SCTP:
        if _ports(data, pos, end, wire_end, 12, row):
            row.layers |= _SCTP_BITS
            row.payload_len = wire_end - pos - 12
        return min(pos + 12, end), end, wire_end, OVER_NOTHING
    if proto == _UDPLITE:  # RFC 3828
        if not _ports(data, pos, end, wire_end, 8, row):
            return end, end, wire_end, OVER_NOTHING
        row.layers |= _TRANSPORT_BIT
        row.payload_len = wire_end - pos - 8
        return pos + 8, end, wire_end, OVER_UDP
    if proto == _DCCP:  # RFC 4340 section 5.1
        if not _ports(data, pos, end, wire_end, 12, row):
            return end, end, wire_end, OVER_NOTHING
        length = u8(data, pos + 4) * 4
        if length < 12 or pos + length > wire_end:
            row.malformed = 1
            return pos + 12, end, wire_end, OVER_NOTHING
        row.layers |= _TRANSPORT_BIT
        row.payload_len = wire_end - pos - length
        return min(pos + length, end), end, wire_end, OVER_NOTHING
    return pos, end, wire_end, np.int64(_TUNNEL_PROTOCOLS[proto])  # type: ignore[return-value]


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
        return end, end, wire_end, OVER_NOTHING
    header_len = (u8(data, pos + 12) >> 4) * 4
    row.tcp_seq = u32(data, pos + 4)
    row.tcp_ack = u32(data, pos + 8)
    row.tcp_flags = u16(data, pos + 12) & 0x01FF
    row.tcp_window = u16(data, pos + 14)
    payload = pos + header_len
    if header_len < 20 or payload > wire_end:
        row.layers |= _TCP_BIT
        if header_len < 20 or not row.layers & _FRAGMENT_BIT:
            row.malformed = 1
        return pos + 20, end, wire_end, OVER_NOTHING
    row.layers |= _TCP_BITS
    row.payload_len = wire_end - payload
    if payload > end:
        row.truncated = 1
        return end, end, wire_end, OVER_NOTHING
    if header_len >= 32 and u32(data, pos + 20) == _NOP_NOP_TIMESTAMPS:
        row.layers |= _TIMESTAMPS_BIT
        row.tcp_tsval = u32(data, pos + 24)
        row.tcp_tsecr = u32(data, pos + 28)
        if header_len > 32:
            _options(data, pos + 32, payload, row)
    elif header_len > 20:
        _options(data, pos + 20, payload, row)
    return payload, end, wire_end, OVER_TCP


@called_part
def _options(data: Bytes, pos: int, end: int, row: Row) -> None:
    """TCP options data[pos:end] (RFC 9293, 7323, 2018); of two of a kind the last counts."""
    while pos < end:
        kind = u8(data, pos)
        if kind == 0:  # the rest is padding
            return
        if kind == 1:
            pos += 1
            continue
        length = u8(data, pos + 1) if end - pos >= 2 else 0
        if length < 2 or pos + length > end:
            row.malformed = 1
            return
        if kind == 2 and length == 4:
            row.layers |= _MSS_BIT
            row.tcp_mss = u16(data, pos + 2)
        elif kind == 3 and length == 3:
            row.layers |= _WSCALE_BIT
            row.tcp_wscale = u8(data, pos + 2)
        elif (kind == 4 and length == 2) or (kind == 5 and length % 8 == 2):
            row.layers |= _SACK_BIT
            row.tcp_sack = length >> 3
        elif kind == 8 and length == 10:
            row.layers |= _TIMESTAMPS_BIT
            row.tcp_tsval = u32(data, pos + 2)
            row.tcp_tsecr = u32(data, pos + 6)
        pos += length


@kernel_part
def _udp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Payload:
    """UDP (RFC 768); a length of 0 means "to the end of the IP payload" (RFC 2675 section 4)."""
    if not _ports(data, pos, end, wire_end, 8, row):
        return end, end, wire_end, OVER_NOTHING
    row.layers |= _UDP_BITS
    length = u16(data, pos + 4)
    available = wire_end - pos
    if length and (length < 8 or (length > available and not row.layers & _FRAGMENT_BIT)):
        row.malformed = 1
    payload_len = (min(length, available) if length >= 8 else available) - 8
    row.payload_len = payload_len
    pos += 8
    wire_end = pos + payload_len
    kind = _TUNNEL_PORTS[row.dst_port]
    if not kind:
        kind = _TUNNEL_PORTS[row.src_port]
    return pos, min(end, wire_end), wire_end, np.int64(kind if kind else OVER_UDP)  # type: ignore[return-value]


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
