"""The one-line summary of a packet, in the wording of Wireshark's Info column; made only for rows that are shown.

It follows the row's `protocol`: a new protocol needs an entry in INFOS and its function in dissect.infos.
"""

from typing import Final

from aishark_panel.dissect.infos import devices, link, names, network, services, tls, transport, web
from aishark_panel.dissect.infos.columns import from_columns
from aishark_panel.dissect.infos.view import Info, TcpNumbers, View
from aishark_panel.wire.packets import Packets

__all__ = ["INFOS", "MAX_INFO_CHARS", "TcpNumbers", "info_text"]

MAX_INFO_CHARS: Final = 1_024
"""Longer texts are cut."""

INFOS: Final[dict[str, Info]] = {
    "ARP": network.arp,
    "RARP": network.arp,
    "ICMP": network.icmp,
    "ICMPv6": network.icmpv6,
    "IGMP": network.igmp,
    "ESP": network.esp,
    "OSPF": network.ospf,
    "PIM": network.pim,
    "VRRP": network.vrrp,
    "SCTP": transport.sctp,
    "STP": link.stp,
    "LLDP": link.lldp,
    "EAPOL": link.eapol,
    "PPPoED": link.pppoed,
    "DNS": names.dns,
    "MDNS": names.dns,
    "LLMNR": names.dns,
    "NBNS": names.nbns,
    "QUIC": tls.quic,
    "HTTP": web.http,
    "SSDP": web.http,
    "RTSP": web.http,
    "HTTP2": web.http2,
    "SIP": web.sip,
    "DHCP": services.dhcp,
    "BOOTP": services.dhcp,
    "DHCPv6": services.dhcpv6,
    "NTP": services.ntp,
    "SMTP": services.mail,
    "POP": services.mail,
    "IMAP": services.mail,
    "FTP": services.ftp,
    "TELNET": services.telnet,
    "BGP": services.bgp,
    "ISAKMP": services.isakmp,
    "RIP": services.rip,
    "STUN": services.stun,
    "TFTP": services.tftp,
    "CDP": link.llc,
    "Modbus": devices.modbus,
    "Modbus/TCP": devices.modbus,
    "MQTT": devices.mqtt,
    "SNMP": devices.snmp,
    "RTP": devices.rtp,
}
"""By the name of the protocol."""

_FAMILIES: Final[tuple[tuple[str, Info], ...]] = (
    ("TLS", tls.tls),
    ("SSL", tls.tls),
    ("SSH", services.ssh),
    ("IGMP", network.igmp),
    ("PIM", network.pim),
    ("RIP", services.rip),
)
"""By how the name begins: versions are part of some."""

_BY_HEADER: Final[dict[str, Info]] = {
    "tcp": transport.tcp,
    "udp": transport.udp,
    "udplite": transport.udp,
    "sctp": transport.sctp,
    "icmp": network.icmp,
    "icmpv6": network.icmpv6,
    "igmp": network.igmp,
    "arp": network.arp,
    "ipv4": network.ip,
    "ipv6": network.ip,
    "gre": network.gre,
    "llc": link.llc,
    "eth": link.ethernet,
}
"""By the kind of the innermost header, where nothing is said of the protocol itself."""

_NEEDS_ALL: Final = ("DNS", "MDNS", "LLMNR", "NBNS", "DHCP", "BOOTP")
"""Protocols whose text is incomplete where the capture cut the packet."""


def info_text(packets: Packets, row: int, link_type: int, numbers: TcpNumbers | None = None) -> str:
    """Summary of a row, from its columns and frame. `link_type` is the LINKTYPE number of its interface.

    `numbers` makes TCP's numbers relative to where the conversation began; without it they are those on the wire.
    """
    view = View(packets, row, link_type, numbers)
    text = transport.tcp_problems(view) + (_summary(view) or "")
    columns = packets.columns
    cut = view.last is not None and view.last.end < view.last.wire_end and view.protocol in _NEEDS_ALL
    if columns.truncated[row] or cut:
        text += "[Packet size limited during capture]"
    elif columns.malformed[row] and "BAD UDP LENGTH" not in text:
        text += "[Malformed Packet]"
    return (text or f"{columns.cap_len[row]} bytes captured")[:MAX_INFO_CHARS]


def _summary(view: View) -> str | None:
    if not view.column("cap_len"):
        return from_columns(view)
    name = view.protocol
    info = INFOS.get(name) or next((each for start, each in _FAMILIES if name.startswith(start)), None)
    if info is not None:
        text = info(view)
        if text:
            return text
    below = _BY_HEADER.get(view.last.kind) if view.last else None
    return below(view) if below else None
