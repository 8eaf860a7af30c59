"""The names the `protocol` column can hold: Wireshark's short names, in one fixed order.

A row stores the index into PROTOCOLS; indices are part of nothing that leaves the process (names do). The uppercase
constants are the same indices for the kernels, which numba freezes into the machine code.
"""

from typing import Final

__all__ = ["PROTOCOLS", "protocol_code"]

PROTOCOLS: Final[tuple[str, ...]] = (
    "?",
    "Ethernet",
    "ARP",
    "IPv4",
    "IPv6",
    "ICMP",
    "ICMPv6",
    "IGMP",
    "TCP",
    "UDP",
    "SCTP",
    "GRE",
    "ESP",
    "AH",
    "OSPF",
    "PIM",
    "VRRP",
    "LLC",
    "STP",
    "LLDP",
    "EAPOL",
    "PPPoED",
    "PPPoES",
    "MPLS",
    "DNS",
    "MDNS",
    "LLMNR",
    "NBNS",
    "TLS",
    "SSL",
    "TLSv1",
    "TLSv1.1",
    "TLSv1.2",
    "TLSv1.3",
    "DTLS",
    "HTTP",
    "HTTP2",
    "QUIC",
    "DHCP",
    "DHCPv6",
    "NTP",
    "SSH",
    "SSDP",
    "WireGuard",
    "RARP",
    "STUN",
    "SIP",
    "RTSP",
    "FTP",
    "TELNET",
    "SMTP",
    "POP",
    "IMAP",
    "KRB5",
    "LDAP",
    "SMB",
    "SMB2",
    "BGP",
    "MQTT",
    "MySQL",
    "PGSQL",
    "RESP",
    "SNMP",
    "Syslog",
    "TFTP",
    "ISAKMP",
    "RADIUS",
    "RIP",
    "CoAP",
    "VXLAN",
    "Geneve",
    "GTP",
    "UDP-Lite",
    "DCCP",
    "EtherIP",
    "ERSPAN",
    "L2TP",
    "NSH",
    "PPP",
    "PPP LCP",
    "PPP IPCP",
    "PPP IPV6CP",
    "PPP PAP",
    "PPP CHAP",
    "PPP CCP",
)


def protocol_code(name: str) -> int:
    """Index of `name` in PROTOCOLS, case ignored; ValueError if it is not there."""
    return _CODES[name.lower()]


_CODES: Final = {name.lower(): code for code, name in enumerate(PROTOCOLS)}

UNKNOWN: Final = 0
(
    ETHERNET, ARP, IPV4, IPV6, ICMP, ICMPV6, IGMP, TCP, UDP, SCTP, GRE, ESP, AH, OSPF, PIM, VRRP, LLC, STP, LLDP,
    EAPOL, PPPOED, PPPOES, MPLS, DNS, MDNS, LLMNR, NBNS, TLS, SSL, TLSV1, TLSV1_1, TLSV1_2, TLSV1_3, DTLS, HTTP,
    HTTP2, QUIC, DHCP, DHCPV6, NTP, SSH, SSDP, WIREGUARD, RARP, STUN, SIP, RTSP, FTP, TELNET, SMTP, POP, IMAP,
    KRB5, LDAP, SMB, SMB2, BGP, MQTT, MYSQL, PGSQL, RESP, SNMP, SYSLOG, TFTP, ISAKMP, RADIUS, RIP, COAP, VXLAN,
    GENEVE, GTP, UDPLITE, DCCP, ETHERIP, ERSPAN, L2TP, NSH, PPP, PPP_LCP, PPP_IPCP, PPP_IPV6CP, PPP_PAP, PPP_CHAP,
    PPP_CCP,
) = range(1, len(PROTOCOLS))  # fmt: skip
