"""ARP, IP fragments, ICMP, ICMPv6, IGMP, and protocols that are carried by IP itself."""

from collections.abc import Iterator
from typing import Final

from aishark_panel.dissect.headers import Header, number
from aishark_panel.dissect.infos.view import MAX_PARTS, Info, View, mac

__all__ = ["arp", "esp", "gre", "icmp", "icmpv6", "igmp", "ip", "ospf", "pim", "vrrp"]

_PROTOS: Final = {0: "HOPOPT", 1: "ICMP", 2: "IGMP", 4: "IPIP", 6: "TCP", 17: "UDP", 41: "IPv6", 47: "GRE", 50: "ESP",
                  51: "AH", 58: "ICMPv6", 89: "OSPF IGP", 103: "PIM", 112: "VRRP", 132: "SCTP",
                  136: "UDPLite"}  # fmt: skip
_ICMP: Final = {3: "Destination unreachable", 4: "Source quench", 5: "Redirect", 9: "Mobile IP Advertisement",
                10: "Router solicitation", 11: "Time-to-live exceeded", 12: "Parameter problem",
                13: "Timestamp request", 14: "Timestamp reply", 15: "Information request", 16: "Information reply",
                17: "Address mask request", 18: "Address mask reply", 30: "Traceroute", 37: "Domain Name request",
                38: "Domain Name reply", 42: "Extended Echo request", 43: "Extended Echo reply"}  # fmt: skip
_ICMP_CODES: Final = {
    3: ("Network unreachable", "Host unreachable", "Protocol unreachable", "Port unreachable", "Fragmentation needed",
        "Source route failed", "Network unknown", "Host unknown", "Source host isolated",
        "Network administratively prohibited", "Host administratively prohibited", "Network unreachable for TOS",
        "Host unreachable for TOS", "Communication administratively filtered", "Host precedence violation",
        "Precedence cutoff in effect"),
    5: ("Redirect for network", "Redirect for host", "Redirect for TOS and network", "Redirect for TOS and host"),
    11: ("Time to live exceeded in transit", "Fragment reassembly time exceeded"),
    12: ("Pointer indicates the error", "Required option missing", "Bad length"),
}  # fmt: skip
_ICMPV6: Final = {1: "Destination Unreachable", 2: "Packet Too Big", 3: "Time Exceeded", 4: "Parameter Problem",
                  130: "Multicast Listener Query", 131: "Multicast Listener Report", 132: "Multicast Listener Done",
                  133: "Router Solicitation", 134: "Router Advertisement", 135: "Neighbor Solicitation",
                  136: "Neighbor Advertisement", 137: "Redirect", 138: "Router Renumbering",
                  139: "Node Information Query", 140: "Node Information Reply",
                  141: "Inverse Neighbor Discovery Solicitation", 142: "Inverse Neighbor Discovery Advertisement",
                  143: "Multicast Listener Report Message v2", 144: "Home Agent Address Discovery Request",
                  145: "Home Agent Address Discovery Reply", 146: "Mobile Prefix Solicitation",
                  147: "Mobile Prefix Advertisement", 148: "Certification Path Solicitation Message",
                  149: "Certification Path Advertisement Message", 151: "Multicast Router Advertisement",
                  152: "Multicast Router Solicitation", 153: "Multicast Router Termination",
                  160: "Extended Echo request", 161: "Extended Echo reply"}  # fmt: skip
_EXTENDED_REPLIES: Final = ("No error", "Malformed Query", "No Such Interface", "No Such Table Entry",
                            "Multiple Interfaces Satisfy Query")  # fmt: skip
_ICMPV6_CODES: Final = {
    1: ("no route to destination", "Administratively prohibited", "Beyond scope of source address",
        "Address unreachable", "Port unreachable", "Source address failed ingress/egress policy",
        "Reject route to destination"),
    3: ("hop limit exceeded in transit", "fragment reassembly time exceeded"),
    4: ("erroneous header field encountered", "unrecognized Next Header type encountered",
        "unrecognized IPv6 option encountered"),
    160: ("No error",),
    161: _EXTENDED_REPLIES,
}  # fmt: skip
_OSPF: Final = {1: "Hello Packet", 2: "DB Description", 3: "LS Request", 4: "LS Update", 5: "LS Acknowledge"}
_PIM: Final = ("Hello", "Register", "Register-Stop", "Join/Prune", "Bootstrap", "Assert", "Graft", "Graft-Ack",
               "Candidate-RP-Advertisement", "State-Refresh")  # fmt: skip


def arp(view: View) -> str | None:
    """ARP (RFC 826), RARP (RFC 903), inverse ARP (RFC 2390)."""
    header = view.innermost("arp")
    if header is None:
        return None
    at = header.start
    hardware_size, size = view.frame[at + 4], view.frame[at + 5]
    places = [at + 8, at + 8 + hardware_size, at + 8 + hardware_size + size, at + 8 + 2 * hardware_size + size]
    if places[3] + size > header.end:
        return None
    is_ip = number(view.frame, at + 2) == 0x0800 and size == 4
    sender_mac, target_mac = (view.frame[place : place + hardware_size] for place in (places[0], places[2]))
    raw = [view.frame[place : place + size] for place in (places[1], places[3])]
    sender, target = (
        view.address(place, 4) if is_ip else view.frame[place : place + size].hex() for place in places[1::2]
    )
    operation = number(view.frame, at + 6)
    match operation:
        case 1 | 2 if raw[0] == raw[1]:
            if operation == 1 and not any(target_mac):
                return f"ARP Announcement for {sender}"
            return f"Gratuitous ARP for {sender} ({'Request' if operation == 1 else 'Reply'})"
        case 1:
            return f"Who has {target}? {f'Tell {sender}' if any(raw[0]) else '(ARP Probe)'}"
        case 2:
            return f"{sender} is at {mac(sender_mac)}"
        case 3 | 8:
            return f"Who is {mac(target_mac)}? Tell {mac(sender_mac)}"
        case 4:
            return f"{mac(target_mac)} is at {target}"
        case 9:
            return f"{mac(sender_mac)} is at {sender}"
    return f"Unknown ARP opcode 0x{operation:04x}"


def ip(view: View) -> str | None:
    """A packet of IP of which no more is known: a fragment, or by the number of what it carries."""
    header = view.innermost("ipv4", "ipv6")
    if header is None:
        return None
    if header.fragment_offset or (header is view.last and _is_fragment(view, header)):
        return _fragment(view, header)
    inner = _CARRIED_BY_IP.get(header.following)
    text = inner(view) if inner else None
    if text:
        return text
    name = _PROTOS.get(header.following)
    if header.kind == "ipv6" and header.following == 59:
        return "IPv6 no next header"
    return f"{name or 'Unknown'} ({header.following})"


def _is_fragment(view: View, header: Header) -> bool:
    return header.kind == "ipv4" and number(view.frame, header.start + 6) & 0x3FFF != 0


def _fragment(view: View, header: Header) -> str:
    frame, start = view.frame, header.start
    if header.kind == "ipv4":
        name = _PROTOS.get(header.following, "Unknown")
        offset, identification = header.fragment_offset, number(frame, start + 4)
        return f"Fragmented IP protocol (proto={name} {header.following}, off={offset}, ID={identification:04x})"
    at = header.payload - 8  # the fragment header is the last one before the data of a later fragment
    more = "y" if frame[at + 3] & 1 else "n"
    identification = number(frame, at + 4, 4)
    return f"IPv6 fragment (off={header.fragment_offset} more={more} ident=0x{identification:08x} nxt={frame[at]})"


def icmp(view: View) -> str | None:
    """ICMP (RFC 792)."""
    header = view.innermost("icmp")
    if header is None:
        return None
    frame, at = view.frame, header.start
    kind, code = frame[at], frame[at + 1]
    if kind in (0, 8):
        if header.end < at + 8:
            return None
        order = number(frame, at + 6)
        swapped = int.from_bytes(frame[at + 6 : at + 8], "little")
        name = "request " if kind == 8 else "reply   "
        ip_header = view.innermost("ipv4")
        ttl = frame[ip_header.start + 8] if ip_header else 0
        return f"Echo (ping) {name} id=0x{number(frame, at + 4):04x}, seq={order}/{swapped}, ttl={ttl}"
    return _named(kind, code, _ICMP, _ICMP_CODES, "Unknown ICMP type {} (obsolete or malformed?)")


def _named(kind: int, code: int, names: dict[int, str], codes: dict[int, tuple[str, ...]], unknown: str) -> str:
    if kind not in names:
        return unknown.format(kind)
    meanings = codes.get(kind)
    if meanings is None:
        return names[kind]
    return f"{names[kind]} ({meanings[code] if code < len(meanings) else f'Unknown code {code}'})"


def icmpv6(view: View) -> str | None:
    """ICMPv6 (RFC 4443) with neighbour discovery (RFC 4861)."""
    header = view.innermost("icmpv6")
    if header is None:
        return None
    frame, at = view.frame, header.start
    kind, code = frame[at], frame[at + 1]
    if kind in (128, 129):
        ip_header = view.innermost("ipv6")
        hops = frame[ip_header.start + 7] if ip_header else 0
        name = "request" if kind == 128 else "reply"
        return f"Echo (ping) {name} id=0x{number(frame, at + 4):04x}, seq={number(frame, at + 6)}, hop limit={hops}"
    text = _named(kind, code, _ICMPV6, _ICMPV6_CODES, "Unknown ({})")
    options = dict(_discovery_options(frame[at + _OPTIONS_AT.get(kind, 1 << 16) : header.end]))
    source, target = options.get(1), options.get(2)
    if kind in (133, 134):
        return f"{text} from {mac(source)}" if source else text
    if kind == 135:
        return f"{text} for {view.address(at + 8, 16)}" + (f" from {mac(source)}" if source else "")
    if kind == 136:
        flags = [
            name
            for bit, name in ((0x80, "rtr"), (0x40, "sol"), (0x20, "ovr"))
            if frame[at + 4 : at + 5] and frame[at + 4] & bit
        ]
        told = f" ({', '.join(flags)})" if flags else ""
        return f"{text} {view.address(at + 8, 16)}{told}" + (f" is at {mac(target)}" if target else "")
    if kind == 137:
        return text + (f" is at {mac(target)}" if target else "")
    return text


_OPTIONS_AT: Final = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}


def _discovery_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of neighbour discovery options; a link-layer address fills its option on Ethernet."""
    at = 0
    while at + 8 <= len(data) and data[at + 1]:
        yield data[at], data[at + 2 : at + 8 * data[at + 1]]
        at += 8 * data[at + 1]


def igmp(view: View) -> str | None:
    """IGMP (RFC 2236, RFC 3376)."""
    header = view.innermost("igmp")
    if header is None:
        return None
    frame, at = view.frame, header.start
    kind, group = frame[at], view.address(at + 4, 4)
    match kind:
        case 0x11:
            return f"Membership Query, {'general' if group == '0.0.0.0' else f'specific for group {group}'}"
        case 0x12 | 0x16:
            return f"Membership Report group {group}"
        case 0x17:
            return f"Leave Group {group}"
        case 0x22:
            records = [_group_record(view, place) for place in _record_places(view, header)]
            return " / ".join(["Membership Report", *records])
    return None


def _record_places(view: View, header: Header) -> Iterator[int]:
    at = header.start + 8
    for _ in range(min(number(view.frame, header.start + 6), MAX_PARTS)):
        if at + 8 > header.end:
            return
        yield at
        at += 8 + 4 * number(view.frame, at + 2) + 4 * view.frame[at + 1]


def _group_record(view: View, at: int) -> str:
    kind, sources, group = view.frame[at], number(view.frame, at + 2), view.address(at + 4, 4)
    some = ", ".join(view.address(at + 8 + 4 * k, 4) for k in range(min(sources, 16)))
    match kind:
        case 2 | 4:
            return f"Join group {group} " + (f"for any sources except {{{some}}}" if sources else "for any sources")
        case 1 | 3:
            return f"Join group {group} for source {{{some}}}" if sources else f"Leave group {group}"
        case 5:
            return f"Group {group}, new source {{{some}}}"
    return f"Group {group}, blocked source {{{some}}}"


def _carried(view: View) -> bytes:
    """What the innermost IP header carries."""
    header = view.innermost("ipv4", "ipv6")
    return view.frame[header.payload : header.end] if header else b""


def esp(view: View) -> str | None:
    """ESP (RFC 4303)."""
    data = view.payload if view.last is not None and view.last.kind == "udp" else _carried(view)
    if data == b"\xff":
        return "NAT-keepalive"
    return f"ESP (SPI=0x{number(data, 0, 4):08x})" if len(data) >= 4 else None


def gre(view: View) -> str | None:
    """GRE (RFC 2784) by what it carries."""
    header = view.innermost("gre")
    if header is None:
        return None
    kind = number(view.frame, header.start + 2)
    names = {0: "Possible GRE keepalive packet", 0x0800: "IP", 0x86DD: "IPv6", 0x880B: "PPP",
             0x6558: "Transparent Ethernet bridging", 0x88BE: "ERSPAN"}  # fmt: skip
    return f"Encapsulated {names.get(kind, f'0x{kind:04x} (unknown)')}"


def ospf(view: View) -> str | None:
    """OSPF (RFC 2328)."""
    return _OSPF.get(number(_carried(view), 1, 1))


def pim(view: View) -> str | None:
    """PIM (RFC 7761)."""
    kind = number(_carried(view), 0, 1) & 15
    return _PIM[kind] if kind < len(_PIM) else None


def vrrp(view: View) -> str | None:
    """VRRP (RFC 3768, RFC 5798)."""
    first = number(_carried(view), 0, 1)
    return f"Announcement (v{first >> 4})" if first & 15 == 1 else None


_CARRIED_BY_IP: Final[dict[int, Info]] = {50: esp, 89: ospf, 103: pim, 112: vrrp}
"""By protocol number, for packets in tunnels."""
