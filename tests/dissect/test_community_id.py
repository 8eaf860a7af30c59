"""Community ID against the vectors of its specification and of Zeek."""

import ipaddress
import json
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Ether

from aishark_panel.dissect.community_id import community_id, packet_community_id
from aishark_panel.export.read import read_file
from tests.dissect.rows import dissect_frames

V4 = Ether() / IP(src="10.0.0.1", dst="10.0.0.2")
V6 = Ether() / IPv6(src="fe80::1", dst="fe80::2")
V4_BACK = Ether() / IP(src="10.0.0.2", dst="10.0.0.1")
V6_BACK = Ether() / IPv6(src="fe80::2", dst="fe80::1")


def of(frame: object) -> str | None:
    return packet_community_id(dissect_frames(frame), 0)


def test_the_example_of_the_specification() -> None:
    source, destination = ipaddress.ip_address("128.232.110.120").packed, ipaddress.ip_address("66.35.250.204").packed
    assert community_id(source, destination, 6, (34855, 80)) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    assert community_id(destination, source, 6, (80, 34855)) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (V4 / TCP(sport=1, dport=2), V4_BACK / TCP(sport=2, dport=1)),
        (V4 / UDP(sport=7, dport=7), V4_BACK / UDP(sport=7, dport=7)),
        (V4 / ICMP(type=8), V4_BACK / ICMP(type=0)),
        (V6 / ICMPv6EchoRequest(), V6_BACK / ICMPv6EchoReply()),
    ],
)
def test_both_directions_have_one_id(there: object, back: object) -> None:
    assert of(there) == of(back) is not None


def test_a_message_without_answer_has_an_id_for_each_direction() -> None:
    assert of(V4 / ICMP(type=3, code=1)) != of(V4_BACK / ICMP(type=3, code=1))


def test_what_is_not_ip_has_none_and_later_fragments_one_without_ports() -> None:
    assert of(Ether() / ARP(psrc="10.0.0.1", pdst="10.0.0.2")) is None
    fragment = V6 / IPv6ExtHdrFragment(nh=17, offset=4) / b"12345678"
    addresses = (ipaddress.ip_address("fe80::1").packed, ipaddress.ip_address("fe80::2").packed)
    assert of(fragment) == community_id(*addresses, 17)


@pytest.mark.parametrize(("name", "seed"), [("deflt", 0), ("seed1", 1)])
def test_the_baseline_of_the_specification(shared_dir: Path, name: str, seed: int) -> None:
    flows = json.loads((shared_dir / "expected" / f"community_id_{name}.json").read_text("utf-8"))
    assert flows
    for flow in flows:
        source, destination = (ipaddress.ip_address(flow[side]).packed for side in ("saddr", "daddr"))
        ports = None if flow.get("sport") is None else (flow["sport"], flow["dport"])
        assert community_id(source, destination, flow["proto"], ports, seed=seed) == flow["communityid"], flow


def test_zeek_s_ids_are_those_of_the_captures(shared_dir: Path, shared_captures: Path) -> None:
    lines = (shared_dir / "expected" / "community_id_pcaps.tsv").read_text("utf-8").splitlines()[1:]
    expected: dict[str, set[str]] = {}
    for file, _, name in (line.split("\t") for line in lines):
        expected.setdefault(file, set()).add(name)
    for file, names in expected.items():
        ours = {
            packet_community_id(packets, row) for packets, rows in read_file(shared_captures / file) for row in rows
        }
        assert names <= ours, file
