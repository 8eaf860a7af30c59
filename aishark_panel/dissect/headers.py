"""Where the headers of one frame are, in plain Python: for the few packets that somebody looks at.

The kernels of this package fill columns and forget places; what is made on demand (info texts, fingerprints) walks the
one frame again, through tunnels to the innermost packet. Bytes are whatever was captured: a header that is not all
there ends the walk.
"""

from typing import Final, NamedTuple

__all__ = ["EXTENSIONS", "Header", "headers", "number"]

_MAX_HEADERS: Final = 32

_VLAN: Final = (0x8100, 0x88A8, 0x9100)
_MPLS: Final = (0x8847, 0x8848)
_PPP_TYPES: Final = {0x21: 0x0800, 0x57: 0x86DD, 0x0281: 0x8847}
_NULL_FAMILIES: Final = {2: 0x0800, 10: 0x86DD, 24: 0x86DD, 28: 0x86DD, 30: 0x86DD}

EXTENSIONS: Final = (0, 43, 44, 51, 60, 135, 139, 140)
"""IPv6 extension headers by protocol number (RFC 8200 section 4; AH, mobility, HIP, Shim6)."""
_TRANSPORTS: Final = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
_HEADER_BYTES: Final = {"icmp": 4, "igmp": 8, "tcp": 20, "udp": 8, "icmpv6": 4, "sctp": 12, "udplite": 8}
_VXLAN_PORT, _GENEVE_PORT, _GTP_U_PORT = 4789, 6081, 2152


class Header(NamedTuple):
    """One header: frame[start:payload]; what it carries is frame[payload:end]."""

    kind: str
    start: int
    payload: int
    end: int
    """of what was captured of its content, by the headers' own lengths"""
    wire_end: int
    """of its content, by the headers' own lengths"""
    following: int
    """EtherType or IP protocol number of the content, where the header names one; else 0"""
    fragment_offset: int = 0
    """of IP: bytes of the datagram before this fragment's"""


def number(frame: bytes, start: int, length: int = 2) -> int:
    """Big-endian unsigned integer at `start`; bytes that are not there count as none."""
    return int.from_bytes(frame[start : start + length], "big")


def headers(frame: bytes, link_type: int, orig_len: int = 0) -> list[Header]:
    """The headers of a frame, outermost first, as far as they are whole and known here.

    `link_type` is a LINKTYPE number (tcpdump.org/linktypes.html); `orig_len` the frame's length on the wire.
    """
    found: list[Header] = []
    wire_end = max(len(frame), orig_len)
    following, pos = _link(frame, link_type, wire_end, found)
    _walk(frame, following, pos, wire_end, found)
    return found


def _link(frame: bytes, link_type: int, wire_end: int, found: list[Header]) -> tuple[int, int]:
    """EtherType and place of what the link layer carries; EtherType 0 where nothing known follows."""
    size, following = 0, 0
    match link_type:
        case 1:
            return 1, 0
        case 228:
            following = 0x0800
        case 229:
            following = 0x86DD
        case 12 | 14 | 101:
            following = _by_version(frame, 0)
        case 113:
            size, following = 16, number(frame, 14)
        case 276:
            size, following = 20, number(frame, 0)
        case 0 | 108:
            size, following = 4, _NULL_FAMILIES.get(frame[0] | frame[3] if len(frame) > 3 else 0, 0)
        case 9 | 50:
            size = 4 if frame[:1] == b"\xff" else 2
            following = _PPP_TYPES.get(number(frame, size - 2), 0)
        case 104:
            size, following = 4, number(frame, 2)
    if size:
        found.append(Header("link", 0, min(size, len(frame)), len(frame), wire_end, following))
    return following if size <= len(frame) else 0, size


_ETHERNET: Final = 1
"""In place of an EtherType: an Ethernet header follows."""


def _walk(frame: bytes, following: int, pos: int, wire_end: int, found: list[Header]) -> None:
    end = len(frame)
    while following and len(found) < _MAX_HEADERS:
        if following == _ETHERNET:
            header = _ethernet(frame, pos, end, wire_end)
        elif following in _VLAN:
            header = _tag(frame, pos, end, wire_end)
        elif following in _MPLS:
            bottom = end - pos >= 4 and frame[pos + 2] & 1
            header = _fixed("mpls", pos, 4, end, wire_end, _by_version(frame, pos + 4) if bottom else following)
        elif following == 0x8864:
            wire_end = min(wire_end, pos + 6 + number(frame, pos + 4))
            header = _fixed("pppoe", pos, 8, end, wire_end, _PPP_TYPES.get(number(frame, pos + 6), 0))
        elif following in (0x0806, 0x8035):
            header = _fixed("arp", pos, 8, end, wire_end, 0)
        elif following == 0x0800:
            header = _ipv4(frame, pos, end, wire_end)
        elif following == 0x86DD:
            header = _ipv6(frame, pos, end, wire_end)
        else:
            return
        if header is None:
            return
        found.append(header)
        following, pos, end, wire_end = header.following, header.payload, header.end, header.wire_end
        if header.kind in ("ipv4", "ipv6"):
            following, pos, end, wire_end = _over_ip(frame, header, found)
        elif header.kind == "llc" and not following:
            return


def _fixed(kind: str, pos: int, size: int, end: int, wire_end: int, following: int) -> Header | None:
    end = min(end, wire_end)
    return Header(kind, pos, pos + size, end, wire_end, following) if end - pos >= size else None


def _by_version(frame: bytes, pos: int) -> int:
    return {4: 0x0800, 6: 0x86DD}.get(frame[pos] >> 4, 0) if pos < len(frame) else 0


def _tag(frame: bytes, pos: int, end: int, wire_end: int) -> Header | None:
    """A VLAN tag; an EtherType, or the length of an IEEE 802.3 frame, stands at its end."""
    if end - pos < 4:
        return None
    ether_type = number(frame, pos + 2)
    if ether_type >= 0x600:
        return Header("vlan", pos, pos + 4, end, wire_end, ether_type)
    return _llc(frame, pos, pos + 2, end, wire_end)


def _ethernet(frame: bytes, pos: int, end: int, wire_end: int) -> Header | None:
    """Ethernet II, or IEEE 802.3 with LLC."""
    if end - pos < 14:
        return None
    ether_type, payload = number(frame, pos + 12), pos + 14
    if ether_type >= 0x600:
        return Header("eth", pos, payload, end, wire_end, ether_type)
    return _llc(frame, pos, pos + 12, end, wire_end)


def _llc(frame: bytes, start: int, pos: int, end: int, wire_end: int) -> Header:
    """The header frame[start:] of an IEEE 802.3 frame, whose length stands at `pos`, with LLC behind it.

    Its SNAP header may name an EtherType (RFC 1042).
    """
    payload = pos + 2
    wire_end = min(wire_end, payload + number(frame, pos))
    end = min(end, wire_end)
    if frame[payload : payload + 6] == b"\xaa\xaa\x03\0\0\0" and end - payload >= 8:
        return Header("llc", start, payload + 8, end, wire_end, number(frame, payload + 6))
    return Header("llc", start, min(payload, end), end, wire_end, 0)


def _ipv4(frame: bytes, pos: int, end: int, wire_end: int) -> Header | None:
    size = (frame[pos] & 15) * 4 if pos < end else 0
    if end - pos < max(size, 20) or size < 20 or frame[pos] >> 4 != 4:
        return None
    total = number(frame, pos + 2)
    if total:  # 0: segmentation was left to the network card
        wire_end = min(wire_end, pos + max(total, size))
    offset = (number(frame, pos + 6) & 0x1FFF) * 8
    return Header("ipv4", pos, pos + size, min(end, wire_end), wire_end, frame[pos + 9], offset)


def _ipv6(frame: bytes, pos: int, end: int, wire_end: int) -> Header | None:
    """IPv6 with its extension headers; it ends before the first that is not whole."""
    if end - pos < 40 or frame[pos] >> 4 != 6:
        return None
    start, length, proto, offset = pos, number(frame, pos + 4), frame[pos + 6], 0
    pos += 40
    if length or proto == 59:
        wire_end = min(wire_end, pos + length)
        end = min(end, wire_end)
    while proto in EXTENSIONS and end - pos >= 8 and not offset:
        size = 8 if proto == 44 else (frame[pos + 1] + 2) * 4 if proto == 51 else (frame[pos + 1] + 1) * 8
        if pos + size > end:
            break
        if proto == 44:
            offset = number(frame, pos + 2) & 0xFFF8
        proto, pos = frame[pos], pos + size
    return Header("ipv6", start, pos, end, wire_end, proto, offset)


def _over_ip(frame: bytes, ip: Header, found: list[Header]) -> tuple[int, int, int, int]:
    """Add the header that IP carries; what follows it in turn, as (following, pos, end, wire_end)."""
    nothing = (0, ip.payload, ip.end, ip.wire_end)
    proto, pos, end, wire_end = ip.following, ip.payload, ip.end, ip.wire_end
    if ip.fragment_offset or (proto in EXTENSIONS and ip.kind == "ipv6"):
        return nothing
    if proto in (4, 41):
        return 0x0800 if proto == 4 else 0x86DD, pos, end, wire_end
    if proto == 47:
        return _gre(frame, ip, found)
    kind = _TRANSPORTS.get(proto, "")
    size = _HEADER_BYTES.get(kind, 0)
    if not kind or end - pos < size:
        return nothing
    if kind == "tcp":
        size = max(20, (frame[pos + 12] >> 4) * 4)
    elif kind == "udp" and 8 <= number(frame, pos + 4) <= wire_end - pos:
        wire_end = pos + number(frame, pos + 4)
        end = min(end, wire_end)
    header = Header(kind, pos, min(pos + size, end), end, wire_end, 0)
    found.append(header)
    return _over_udp(frame, header, found) if kind == "udp" else nothing


def _over_udp(frame: bytes, udp: Header, found: list[Header]) -> tuple[int, int, int, int]:
    """VXLAN (RFC 7348), GENEVE (RFC 8926) and GTP-U (3GPP TS 29.281) by their ports."""
    pos, end, wire_end = udp.payload, udp.end, udp.wire_end
    port = number(frame, udp.start + 2)
    if end - pos < 8:
        return 0, pos, end, wire_end
    if port == _VXLAN_PORT:
        found.append(Header("vxlan", pos, pos + 8, end, wire_end, _ETHERNET))
        return _ETHERNET, pos + 8, end, wire_end
    if port == _GENEVE_PORT:
        size, following = 8 + (frame[pos] & 0x3F) * 4, number(frame, pos + 2)
        following = _ETHERNET if following == 0x6558 else following
    elif _GTP_U_PORT in (port, number(frame, udp.start)) and frame[pos] >> 4 == 3 and frame[pos + 1] == 0xFF:
        size, extension = (12, frame[pos + 11 : pos + 12]) if frame[pos] & 7 else (8, b"")
        while frame[pos] & 4 and extension > b"\0" and pos + size < end and frame[pos + size]:
            size += frame[pos + size] * 4
            extension = frame[pos + size - 1 : pos + size]
        following = _by_version(frame, pos + size)
    else:
        return 0, pos, end, wire_end
    if pos + size > end:
        return 0, pos, end, wire_end
    found.append(Header("geneve" if port == _GENEVE_PORT else "gtp", pos, pos + size, end, wire_end, following))
    return following, pos + size, end, wire_end


def _gre(frame: bytes, ip: Header, found: list[Header]) -> tuple[int, int, int, int]:
    """GRE (RFC 2784, 2890), and its version 1 of PPTP (RFC 2637)."""
    pos, end = ip.payload, ip.end
    flags, following = number(frame, pos), number(frame, pos + 2)
    size = 4 + sum(4 for bit in (0x8000, 0x2000, 0x1000) if flags & bit)
    if flags & 7 == 1:
        size += 4 if flags & 0x80 else 0
    if end - pos < max(size, 4):
        return 0, pos, end, ip.wire_end
    following = _ETHERNET if following == 0x6558 else following
    if flags & 7 == 1 and following == 0x880B:
        ppp = pos + size + (2 if frame[pos + size : pos + size + 2] == b"\xff\x03" else 0)
        following, size = _PPP_TYPES.get(number(frame, ppp), 0), ppp + 2 - pos
    elif following == 0x88BE:  # ERSPAN; without a sequence number it is type I, which has no header of its own
        size += 8 if flags & 0x1000 else 0
        following = _ETHERNET
    elif following == 0x22EB:  # ERSPAN type III, whose last bit says that a sub-header follows
        size += 12 + (8 if number(frame, pos + size + 10) & 1 else 0)
        following = _ETHERNET
    found.append(Header("gre", pos, min(pos + size, end), end, ip.wire_end, following))
    return following, pos + size, end, ip.wire_end
