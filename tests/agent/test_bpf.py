"""Capture filters: what is excluded, what is refused, and that compiling takes no time worth an attack."""

import time

import cypcap
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from aishark_panel.agent.bpf import MAX_FILTER_BYTES, RAW_IP, compile_filter, own_traffic_filter
from aishark_panel.errors import FilterError

HUB = ("10.0.0.1", 8765)


def matches(expression: str, packet: IP | IPv6) -> bool:
    """Whether the kernel would keep this packet."""
    raw = bytes(packet)
    with cypcap.open_dead(cypcap.DatalinkType.RAW, 65_535) as handle:
        program = handle.compile(expression, True, cypcap.NETMASK_UNKNOWN)
        return bool(program.offline_filter(cypcap.Pkthdr(0, len(raw), len(raw)), raw))


def test_without_exclusions_the_filter_stays_as_it_is() -> None:
    assert own_traffic_filter(" tcp  port 80\n", []) == "tcp port 80"
    assert own_traffic_filter("", []) == ""


@pytest.mark.parametrize("expression", ["", "tcp", "tcp or udp", "not udp"])
def test_both_directions_of_an_excluded_endpoint_are_left_out(expression: str) -> None:
    combined = own_traffic_filter(expression, [HUB])
    assert not matches(combined, IP(src="10.0.0.9", dst="10.0.0.1") / TCP(sport=50_000, dport=8765))
    assert not matches(combined, IP(src="10.0.0.1", dst="10.0.0.9") / TCP(sport=8765, dport=50_000))


@pytest.mark.parametrize(
    "packet",
    [
        IP(src="10.0.0.9", dst="10.0.0.1") / TCP(sport=50_000, dport=80),
        IP(src="10.0.0.9", dst="10.0.0.2") / TCP(sport=50_000, dport=8765),
        IP(src="10.0.0.1", dst="10.0.0.9") / TCP(sport=50_000, dport=8765),
        IP(src="10.0.0.9", dst="10.0.0.1") / UDP(sport=50_000, dport=8765),
    ],
    ids=["other port", "other host", "port of the other side", "not TCP"],
)
def test_what_only_resembles_an_excluded_endpoint_is_kept(packet: IP) -> None:
    assert matches(own_traffic_filter("", [HUB]), packet)


def test_all_of_several_endpoints_are_excluded() -> None:
    combined = own_traffic_filter("tcp", [HUB, ("::1", 5006), ("::ffff:10.0.0.3", 80)])
    assert not matches(combined, IP(dst=HUB[0]) / TCP(dport=HUB[1]))
    assert not matches(combined, IPv6(src="::1", dst="::1") / TCP(sport=5006))
    assert not matches(combined, IP(dst="10.0.0.3") / TCP(dport=80))
    assert matches(combined, IPv6(src="::1", dst="::1") / TCP(sport=5007))


def test_the_zone_of_an_address_is_no_part_of_the_filter() -> None:
    assert "%" not in own_traffic_filter("", [("fe80::1%eth0", 80)])


@pytest.mark.parametrize("expression", ["tcp) or (udp", "(tcp", "tcp)", ") ("])
def test_parentheses_cannot_undo_the_exclusion(expression: str) -> None:
    with pytest.raises(FilterError, match="do not pair"):
        own_traffic_filter(expression, [HUB])


def test_a_name_in_place_of_an_address_is_refused() -> None:
    with pytest.raises(FilterError, match=r"'hub\.example' is no IP address"):
        own_traffic_filter("", [("hub.example", 80)])


@pytest.mark.parametrize("expression", ["tcp\0", "host ü", "port 80 \x1b[2J"])
def test_control_characters_are_refused(expression: str) -> None:
    with pytest.raises(FilterError, match="not printable ASCII"):
        own_traffic_filter(expression, [])


def test_a_filter_longer_than_the_bound_is_refused_with_the_bound() -> None:
    with pytest.raises(FilterError, match=f"{MAX_FILTER_BYTES:,}"):
        own_traffic_filter("tcp or " * 1000 + "tcp", [])


def test_the_empty_filter_keeps_the_snaplen_of_everything() -> None:
    assert compile_filter("", interface="lo", link_type=1, snaplen=0x1234) == bytes.fromhex("0600 0000 34120000")


def test_a_list_of_ports_that_libpcap_would_optimize_for_minutes_is_refused_soon() -> None:
    started = time.process_time()
    with pytest.raises(FilterError, match="too long for the kernel"):
        compile_filter(
            "port 1" + "".join(f" or {n}" for n in range(2, 300)), interface="tun0", link_type=RAW_IP, snaplen=96
        )
    assert time.process_time() - started < 10
