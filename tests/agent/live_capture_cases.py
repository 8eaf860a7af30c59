"""What live capture does on real interfaces. test_capture.py runs this in a network namespace of its own."""

import contextlib
import fcntl
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Dot1Q, Ether

from aishark_panel.agent.capture import LiveCapture, LocalInterface, list_interfaces
from aishark_panel.agent.several import SeveralCaptures
from aishark_panel.agent.tpacket import BLOCK_BYTES
from aishark_panel.errors import CaptureError, ConfigError, FilterError
from tests.agent.cables import (
    EXPERIMENTAL,
    HUB,
    ONLY_OURS,
    Link,
    Packet,
    frame_of,
    ip,
    link,
    loopback,
    make_link,
    received,
    tagged_to_hub,
)

__all__ = ["link", "loopback", "make_link"]


def test_frames_are_those_that_were_sent(link: Link) -> None:
    sent = [frame_of(os.urandom(n)) for n in (0, 1, 3, 46, 47, 200, 1000, 1500)]
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS)) as capture:
        link.send(*sent)
        packets = received(capture, len(sent))
        assert capture.counters() == {"matched": len(sent), "kernel_dropped": 0, "in_kernel_ring": 0}
    assert [p.frame for p in packets] == sent
    assert [p.orig_len for p in packets] == [len(f) for f in sent]
    assert {p.iface for p in packets} == {0}
    [interface] = capture.interfaces
    assert (interface.name, interface.link_type, interface.filter) == (link.far, 1, ONLY_OURS)


def test_outgoing_frames_are_captured_too(link: Link) -> None:
    with contextlib.closing(LiveCapture(link.near, ONLY_OURS)) as capture:
        link.send(frame_of(b"out"))
        assert [p.frame for p in received(capture, 1)] == [frame_of(b"out")]


def test_times_are_the_kernels_in_nanoseconds(link: Link) -> None:
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS)) as capture:
        before_ns = time.time_ns()
        link.send(*[frame_of(b"t")] * 50)
        after_ns = time.time_ns()
        times = [p.ts for p in received(capture, 50)]
    assert len(times) == 50
    assert before_ns <= times[0]
    assert times[-1] <= after_ns
    assert times == sorted(times)
    assert any(t % 1000 for t in times)


def test_packets_arrive_promptly(link: Link) -> None:
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS)) as capture:
        link.send(frame_of(b"now"))
        [packet] = received(capture, 1)
        assert time.time_ns() - packet.ts < 200_000_000


def test_a_ring_turned_many_times_loses_and_repeats_nothing(link: Link) -> None:
    rounds, burst = 12, 300
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS, buffer_bytes=4 * BLOCK_BYTES)) as capture:
        packets = []
        for turn in range(rounds):
            link.send(*[frame_of(struct.pack("!I", turn * burst + n) + bytes(1200)) for n in range(burst)])
            packets += received(capture, burst)
        counters = capture.counters()
    assert [struct.unpack_from("!I", p.frame, 14)[0] for p in packets] == list(range(rounds * burst))
    assert counters == {"matched": rounds * burst, "kernel_dropped": 0, "in_kernel_ring": 0}


@pytest.mark.parametrize("tpid", [0x8100, 0x88A8])
def test_a_vlan_tag_the_kernel_moved_is_put_back(link: Link, tpid: int) -> None:
    tagged = bytes(Ether(dst="02:00:00:00:00:02", type=tpid) / Dot1Q(vlan=10, prio=5, type=EXPERIMENTAL) / b"tagged")
    double = bytes(Ether(dst="02:00:00:00:00:02", type=tpid) / Dot1Q(vlan=10) / Dot1Q(vlan=20) / IP() / UDP())
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS)) as capture:
        link.send(tagged, double)
        packets = received(capture, 2)
    assert [p.frame for p in packets] == [tagged, double]
    assert [p.orig_len for p in packets] == [len(tagged), len(double)]


def test_frames_are_cut_to_the_snaplen(link: Link) -> None:
    plain = frame_of(bytes(range(200)))
    tagged = bytes(Ether(dst="02:00:00:00:00:02") / Dot1Q(vlan=10, type=EXPERIMENTAL) / bytes(range(200)))
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS, snaplen=64)) as capture:
        link.send(plain, tagged)
        packets = received(capture, 2)
    assert [p.frame for p in packets] == [plain[:64], tagged[:64]]
    assert [p.orig_len for p in packets] == [len(plain), len(tagged)]


def test_on_the_loopback_no_packet_is_seen_twice() -> None:
    with (
        contextlib.closing(LiveCapture("lo", "udp dst port 9999")) as capture,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for n in range(5):
            sender.sendto(bytes([n]), ("127.0.0.1", 9999))
        packets = received(capture, 5)
        assert capture.read(0.05) is None
        assert capture.counters() == {"matched": 5, "kernel_dropped": 0, "in_kernel_ring": 0}
    assert [p.frame[-1] for p in packets] == [0, 1, 2, 3, 4]


def test_only_what_the_filter_names_is_captured(link: Link) -> None:
    wanted = bytes(Ether() / IP(dst="10.0.0.2") / UDP(dport=53))
    other = bytes(Ether() / IP(dst="10.0.0.2") / UDP(dport=54))
    with contextlib.closing(LiveCapture(link.far, "udp and\n  (dst port 53)")) as capture:
        link.send(other, wanted, other, wanted)
        assert [p.frame for p in received(capture, 2)] == [wanted] * 2
        assert capture.counters()["matched"] == 2


def test_a_vlan_filter_finds_tags_the_kernel_moved(link: Link) -> None:
    frames = {vlan: bytes(Ether() / Dot1Q(vlan=vlan) / IP() / UDP(dport=53)) for vlan in (10, 11)}
    with contextlib.closing(LiveCapture(link.far, "vlan 10 and udp port 53")) as capture:
        link.send(frames[11], frames[10])
        assert [p.frame for p in received(capture, 1)] == [frames[10]]


def test_nothing_unfiltered_slips_in_while_a_capture_starts(link: Link) -> None:
    done = threading.Event()

    def flood() -> None:
        while not done.is_set():
            link.send(frame_of(b"unwanted"))

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        for _ in range(5):
            with contextlib.closing(LiveCapture(link.far, "udp")) as capture:
                assert capture.read(0.05) is None
                assert capture.counters()["matched"] == 0
    finally:
        done.set()
        flooder.join()


def test_another_filter_and_snaplen_hold_from_then_on_and_none_is_lost_that_passes_both(link: Link) -> None:
    both, before = bytes(Ether() / IP() / UDP(dport=53) / bytes(200)), bytes(Ether() / IP() / UDP(dport=54))
    done = threading.Event()

    def send() -> int:
        sent = 0
        while not done.is_set():
            link.send(both)
            sent += 1
        return sent

    with contextlib.closing(LiveCapture(link.far, "udp")) as capture, ThreadPoolExecutor(1) as pool:
        link.send(before)
        assert [p.frame for p in received(capture, 1)] == [before]
        sent = pool.submit(send)
        packets = received(capture, 5)
        for _ in range(10):
            capture.adjust("udp dst port 53", 100)
            packets += received(capture, 5)
            capture.adjust("udp", 262_144)
            packets += received(capture, 5)
        capture.adjust("udp dst port 53", 100)
        done.set()
        link.send(before)
        packets += received(capture, sent.result() - len(packets))
        assert len(packets) == sent.result() == capture.counters()["matched"] - 1
        assert {p.frame for p in packets} == {both, both[:100]}
        assert packets[-1].frame == both[:100]
        assert (capture.interfaces[0].filter, capture.interfaces[0].snaplen) == ("udp dst port 53", 100)


def test_numbered_packets_that_every_filter_lets_through_arrive_once_each_while_filters_change(link: Link) -> None:
    total = 20_000
    stem = bytes(Ether() / IP(dst="10.0.0.2") / UDP(dport=53))
    other = bytes(Ether() / IP(dst="10.0.0.2") / UDP(dport=54))

    def send() -> None:
        for n in range(total):
            link.send(stem + struct.pack("!I", n), other)

    filters = itertools.cycle(["udp dst port 53", "dst host 10.0.0.2 and udp dst port 53", "udp and not port 54"])
    with contextlib.closing(LiveCapture(link.far, "udp dst port 53")) as capture, ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        packets = []
        flips = 0
        while not sent.done():
            capture.adjust(next(filters), 262_144)
            flips += 1
            packets += received(capture, 1)
        packets += received(capture, total - len(packets))
        counters = capture.counters()
    sent.result()
    assert flips > 5
    assert [struct.unpack_from("!I", p.frame, len(stem))[0] for p in packets] == list(range(total))
    assert counters == {"matched": total, "kernel_dropped": 0, "in_kernel_ring": 0}


def test_segments_the_host_has_joined_are_kept_whole() -> None:
    data = os.urandom(4 << 20)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        contextlib.closing(LiveCapture("lo", f"tcp dst port {server.getsockname()[1]}")) as capture,
        socket.create_connection(server.getsockname()) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        taker, _ = server.accept()
        with taker:
            sent = pool.submit(client.sendall, data)
            left = len(data)
            while left:
                left -= len(taker.recv(1 << 20))
            sent.result()
        capture.halt()
        packets = received(capture, 1)
        while more := received(capture, 1, wait_s=0.1):  # some may have been sent twice
            packets += more
    assert max(p.orig_len for p in packets) > 30_000
    assert all(len(p.frame) == p.orig_len == 14 + struct.unpack_from("!H", p.frame, 16)[0] for p in packets)
    first = next(struct.unpack_from("!I", p.frame, 38)[0] for p in packets) + 1  # of the SYN
    joined = bytearray(len(data))
    for p in packets:
        at = struct.unpack_from("!I", p.frame, 38)[0] - first & 0xFFFFFFFF
        payload = p.frame[p.orig_len - payload_bytes(p) :]
        if payload:
            joined[at : at + len(payload)] = payload
    assert bytes(joined) == data


def payload_bytes(packet: Packet) -> int:
    """Bytes of a TCP segment's payload, in an Ethernet frame with IPv4 without options."""
    return packet.orig_len - 34 - (packet.frame[46] >> 4) * 4


def test_a_filter_that_does_not_compile_leaves_the_one_in_force(link: Link) -> None:
    wanted, other = bytes(Ether() / IP() / UDP(dport=53)), bytes(Ether() / IP() / UDP(dport=54))
    with contextlib.closing(LiveCapture(link.far, "udp dst port 53")) as capture:
        with pytest.raises(FilterError, match="syntax error"):
            capture.adjust("udp prot 54", 100)
        with pytest.raises(ConfigError, match="snaplen is 3"):
            capture.adjust("udp", 3)
        link.send(other, wanted)
        assert [p.frame for p in received(capture, 1)] == [wanted]
        assert capture.interfaces[0].filter == "udp dst port 53"


def test_halted_a_capture_gives_what_it_has_and_takes_no_more(link: Link) -> None:
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS)) as capture:
        link.send(*[frame_of(bytes([n])) for n in range(100)])
        capture.halt()
        link.send(frame_of(b"late"))
        packets = received(capture, 100)
        assert capture.read(0.05) is None
        assert capture.counters() == {"matched": 100, "kernel_dropped": 0, "in_kernel_ring": 0}
    assert [p.frame[14] for p in packets] == list(range(100))


def open_several(links: list[Link], expression: str) -> SeveralCaptures:
    def opener(interface: str, capture_filter: str, snaplen: int, index: int) -> LiveCapture:
        return LiveCapture(interface, capture_filter, snaplen, buffer_bytes=8 << 20, index=index)

    return SeveralCaptures([link.far for link in links], opener, expression, 262_144)


def test_several_interfaces_are_captured_together(make_link: Callable[[], Link]) -> None:
    links = [make_link(), make_link(), make_link()]
    with contextlib.closing(open_several(links, ONLY_OURS)) as capture:
        assert [i.name for i in capture.interfaces] == [link.far for link in links]
        for n in range(30):
            links[n % 3].send(frame_of(bytes([n])))
        packets = received(capture, 30)
        assert capture.counters() == {"matched": 30, "kernel_dropped": 0, "in_kernel_ring": 0, "gaps": 0, "gap_ms": 0}
    assert {(p.iface, p.frame[14]) for p in packets} == {(n % 3, n) for n in range(30)}
    for iface in range(3):
        numbers = [p.frame[14] for p in packets if p.iface == iface]
        assert numbers == sorted(numbers)


def test_a_busy_interface_does_not_keep_a_quiet_one_waiting(make_link: Callable[[], Link]) -> None:
    busy, quiet = make_link(), make_link()
    with contextlib.closing(open_several([busy, quiet], ONLY_OURS)) as capture:
        busy.send(*[frame_of(bytes(1_000))] * 3_000)  # more than one read takes
        quiet.send(frame_of(b"me too"))
        capture.halt()
        reads = [capture.read(1) for _ in range(3)]
    assert [set(frames.iface.tolist()) for frames in reads if frames] == [{0}, {1}, {0}]


def test_where_one_of_several_interfaces_cannot_be_had_none_is(make_link: Callable[[], Link]) -> None:
    link = make_link()
    descriptors = set(os.listdir("/proc/self/fd"))
    with pytest.raises(CaptureError, match="there is no interface 'eth77'"):
        open_several([link, link._replace(far="eth77")], ONLY_OURS)
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_several_captures_can_be_woken_adjusted_and_halted(make_link: Callable[[], Link]) -> None:
    links = [make_link(), make_link()]
    with contextlib.closing(open_several(links, "udp")) as capture:
        capture.wake()
        assert capture.read(30) is None
        capture.adjust("udp dst port 53", 100)
        assert [i.filter for i in capture.interfaces] == ["udp dst port 53"] * 2
        with pytest.raises(FilterError):
            capture.adjust("udp prot 53", 100)
        for link in links:
            link.send(bytes(Ether() / IP() / UDP(dport=53)), bytes(Ether() / IP() / TCP()))
        assert sorted(p.iface for p in received(capture, 2)) == [0, 1]
        capture.halt()
        links[0].send(bytes(Ether() / IP() / UDP(dport=53)))
        assert capture.read(0.05) is None
    capture.wake()


@pytest.mark.parametrize("expression", ["", "tcp or udp"])
def test_own_connections_are_not_captured(expression: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub, socket.create_server(("127.0.0.1", 0)) as other:
        own, foreign = hub.getsockname(), other.getsockname()
        with contextlib.closing(LiveCapture("lo", expression, exclude=[own])) as capture:
            for server in (hub, other):
                with socket.create_connection(server.getsockname()) as client:
                    client.sendall(b"hello")
            packets = received(capture, 4)
    ports = [{p[TCP].sport, p[TCP].dport} for p in (Ether(packet.frame) for packet in packets) if TCP in p]
    assert len(ports) >= 4
    assert all(foreign[1] in pair and own[1] not in pair for pair in ports)


def test_own_connections_are_not_captured_in_a_vlan_either(link: Link) -> None:
    def tcp(vlan: bool, port: int) -> bytes:
        tag = Dot1Q(vlan=10) / IP() if vlan else IP()
        tag.src, tag.dst = "10.0.0.1", "10.0.0.2"
        return bytes(Ether() / tag / TCP(sport=40_000, dport=port))

    wanted = [tcp(True, 80), tcp(False, 80)]
    with contextlib.closing(LiveCapture(link.far, "tcp or vlan", exclude=[("10.0.0.2", 8765)])) as capture:
        link.send(tcp(True, 8765), wanted[0], tcp(False, 8765), wanted[1])
        assert [p.frame for p in received(capture, 2)] == wanted


@pytest.mark.parametrize("expression", ["", "vlan or tcp or not tcp"])
@pytest.mark.parametrize("sending", [True, False], ids=["outgoing", "incoming"])
def test_own_connections_are_not_captured_with_their_tags_in_the_frame(
    link: Link, sending: bool, expression: str
) -> None:
    wanted = tagged_to_hub(80)
    with contextlib.closing(LiveCapture(link.near if sending else link.far, expression, exclude=HUB)) as capture:
        link.send(*tagged_to_hub(8765), *wanted)
        packets = received(capture, len(wanted))
        assert capture.counters()["matched"] == len(wanted)
    assert [p.frame for p in packets] == wanted


def test_packets_the_ring_has_no_room_for_are_counted(link: Link) -> None:
    sent = 3000
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS, buffer_bytes=2 * BLOCK_BYTES)) as capture:
        link.send(*[frame_of(bytes(1000))] * sent)
        first = capture.counters()
        assert first["kernel_dropped"] > 0
        assert first["in_kernel_ring"] == sent - first["kernel_dropped"]
        read = len(received(capture, first["in_kernel_ring"]))
        assert read == first["in_kernel_ring"]
        last = capture.counters()
        assert last == {"matched": sent, "kernel_dropped": sent - read, "in_kernel_ring": 0}
        link.send(*[frame_of(bytes(1000))] * 10)
        assert capture.counters() == {**last, "matched": sent + 10, "in_kernel_ring": 10}
        assert len(received(capture, 10)) == 10
        last = capture.counters()
        assert last == {"matched": sent + 10, "kernel_dropped": sent - read, "in_kernel_ring": 0}
    assert capture.counters() == last


def test_a_waiting_read_can_be_woken(link: Link) -> None:
    with contextlib.closing(LiveCapture(link.far, "udp")) as capture:
        alarm = threading.Timer(0.1, capture.wake)
        alarm.start()
        started = time.monotonic()
        assert capture.read(30) is None
        assert time.monotonic() - started < 5
        alarm.join()
        assert capture.read(0.01) is None


def test_closing_twice_and_waking_after_it_do_no_harm(link: Link) -> None:
    capture = LiveCapture(link.far)
    capture.close()
    capture.close()
    capture.wake()
    assert capture.counters()["kernel_dropped"] == 0


def test_when_the_interface_is_removed_what_was_captured_is_read_first(make_link: Callable[[], Link]) -> None:
    link = make_link()
    with contextlib.closing(LiveCapture(link.far, ONLY_OURS)) as capture:
        link.send(frame_of(b"last"))
        ip("link", "delete", link.near)
        assert [p.frame for p in received(capture, 1)] == [frame_of(b"last")]
        with pytest.raises(CaptureError, match=f"interface {link.far} is gone"):
            capture.read(5)


def test_an_unknown_interface_is_answered_with_those_there_are(link: Link) -> None:
    with pytest.raises(CaptureError, match=f"there is no interface 'eth77' here; there are: lo, .*{link.near}"):
        LiveCapture("eth77")


def test_an_interface_that_is_down_is_refused(make_link: Callable[[], Link]) -> None:
    link = make_link()
    ip("link", "set", link.far, "down")
    with pytest.raises(CaptureError, match=f"ip link set {link.far} up"):
        LiveCapture(link.far)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("tcp prot 80", "syntax error"),
        ("tcp) or (udp", "parentheses that do not pair"),
        ("port 80\0", "not printable"),
        ("port 99999", "99999"),
    ],
)
def test_a_filter_that_does_not_compile_is_answered_with_the_reason(expression: str, reason: str) -> None:
    with pytest.raises(FilterError, match=reason):
        LiveCapture("lo", expression)


def test_a_filter_too_long_for_the_kernel_is_refused() -> None:
    with pytest.raises(FilterError, match="filter on lo is too long for the kernel"):
        LiveCapture("lo", "port 1" + "".join(f" or {n}" for n in range(2, 250)))


@pytest.mark.parametrize(
    ("snaplen", "buffer_bytes"), [(15, 1 << 20), (262_145, 1 << 20), (96, BLOCK_BYTES), (96, 1 << 33)]
)
def test_sizes_out_of_range_are_refused(snaplen: int, buffer_bytes: int) -> None:
    with pytest.raises(ConfigError, match="must be"):
        LiveCapture("lo", snaplen=snaplen, buffer_bytes=buffer_bytes)


def test_the_interfaces_of_the_host_are_listed(link: Link) -> None:
    ip("address", "add", "10.77.0.1/24", "dev", link.near)
    found = {interface.name: interface for interface in list_interfaces()}
    assert found["lo"] == LocalInterface("lo", up=True, link_type=1, addresses=("127.0.0.1", "::1"))
    assert found[link.near] == LocalInterface(link.near, up=True, link_type=1, addresses=("10.77.0.1",))


def test_an_interface_without_link_layer_gives_ip_packets() -> None:
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun cannot be opened")
    packet = bytes(IP(src="10.66.0.2", dst="10.66.0.1") / UDP(dport=53) / b"in a tunnel")
    with open("/dev/net/tun", "r+b", buffering=0) as tunnel:
        fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"tunnel0", 0x1001))  # TUNSETIFF, IFF_TUN | IFF_NO_PI
        ip("link", "set", "tunnel0", "up")
        with contextlib.closing(LiveCapture("tunnel0", "udp port 53")) as capture:
            tunnel.write(packet)
            assert [p.frame for p in received(capture, 1)] == [packet]
            assert capture.interfaces[0].link_type == 101
