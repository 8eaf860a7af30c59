"""Packets in packets, against frames made by scapy: the row is the outermost one's, `inner_*` the innermost one's."""

import struct
from typing import Any

import pytest
from scapy.contrib.geneve import GENEVE
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, GRE, GRE_PPTP, Dot1Q, Ether
from scapy.layers.l2tp import L2TP
from scapy.layers.ppp import PPP
from scapy.layers.vxlan import VXLAN

from aishark_panel.wire.layers import Layer
from tests.dissect.rows import dissect_frames, layers, row, row_of

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def outer(**fields: Any) -> Any:
    return ETHER / IP(src="192.0.2.1", dst="192.0.2.2", ttl=9, id=77, **fields)


OUTER = outer()
OUTER_6 = ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=9)
SEGMENT = TCP(sport=40000, dport=443, flags="PA", seq=5, ack=6, window=7) / b"payload"
INNER = IP(src="10.0.0.1", dst="10.0.0.2") / SEGMENT
INNER_6 = IPv6(src="fd00::1", dst="fd00::2") / SEGMENT

TUNNELS: dict[str, Any] = {
    "IP in IP": OUTER / INNER,
    "6in4": OUTER / INNER_6,
    "IPv6 in IPv6": OUTER_6 / INNER_6,
    "4in6": OUTER_6 / INNER,
    "GRE": OUTER / GRE() / INNER,
    "GRE, all options": OUTER / GRE(chksum_present=1, key_present=1, seqnum_present=1, key=1) / INNER,
    "GRE, Ethernet": OUTER / GRE(proto=0x6558) / ETHER / INNER,
    "GRE, MPLS": OUTER / GRE(proto=0x8847) / (b"\0\0\x11\xff" + bytes(INNER)),
    "PPTP": OUTER
    / GRE_PPTP(call_id=3, seqnum_present=1, acknum_present=1, sequence_number=1, ack_number=1)
    / PPP()
    / INNER,
    "ERSPAN I": OUTER / GRE(proto=0x88BE) / ETHER / INNER,
    "ERSPAN II": OUTER / GRE(proto=0x88BE, seqnum_present=1) / bytes(8) / ETHER / INNER,
    "ERSPAN III": OUTER / GRE(proto=0x22EB, seqnum_present=1) / (bytes(11) + b"\1" + bytes(8)) / ETHER / INNER,
    "EtherIP": outer(proto=97) / (b"\x30\0" + bytes(ETHER / INNER)),
    "MPLS in IP": outer(proto=137) / (b"\0\0\x11\xff" + bytes(INNER)),
    "VXLAN": OUTER / UDP(sport=5, dport=4789) / VXLAN(vni=42) / ETHER / INNER,
    "VXLAN on Linux's first port": OUTER / UDP(sport=5, dport=8472) / VXLAN(vni=42) / ETHER / INNER_6,
    "VXLAN-GPE": OUTER / UDP(sport=5, dport=4790) / VXLAN(flags=0x0C, NextProtocol=2, vni=42) / INNER_6,
    "VXLAN in IPv6": OUTER_6 / UDP(sport=5, dport=4789) / VXLAN(vni=42) / ETHER / Dot1Q(vlan=8) / INNER,
    "GENEVE": OUTER / UDP(sport=5, dport=6081) / GENEVE(vni=42, proto=0x6558) / ETHER / INNER,
    "GENEVE, options": OUTER / UDP(sport=5, dport=6081) / (b"\x02\0\x08\0\0\0\x2a\0" + bytes(8) + bytes(INNER)),
    "GTP-U": OUTER / UDP(sport=5, dport=2152) / GTP_U_Header(teid=42) / INNER,
    "GTP-U, sequence number": OUTER / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=42, S=1, seq=1) / INNER,
    "GTP-U, extension": OUTER / UDP(dport=2152) / GTP_U_Header(teid=42) / GTPPDUSessionContainer(QFI=1) / INNER,
    "L2TP": OUTER / UDP(sport=1701, dport=1701) / L2TP(hdr=["length"]) / PPP() / INNER,
    "Teredo": OUTER / UDP(dport=3544) / INNER_6,
    "Teredo, origin": OUTER / UDP(dport=3544) / (bytes(8) + bytes(INNER_6)),
    "MPLS over UDP": OUTER / UDP(dport=6635) / (b"\0\0\x11\xff" + bytes(INNER)),
    "NSH over UDP": OUTER / UDP(dport=6633) / (b"\0\x02\x01\x01\0\0\0\0" + bytes(INNER)),
    "LISP": OUTER / UDP(dport=4341) / (bytes(8) + bytes(INNER)),
    "GRE in IP in IP": OUTER / IP() / GRE() / INNER,
    "VXLAN in GRE": OUTER / GRE() / IP() / UDP(dport=4789) / VXLAN(vni=42) / ETHER / INNER,
}
EXPLAINED = [pytest.param(frame, id=name) for name, frame in TUNNELS.items()]


@pytest.mark.parametrize("frame", EXPLAINED)
def test_the_outermost_addresses_are_the_row_s_and_the_innermost_have_columns_of_their_own(frame: Any) -> None:
    values = row_of(frame)
    around, innermost = frame[1], INNER_6 if bytes(INNER_6) in bytes(frame) else INNER
    assert (values["src_ip"], values["dst_ip"], values["ip_ttl"]) == (around.src, around.dst, 9)
    assert values["ip_id"] == (77 if around.version == 4 else None)
    assert (values["inner_src_ip"], values["inner_dst_ip"]) == (innermost.src, innermost.dst)
    assert (values["inner_ip_proto"], values["inner_src_port"], values["inner_dst_port"]) == (6, 40000, 443)
    assert (values["tcp_flags"], values["tcp_seq"], values["tcp_ack"], values["tcp_window"]) == (0x18, 5, 6, 7)
    assert (values["payload_len"], values["truncated"], values["malformed"]) == (7, False, False)
    udp = frame.getlayer(UDP) if around.payload.name == "UDP" else None
    assert (values["src_port"], values["dst_port"]) == ((udp.sport, udp.dport) if udp else (None, None))
    assert values["ip_version"] == around.version


@pytest.mark.parametrize("name", ["VXLAN", "GENEVE", "GTP-U", "VXLAN-GPE", "GENEVE, options", "GTP-U, extension"])
def test_a_tunnel_has_its_identifier(name: str) -> None:
    assert row_of(TUNNELS[name])["tunnel_id"] == 42


def test_the_identifier_is_the_outermost_tunnel_s_that_has_one() -> None:
    vxlan = UDP(dport=4789) / VXLAN(vni=42) / ETHER / INNER
    assert row_of(OUTER / GRE(key_present=1, key=9) / IP() / vxlan)["tunnel_id"] == 9
    assert row_of(OUTER / GRE() / IP() / vxlan)["tunnel_id"] == 42
    assert row_of(OUTER / GRE() / INNER)["tunnel_id"] is None


def test_a_conversation_goes_by_the_outermost_addresses() -> None:
    there, back = (
        OUTER / UDP(sport=5, dport=4789) / VXLAN() / ETHER / IP(src=a) / TCP() for a in ("1.1.1.1", "2.2.2.2")
    )
    plain = row_of(OUTER / UDP(sport=5, dport=4789))["conversation_id"]
    assert row_of(there)["conversation_id"] == row_of(back)["conversation_id"] == plain


def test_what_an_inner_packet_carries_is_dissected_by_its_own_ports() -> None:
    query = IP() / UDP(sport=50000, dport=53) / DNS(qd=DNSQR(qname="inner.example"))
    values = row_of(OUTER / GRE() / query)
    assert (values["protocol"], values["dns_query"], values["src_port"]) == ("DNS", "inner.example", None)
    values = row_of(OUTER / UDP(sport=53, dport=2152) / GTP_U_Header() / IP() / UDP(sport=9, dport=9) / b"not DNS")
    assert (values["protocol"], values["dns_query"]) == ("UDP", None)


def test_arp_and_icmp_in_a_tunnel_are_told_from_those_outside() -> None:
    vxlan = OUTER / UDP(dport=4789) / VXLAN() / ETHER
    frame = vxlan / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2")
    values = row_of(frame)
    assert (values["arp_op"], values["src_ip"], values["inner_src_ip"]) == (1, "192.0.2.1", "10.0.0.1")
    assert (values["inner_ip_proto"], values["protocol"]) == (None, "ARP")
    assert Layer.ARP not in layers(dissect_frames(frame))
    values = row_of(OUTER / IPv6() / ICMPv6ND_NS())
    assert (values["icmp_type"], values["protocol"]) == (135, "ICMPv6")
    assert row_of(OUTER_6 / IP() / ICMP(type=8))["icmp_type"] == 8


def test_fragments_of_a_tunnel_s_packets_are_not_gone_into_and_those_inside_not_taken_for_it() -> None:
    values = row_of(OUTER / IP(src="10.0.0.1", frag=5, proto=6) / bytes(40))
    assert (values["inner_src_ip"], values["inner_src_port"], values["ip_frag_offset"]) == ("10.0.0.1", None, None)
    values = row_of(ETHER / IP(frag=5, proto=47) / bytes(GRE() / INNER))
    assert (values["inner_src_ip"], values["ip_frag_offset"]) == (None, 5)


def test_tunnels_in_tunnels_are_followed_so_far_and_no_further() -> None:
    packet = IP(src="10.0.0.8") / IP(src="10.0.0.9")
    for _ in range(7):
        packet = IP() / packet
    values = row_of(ETHER / packet)
    assert (values["inner_src_ip"], values["malformed"]) == ("10.0.0.9", False)
    values = row_of(ETHER / IP() / packet)
    assert (values["inner_src_ip"], values["malformed"]) == ("10.0.0.8", False)


@pytest.mark.parametrize("frame", EXPLAINED)
def test_a_tunnel_cut_off_anywhere_is_truncated_and_keeps_the_outermost_packet(frame: Any) -> None:
    whole = bytes(frame)
    first = 34 if frame[1].version == 4 else 54
    lengths = range(first, len(whole) - len(b"payload"))
    packets = dissect_frames(*(whole[:length] for length in lengths), orig_len=len(whole))
    assert [length for length, cut in zip(lengths, packets.values("truncated"), strict=True) if not cut] == []
    assert not packets.values("malformed").any()
    assert (packets.values("src_ip") == packets.values("src_ip")[-1]).all()
    assert row(packets)["src_ip"] == frame[1].src


@pytest.mark.parametrize(
    "frame",
    [
        OUTER / GRE(key_present=1) / b"",
        ETHER / IP(proto=47, len=22) / bytes(2),
        OUTER / UDP(dport=4789) / bytes(7),
        OUTER / UDP(dport=6081) / b"\x3f\0\x65\x58\0\0\0\0",
        OUTER / UDP(dport=6081) / b"\x40\0\x65\x58\0\0\0\0",
        OUTER / UDP(dport=2152) / b"\x34\xff\0\x06\0\0\0\1\0\0\0\x85\0\0",
        OUTER / UDP(dport=2152) / b"\x30\xff\0\xff\0\0\0\1",
        OUTER / UDP(dport=1701) / b"\x40\x02\0",
        OUTER / IP(ihl=4) / bytes(20),
    ],
)
def test_a_tunnel_that_contradicts_its_specification_is_malformed(frame: Any) -> None:
    whole = bytes(frame)
    if frame.haslayer(GRE):
        whole = whole[:16] + struct.pack(">H", len(whole) - 18) + whole[18:-4]
    values = row_of(whole)
    assert (values["malformed"], values["truncated"], values["src_ip"]) == (True, False, frame[1].src)


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (OUTER / UDP(dport=4789) / bytes(16), "VXLAN"),
        (OUTER / UDP(dport=2152) / b"\x32\x01\0\x04\0\0\0\0\0\0\0\0", "GTP"),
        (OUTER / UDP(dport=1701) / L2TP(hdr=["control", "length", "sequence"], len=12), "L2TP"),
        (OUTER / GRE(proto=0x1234) / bytes(20), "GRE"),
    ],
)
def test_a_tunnel_s_own_messages_are_named_after_it(frame: Any, name: str) -> None:
    values = row_of(frame)
    assert (values["protocol"], values["inner_src_ip"], values["malformed"]) == (name, None, False)


def test_the_next_frame_knows_nothing_of_a_tunnel() -> None:
    plain = ETHER / INNER
    packets = dissect_frames(*TUNNELS.values(), plain)
    assert layers(packets, len(TUNNELS)) == layers(dissect_frames(plain))
