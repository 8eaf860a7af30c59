"""ARP, IPv4 and IPv6, against frames made by scapy."""

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_RR, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Ether

from tests.dissect.rows import dissect_frames, row, row_of

PAYLOAD = b"payload!"


def test_arp_fills_operation_and_addresses() -> None:
    values = row_of(Ether() / ARP(op=2, psrc="10.0.0.1", pdst="10.0.0.2"))
    assert (values["arp_op"], values["src_ip"], values["dst_ip"]) == (2, "10.0.0.1", "10.0.0.2")
    assert (values["protocol"], values["ip_version"], values["conversation_id"]) == ("ARP", None, None)


def test_arp_about_other_addresses_than_ipv4_has_only_a_name() -> None:
    values = row_of(bytes(Ether(type=0x0806)) + b"\0\1\x80\x9b\6\4\0\1" + bytes(20))
    assert (values["protocol"], values["arp_op"], values["src_ip"], values["malformed"]) == ("ARP", None, None, False)


def test_arp_that_ends_early_is_malformed_and_if_cut_truncated() -> None:
    frame = bytes(Ether() / ARP())[:30]
    assert (row_of(frame)["malformed"], row_of(frame)["truncated"]) == (True, False)
    assert (row_of(frame, orig_len=42)["malformed"], row_of(frame, orig_len=42)["truncated"]) == (False, True)


def test_ipv4_header_fields_are_read() -> None:
    values = row_of(Ether() / IP(src="1.2.3.4", dst="250.6.7.8", ttl=61, id=0xBEEF, proto=253) / PAYLOAD)
    assert (values["ip_version"], values["src_ip"], values["dst_ip"]) == (4, "1.2.3.4", "250.6.7.8")
    assert (values["ip_ttl"], values["ip_id"], values["ip_proto"], values["ip_frag_offset"]) == (61, 0xBEEF, 253, None)
    assert values["protocol"] == "IPv4"


def test_ipv4_options_are_stepped_over() -> None:
    values = row_of(Ether() / IP(options=IPOption_RR(routers=["1.1.1.1"])) / UDP(sport=5, dport=6) / PAYLOAD)
    assert (values["src_port"], values["payload_len"]) == (5, len(PAYLOAD))


def test_only_the_first_fragment_has_ports() -> None:
    datagram = IP(src="10.0.0.1", dst="10.0.0.2", id=7) / UDP(sport=5, dport=6) / bytes(2000)
    packets = dissect_frames(*(Ether() / piece for piece in fragment(datagram, fragsize=1000)))  # type: ignore[no-untyped-call]
    first, second = row(packets, 0), row(packets, 1)
    assert (first["ip_frag_offset"], first["src_port"], first["payload_len"], first["malformed"]) == (0, 5, 992, False)
    assert (second["ip_frag_offset"], second["src_port"], second["protocol"]) == (125, None, "IPv4")
    assert (second["payload_len"], second["malformed"], second["ip_id"]) == (None, False, 7)


def test_a_first_fragment_that_ends_inside_the_tcp_header_is_not_malformed() -> None:
    frame = Ether() / IP(flags="MF", proto=6) / bytes(TCP(sport=5, dport=6))[:8]
    values = row_of(frame)
    assert (values["src_port"], values["tcp_seq"], values["malformed"], values["truncated"]) == (5, None, False, False)


@pytest.mark.parametrize("network", [IP(), IPv6()], ids=["IPv4", "IPv6"])
def test_ethernet_padding_is_no_payload(network: object) -> None:
    values = row_of(bytes(Ether() / network / TCP(flags="A")).ljust(80, b"\xaa"))
    assert (values["payload_len"], values["protocol"]) == (0, "TCP")


@pytest.mark.parametrize("network", [IP(len=0), IPv6(plen=0)], ids=["IPv4", "IPv6"])
def test_a_length_of_zero_means_to_the_end_of_the_frame(network: object) -> None:
    values = row_of(Ether() / network / TCP(flags="A") / bytes(3000))
    assert (values["payload_len"], values["malformed"]) == (3000, False)


@pytest.mark.parametrize(
    "frame",
    [
        Ether() / IP(ihl=4) / bytes(40),
        Ether() / IP(version=5) / bytes(40),
        Ether() / IP(len=19) / bytes(40),
        Ether() / IP(len=61) / bytes(40),
        Ether() / IP(ihl=15, len=50) / bytes(30),
        Ether(type=0x0800) / bytes(19),
        Ether(type=0x86DD) / bytes(39),
        Ether() / IPv6(version=4) / bytes(40),
        Ether() / IPv6(plen=41) / bytes(40),
        Ether() / IPv6(nh=60) / bytes(7),
        Ether() / IPv6(nh=0) / b"\x3b\x05" / bytes(30),
    ],
)
def test_what_contradicts_the_specification_is_malformed(frame: object) -> None:
    assert (row_of(frame)["malformed"], row_of(frame)["truncated"]) == (True, False)


@pytest.mark.parametrize("length", [14, 20, 33, 34, 41])
def test_what_the_capture_cut_off_is_truncated(length: int) -> None:
    frame = bytes(Ether() / IP() / UDP() / PAYLOAD)
    values = row_of(frame[:length], orig_len=len(frame))
    assert (values["truncated"], values["malformed"]) == (True, False)


def test_a_payload_cut_off_by_the_capture_still_counts_and_its_headers_are_whole() -> None:
    values = row_of(bytes(Ether() / IP() / UDP(sport=5, dport=6) / bytes(500))[:60], orig_len=542)
    assert (values["payload_len"], values["truncated"], values["cap_len"], values["orig_len"]) == (500, False, 60, 542)


def test_ipv6_header_fields_are_read() -> None:
    values = row_of(Ether() / IPv6(src="2001:db8::1", dst="ff02::fb", hlim=3, nh=253) / PAYLOAD)
    assert (values["ip_version"], values["src_ip"], values["dst_ip"]) == (6, "2001:db8::1", "ff02::fb")
    assert (values["ip_ttl"], values["ip_id"], values["ip_proto"], values["protocol"]) == (3, None, 253, "IPv6")


def test_ipv6_extension_headers_are_stepped_over() -> None:
    authentication = bytes([6, 4]) + bytes(22)  # its length counts words of 4 bytes, less 2 (RFC 4302 section 2.2)
    headers = IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt(nh=51) / authentication
    values = row_of(Ether() / IPv6() / headers / bytes(TCP(sport=5, dport=6) / PAYLOAD))
    assert (values["ip_proto"], values["src_port"], values["payload_len"]) == (6, 5, len(PAYLOAD))


def test_ipv6_fragments_have_offset_and_identification_and_only_the_first_a_transport() -> None:
    packets = dissect_frames(
        Ether() / IPv6() / IPv6ExtHdrFragment(id=0x12345678, m=1) / UDP(sport=5, dport=6, len=100) / bytes(40),
        Ether() / IPv6() / IPv6ExtHdrFragment(id=0x12345678, offset=6, nh=17) / bytes(52),
    )
    first, second = row(packets, 0), row(packets, 1)
    assert (first["ip_frag_offset"], first["ip_id"], first["src_port"], first["ip_proto"]) == (0, 0x12345678, 5, 17)
    assert (second["ip_frag_offset"], second["ip_id"], second["src_port"], second["ip_proto"]) == (
        6,
        0x12345678,
        None,
        17,
    )
    assert not first["malformed"]
    assert not second["malformed"]


def test_icmpv6_behind_an_extension_header_is_found() -> None:
    values = row_of(Ether() / IPv6() / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest())
    assert (values["protocol"], values["icmp_type"], values["ip_proto"]) == ("ICMPv6", 128, 58)
