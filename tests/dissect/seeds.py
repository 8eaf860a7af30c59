"""One frame of each kind the dissector knows: where the tests with random bytes start from."""

import struct

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, LLC, SNAP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ppp import PPP, PPPoE

from tests.dissect.samples import SAMPLES
from tests.dissect.test_http import REQUEST
from tests.dissect.test_tls import HELLO, extension, record, server_hello

__all__ = ["LINK_TYPES", "SEEDS"]

LINK_TYPES = (0, 1, 9, 12, 50, 101, 104, 108, 113, 228, 229, 276, 999)

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
QUERY = DNS(id=7, qd=DNSQR(qname="www.example.com"))
SEEDS = [
    bytes(frame)
    for frame in (
        ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"),
        ETHER / IP() / TCP(flags="S", options=[("MSS", 1460), ("Timestamp", (1, 2))]),
        ETHER / IP() / TCP(sport=40000, dport=80) / REQUEST,
        ETHER / IP() / TCP(sport=80) / b"HTTP/1.1 200 OK\r\n\r\n",
        ETHER / IP() / TCP(sport=40000, dport=443) / record(HELLO),
        ETHER / IP() / TCP(sport=443) / record(server_hello(extension(43, b"\x03\x04"))),
        ETHER / IP() / TCP(sport=40000, dport=53) / struct.pack(">H", len(QUERY)) / QUERY,
        ETHER / Dot1AD(vlan=5) / Dot1Q(vlan=6) / IPv6() / IPv6ExtHdrHopByHop() / UDP(sport=40000) / QUERY,
        ETHER / IPv6() / IPv6ExtHdrFragment(m=1) / UDP(sport=40000, dport=5353) / QUERY,
        ETHER / IP() / UDP(sport=137, dport=137) / NBNSHeader(QDCOUNT=1) / NBNSQueryRequest(QUESTION_NAME=b"HOST"),
        ETHER / IP() / UDP(sport=40000, dport=443) / (b"\xc3\x00\x00\x00\x01\x08" + bytes(60)),
        ETHER / IP() / ICMP(),
        Dot3(src="02:00:00:00:00:01") / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / IP() / UDP(),
        Ether(type=0x8847) / (b"\x00\x01\x01\x40" + bytes(IP() / UDP())),
        Ether(type=0x8864) / PPPoE(sessionid=1) / PPP(proto=0x57) / IPv6() / TCP(),
    )
] + [sample.frame for sample in SAMPLES]
