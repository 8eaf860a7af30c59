"""Where headers are: compared with scapy, and unmoved by hostile bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import GRE, Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from aishark_panel.dissect.headers import headers
from tests.dissect.seeds import SEEDS

PAYLOAD = b"carried"


@pytest.mark.parametrize(
    ("frame", "kinds"),
    [
        (Ether() / IP() / TCP(options=[("MSS", 1460)]), "eth ipv4 tcp"),
        (Ether() / Dot1AD() / Dot1Q() / IPv6() / UDP(sport=9, dport=9), "eth vlan vlan ipv6 udp"),
        (Ether() / IPv6() / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment() / TCP(), "eth ipv6 tcp"),
        (Ether() / IP() / GRE() / IP() / TCP(), "eth ipv4 gre ipv4 tcp"),
        (Ether() / IP() / IPv6() / TCP(), "eth ipv4 ipv6 tcp"),
        (Ether() / IP() / UDP() / VXLAN() / Ether() / IP() / TCP(), "eth ipv4 udp vxlan eth ipv4 tcp"),
    ],
)
def test_the_walk_goes_to_the_innermost_payload(frame: Ether, kinds: str) -> None:
    data = bytes(frame / PAYLOAD) + b"trailer"
    found = headers(data, 1)
    assert " ".join(header.kind for header in found) == kinds
    assert data[found[-1].payload : found[-1].end] == PAYLOAD


def test_a_later_fragment_has_no_transport_header() -> None:
    (_, ip) = headers(bytes(Ether() / IP(frag=3, proto=6) / bytes(40)), 1)
    assert (ip.kind, ip.fragment_offset, ip.following) == ("ipv4", 24, 6)


def test_of_a_cut_frame_both_ends_are_known() -> None:
    data = bytes(Ether() / IP() / UDP() / bytes(100))
    udp = headers(data[:60], 1, len(data))[-1]
    assert (udp.end, udp.wire_end) == (60, len(data))


@given(
    st.sampled_from(SEEDS),
    st.binary(max_size=80),
    st.integers(0, 90),
    st.sampled_from([0, 1, 9, 50, 101, 104, 113, 276]),
)
def test_no_bytes_break_the_walk(seed: object, noise: bytes, keep: int, link_type: int) -> None:
    data = bytes(seed)[:keep] + noise  # type: ignore[call-overload]
    for header in headers(data, link_type):
        assert 0 <= header.start <= header.payload <= header.end <= len(data)
        assert header.end <= header.wire_end
