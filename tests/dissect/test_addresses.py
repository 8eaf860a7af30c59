"""Texts of addresses in DNS answers, against the standard library's."""

import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.dissect.rows import row_of

GROUPS = st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0xA0, 0xB00]), min_size=8, max_size=8)


def answer(kind: int, address: bytes) -> str:
    """The text that a response with this address gives."""
    record = b"\0" + struct.pack(">HHIH", kind, 1, 60, len(address)) + address
    message = struct.pack(">HHHHHH", 7, 0x8180, 0, 1, 0, 0) + record
    text: str = row_of(Ether() / IP() / UDP(sport=53) / message)["dns_answer"]
    return text


@settings(max_examples=300, deadline=None)
@given(st.one_of(GROUPS.map(lambda groups: struct.pack(">8H", *groups)), st.binary(min_size=16, max_size=16)))
def test_ipv6_addresses_are_written_as_inet_ntop_does(address: bytes) -> None:
    assert answer(28, address) == socket.inet_ntop(socket.AF_INET6, address)


@pytest.mark.parametrize(
    "text", ["::", "::1", "1::", "::ffff:1.2.3.4", "::1.2.3.4", "1:0:0:2::3", "1:0:2:0:3:0:4:0", "0:1::", "fe80::a"]
)
def test_special_ipv6_addresses(text: str) -> None:
    assert answer(28, socket.inet_pton(socket.AF_INET6, text)) == text


@given(st.binary(min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_ipv4_addresses(address: bytes) -> None:
    assert answer(1, address) == socket.inet_ntop(socket.AF_INET, address)
