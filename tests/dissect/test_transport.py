"""TCP, UDP, SCTP, ICMP and the conversation hash, against frames made by scapy."""

import itertools

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import SCTP, SCTPChunkData

from aishark_panel.wire.layers import Layer
from tests.dissect.rows import dissect_frames, layers, row_of


def test_tcp_header_fields_are_read() -> None:
    header = TCP(sport=443, dport=51234, flags="SA", seq=0xFEDCBA98, ack=5, window=64240, options=[("MSS", 1460)])
    values = row_of(Ether() / IP() / header)
    assert (values["src_port"], values["dst_port"], values["tcp_flags"]) == (443, 51234, 0x12)
    assert (values["tcp_seq"], values["tcp_ack"], values["tcp_window"], values["payload_len"]) == (
        0xFEDCBA98,
        5,
        64240,
        0,
    )
    assert values["protocol"] == "TCP"


@pytest.mark.parametrize("bit", range(9))
def test_each_tcp_flag_has_its_bit(bit: int) -> None:
    frame = bytearray(bytes(Ether() / IP() / TCP(flags=0)))
    frame[46:48] = (0x5000 | 1 << bit).to_bytes(2, "big")
    assert row_of(frame)["tcp_flags"] == 1 << bit


@pytest.mark.parametrize("words", [0, 4, 15])
def test_a_tcp_header_shorter_than_its_minimum_or_longer_than_its_packet_is_malformed(words: int) -> None:
    values = row_of(Ether() / IP() / TCP(sport=5, dataofs=words) / bytes(8))
    assert (values["malformed"], values["src_port"]) == (True, 5)


def test_tcp_options_cut_off_by_the_capture_leave_the_length_known() -> None:
    frame = bytes(Ether() / IP() / TCP(options=[("Timestamp", (1, 2))]) / bytes(100))
    values = row_of(frame[:56], orig_len=len(frame))
    assert (values["truncated"], values["payload_len"]) == (True, 100)


def options(values: dict[str, object]) -> tuple[object, ...]:
    return tuple(values[f"tcp_{name}"] for name in ("mss", "wscale", "sack", "tsval", "tsecr"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (None, None, None, None, None)),
        ([("NOP", None), ("NOP", None), ("Timestamp", (0xFEDCBA98, 7))], (None, None, None, 0xFEDCBA98, 7)),
        (
            [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (5, 0)), ("NOP", None), ("WScale", 7)],
            (1460, 7, 0, 5, 0),
        ),
        (
            [("NOP", None), ("NOP", None), ("Timestamp", (5, 6)), ("NOP", None), ("NOP", None), ("SAck", (1, 2, 3, 4))],
            (None, None, 2, 5, 6),
        ),
        ([("WScale", 14), ("EOL", None)], (None, 14, None, None, None)),
        ([(253, b"xyz"), ("MSS", 536)], (536, None, None, None, None)),
    ],
)
def test_tcp_options_are_read(given: list[tuple[object, object]], expected: tuple[object, ...]) -> None:
    values = row_of(Ether() / IP() / TCP(options=given) / b"payload")
    assert options(values) == expected
    assert (values["payload_len"], values["malformed"]) == (7, False)


@pytest.mark.parametrize("raw", [b"\2\0\5\xb4", b"\2\1\5\xb4", b"\1\1\1\2", b"\x08\x0a\0\0", b"\1\1\x08\x0a"])
def test_a_tcp_option_without_a_length_or_longer_than_its_header_is_malformed(raw: bytes) -> None:
    frame = bytes(Ether() / IP(len=44) / TCP(dataofs=6)) + raw
    values = row_of(frame)
    assert (options(values), values["malformed"], values["dst_port"]) == ((None,) * 5, True, 80)


def test_a_tcp_option_of_another_length_than_its_kind_has_is_passed_over() -> None:
    values = row_of(bytes(Ether() / IP(len=48) / TCP(dataofs=7)) + b"\2\3\5\3\3\x08\1\0")
    assert (options(values), values["malformed"]) == ((None, 8, None, None, None), False)


def test_udp_lite_and_dccp_have_ports_but_are_not_udp() -> None:
    packets = dissect_frames(Ether() / IP(proto=136) / bytes(UDP(sport=5, dport=6) / bytes(20)))
    assert Layer.UDP not in layers(packets)
    values = row_of(Ether() / IP(proto=136) / bytes(UDP(sport=5, dport=6) / bytes(20)))
    assert (values["src_port"], values["payload_len"], values["protocol"]) == (5, 20, "UDP-Lite")
    header = b"\0\5\0\6\4" + bytes(11)
    values = row_of(Ether() / IP(proto=33) / (header + b"payload"))
    assert (values["src_port"], values["dst_port"], values["payload_len"], values["protocol"]) == (5, 6, 7, "DCCP")
    assert row_of(Ether() / IP(proto=33) / header.replace(b"\4", b"\2"))["malformed"]


def test_udp_length_counts_and_not_what_follows() -> None:
    values = row_of(Ether() / IP() / UDP(sport=5, dport=6, len=12) / bytes(20))
    assert (values["payload_len"], values["malformed"], values["protocol"]) == (4, False, "UDP")


@pytest.mark.parametrize("length", [1, 7, 29])
def test_an_impossible_udp_length_is_malformed(length: int) -> None:
    values = row_of(Ether() / IP() / UDP(len=length) / bytes(20))
    assert (values["malformed"], values["payload_len"]) == (True, 20)


def test_sctp_ports_are_read() -> None:
    values = row_of(Ether() / IP() / SCTP(sport=5, dport=6) / SCTPChunkData(data=b"1234"))
    assert (values["src_port"], values["dst_port"], values["payload_len"], values["protocol"]) == (5, 6, 20, "SCTP")


def test_icmp_type_and_code_are_read() -> None:
    values = row_of(Ether() / IP() / ICMP(type=3, code=1) / bytes(28))
    assert (values["icmp_type"], values["icmp_code"], values["src_port"], values["protocol"]) == (3, 1, None, "ICMP")
    values = row_of(Ether() / IPv6() / ICMPv6ND_NS())
    assert (values["icmp_type"], values["icmp_code"], values["protocol"]) == (135, 0, "ICMPv6")


@pytest.mark.parametrize(("proto", "name"), [(2, "IGMP"), (47, "GRE"), (50, "ESP"), (89, "OSPF"), (112, "VRRP")])
def test_protocols_without_ports_are_named(proto: int, name: str) -> None:
    packets = dissect_frames(Ether() / IP(proto=proto) / bytes(20))
    assert row_of(Ether() / IP(proto=proto) / bytes(20))["protocol"] == name
    assert not layers(packets) & Layer.PORTS


def test_a_conversation_is_the_same_in_both_directions_and_no_other() -> None:
    hosts = [("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.3"), ("10.0.0.2", "10.0.0.3")]
    ports = [(1, 2), (2, 1), (1, 3)]
    ids = set()
    for (a, b), (p, q), transport in itertools.product(hosts, ports, (TCP, UDP)):
        there = row_of(Ether() / IP(src=a, dst=b) / transport(sport=p, dport=q))["conversation_id"]
        back = row_of(Ether() / IP(src=b, dst=a) / transport(sport=q, dport=p))["conversation_id"]
        assert there == back
        ids.add(there)
    assert len(ids) == 18


def test_conversation_ids_never_change() -> None:
    frames = (
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1234, dport=80),
        Ether() / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1234, dport=53),
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / ICMP(),
    )
    expected = [2169367935824656264, 8474413339670380850, 9556025963486047909]
    assert [row_of(frame)["conversation_id"] for frame in frames] == expected


def test_conversation_ids_of_neighbouring_addresses_and_ports_spread_over_all_bits() -> None:
    frames = [Ether() / IP(dst=f"10.0.{i}.{j}") / UDP(sport=k) for i in range(4) for j in range(16) for k in range(16)]
    ids = dissect_frames(*frames).values("conversation_id")
    assert len(set(ids.tolist())) == 1024
    for bit in range(64):
        share = sum(int(i) >> bit & 1 for i in ids) / 1024
        assert 0.4 < share < 0.6, f"bit {bit} is set in {share:.0%} of them"
