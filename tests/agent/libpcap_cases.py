"""What the portable source does on real interfaces, beside the kernel ring. test_capture.py runs this in a network
namespace of its own."""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from aishark_panel.agent.bpf import Endpoint
from aishark_panel.agent.capture import LiveCapture
from aishark_panel.agent.libpcap import LibpcapCapture
from aishark_panel.agent.several import SeveralCaptures
from aishark_panel.errors import CaptureError, ConfigError, FilterError
from tests.agent.cables import (
    EXPERIMENTAL,
    HUB,
    ONLY_OURS,
    Link,
    frame_of,
    ip,
    link,
    loopback,
    make_link,
    received,
    tagged_to_hub,
    wait_for_carrier,
)

__all__ = ["link", "loopback", "make_link"]


def open_all(
    *names: str, expression: str = ONLY_OURS, snaplen: int = 262_144, exclude: Sequence[Endpoint] = ()
) -> SeveralCaptures:
    def opener(interface: str, capture_filter: str, snaplen: int, index: int) -> LibpcapCapture:
        return LibpcapCapture(interface, capture_filter, snaplen, 8 << 20, exclude=exclude, index=index)

    return SeveralCaptures(names, opener, expression, snaplen)


def test_it_gives_what_the_kernel_ring_gives_to_the_last_bit(link: Link) -> None:
    sent = [frame_of(os.urandom(n)) for n in (0, 1, 3, 46, 47, 200, 1000, 1500)]
    sent += [
        bytes(Ether(dst="02:00:00:00:00:02", type=tpid) / Dot1Q(vlan=10, prio=5, type=EXPERIMENTAL) / b"tagged")
        for tpid in (0x8100, 0x88A8)
    ]
    sent += [frame_of(bytes([n])) for n in range(200)]
    ring = LiveCapture(link.far, ONLY_OURS)
    with contextlib.closing(open_all(link.far)) as capture, contextlib.closing(ring):
        link.send(*sent)
        packets = received(capture, len(sent))
        assert packets == received(ring, len(sent))
        assert [i for i in capture.interfaces] == ring.interfaces
        assert capture.counters() == {"matched": len(sent), "kernel_dropped": 0, "gaps": 0, "gap_ms": 0}
    assert [p.frame for p in packets] == sent
    assert any(p.ts % 1_000 for p in packets)


def test_packets_arrive_promptly(link: Link) -> None:
    with contextlib.closing(open_all(link.far)) as capture:
        link.send(frame_of(b"now"))
        [packet] = received(capture, 1)
        assert time.time_ns() - packet.ts < 200_000_000


def test_many_batches_lose_and_repeat_nothing(link: Link) -> None:
    rounds, burst = 12, 700
    with contextlib.closing(open_all(link.far)) as capture:
        packets = []
        for turn in range(rounds):
            link.send(*[frame_of(struct.pack("!I", turn * burst + n) + bytes(1200)) for n in range(burst)])
            packets += received(capture, burst)
        counters = capture.counters()
    assert [struct.unpack_from("!I", p.frame, 14)[0] for p in packets] == list(range(rounds * burst))
    assert counters["matched"] == rounds * burst


def test_several_interfaces_are_told_apart(make_link: Callable[[], Link]) -> None:
    links = [make_link(), make_link()]
    with contextlib.closing(open_all(*[link.far for link in links])) as capture:
        for n in range(20):
            links[n % 2].send(frame_of(bytes([n])))
        packets = received(capture, 20)
    assert {(p.iface, p.frame[14]) for p in packets} == {(n % 2, n) for n in range(20)}


def test_on_the_loopback_no_packet_is_seen_twice() -> None:
    with (
        contextlib.closing(open_all("lo", expression="udp dst port 9999")) as capture,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for n in range(5):
            sender.sendto(bytes([n]), ("127.0.0.1", 9999))
        packets = received(capture, 5)
        assert capture.read(0.05) is None
    assert [p.frame[-1] for p in packets] == [0, 1, 2, 3, 4]


def test_a_vlan_filter_finds_tags_the_kernel_moved(link: Link) -> None:
    frames = {vlan: bytes(Ether() / Dot1Q(vlan=vlan) / IP() / UDP(dport=53)) for vlan in (10, 11)}
    with contextlib.closing(open_all(link.far, expression="vlan 10 and udp port 53")) as capture:
        link.send(frames[11], frames[10])  # the first buffer libpcap filters itself, without tags beside the frame
        capture.read(0.1)
        link.send(frames[11], frames[10])
        assert [p.frame for p in received(capture, 1)] == [frames[10]]


def test_own_connections_are_not_captured() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as hub,
        socket.create_server(("127.0.0.1", 0)) as other,
        contextlib.closing(open_all("lo", expression="tcp or udp", exclude=[hub.getsockname()])) as capture,
    ):
        for server in (hub, other):
            with socket.create_connection(server.getsockname()) as client:
                client.sendall(b"hello")
        wanted = other.getsockname()[1]
        ports = {frozenset((p[TCP].sport, p[TCP].dport)) for p in (Ether(q.frame) for q in received(capture, 4))}
    assert ports
    assert all(wanted in pair for pair in ports)


@pytest.mark.parametrize("interface", ["near", "any"])
def test_own_connections_are_left_out_with_their_tags_in_the_frame(link: Link, interface: str) -> None:
    wanted = tagged_to_hub(80)
    count = {"near": 1, "any": 2}[interface] * len(wanted)
    with contextlib.closing(open_all(getattr(link, interface, interface), expression="", exclude=HUB)) as capture:
        link.send(*tagged_to_hub(8765), *wanted)
        packets = received(capture, count)
        assert capture.counters()["matched"] == len(packets) == count
    ports = [struct.unpack_from("!H", p.frame, p.frame.index(struct.pack("!H", 40_000)) + 2)[0] for p in packets]
    assert ports == [80] * count


def test_filter_and_snaplen_can_be_changed(link: Link) -> None:
    wanted, other = bytes(Ether() / IP() / UDP(dport=53) / bytes(200)), bytes(Ether() / IP() / UDP(dport=54))
    with contextlib.closing(open_all(link.far, expression="udp", snaplen=150)) as capture:
        link.send(other, wanted)
        assert [p.frame for p in received(capture, 2)] == [other, wanted[:150]]
        capture.adjust("udp dst port 53", 60)
        link.send(other, wanted)
        assert [(p.frame, p.orig_len) for p in received(capture, 1)] == [(wanted[:60], len(wanted))]
        with pytest.raises(FilterError, match="syntax error"):
            capture.adjust("udp prot 54", 60)
        with pytest.raises(ConfigError, match="the 150 bytes it was opened with"):
            capture.adjust("udp", 151)
        link.send(other, wanted)
        assert [p.frame for p in received(capture, 1)] == [wanted[:60]]
        assert [(i.filter, i.snaplen) for i in capture.interfaces] == [("udp dst port 53", 60)]


def test_halted_it_gives_what_it_has_and_takes_no_more(link: Link) -> None:
    with contextlib.closing(open_all(link.far)) as capture:
        link.send(*[frame_of(struct.pack("!I", n)) for n in range(3_000)])
        capture.halt()
        link.send(frame_of(b"late"))
        packets = received(capture, 3_000)
        assert capture.read(0.05) is None
        assert capture.counters()["matched"] == 3_000
    assert [struct.unpack_from("!I", p.frame, 14)[0] for p in packets] == list(range(3_000))


def test_packets_the_buffer_has_no_room_for_are_counted(link: Link) -> None:
    sent = 20_000
    with contextlib.closing(open_all(link.far)) as capture:
        link.send(*[frame_of(bytes(1000))] * sent)
        dropped = capture.counters()["kernel_dropped"]
        assert dropped > 0
        assert len(received(capture, sent - dropped)) == sent - dropped
        counters = capture.counters()
        assert (counters["matched"], counters["kernel_dropped"]) == (sent, dropped)
    assert capture.counters() == counters


def test_it_outlives_its_interface(make_link: Callable[[], Link]) -> None:
    link, other = make_link(), make_link()
    with contextlib.closing(open_all(link.far, other.far)) as capture:
        ip("link", "set", link.far, "down")
        deadline = time.monotonic() + 10
        while "is down" not in capture.condition:
            assert capture.read(0.1) is None
            assert time.monotonic() < deadline
        ip("link", "set", link.far, "up")
        wait_for_carrier(link.far)
        link.send(frame_of(b"up again"))
        assert [p.frame for p in received(capture, 1)] == [frame_of(b"up again")]
        assert capture.condition == ""
        ip("link", "delete", link.near)
        while "no interface" not in capture.condition:
            assert capture.read(0.1) is None
            assert time.monotonic() < deadline, capture.condition
        other.send(frame_of(b"other"))
        assert [p.iface for p in received(capture, 1)] == [1]
        ip("link", "add", link.near, "type", "veth", "peer", "name", link.far)
        for name in (link.near, link.far):
            ip("link", "set", name, "addrgenmode", "none", "up")
        wait_for_carrier(link.near)
        link.sender.bind((link.near, 0))
        while capture.condition:
            capture.read(0.1)
            assert time.monotonic() < deadline, capture.condition
        link.send(frame_of(b"new"))
        assert [(p.frame, p.iface) for p in received(capture, 1)] == [(frame_of(b"new"), 0)]
        assert capture.counters()["gaps"] == 2


def test_what_cannot_be_captured_is_refused_and_nothing_is_left_behind(
    link: Link, make_link: Callable[[], Link]
) -> None:
    down = make_link()
    ip("link", "set", down.far, "down")
    descriptors = set(os.listdir("/proc/self/fd"))
    with pytest.raises(CaptureError, match=f"there is no interface 'eth77' here; there are: .*{link.far}"):
        LibpcapCapture("eth77")
    with pytest.raises(CaptureError, match=f"interface {down.far} is down"):
        LibpcapCapture(down.far)
    with pytest.raises(FilterError, match="syntax error"):
        LibpcapCapture(link.far, "udp prot 54")
    with pytest.raises(ConfigError, match="snaplen is 15"):
        LibpcapCapture(link.far, snaplen=15)
    capture = LibpcapCapture(link.far)
    capture.close()
    capture.close()
    assert set(os.listdir("/proc/self/fd")) == descriptors
