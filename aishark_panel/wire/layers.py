"""The bit sets of a packet: which layers were found in it, and what is wrong with its TCP segment."""

import enum
from typing import Final

__all__ = ["FLAG_NAMES", "TCP_FLAG_NAMES", "Layer", "TcpProblem"]


class Layer(enum.IntFlag):
    """What was found in a packet, one bit each; a set bit means the fields that belong to it are filled.

    Column batches carry these bits, so each keeps its place.
    """

    NONE = 0
    ETH = 1 << 0
    VLAN = 1 << 1
    ARP = 1 << 2
    IPV4 = 1 << 3
    IPV6 = 1 << 4
    FRAGMENT = 1 << 5
    IP_ID = 1 << 6
    TCP = 1 << 7
    UDP = 1 << 8
    SCTP = 1 << 9
    PORTS = 1 << 10
    ICMP = 1 << 11
    DNS = 1 << 12
    DNS_QUESTION = 1 << 13
    DNS_RESPONSE = 1 << 14
    TLS = 1 << 15
    HTTP_REQUEST = 1 << 16
    HTTP_RESPONSE = 1 << 17
    TRANSPORT = 1 << 18
    INNER_VLAN = 1 << 19
    MPLS = 1 << 20
    TUNNEL_ID = 1 << 21
    INNER_IPV4 = 1 << 22
    INNER_IPV6 = 1 << 23
    INNER_PORTS = 1 << 24
    TCP_MSS = 1 << 25
    TCP_WSCALE = 1 << 26
    TCP_SACK = 1 << 27
    TCP_TIMESTAMPS = 1 << 28
    TLS_HANDSHAKE = 1 << 29
    QUIC_LONG = 1 << 30
    DHCP = 1 << 31
    INNER_TCP = 1 << 32
    INNER_UDP = 1 << 33
    INNER_SCTP = 1 << 34
    INNER_ARP = 1 << 35
    ICMPV6 = 1 << 36
    GRE = 1 << 37
    VXLAN = 1 << 38
    GENEVE = 1 << 39
    GTP = 1 << 40
    PPPOE = 1 << 41
    IP = IPV4 | IPV6
    INNER_IP = INNER_IPV4 | INNER_IPV6
    ANY_ARP = ARP | INNER_ARP
    ANY_TCP = TCP | INNER_TCP
    ANY_ICMP = ICMP | ICMPV6


TCP_FLAG_NAMES: Final = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")
"""Bit 0 first (RFC 9293 section 3.1; AE: RFC 9768)."""


class TcpProblem(enum.IntFlag):
    """What a TCP segment shows in the light of those before it; Wireshark's tcp.analysis.* of the same names."""

    RETRANSMISSION = 1 << 0
    """data sent before; set for the next two kinds too"""
    FAST_RETRANSMISSION = 1 << 1
    """... soon after duplicate acknowledgements asked for it"""
    SPURIOUS_RETRANSMISSION = 1 << 2
    """... although it had been acknowledged"""
    OUT_OF_ORDER = 1 << 3
    """overtaken by a later segment"""
    LOST_SEGMENT = 1 << 4
    """the one before it was not captured"""
    ACK_LOST_SEGMENT = 1 << 5
    """acknowledges what was not captured"""
    DUPLICATE_ACK = 1 << 6
    ZERO_WINDOW = 1 << 7
    """the sender takes no more data"""
    ZERO_WINDOW_PROBE = 1 << 8
    ZERO_WINDOW_PROBE_ACK = 1 << 9
    WINDOW_FULL = 1 << 10
    """fills what the receiver is ready to take"""
    WINDOW_UPDATE = 1 << 11
    KEEP_ALIVE = 1 << 12
    KEEP_ALIVE_ACK = 1 << 13
    REUSED_PORTS = 1 << 14
    """a new connection between the ports of an earlier one"""


FLAG_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "tcp_flags": TCP_FLAG_NAMES,
    "tcp_problem": tuple(str(problem.name) for problem in TcpProblem),
}
"""Of columns whose bits people name: the names, bit 0 first."""
