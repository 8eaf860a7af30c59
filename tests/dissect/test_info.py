"""The one-line summary: one example of each form here; dissect/test_info_tshark.py compares it with tshark's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.lldp import (
    LLDPDU,
    LLDPDUChassisID,
    LLDPDUEndOfLLDPDU,
    LLDPDUPortID,
    LLDPDUSystemName,
    LLDPDUTimeToLive,
)
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Solicit, DHCP6OptClientId
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRRMX
from scapy.layers.eap import EAP, EAPOL
from scapy.layers.igmp import IGMP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, GRE, LLC, STP, Dot3, Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTP
from scapy.layers.tftp import TFTP, TFTP_RRQ
from scapy.layers.vrrp import VRRP
from scapy.packet import Packet, Raw

from aishark_panel.dissect import info_text
from aishark_panel.dissect.info import INFOS, MAX_INFO_CHARS, TcpNumbers
from aishark_panel.dissect.infos.transport import PROBLEMS
from aishark_panel.dissect.infos.view import View
from aishark_panel.wire.layers import TcpProblem
from tests.dissect.rows import ETHERNET, dissect_frames
from tests.dissect.seeds import SEEDS
from tests.dissect.test_quic_initial import crypto_frame, sealed
from tests.dissect.test_tls import HELLO, record, server_hello

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = ETHER / IP(ttl=61)
V6 = ETHER / IPv6(hlim=61)
TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 8)), ("NOP", None), ("WScale", 7)]
ANSWER = DNS(
    id=1,
    qr=1,
    qd=DNSQR(qname="a.b"),
    an=[DNSRR(rrname="a.b", type="CNAME", rdata="c.d"), DNSRR(rrname="c.d", rdata="10.0.0.9")],
    ar=[DNSRRMX(rrname="a.b", preference=5, exchange="m.x")],
)
DHCP_DISCOVER = BOOTP(xid=0xABC) / DHCP(options=[("message-type", "discover"), "end"])
CHASSIS = LLDPDUChassisID(subtype=4, id="02:00:00:00:00:01") / LLDPDUPortID(subtype=5, id="eth0")
NEIGHBOUR = LLDPDU() / CHASSIS / LLDPDUTimeToLive(ttl=120) / LLDPDUSystemName(system_name="sw") / LLDPDUEndOfLLDPDU()


def info(frame: object, numbers: TcpNumbers | None = None) -> str:
    return info_text(dissect_frames(frame), 0, ETHERNET, numbers)


def over(sport: int, dport: int, payload: bytes) -> Packet:
    return V4 / TCP(sport=sport, dport=dport) / Raw(payload)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (
            V4 / TCP(sport=443, dport=51234, flags="SA", seq=5, ack=6, window=7),
            "443 → 51234 [SYN, ACK] Seq=5 Ack=6 Win=7 Len=0",
        ),
        (
            V4 / TCP(sport=1, dport=2, flags="S", seq=5, window=7, options=TCP_OPTIONS),
            "1 → 2 [SYN] Seq=5 Win=7 Len=0 MSS=1460 SACK_PERM TSval=7 TSecr=8 WS=128",
        ),
        (
            V4 / TCP(sport=1, dport=2, flags="A", options=[("SAck", (10, 20, 30, 40))]),
            "1 → 2 [ACK] Seq=0 Ack=0 Win=8192 Len=0 SLE=10 SRE=20 SLE=30 SRE=40",
        ),
        (V4 / TCP(sport=1, dport=2, flags=0), "1 → 2 [<None>] Seq=0 Win=8192 Len=0"),
        (V4 / UDP(sport=5, dport=6) / b"1234", "5 → 6 Len=4"),
        (V4 / UDP(sport=5, dport=6, len=3) / b"1234", "5 → 6 [BAD UDP LENGTH 3 < 8]"),
        (V4 / UDP(sport=5) / DNS(id=0x1234, qd=DNSQR(qname="A.example")), "Standard query 0x1234 A A.example"),
        (
            V4 / UDP(sport=5) / DNS(id=2, qr=1, rcode=3, qd=DNSQR(qname="a.b", qtype="AAAA")),
            "Standard query response 0x0002 No such name AAAA a.b",
        ),
        (V4 / UDP(sport=53) / ANSWER, "Standard query response 0x0001 A a.b CNAME c.d A 10.0.0.9 MX 5 m.x"),
        (V4 / UDP(sport=5) / DNS(id=0, qd=DNSQR(qname=".", qtype=4711)), "Standard query 0x0000 Unknown (4711) <Root>"),
        (
            V4 / UDP(sport=5353, dport=5353) / DNS(id=0, qd=DNSQR(qname="a.local", unicastresponse=1)),
            'Standard query 0x0000 A a.local, "QU" question',
        ),
        (
            V4 / UDP(sport=137) / NBNSHeader(QDCOUNT=1) / NBNSQueryRequest(QUESTION_NAME=b"X", SUFFIX=0x4341),
            "Name query NB X<20>",
        ),
        (over(5, 80, b"GET /path HTTP/1.1\r\n\r\n"), "GET /path HTTP/1.1"),
        (over(80, 5, b"HTTP/1.1 404 Not Found\r\n\r\n"), "HTTP/1.1 404 Not Found"),
        (
            over(80, 5, b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=x\r\n\r\n<html>"),
            "HTTP/1.1 200 OK  (text/html)",
        ),
        (over(5, 443, record(HELLO)), "Client Hello (SNI=www.example.com)"),
        (
            over(443, 5, record(server_hello(b"")) + record(b"\x01", kind=20) + record(bytes(40), kind=23)),
            "Server Hello, Change Cipher Spec, Application Data",
        ),
        (over(443, 5, record(b"\x02\x28", kind=21)), "Alert (Level: Fatal, Description: Handshake Failure)"),
        (over(443, 5, record(bytes(range(200, 240)))), "Encrypted Handshake Message"),
        (
            V4 / UDP(sport=5, dport=443) / Raw(sealed(b"\x01" + crypto_frame(0, b"x"))),
            "Initial, DCID=8394c8f03e515708, PKN: 2, PING, CRYPTO, PADDING",
        ),
        (over(22, 50_000, b"SSH-2.0-x\r\n"), "Server: Protocol (SSH-2.0-x)"),
        (over(50_000, 22, bytes(range(200, 244))), "Client: Encrypted packet (len=44)"),
        (over(50_000, 21, b"USER me\r\n"), "Request: USER me"),
        (over(25, 50_000, b"250-a\r\n250 b\r\n"), "S: 250-a | b"),
        (V4 / UDP(sport=68, dport=67) / DHCP_DISCOVER, "DHCP Discover - Transaction ID 0xabc"),
        (
            V6 / UDP(sport=546, dport=547) / DHCP6_Solicit(trid=0x123) / DHCP6OptClientId(duid=b"\x01\x02"),
            "Solicit XID: 0x123 CID: 0102",
        ),
        (V4 / UDP(sport=123, dport=123) / NTP(version=4, mode=3), "NTP Version 4, client"),
        (
            V4 / UDP(sport=5, dport=69) / TFTP() / TFTP_RRQ(filename=b"f", mode=b"octet"),
            "Read Request, File: f, Transfer type: octet",
        ),
        (V4 / ICMP(type=8, id=1, seq=2), "Echo (ping) request  id=0x0001, seq=2/512, ttl=61"),
        (V4 / ICMP(type=3, code=1), "Destination unreachable (Host unreachable)"),
        (V6 / ICMPv6EchoRequest(id=1, seq=2), "Echo (ping) request id=0x0001, seq=2, hop limit=61"),
        (
            V6 / ICMPv6ND_NS(tgt="fe80::1") / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:01"),
            "Neighbor Solicitation for fe80::1 from 02:00:00:00:00:01",
        ),
        (
            V6 / ICMPv6ND_NA(tgt="fe80::1", R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:01"),
            "Neighbor Advertisement fe80::1 (sol, ovr) is at 02:00:00:00:00:01",
        ),
        (ETHER / IP(proto=2) / IGMP(type=0x16, gaddr="224.0.0.9"), "Membership Report group 224.0.0.9"),
        (V4 / VRRP(), "Announcement (v2)"),
        (ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"), "Who has 10.0.0.2? Tell 10.0.0.1"),
        (ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.1"), "ARP Announcement for 10.0.0.1"),
        (ETHER / ARP(op=1, psrc="0.0.0.0", pdst="10.0.0.1"), "Who has 10.0.0.1? (ARP Probe)"),
        (
            ETHER / ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2"),
            "10.0.0.1 is at 02:00:00:00:00:01",
        ),
        (ETHER / ARP(op=77, psrc="10.0.0.1", pdst="10.0.0.2"), "Unknown ARP opcode 0x004d"),
        (
            ETHER / IP(proto=6, id=0xAB, frag=2) / b"12345678",
            "Fragmented IP protocol (proto=TCP 6, off=16, ID=00ab)",
        ),
        (ETHER / IP(proto=253) / b"12345678", "Unknown (253)"),
        (ETHER / IP() / GRE() / IP() / TCP(sport=1, dport=2, flags="R"), "1 → 2 [RST] Seq=0 Win=8192 Len=0"),
        (
            Dot3(src="02:00:00:00:00:01") / LLC() / STP(rootid=32768, rootmac="02:00:00:00:00:09", portid=0x8001),
            "Conf. Root = 32768/0/02:00:00:00:00:09  Cost = 0  Port = 0x8001",
        ),
        (Ether(type=0x88CC) / NEIGHBOUR, "MA/02:00:00:00:00:01 IN/eth0 120 SysN=sw"),
        (Ether(type=0x888E) / EAPOL(type=0) / EAP(code=1, id=1, type=1), "Request, Identity"),
        (Ether(type=0x1234) / b"12345678", "Ethernet II"),
        (b"12345", "[Malformed Packet]"),
    ],
)
def test_a_packet_is_summed_up_in_wireshark_s_words(frame: object, text: str) -> None:
    assert info(frame) == text


def test_numbers_are_relative_and_the_window_scaled_where_the_conversation_is_known() -> None:
    frame = V4 / TCP(sport=1, dport=2, flags="A", seq=3, ack=1_005, window=7, options=[("SAck", (1_010, 1_020))])
    expected = "1 → 2 [ACK] Seq=8 Ack=5 Win=28 Len=0 SLE=10 SRE=20"
    assert info(frame, TcpNumbers(sequence=2**32 - 5, acknowledgement=1_000, window_shift=2)) == expected
    assert "Win=7 " in info(V4 / TCP(flags="S", window=7), TcpNumbers(0, 0, window_shift=2))


@pytest.mark.parametrize(("problem", "text"), PROBLEMS.items())
def test_what_is_wrong_with_a_segment_stands_in_front(problem: TcpProblem, text: str) -> None:
    packets = dissect_frames(V4 / TCP(sport=1, dport=2, flags="R"))
    packets.columns.tcp_problem[0] = problem
    assert info_text(packets, 0, ETHERNET) == f"[{text}] 1 → 2 [RST] Seq=0 Win=8192 Len=0"


def test_several_problems_stand_in_wireshark_s_order() -> None:
    packets = dissect_frames(V4 / TCP(sport=5, dport=80, flags="S"))
    packets.columns.tcp_problem[0] = TcpProblem.RETRANSMISSION | TcpProblem.ACK_LOST_SEGMENT | TcpProblem.REUSED_PORTS
    start = "[TCP ACKed unseen segment] [TCP Retransmission] [TCP Port numbers reused] 5 → 80 [SYN]"
    assert info_text(packets, 0, ETHERNET).startswith(start)


def test_a_cut_packet_says_so() -> None:
    frame = bytes(V4 / TCP())
    assert info_text(dissect_frames(frame[:40], orig_len=len(frame)), 0, ETHERNET).endswith(
        "[Packet size limited during capture]"
    )


def test_control_characters_are_escaped_and_long_texts_cut() -> None:
    assert info(over(50_000, 21, b"USER \x1b[31m\x00\r\n")) == "Request: USER \\033[31m\\000"
    assert len(info(over(50_000, 21, b"x" * 1_400))) == MAX_INFO_CHARS


def test_every_kind_of_frame_has_a_summary() -> None:
    packets = dissect_frames(*SEEDS)
    assert all(info_text(packets, row, ETHERNET) for row in range(packets.length))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.binary(max_size=120), st.integers(0, 120), st.sampled_from([1, 0, 9, 101, 113]))
def test_no_bytes_leave_a_packet_without_summary(seed: object, noise: bytes, keep: int, link_type: int) -> None:
    data = bytes(seed)[:keep] + noise  # type: ignore[call-overload]
    text = info_text(dissect_frames(data, link_type=link_type), 0, link_type)
    assert text
    assert text.isprintable()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 80))
def test_no_bytes_break_any_text(seed: object, noise: bytes, end: bytes, keep: int) -> None:
    packets = dissect_frames(bytes(seed)[:keep] + noise, bytes(V4 / UDP(sport=5, dport=9) / Raw(noise + end)))  # type: ignore[call-overload]
    for text in (each(View(packets, row, ETHERNET)) for each in set(INFOS.values()) for row in (0, 1)):
        assert text is None or text.isprintable()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([21, 22, 25, 53, 67, 69, 80, 123, 137, 179, 443, 500, 520, 547, 3478, 5060, 5353]),
    st.booleans(),
    st.binary(max_size=90),
)
def test_no_payload_leaves_a_packet_without_summary(port: int, is_tcp: bool, payload: bytes) -> None:
    transport = TCP(sport=5, dport=port) if is_tcp else UDP(sport=5, dport=port)
    assert info(V4 / transport / Raw(payload))
