"""Capture filters: what is excluded, what is refused, and that compiling takes no time worth an attack."""

import struct
import time

import cypcap
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import CookedLinux, CookedLinuxV2, Dot1Q, Ether
from scapy.packet import Packet

from aishark_panel.agent.bpf import MAX_FILTER_BYTES, RAW_IP, Endpoint, compile_filter, compile_on, own_traffic_filter
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


HUB6 = ("2001:db8::1", 8765)
TAGS = (0x8100, 0x88A8, 0x9100)
LINK_LAYERS = {1: Ether, 113: CookedLinux, 276: CookedLinuxV2}
"""by link type"""


def captured(packet: Packet, *tpids: int, link_type: int = 1, exclude: tuple[Endpoint, ...] = (HUB, HUB6)) -> bool:
    """Whether libpcap would keep an IP packet behind tags of these types."""
    content, kind = packet, 0x86DD if IPv6 in packet else 0x0800
    for vlan, tpid in enumerate(reversed(tpids), 10):
        content, kind = Dot1Q(vlan=vlan, type=kind) / content, tpid
    layer = LINK_LAYERS[link_type]
    raw = bytes((layer(type=kind, dst="02:00:00:00:00:02") if link_type == 1 else layer(proto=kind)) / content)
    return passes(raw, link_type, exclude)


def passes(raw: bytes, link_type: int, exclude: tuple[Endpoint, ...] = (HUB, HUB6)) -> bool:
    with cypcap.open_dead(link_type, 65_535) as handle:
        program = compile_on(handle, own_traffic_filter("", exclude), "eth0", exclude)
        return bool(program.offline_filter(cypcap.Pkthdr(0, len(raw), len(raw)), raw))


OWN = {
    "to": IP(src="10.0.0.9", dst=HUB[0]) / TCP(sport=50_000, dport=8765),
    "from": IP(src=HUB[0], dst="10.0.0.9") / TCP(sport=8765, dport=50_000),
    "with options": IP(src="10.0.0.9", dst=HUB[0], options=[b"\x01" * 8]) / TCP(sport=50_000, dport=8765),
    "to, IPv6": IPv6(src="2001:db8::9", dst=HUB6[0]) / TCP(sport=50_000, dport=8765),
    "from, IPv6": IPv6(src=HUB6[0], dst="2001:db8::9") / TCP(sport=8765, dport=50_000),
}
TAGGED = [(outer,) for outer in TAGS] + [(0x8100, 0x8100), (0x88A8, 0x8100), (0x9100, 0x8100), (0x9100, 0x9100)]


@pytest.mark.parametrize("link_type", [1, 113, 276])
@pytest.mark.parametrize("tpids", TAGGED, ids=lambda tpids: "-".join(f"{tpid:x}" for tpid in tpids))
@pytest.mark.parametrize("packet", OWN.values(), ids=OWN)
def test_an_excluded_endpoint_is_left_out_behind_tags_in_the_frame(
    packet: Packet, tpids: tuple[int, ...], link_type: int
) -> None:
    assert not captured(packet, *tpids, link_type=link_type)
    assert captured(packet, *tpids, link_type=link_type, exclude=())


@pytest.mark.parametrize("tpids", [(0x8100,), (0x88A8, 0x8100)], ids=["one tag", "two tags"])
@pytest.mark.parametrize(
    "packet",
    [
        IP(src="10.0.0.9", dst=HUB[0]) / TCP(sport=50_000, dport=80),
        IP(src="10.0.0.9", dst="10.0.0.2") / TCP(sport=50_000, dport=8765),
        IP(src=HUB[0], dst="10.0.0.9") / TCP(sport=50_000, dport=8765),
        IP(src="10.0.0.9", dst=HUB[0]) / UDP(sport=50_000, dport=8765),
        IP(src="10.0.0.9", dst=HUB[0], frag=3) / TCP(sport=50_000, dport=8765),
        IPv6(src="2001:db8::9", dst=HUB6[0]) / TCP(sport=50_000, dport=80),
        IPv6(src="2001:db8::9", dst="2001:db8::2") / TCP(sport=50_000, dport=8765),
        IPv6(src="2001:db8::9", dst=HUB6[0]) / UDP(sport=50_000, dport=8765),
        IP(proto=6),
    ],
    ids=["port", "host", "side", "UDP", "fragment", "port, IPv6", "host, IPv6", "UDP, IPv6", "cut"],
)
def test_what_only_resembles_an_excluded_endpoint_is_kept_behind_tags_too(
    packet: Packet, tpids: tuple[int, ...]
) -> None:
    assert captured(packet, *tpids)


@pytest.mark.parametrize("link_type", [113, 276])
def test_a_cooked_packet_that_begins_behind_its_tags_is_left_out_all_the_same(link_type: int) -> None:
    layer = LINK_LAYERS[link_type](proto=0x8100)
    assert not any(passes(bytes(layer / packet), link_type) for packet in OWN.values())


def test_the_shortest_tagged_frames_are_not_lost() -> None:
    frame = bytes(Ether(type=0x8100, dst="02:00:00:00:00:02") / Dot1Q(vlan=1, type=0x8100) / Dot1Q(vlan=1, type=0x0800))
    assert all(passes(frame[:length], link_type=1) for length in range(14, len(frame) + 1))


def test_excluding_many_endpoints_leaves_room_in_the_kernels_program() -> None:
    many = tuple((f"2001:db8::{n:x}", 8765) for n in range(1, 13))
    program = compile_filter("", interface="any", link_type=276, snaplen=96, exclude=many)
    assert len(program) // struct.calcsize("=HBBI") < 4096


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
