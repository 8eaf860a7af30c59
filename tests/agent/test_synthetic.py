"""Synthetic traffic: deterministic, correct to the last checksum, and paced by the clock it is given."""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS
from scapy.layers.l2 import Ether

from aishark_panel.agent.synthetic import MAX_RATE_PPS, SyntheticSource, make_trace
from aishark_panel.errors import ConfigError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter

S = 1_000_000_000
START_NS = 1_800_000_000 * S
ROUND = 16_384
"""about as many packets as a round has"""
ICMPV6 = tuple((kind, "cksum") for kind in (ICMPv6EchoRequest, ICMPv6EchoReply, ICMPv6ND_NS, ICMPv6ND_NA))


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        return self.now_ns


def each_frame(trace: list[Frames]) -> Iterator[bytes]:
    return (frames.frame(i) for frames in trace for i in range(len(frames)))


def play(source: SyntheticSource, clock: Clock, seconds: float, step_s: float = 0.05) -> list[int]:
    """The times of all packets while the clock goes on; none may be of the future."""
    times: list[int] = []
    for _ in range(round(seconds / step_s)):
        clock.now_ns += int(step_s * S)
        while (frames := source.read(0)) is not None:
            assert int(frames.ts[-1]) <= clock.now_ns
            times += frames.ts.tolist()
    return times


def syn_tuples(trace: list[Frames]) -> set[tuple[bytes, bytes]]:
    """Addresses and ports, and the sequence number, of all first segments of IPv4 connections."""
    frames = (f for f in each_frame(trace) if f[12:14] == b"\x08\x00" and f[23] == 6 and f[47] == 0x02)
    return {(f[26:38], f[38:42]) for f in frames}


def test_the_same_seed_makes_the_same_packets() -> None:
    first, second = (make_trace(20_000, seed=7) for _ in range(2))
    assert list(each_frame(first)) == list(each_frame(second))
    assert all(np.array_equal(a.ts, b.ts) for a, b in zip(first, second, strict=True))


def test_another_seed_makes_others() -> None:
    assert list(each_frame(make_trace(100, seed=1))) != list(each_frame(make_trace(100, seed=2)))


@pytest.mark.parametrize("packets", [0, 1, 8192, 20_001])
def test_a_trace_has_as_many_packets_as_asked_for(packets: int) -> None:
    trace = make_trace(packets)
    assert sum(map(len, trace)) == packets
    assert all(0 < len(frames) <= 8192 for frames in trace)


def test_times_never_go_back() -> None:
    times = np.concatenate([frames.ts for frames in make_trace(3 * ROUND)])
    assert np.all(np.diff(times) >= 0)


def test_checksums_stay_right_from_round_to_round() -> None:
    frames = list(each_frame(make_trace(4 * ROUND)))
    assert len(set(frames)) > 3.9 * ROUND
    for frame in frames[::97]:
        again = Ether(frame)
        for transport in (TCP, UDP):
            if transport in again:  # whatever layers of applications other tests have made scapy know
                payload = again[transport].payload.original
                again[transport].remove_payload()
                again[transport].add_payload(payload)
        for kind, field in ((IP, "chksum"), (TCP, "chksum"), (UDP, "chksum"), (ICMP, "chksum"), *ICMPV6):
            if kind in again:
                delattr(again[kind], field)
        assert bytes(again) == frame, again.summary()


def test_each_round_has_new_connections() -> None:
    trace = make_trace(2 * ROUND)
    half = len(trace) // 2
    first, second = syn_tuples(trace[:half]), syn_tuples(trace[half:])
    assert len(first) > 100
    assert len(second) > 100
    assert {addresses for addresses, _ in first}.isdisjoint(addresses for addresses, _ in second)
    assert {sequence for _, sequence in first}.isdisjoint(sequence for _, sequence in second)


def test_connections_are_opened_and_closed() -> None:
    web = (b"\x00\x50", b"\x01\xbb")
    tcp = (f for f in each_frame(make_trace(3 * ROUND)) if f[12:14] + f[23:24] == b"\x08\0\x06")
    flags = Counter(f[47] for f in tcp if f[34:36] in web or f[36:38] in web)
    opened, accepted, closed = flags[0x02], flags[0x12], flags[0x11]
    assert opened > 300
    assert accepted == pytest.approx(opened, rel=0.05)
    assert closed == pytest.approx(2 * opened, rel=0.1)


def test_wireshark_knows_every_packet_and_objects_to_none(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    capture = tmp_path / "synthetic.pcap"
    writer = PcapWriter(1)
    trace = make_trace(20_000, rate_pps=2048)
    capture.write_bytes(writer.header() + b"".join(map(writer.frames, trace)))
    layers = ("ip", "tcp", "udp", "icmp", "icmpv6")
    checks = [o for p in layers[:3] for o in ("-o", f"{p}.check_checksum:TRUE")]
    columns = ("frame.protocols", "_ws.malformed", *(f"{layer}.checksum.status" for layer in layers))
    fields = [o for c in columns for o in ("-e", c)]
    command = [require_tool("tshark"), "-n", "-r", str(capture), *checks, "-T", "fields", *fields]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    packets = [line.split("\t") for line in text.splitlines()]
    assert len(packets) == 20_000
    assert [packet for packet in packets if packet[1]] == []
    assert {status for packet in packets for cell in packet[2:] for status in cell.split(",")} == {"", "1"}
    protocols = Counter(name for packet in packets for name in packet[0].split(":"))
    assert protocols.keys() >= {"arp", "dns", "http", "icmp", "icmpv6", "ntp", "quic", "ssh", "tcp", "tls", "udp"}


def test_about_a_fifth_is_ipv6() -> None:
    types = Counter(frame[12:14] for frame in each_frame(make_trace(ROUND)))
    assert 0.12 < types[b"\x86\xdd"] / types.total() < 0.28


def test_frames_are_cut_to_the_snaplen() -> None:
    whole, cut = make_trace(5000), make_trace(5000, snaplen=60)
    assert all(len(f) <= 60 for f in each_frame(cut))
    assert np.array_equal(np.concatenate([f.orig_len for f in whole]), np.concatenate([f.orig_len for f in cut]))


def test_the_rate_varies_around_the_one_asked_for() -> None:
    times = np.concatenate([frames.ts for frames in make_trace(30_000, rate_pps=200)])
    seconds = (times - times[0]) // S
    per_second = np.bincount(seconds)[:120]
    assert per_second.mean() == pytest.approx(200, rel=0.05)
    assert per_second.min() < 120
    assert per_second.max() > 300


def test_packets_come_when_the_clock_says_so() -> None:
    clock = Clock()
    source = SyntheticSource(rate_pps=500, clock=clock)
    assert source.read(0) is None
    times = play(source, clock, 120)
    assert len(times) == pytest.approx(500 * 120, rel=0.05)
    assert times == sorted(times)
    assert START_NS <= times[0] < START_NS + S
    assert source.counters() == {"matched": len(times)}
    assert source.read(0) is None


def test_time_in_which_nobody_read_is_left_out() -> None:
    clock = Clock()
    source = SyntheticSource(rate_pps=500, clock=clock)
    play(source, clock, 1)
    clock.now_ns += 3600 * S
    resumed_ns = clock.now_ns
    times = play(source, clock, 1)
    assert len(times) < 2000
    assert min(times) >= resumed_ns


def test_a_clock_set_back_does_not_stop_the_traffic() -> None:
    clock = Clock()
    source = SyntheticSource(rate_pps=500, clock=clock)
    play(source, clock, 1)
    clock.now_ns -= 3600 * S
    assert len(play(source, clock, 1)) > 100


def test_a_million_packets_a_second_come_in_bounded_batches() -> None:
    clock = Clock()
    source = SyntheticSource(rate_pps=1_000_000, clock=clock)
    source.read(0)
    clock.now_ns += S // 4
    sizes = []
    while (frames := source.read(0)) is not None:
        sizes.append((len(frames), frames.captured_bytes))
    assert sum(rows for rows, _ in sizes) > 100_000
    assert max(rows for rows, _ in sizes) <= 8192
    assert max(octets for _, octets in sizes) <= 4 << 20


def test_it_plays_by_the_hosts_clock_unless_told_otherwise() -> None:
    source = SyntheticSource(rate_pps=20_000)
    source.read(0)
    frames = source.read(5)
    assert frames is not None
    assert abs(time.time_ns() - int(frames.ts[-1])) < 5 * S


def test_a_waiting_read_can_be_woken() -> None:
    source = SyntheticSource(clock=Clock())
    alarm = threading.Timer(0.05, source.wake)
    alarm.start()
    started = time.monotonic()
    assert source.read(30) is None
    assert time.monotonic() - started < 5
    alarm.join()
    source.close()
    source.close()


@pytest.mark.parametrize("rate", [0, -1, MAX_RATE_PPS + 1, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        SyntheticSource(rate_pps=rate)
