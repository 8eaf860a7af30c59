"""The one-line summary."""

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest

from aishark_panel.dissect import info_text
from tests.dissect.rows import dissect_frames
from tests.dissect.seeds import SEEDS
from tests.dissect.test_tls import HELLO, record

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = ETHER / IP(ttl=61)
V6 = ETHER / IPv6(hlim=61)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            V4 / TCP(sport=443, dport=51234, flags="SA", seq=5, ack=6, window=7),
            "443 → 51234 [SYN, ACK] Seq=5 Ack=6 Win=7 Len=0",
        ),
        (V4 / TCP(sport=1, dport=2, flags="S", seq=5, window=7), "1 → 2 [SYN] Seq=5 Win=7 Len=0"),
        (V4 / UDP(sport=5, dport=6) / b"1234", "5 → 6 Len=4"),
        (V4 / UDP(sport=5) / DNS(qd=DNSQR(qname="A.example")), "Standard query A a.example"),
        (
            V4 / UDP(sport=5) / DNS(qr=1, rcode=3, qd=DNSQR(qname="a.b", qtype="AAAA")),
            "Standard query response No such name AAAA a.b",
        ),
        (V4 / UDP(sport=5) / DNS(qd=DNSQR(qname="a.b", qtype=4711)), "Standard query TYPE4711 a.b"),
        (
            V4 / UDP(sport=137) / NBNSHeader(QDCOUNT=1) / NBNSQueryRequest(QUESTION_NAME=b"X", SUFFIX=0x4341),
            "Standard query NB x<20>",
        ),
        (V4 / TCP(sport=5, dport=80) / b"GET /path HTTP/1.1\r\n\r\n", "GET /path HTTP/1.1"),
        (V4 / TCP(sport=80) / b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 404"),
        (V4 / TCP(sport=5, dport=443) / record(HELLO), "Client Hello (SNI=www.example.com)"),
        (V4 / ICMP(type=8), "Echo (ping) request ttl=61"),
        (V4 / ICMP(type=3, code=1), "Destination unreachable (code 1)"),
        (V4 / ICMP(type=99), "Type 99"),
        (V6 / ICMPv6EchoRequest(), "Echo (ping) request hop limit=61"),
        (V6 / ICMPv6ND_NS(), "Neighbor Solicitation"),
        (ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"), "Who has 10.0.0.2? Tell 10.0.0.1"),
        (ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.1"), "ARP Announcement for 10.0.0.1"),
        (ETHER / ARP(op=2, psrc="10.0.0.1", pdst="10.0.0.2"), "10.0.0.1 is at 02:00:00:00:00:01"),
        (ETHER / ARP(op=9, psrc="10.0.0.1", pdst="10.0.0.2"), "ARP operation 9"),
        (ETHER / IP(proto=6, id=0xAB, frag=2) / b"12345678", "Fragmented IP protocol (proto=6, off=16, ID=00ab)"),
        (ETHER / IP(proto=89) / b"12345678", "IP protocol 89"),
        (Ether(type=0x1234) / b"12345678", "Ethertype 0x1234"),
        (b"12345", "[Malformed] 5 bytes captured"),
        (ETHER / IP(proto=6), "[Malformed] IP protocol 6"),
    ],
)
def test_a_packet_is_summed_up_in_wireshark_s_words(frame: object, text: str) -> None:
    assert info_text(dissect_frames(frame), 0) == text


def test_a_cut_packet_says_so() -> None:
    frame = bytes(V4 / TCP())
    assert info_text(dissect_frames(frame[:40], orig_len=len(frame)), 0).startswith("[Truncated] ")


def test_every_kind_of_frame_has_a_summary() -> None:
    packets = dissect_frames(*SEEDS)
    assert all(info_text(packets, row) for row in range(packets.length))
