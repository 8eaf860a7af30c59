"""Link layers: from the first byte of a frame to the network header, whose kind is given as an EtherType.

Every parser returns (ether_type, pos, end, wire_end): what follows, where, and its bounds (see load.py); ether_type 0
where nothing known follows, and then pos is where the headers end. Link types are LINKTYPE numbers
(tcpdump.org/linktypes.html). What may come between a link header and a network header (tags, labels, sessions, another
Ethernet header) is in encapsulation.py.
"""

from typing import Final

from aishark_panel.dissect.encapsulation import (
    BY_VERSION,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_PPP,
    ETHERTYPE_PPPOE,
    LLC_FRAME,
    MIN_ETHERTYPE,
    Following,
    encapsulation,
    ethernet,
    tag,
)
from aishark_panel.dissect.load import Bytes, mac, note_short, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer

__all__ = ["ETHERNET", "is_dissected", "link"]

ETHERNET: Final = 1
_NULL, _LOOP = 0, 108
_RAW: Final = (12, 14, 101)
"""DLT_RAW's values on various systems beside LINKTYPE_RAW; some writers store them unmapped"""
_IPV4, _IPV6 = 228, 229
_SLL, _SLL2 = 113, 276
_PPP, _PPP_HDLC, _PPP_ETHER, _PPP_DIRECTION, _C_HDLC = 9, 50, 51, 204, 104
_FRAME_RELAY, _ATM_RFC1483, _IPOIB, _NFLOG, _PKTAP, _IPNET = 107, 100, 242, 239, 258, 226
_BRCM_TAG, _BRCM_TAG_PREPEND, _DSA, _EDSA = 281, 282, 284, 285

_DISSECTED: Final = frozenset(
    {
        *(
            ETHERNET,
            _NULL,
            _LOOP,
            *_RAW,
            _IPV4,
            _IPV6,
            _SLL,
            _SLL2,
            _PPP,
            _PPP_HDLC,
            _PPP_ETHER,
            _PPP_DIRECTION,
            _C_HDLC,
        ),
        *(_FRAME_RELAY, _ATM_RFC1483, _IPOIB, _NFLOG, _PKTAP, _IPNET, _BRCM_TAG, _BRCM_TAG_PREPEND, _DSA, _EDSA),
    }
)

_ETH_BIT: Final = int(Layer.ETH)
_SHORTEST_TLV, _MOST_TLVS = 4, 32


def is_dissected(link_type: int) -> bool:
    """Is anything but times and lengths known of frames of this link type?"""
    return link_type in _DISSECTED


@kernel_part
def link(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Dissect the link layer of the frame data[pos:end]; of unknown link types nothing is known."""
    if link_type == ETHERNET:
        ether_type, pos, end, wire_end = ethernet(data, pos, end, wire_end, row, True)
    else:
        ether_type, pos, end, wire_end = _other(data, pos, end, wire_end, link_type, row)
    if ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6, 0):
        return ether_type, pos, end, wire_end
    return encapsulation(data, ether_type, pos, end, wire_end, row)


@called_part
def _other(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Every link type but Ethernet."""
    if link_type == _PKTAP:  # a header in the byte order of the host (a Mac): its length, its type, the link type
        if end - pos < 12:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        length, link_type = _u32_little(data, pos), _u32_little(data, pos + 8)
        pos += length
        if pos > end:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        if link_type == ETHERNET:
            return ethernet(data, pos, end, wire_end, row, True)
    if link_type == _IPV4:
        return ETHERTYPE_IPV4, pos, end, wire_end
    if link_type == _IPV6:
        return ETHERTYPE_IPV6, pos, end, wire_end
    if link_type in _RAW:
        return BY_VERSION, pos, end, wire_end
    if link_type in (_SLL, _SLL2):
        return _cooked(data, pos, end, wire_end, link_type, row)
    if link_type in (_PPP, _PPP_HDLC):
        return ETHERTYPE_PPP, pos, end, wire_end
    if link_type == _PPP_DIRECTION:
        return ETHERTYPE_PPP, min(pos + 1, end), end, wire_end
    if link_type == _PPP_ETHER:
        return ETHERTYPE_PPPOE, pos, end, wire_end
    if link_type == _ATM_RFC1483:
        return LLC_FRAME, pos, end, wire_end
    if link_type == _NFLOG:
        return _nflog(data, pos, end, wire_end, row)
    if link_type == _BRCM_TAG_PREPEND:
        if end - pos < 4:
            note_short(row, end, wire_end)
            return 0, end, end, wire_end
        return ethernet(data, pos + 4, end, wire_end, row, True)
    if link_type in (_BRCM_TAG, _DSA, _EDSA):
        return _switch_tag(data, pos, end, wire_end, link_type, row)
    return _short_header(data, pos, end, wire_end, link_type, row)


@kernel_part
def _short_header(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Link layers with a header of fixed length and the kind of what follows in it."""
    if link_type == _IPOIB:  # after a global route header of 40 bytes (RFC 4391)
        length, type_at = 44, 40
    elif link_type == _IPNET:  # Solaris: zones and interfaces, then an IP packet
        length, type_at = 24, -1
    elif link_type == _C_HDLC:
        length, type_at = 4, 2
    elif link_type in (_NULL, _LOOP, _FRAME_RELAY):
        length, type_at = 4, -1
    else:
        return 0, pos, end, wire_end
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    if type_at >= 0:
        return u16(data, pos + type_at), pos + length, end, wire_end
    if link_type == _IPNET:
        return BY_VERSION, pos + length, end, wire_end
    if link_type == _FRAME_RELAY:
        # RFC 2427: an address of two bytes, unnumbered information, a network layer identifier.
        identifier = u8(data, pos + 3) if u8(data, pos + 1) & 1 and u8(data, pos + 2) == 3 else 0
        if identifier == 0xCC:
            return ETHERTYPE_IPV4, pos + 4, end, wire_end
        return ETHERTYPE_IPV6 if identifier == 0x8E else 0, pos + 4, end, wire_end
    # An address family, for DLT_NULL in the byte order of whichever host captured; all known ones are below 256.
    if u16(data, pos + 1) == 0:
        family = u8(data, pos) | u8(data, pos + 3)
        if family == 2:
            return ETHERTYPE_IPV4, pos + 4, end, wire_end
        if family in (10, 24, 28, 30):
            return ETHERTYPE_IPV6, pos + 4, end, wire_end
    elif u16(data, pos) == 0xFF03:  # some systems put a PPP or C-HDLC header there
        return ETHERTYPE_PPP, pos, end, wire_end
    elif u16(data, pos + 2) in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return u16(data, pos + 2), pos + 4, end, wire_end
    return 0, pos, end, wire_end


@kernel_part
def _cooked(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Linux "cooked" captures; their only address has no column, because none of Wireshark's eth fields shows it."""
    length, type_at = (16, 14) if link_type == _SLL else (20, 0)
    if end - pos < length:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    ether_type = u16(data, pos + type_at)
    pos += length
    if ether_type == 4:  # an IEEE 802.2 frame
        return LLC_FRAME, pos, end, wire_end
    return ether_type if ether_type >= MIN_ETHERTYPE else 0, pos, end, wire_end


@kernel_part
def _switch_tag(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row) -> Following:
    """Ethernet with a tag of a Broadcom or Marvell switch after the addresses; a Marvell tag may replace a VLAN tag."""
    tag_len = 8 if link_type == _EDSA else 4
    if end - pos < 14 + tag_len:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    row.layers |= _ETH_BIT
    row.protocol = protocols.ETHERNET
    row.eth_dst = mac(data, pos)
    row.eth_src = mac(data, pos + 6)
    pos += 12 + tag_len
    if link_type != _BRCM_TAG and u8(data, pos - 4) & 0x20:
        tag(u16(data, pos - 2), row)
    ether_type = u16(data, pos)
    pos += 2
    if ether_type < MIN_ETHERTYPE:
        wire_end = min(wire_end, pos + ether_type)
        return LLC_FRAME, pos, min(end, wire_end), wire_end
    row.eth_type = ether_type
    return ether_type, pos, end, wire_end


@kernel_part
def _nflog(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> Following:
    """NFLOG: an address family and attributes (length, type, value) in the capturing host's byte order."""
    if end - pos < 4:
        note_short(row, end, wire_end)
        return 0, end, end, wire_end
    pos += 4
    for _ in range(_MOST_TLVS):
        if end - pos < _SHORTEST_TLV:
            break
        length, kind = u16(data, pos), u16(data, pos + 2)
        if kind > 0xFF:  # the other byte order: types are small numbers
            length, kind = length >> 8 | (length & 0xFF) << 8, kind >> 8
        if length < _SHORTEST_TLV:
            row.malformed = 1
            break
        if kind == 9:  # the payload
            wire_end = min(wire_end, pos + length)
            return BY_VERSION, pos + 4, min(end, wire_end), wire_end
        pos += (length + 3) & ~3
    if pos > end:
        note_short(row, end, wire_end)
    return 0, min(pos, end), end, wire_end


@kernel_part
def _u32_little(data: Bytes, pos: int) -> int:
    swapped = u32(data, pos)
    return swapped >> 24 | swapped >> 8 & 0xFF00 | (swapped & 0xFF00) << 8 | (swapped & 0xFF) << 24
