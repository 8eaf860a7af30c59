"""Protocols over TCP and UDP: which one it is, by content and by port."""

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.ntp import NTP

from tests.dissect.rows import row_of

QUIC_INITIAL = b"\xc3\x00\x00\x00\x01\x08" + bytes(1190)
STUN_BINDING = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)


def over_tcp(payload: bytes, port: int = 9999) -> object:
    return Ether() / IP() / TCP(sport=40000, dport=port, flags="PA") / payload


def over_udp(payload: bytes, port: int = 9999) -> object:
    return Ether() / IP() / UDP(sport=40000, dport=port) / payload


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "SSHv2"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP2"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
        (b"HTTP/1.0 404 Not Found\r\n", "HTTP"),
        (b"\x17\x03\x03\x00\x40" + bytes(64), "TLSv1.2"),
        (b"\x00\x00\x00\x40\xfeSMB" + bytes(60), "SMB2"),
        (b"\x00\x00\x00\x40\xffSMB" + bytes(60), "SMB"),
        (b"nothing known", "TCP"),
        (b"SSH", "TCP"),
        (b"\0", "TCP"),
    ],
)
def test_tcp_payloads_are_recognised_on_any_port(payload: bytes, name: str) -> None:
    assert row_of(over_tcp(payload))["protocol"] == name


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (QUIC_INITIAL, "QUIC"),
        (b"\xc3\x6b\x33\x43\xcf\x08" + bytes(1190), "QUIC"),
        (b"\xc3\x12\x34\x56\x78\x08" + bytes(1190), "UDP"),
        (b"\x16\xfe\xfd" + bytes(9) + b"\x10" + bytes(16), "DTLSv1.2"),
        (STUN_BINDING, "STUN"),
        (b"\x01\0\0\0" + bytes(144), "WireGuard"),
        (b"\x01\0\0\0" + bytes(143), "UDP"),
        (b"\x02\0\0\0" + bytes(88), "WireGuard"),
        (b"x", "UDP"),
    ],
)
def test_udp_payloads_are_recognised_on_any_port(payload: bytes, name: str) -> None:
    assert row_of(over_udp(payload))["protocol"] == name


@pytest.mark.parametrize(
    ("port", "name"),
    [(22, "SSH"), (25, "SMTP"), (80, "HTTP"), (443, "TLS"), (179, "BGP"), (3306, "MySQL"), (5432, "PGSQL")],
)
def test_a_tcp_segment_in_the_middle_of_a_message_is_named_by_its_port(port: int, name: str) -> None:
    assert row_of(over_tcp(b"\x80\x81\x82\x83", port))["protocol"] == name
    assert row_of(over_tcp(b"", port))["protocol"] == "TCP"


@pytest.mark.parametrize(
    ("port", "name"),
    [
        (161, "SNMP"),
        (443, "QUIC"),
        (514, "Syslog"),
        (1900, "SSDP"),
        (4789, "VXLAN"),
        (51820, "WireGuard"),
    ],
)
def test_a_udp_datagram_without_a_signature_is_named_by_its_port(port: int, name: str) -> None:
    assert row_of(over_udp(b"\x40\x81\x82\x83" + bytes(20), port))["protocol"] == name


def test_content_goes_before_port_and_the_lower_port_before_the_higher() -> None:
    assert row_of(over_tcp(b"SSH-2.0-x\r\n", 443))["protocol"] == "SSHv2"
    assert row_of(over_udp(QUIC_INITIAL, 514))["protocol"] == "QUIC"
    assert row_of(Ether() / IP() / UDP(sport=5060, dport=161) / b"12345678")["protocol"] == "SNMP"


def test_dhcp_and_ntp_are_named() -> None:
    dhcp = BOOTP() / DHCP(options=[("message-type", "discover"), "end"])
    assert row_of(Ether() / IP() / UDP(sport=68, dport=67) / dhcp)["protocol"] == "DHCP"
    assert row_of(over_udp(bytes(NTP()), 123))["protocol"] == "NTP"
