"""Link layers: from the first byte of a frame to the network header, whose kind is given as an EtherType.

Every parser returns (ether_type, pos, end, wire_end): what follows, where, and its bounds (see load.py);
ether_type 0 where nothing known follows. Link types are LINKTYPE numbers (tcpdump.org/linktypes.html).
"""

from typing import Final

from aishark_panel.dissect.load import Bytes, mac, note_short, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.schema import Layer

__all__ = ["ETHERNET", "ETHERTYPE_ARP", "ETHERTYPE_IPV4", "ETHERTYPE_IPV6", "ETHERTYPE_RARP", "Following", "link"]

Following = tuple[int, int, int, int]
"""(ether_type, pos, end, wire_end)"""

ETHERNET: Final = 1
_NULL, _LOOP = 0, 108
_RAW: Final = (12, 14, 101)
"""DLT_RAW's values on various systems beside LINKTYPE_RAW; some writers store them unmapped"""
_IPV4, _IPV6 = 228, 229
_SLL, _SLL2 = 113, 276
_PPP, _PPP_HDLC, _C_HDLC = 9, 50, 104

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_RARP: Final = 0x8035
_VLAN_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_MPLS: Final = (0x8847, 0x8848)
_PPPOE_DISCOVERY, _PPPOE_SESSION = 0x8863, 0x8864
_EAPOL, _LLDP = 0x888E, 0x88CC
_MIN_ETHERTYPE: Final = 0x0600
"""Smaller values are the length of an IEEE 802.3 frame (IEEE 802.3-2022 section 3.2.6)."""

_ETH_BIT: Final = int(Layer.ETH)
_VLAN_BIT: Final = int(Layer.VLAN)


@kernel_part
def link(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Dissect the link layer of the frame data[pos:end]; of unknown link types nothing is known."""
    if link_type == ETHERNET:
        following = _ethernet(data, pos, end, wire_end, row)
    else:
        following = _other(data, pos, end, wire_end, link_type, row)
    ether_type = following[0]
    if ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return following
    return _between(data, following, row)


@kernel_part
def _ethernet(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """Ethernet II, IEEE 802.1Q and 802.1ad tags, IEEE 802.3 with LLC."""
    row.protocol = protocols.ETHERNET
    if end - pos < 14:
        note_short(row, end, wire_end)
        return 0, pos, end, wire_end
    row.eth_dst = mac(data, pos)
    row.eth_src = mac(data, pos + 6)
    layers = _ETH_BIT
    ether_type = u16(data, pos + 12)
    pos += 14
    while ether_type in _VLAN_TAGS:
        if end - pos < 4:
            note_short(row, end, wire_end)
            row.layers = layers
            return 0, pos, end, wire_end
        if not layers & _VLAN_BIT:
            layers |= _VLAN_BIT
            row.vlan_id = u16(data, pos) & 0x0FFF
        ether_type = u16(data, pos + 2)
        pos += 4
    row.layers = layers
    if ether_type < _MIN_ETHERTYPE:
        wire_end = min(wire_end, pos + ether_type)
        return _llc(data, pos, min(end, wire_end), wire_end, row)
    row.eth_type = ether_type
    return ether_type, pos, end, wire_end


@kernel_part
def _llc(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """IEEE 802.2 LLC; with SNAP an EtherType follows (RFC 1042)."""
    row.protocol = protocols.LLC
    if end - pos < 3:
        note_short(row, end, wire_end)
        return 0, pos, end, wire_end
    service_access_points = u16(data, pos)
    if service_access_points == 0x4242:
        row.protocol = protocols.STP
    elif service_access_points == 0xAAAA and end - pos >= 8 and u32(data, pos + 2) == 0x0300_0000:
        return u16(data, pos + 6), pos + 8, end, wire_end
    return 0, pos, end, wire_end


@kernel_part
def _other(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Every link type but Ethernet."""
    if link_type == _IPV4:
        return ETHERTYPE_IPV4, pos, end, wire_end
    if link_type == _IPV6:
        return ETHERTYPE_IPV6, pos, end, wire_end
    if link_type in _RAW:
        if end == pos:
            note_short(row, end, wire_end)
            return 0, pos, end, wire_end
        return _by_version(data, pos), pos, end, wire_end
    if link_type in (_SLL, _SLL2):
        header, type_at = (16, 14) if link_type == _SLL else (20, 0)
        if end - pos < header:
            note_short(row, end, wire_end)
            return 0, pos, end, wire_end
        ether_type = u16(data, pos + type_at)
        if ether_type < _MIN_ETHERTYPE:  # 4: an IEEE 802.2 frame; others name no protocol
            return _llc(data, pos + header, end, wire_end, row) if ether_type == 4 else (0, pos, end, wire_end)
        return ether_type, pos + header, end, wire_end
    if link_type in (_NULL, _LOOP, _PPP, _PPP_HDLC, _C_HDLC):
        if end - pos < 4:
            note_short(row, end, wire_end)
            return 0, pos, end, wire_end
        return _four_bytes(data, pos, end, wire_end, link_type)
    return 0, pos, end, wire_end


@kernel_part
def _four_bytes(data: Bytes, pos: int, end: int, wire_end: int, link_type: int) -> Following:
    """Link layers with a header of about four bytes, which the caller has seen to be there."""
    if link_type == _C_HDLC:
        return u16(data, pos + 2), pos + 4, end, wire_end
    if link_type in (_NULL, _LOOP):
        # An address family, for DLT_NULL in the byte order of whichever host captured; all known ones are below 256.
        family = u8(data, pos) | u8(data, pos + 3)
        if family == 2:
            return ETHERTYPE_IPV4, pos + 4, end, wire_end
        return ETHERTYPE_IPV6 if family in (10, 24, 28, 30) else 0, pos + 4, end, wire_end
    if u8(data, pos) == 0xFF:  # HDLC-like framing (RFC 1662): address and control come first
        pos += 2
    return _ppp(u16(data, pos)), pos + 2, end, wire_end


@kernel_part
def _between(data: Bytes, following: Following, row: Row) -> Following:
    """Name what is not IP, and step over PPPoE sessions (RFC 2516) and MPLS labels (RFC 3032)."""
    ether_type, pos, end, wire_end = following
    if ether_type == _PPPOE_SESSION:
        row.protocol = protocols.PPPOES
        if end - pos < 8:
            note_short(row, end, wire_end)
            return 0, pos, end, wire_end
        wire_end = min(wire_end, pos + 6 + u16(data, pos + 4))
        return _ppp(u16(data, pos + 6)), pos + 8, min(end, wire_end), wire_end
    if ether_type in _MPLS:
        row.protocol = protocols.MPLS
        bottom = False
        while not bottom:
            if end - pos < 5:
                note_short(row, end, wire_end)
                return 0, pos, end, wire_end
            bottom = u8(data, pos + 2) & 1 == 1
            pos += 4
        return _by_version(data, pos), pos, end, wire_end
    if ether_type == _PPPOE_DISCOVERY:
        row.protocol = protocols.PPPOED
    elif ether_type == _EAPOL:
        row.protocol = protocols.EAPOL
    elif ether_type == _LLDP:
        row.protocol = protocols.LLDP
    return following


@kernel_part
def _by_version(data: Bytes, pos: int) -> int:
    """EtherType by the first four bits of an IP header."""
    version = u8(data, pos) >> 4
    if version == 4:
        return ETHERTYPE_IPV4
    return ETHERTYPE_IPV6 if version == 6 else 0


@kernel_part
def _ppp(protocol: int) -> int:
    """EtherType of a PPP protocol number."""
    if protocol == 0x0021:
        return ETHERTYPE_IPV4
    if protocol == 0x0281:
        return _MPLS[0]
    return ETHERTYPE_IPV6 if protocol == 0x0057 else 0
