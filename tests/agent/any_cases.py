"""What capture on `any` does on real interfaces. test_capture.py runs this in a network namespace of its own."""

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from aishark_panel.agent.capture import LiveCapture
from aishark_panel.agent.several import SeveralCaptures
from aishark_panel.errors import ConfigError, FilterError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapwrite import PcapngWriter
from tests.agent.cables import (
    HUB,
    Link,
    Packet,
    ip,
    link,
    loopback,
    make_link,
    received,
    tagged_to_hub,
    wait_for_carrier,
)

__all__ = ["link", "loopback", "make_link"]

OURS = "udp dst port 9999"
PACKET = bytes(
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IP(dst="10.0.0.2")
    / UDP(sport=5000, dport=9999)
    / b"hello"
)


def names_of(capture: LiveCapture, packets: list[Packet]) -> list[str]:
    return [capture.interfaces[p.iface].name for p in packets]


def test_each_interface_gives_its_packets_under_its_own_name(make_link: Callable[[], Link]) -> None:
    first, second = make_link(), make_link()
    with contextlib.closing(LiveCapture("any", OURS)) as capture:
        first.send(PACKET)
        packets = received(capture, 2)
        second.send(PACKET)
        packets += received(capture, 2)
        assert capture.counters() == {"matched": 4, "kernel_dropped": 0, "in_kernel_ring": 0}
        assert names_of(capture, packets) == [first.near, first.far, second.near, second.far]
        assert {(i.link_type, i.filter) for i in capture.interfaces} == {(276, OURS)}
    for p, name in zip(packets, names_of(capture, packets), strict=True):
        protocol, index, hardware, kind, length = struct.unpack_from("!HxxIHBB", p.frame)
        assert (protocol, socket.if_indextoname(index), hardware, length) == (0x0800, name, 1, 6)
        assert kind == (4 if name.startswith("near") else 3)  # outgoing; for another host
        assert p.frame[12:20] == bytes.fromhex("0200000000010000")
        assert p.frame[20:] == PACKET[14:]
        assert p.orig_len == len(p.frame)


def test_tshark_reads_our_frames_as_it_reads_its_own(
    link: Link, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    tagged = [bytes(Ether(type=tpid) / Dot1Q(vlan=7) / IP() / UDP(sport=5000, dport=9999)) for tpid in (0x8100, 0x88A8)]
    path = tmp_path / "any.pcapng"
    with contextlib.closing(LiveCapture("any", f"inbound and {OURS}")) as capture:
        link.send(PACKET, *tagged)
        packets = received(capture, 3)
        interfaces = [CaptureInterface(link_type=i.link_type, name=i.name) for i in capture.interfaces]
    frames = Frames.from_list([p.frame for p in packets], [p.ts for p in packets], iface=packets[0].iface)
    writer = PcapngWriter(interfaces)
    path.write_bytes(writer.header() + writer.frames(frames))
    fields = ["frame.interface_name", "sll.ifindex", "vlan.id", "ieee8021ad.id", "udp.dstport", "_ws.malformed"]
    command = [require_tool("tshark"), "-n", "-r", str(path), "-T", "fields", *(a for f in fields for a in ("-e", f))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    index = str(socket.if_nametoindex(link.far))
    assert [line.split("\t") for line in lines] == [
        [link.far, index, *vlan, "9999", ""] for vlan in (("", ""), ("7", ""), ("", "7"))
    ]


def test_loopback_packets_are_not_seen_twice() -> None:
    with (
        contextlib.closing(LiveCapture("any", OURS)) as capture,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for n in range(5):
            sender.sendto(bytes([n]), ("127.0.0.1", 9999))
        packets = received(capture, 5)
        assert capture.read(0.05) is None
        assert capture.counters()["matched"] == 5
    assert [p.frame[-1] for p in packets] == [0, 1, 2, 3, 4]
    assert names_of(capture, packets) == ["lo"] * 5


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("", True),
        ("udp", True),
        ("not udp", False),
        ("dst host 10.0.0.2 and udp[8:4] = 0x68656c6c", True),
        ("src host 10.0.0.2", False),
        ("ip[8] = 64", True),
        ("arp", False),
        ("inbound", True),
        ("outbound", False),
        ("greater 33", True),  # lengths count from the network layer on, as with tcpdump
        ("greater 34", False),
    ],
)
def test_filters_mean_what_they_mean_elsewhere(link: Link, expression: str, passes: bool) -> None:
    index = socket.if_nametoindex(link.far)
    expression = f"ifindex {index} and ({expression})" if expression else f"ifindex {index}"
    arp = bytes(Ether(dst="02:00:00:00:00:02") / ARP())
    with contextlib.closing(LiveCapture("any", expression)) as capture:
        link.send(PACKET)
        assert [p.frame[20:] for p in received(capture, 1 if passes else 0)] == [PACKET[14:]] * passes
        assert capture.read(0.05) is None
        capture.adjust(f"arp and ifindex {index}", 262_144)
        link.send(PACKET, arp)
        assert [p.frame[20:] for p in received(capture, 1)] == [arp[14:]]


@pytest.mark.parametrize("expression", ["vlan 10", "ether host 02:00:00:00:00:01", "link[5] = 3", "udp prot 53"])
def test_what_cannot_be_filtered_on_all_interfaces_is_refused(expression: str) -> None:
    with pytest.raises(FilterError, match="on any"):
        LiveCapture("any", expression)


def test_own_connections_are_not_captured() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as hub,
        socket.create_server(("127.0.0.1", 0)) as other,
        contextlib.closing(LiveCapture("any", "tcp", exclude=[hub.getsockname()])) as capture,
    ):
        for server in (hub, other):
            with socket.create_connection(server.getsockname()) as client:
                client.sendall(b"hello")
        wanted = other.getsockname()[1]
        ports = {frozenset((p[TCP].sport, p[TCP].dport)) for p in (IP(q.frame[20:]) for q in received(capture, 4))}
    assert ports
    assert all(wanted in pair for pair in ports)


def test_frames_are_cut_to_the_snaplen_which_counts_the_cooked_header(link: Link) -> None:
    long = PACKET + bytes(500)
    tagged = bytes(Ether() / Dot1Q(vlan=7) / IP() / UDP(dport=9999) / bytes(500))
    arriving = f"inbound and {OURS}"
    with contextlib.closing(LiveCapture("any", arriving, snaplen=64)) as capture:
        link.send(long, tagged)
        packets = received(capture, 2)
        with pytest.raises(ConfigError, match="snaplen is 23; it must be 24 to"):
            capture.adjust(OURS, 23)
    assert [len(p.frame) for p in packets] == [64] * 2
    assert [p.orig_len for p in packets] == [len(long) + 6, len(tagged) + 6]


def test_interfaces_that_come_later_go_are_renamed_and_come_back_are_captured(
    link: Link, make_link: Callable[[], Link]
) -> None:
    with contextlib.closing(LiveCapture("any", OURS)) as capture:
        link.send(PACKET)
        assert names_of(capture, received(capture, 2)) == [link.near, link.far]
        later = make_link()
        later.send(PACKET)
        assert names_of(capture, received(capture, 2)) == [later.near, later.far]
        ip("link", "set", later.far, "down")
        ip("link", "set", later.far, "name", "renamed0", "up")
        deadline = time.monotonic() + 5
        seen: list[str] = []
        while "renamed0" not in seen and time.monotonic() < deadline:
            later.send(PACKET)
            seen = names_of(capture, received(capture, 2))
        assert seen == [later.near, "renamed0"]
        ip("link", "delete", later.near)
        link.send(PACKET)
        assert names_of(capture, received(capture, 2)) == [link.near, link.far]
        assert capture.condition == ""
        place = [i.name for i in capture.interfaces].index(later.near)
        ip("link", "add", later.near, "type", "veth", "peer", "name", "other0")
        for name in (later.near, "other0"):
            ip("link", "set", name, "addrgenmode", "none", "up")
        wait_for_carrier(later.near)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind((later.near, 0))
            sender.send(PACKET)
        packets = received(capture, 2)
        assert names_of(capture, packets) == [later.near, "other0"]
        assert packets[0].iface == place


def test_own_connections_are_not_captured_with_their_tags_in_the_frame_either(link: Link) -> None:
    wanted = tagged_to_hub(80)
    with contextlib.closing(LiveCapture("any", "", exclude=HUB)) as capture:
        link.send(*tagged_to_hub(8765), *wanted)
        packets = received(capture, 2 * len(wanted))
        assert capture.counters()["matched"] == len(packets)
    assert names_of(capture, packets) == [link.near, link.far] * len(wanted)
    ports = [struct.unpack_from("!H", p.frame, p.frame.index(struct.pack("!H", 40_000)) + 2)[0] for p in packets]
    assert ports == [80] * len(packets)


def test_it_is_a_source_like_any_other(link: Link) -> None:
    def opener(interface: str, capture_filter: str, snaplen: int, index: int) -> LiveCapture:
        return LiveCapture(interface, capture_filter, snaplen, index=index)

    with contextlib.closing(SeveralCaptures(["any"], opener, OURS, 262_144)) as capture:
        link.send(PACKET)
        packets = received(capture, 2)
        assert [capture.interfaces[p.iface].name for p in packets] == [link.near, link.far]
        assert capture.condition == ""
        capture.halt()
        assert capture.read(0) is None
