"""What may stand between a link header and a network header: VLAN tags, MPLS labels, PPP, PPPoE, LLC, Ethernet again.

Each parser returns (ether_type, pos, end, wire_end): what follows, where, and its bounds (see load.py); ether_type 0
where nothing known follows, and then pos is where the headers end: at `end` if one is cut. `encapsulation` goes on
until a network header, or something unknown, comes.
"""

from typing import Final

from aishark_panel.dissect.load import Bytes, mac, note_short, u8, u16, u24, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer

__all__ = [
    "BY_VERSION",
    "ETHERTYPE_ARP",
    "ETHERTYPE_ETHERNET",
    "ETHERTYPE_IPV4",
    "ETHERTYPE_IPV6",
    "ETHERTYPE_MPLS",
    "ETHERTYPE_NSH",
    "ETHERTYPE_PPP",
    "ETHERTYPE_PPPOE",
    "ETHERTYPE_RARP",
    "LLC_FRAME",
    "MIN_ETHERTYPE",
    "Following",
    "encapsulation",
    "ethernet",
    "tag",
]

Following = tuple[int, int, int, int]
"""(ether_type, pos, end, wire_end)"""

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_ETHERNET: Final = 0x6558
ETHERTYPE_RARP: Final = 0x8035
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_PPP: Final = 0x880B
ETHERTYPE_MPLS: Final = 0x8847
ETHERTYPE_PPPOE: Final = 0x8864
ETHERTYPE_NSH: Final = 0x894F
_VLAN_TAGS: Final = (0x8100, 0x88A8, 0x9100, 0x9200)
_MPLS_UPSTREAM: Final = 0x8848
_PPPOE_DISCOVERY, _EAPOL, _LLDP = 0x8863, 0x888E, 0x88CC
_BACKBONE_TAG, _CISCO_METADATA, _VN_TAG = 0x88E7, 0x8909, 0x8926

BY_VERSION: Final = 0x10000
"""No EtherType: an IP header, whose first four bits tell which"""
LLC_FRAME: Final = 0x10001
"""No EtherType: an IEEE 802.2 header"""
MIN_ETHERTYPE: Final = 0x0600
"""Smaller values are the length of an IEEE 802.3 frame (IEEE 802.3-2022 section 3.2.6)."""

_MAX_DEPTH: Final = 16
"""Most headers looked at one after another; a stack of MPLS labels counts as one."""

_ETH_BIT: Final = int(Layer.ETH)
_VLAN_BIT: Final = int(Layer.VLAN)
_INNER_VLAN_BIT: Final = int(Layer.INNER_VLAN)
_MPLS_BIT: Final = int(Layer.MPLS)
_PPPOE_BIT: Final = int(Layer.PPPOE)


@kernel_part
def ethernet(data: Bytes, pos: int, end: int, wire_end: int, row: Row, is_first: bool) -> Following:
    """Ethernet II, IEEE 802.1Q and 802.1ad tags, IEEE 802.3; `is_first`: nobody can have set Layer.ETH before."""
    row.protocol = protocols.ETHERNET
    if end - pos < 14:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    is_outermost = is_first or not row.layers & _ETH_BIT
    if is_outermost:
        row.eth_dst = mac(data, pos)
        row.eth_src = mac(data, pos + 6)
        row.layers |= _ETH_BIT
    ether_type = u16(data, pos + 12)
    pos += 14
    while ether_type in _VLAN_TAGS:
        if end - pos < 4:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        tag(u16(data, pos), row)
        ether_type = u16(data, pos + 2)
        pos += 4
    if ether_type < MIN_ETHERTYPE:
        wire_end = min(wire_end, pos + ether_type)
        return LLC_FRAME, pos, min(end, wire_end), wire_end
    if is_outermost:
        row.eth_type = ether_type
    return ether_type, pos, end, wire_end


@kernel_part
def tag(control: int, row: Row) -> None:
    """Note the VLAN identifier of a tag's control information."""
    if row.layers & _VLAN_BIT:
        row.layers |= _INNER_VLAN_BIT
        row.vlan_inner_id = control & 0x0FFF
    else:
        row.layers |= _VLAN_BIT
        row.vlan_id = control & 0x0FFF


@called_part
def encapsulation(data: Bytes, ether_type: int, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """Step over headers until a network header comes, and name what is none."""
    for _ in range(_MAX_DEPTH):
        if ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6, 0):
            break
        if ether_type == BY_VERSION:
            if pos >= end:
                note_short(row, end, wire_end)
                return 0, end, end, wire_end
            ether_type = _by_version(data, pos)
        elif ether_type == ETHERTYPE_ETHERNET:
            ether_type, pos, end, wire_end = ethernet(data, pos, end, wire_end, row, False)
        elif ether_type == LLC_FRAME:
            ether_type, pos, end, wire_end = _llc(data, pos, end, wire_end, row)
        elif ether_type in (ETHERTYPE_MPLS, _MPLS_UPSTREAM):
            ether_type, pos, end, wire_end = _mpls(data, pos, end, wire_end, row)
        elif ether_type == ETHERTYPE_PPP:
            ether_type, pos, end, wire_end = _ppp(data, pos, end, wire_end, row)
        elif ether_type == ETHERTYPE_PPPOE:
            ether_type, pos, end, wire_end = _pppoe(data, pos, end, wire_end, row)
        elif ether_type == ETHERTYPE_NSH:
            ether_type, pos, end, wire_end = _nsh(data, pos, end, wire_end, row)
        elif ether_type in _VLAN_TAGS or ether_type in (_CISCO_METADATA, _VN_TAG, _BACKBONE_TAG):
            ether_type, pos, end, wire_end = _tags(data, ether_type, pos, end, wire_end, row)
        else:
            if ether_type == _PPPOE_DISCOVERY:
                row.protocol = protocols.PPPOED
            elif ether_type == _EAPOL:
                row.protocol = protocols.EAPOL
            elif ether_type == _LLDP:
                row.protocol = protocols.LLDP
            break
    return ether_type, pos, end, wire_end


@kernel_part
def _tags(data: Bytes, ether_type: int, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """VLAN tags after another header than Ethernet's, and tags of other kinds."""
    length = 4
    if ether_type == _CISCO_METADATA and end - pos >= 2:
        length = 4 + 4 * u8(data, pos + 1)
    elif ether_type == _VN_TAG:
        length = 6
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    if ether_type == _BACKBONE_TAG:  # IEEE 802.1ah: after the service's identifier comes the customer's frame
        return ETHERTYPE_ETHERNET, pos + 4, end, wire_end
    if ether_type in _VLAN_TAGS:
        tag(u16(data, pos), row)
    pos += length
    ether_type = u16(data, pos - 2)
    if ether_type < MIN_ETHERTYPE:
        wire_end = min(wire_end, pos + ether_type)
        return LLC_FRAME, pos, min(end, wire_end), wire_end
    return ether_type, pos, end, wire_end


@kernel_part
def _llc(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """IEEE 802.2 LLC; with SNAP an EtherType follows (RFC 1042), or an Ethernet frame (RFC 2684)."""
    row.protocol = protocols.LLC
    if end - pos < 3:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    service_access_points = u16(data, pos)
    if service_access_points == 0x4242:
        row.protocol = protocols.STP
    elif service_access_points == 0x0606 and u8(data, pos + 2) == 3:
        return ETHERTYPE_IPV4, pos + 3, end, wire_end
    elif service_access_points == 0xAAAA and u8(data, pos + 2) == 3:
        if end - pos < 8:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        organization, kind = u24(data, pos + 3), u16(data, pos + 6)
        if organization in (0x000000, 0x0000F8):
            return kind if kind >= MIN_ETHERTYPE else 0, pos + 8, end, wire_end
        if organization == 0x00000C and kind == 0x010B:  # Cisco's, one for each VLAN
            row.protocol = protocols.STP
        if organization == 0x0080C2 and kind in (0x0001, 0x0007):
            return ETHERTYPE_ETHERNET, pos + 8, end, wire_end
        return 0, pos + 8, end, wire_end
    return 0, pos + 3, end, wire_end


@kernel_part
def _mpls(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """A stack of MPLS labels (RFC 3032). What follows is not said: by its first bytes IP, or an Ethernet frame,
    mostly after a control word that begins with four zero bits (RFC 4448)."""
    row.protocol = protocols.MPLS
    while True:
        if end - pos < 4:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        entry = u32(data, pos)
        if not row.layers & _MPLS_BIT:
            row.layers |= _MPLS_BIT
            row.mpls_label = entry >> 12
        pos += 4
        if entry & 0x100:  # the bottom of the stack
            break
    if pos >= end:
        if pos < wire_end:
            row.truncated = 1
        return 0, pos, end, wire_end
    ether_type = _by_version(data, pos)
    if ether_type == 0 and u8(data, pos) >> 4 == 0:
        for start in (pos, pos + 4):
            if end - start >= 14 and u16(data, start + 12) in _VLAN_TAGS:
                return ETHERTYPE_ETHERNET, start, end, wire_end
            if end - start >= 14 and u16(data, start + 12) in (ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP):
                return ETHERTYPE_ETHERNET, start, end, wire_end
    return ether_type, pos, end, wire_end


@kernel_part
def _by_version(data: Bytes, pos: int) -> int:
    """EtherType by the first four bits of an IP header."""
    version = u8(data, pos) >> 4
    if version == 4:
        return ETHERTYPE_IPV4
    return ETHERTYPE_IPV6 if version == 6 else 0


@kernel_part
def _pppoe(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """A PPPoE session (RFC 2516)."""
    row.protocol = protocols.PPPOES
    if end - pos < 6:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    row.layers |= _PPPOE_BIT
    if u8(data, pos) != 0x11:
        row.malformed = 1
        return 0, pos + 6, end, wire_end
    length = u16(data, pos + 4)
    pos += 6
    if pos + length > wire_end:
        row.malformed = 1
    wire_end = min(wire_end, pos + length)
    return ETHERTYPE_PPP, pos, min(end, wire_end), wire_end


@kernel_part
def _ppp(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """PPP (RFC 1661), with address and control bytes or without, its protocol number in two bytes or compressed."""
    row.protocol = protocols.PPP
    if end - pos >= 2 and u16(data, pos) == 0xFF03:
        pos += 2
    if end - pos < 2:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    protocol = u8(data, pos)
    pos += 1
    if not protocol & 1:
        protocol = protocol << 8 | u8(data, pos)
        pos += 1
    if protocol == 0x0021:
        return ETHERTYPE_IPV4, pos, end, wire_end
    if protocol == 0x0057:
        return ETHERTYPE_IPV6, pos, end, wire_end
    if protocol in (0x0281, 0x0283):
        return ETHERTYPE_MPLS, pos, end, wire_end
    if protocol == 0x8021:
        row.protocol = protocols.PPP_IPCP
    elif protocol == 0x8057:
        row.protocol = protocols.PPP_IPV6CP
    elif protocol == 0x80FD:
        row.protocol = protocols.PPP_CCP
    elif protocol == 0xC021:
        row.protocol = protocols.PPP_LCP
    elif protocol == 0xC023:
        row.protocol = protocols.PPP_PAP
    elif protocol == 0xC223:
        row.protocol = protocols.PPP_CHAP
    return 0, pos, end, wire_end


@kernel_part
def _nsh(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """A network service header (RFC 8300)."""
    row.protocol = protocols.NSH
    if end - pos < 8:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    length, kind = (u8(data, pos + 1) & 0x3F) * 4, u8(data, pos + 3)
    if length < 8 or pos + length > wire_end:
        row.malformed = 1
        return 0, pos + 8, end, wire_end
    pos += length
    if pos > end:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    if kind == 1:
        return ETHERTYPE_IPV4, pos, end, wire_end
    if kind == 2:
        return ETHERTYPE_IPV6, pos, end, wire_end
    if kind == 3:
        return ETHERTYPE_ETHERNET, pos, end, wire_end
    return ETHERTYPE_MPLS if kind == 5 else 0, pos, end, wire_end
