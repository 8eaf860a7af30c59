"""Bytes in payloads, where scapy says what the payload is; frames are dissected by the real dissector."""

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from aishark_panel.dissect import Dissector
from aishark_panel.export.read import read_file
from aishark_panel.query import compile_expression
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets

ETHERNET = [Interface("edge", "eth0", 1)]
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # scapy would ask the network for them


def dissected(frames: list[bytes], link_type: int = 1) -> Packets:
    """A block of these frames, every other one in a second piece of the arena."""
    n = len(frames)
    offsets = np.cumsum([0, *map(len, frames)], dtype=np.int32)
    sizes = np.array([max(len(frame), 60) for frame in frames], np.uint32)
    data = np.frombuffer(b"".join(frames), np.uint8)
    taken = Frames(np.arange(n), sizes, np.zeros(n, np.uint16), offsets, data)
    packets = Packets(max(n, 1))
    Dissector().append(taken, 0, np.array([link_type], np.int32), np.zeros(1, np.uint16), packets)
    assert packets.length == n
    pieces = [bytearray(b"x"), bytearray(b"y")]
    packets.arena_bits = 20
    for i, frame in enumerate(frames):
        packets.columns.frame_pos[i] = ((i % 2) << packets.arena_bits) + len(pieces[i % 2])
        pieces[i % 2] += frame
    packets.arena = [np.frombuffer(bytes(piece), np.uint8) for piece in pieces]
    return packets


def selected(packets: Packets, text: str, interfaces: list[Interface] = ETHERNET) -> list[bool]:
    mask: list[bool] = compile_expression(text).mask(packets, 0, packets.length, interfaces).tolist()
    return mask


LINKS = [ETHER, ETHER / Dot1Q(vlan=5)]
NETWORKS = [IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(), IPv6() / IPv6ExtHdrHopByHop()]
TRANSPORTS = [TCP(sport=97, dport=98), TCP(options=[("MSS", 1460), ("Timestamp", (97, 98))]), UDP(sport=97, dport=98)]
few_bytes = st.text("abE", max_size=6).map(str.encode)
frame = st.tuples(st.sampled_from(LINKS), st.sampled_from(NETWORKS), st.sampled_from(TRANSPORTS), few_bytes)


@settings(max_examples=150, deadline=None)
@given(st.lists(frame, min_size=1, max_size=5), few_bytes.filter(bool), few_bytes)
def test_payloads_hold_bytes_as_python_says(
    chosen: list[tuple[Packet, Packet, Packet, bytes]], needle: bytes, padding: bytes
) -> None:
    frames = [bytes(link / network / transport / Raw(body)) + padding for link, network, transport, body in chosen]
    packets = dissected(frames)
    bodies = [body for *_, body in chosen]
    assert selected(packets, f"payload contains '{needle.decode()}'") == [needle in body for body in bodies]
    # A packet without payload has none that could lack the bytes.
    assert selected(packets, f"not payload contains '{needle.decode()}'") == [
        bool(body) and needle not in body for body in bodies
    ]
    assert selected(packets, "payload contains ''") == selected(packets, "payload") == [bool(body) for body in bodies]


def test_headers_padding_and_what_has_no_transport_are_not_searched() -> None:
    frames = [
        bytes(
            Ether(src="61:61:61:61:61:61", dst="02:00:00:00:00:02") / IP() / UDP(sport=0x6161, dport=0x6161) / Raw(b"b")
        )
        + b"aa",
        bytes(ETHER / IP() / ICMP() / Raw(b"aa")),
        bytes(ETHER / ARP()) + b"aa",
        bytes(ETHER / IP(frag=9, proto=17) / Raw(b"aa")),
        bytes(ETHER / IP() / UDP(dport=4789) / VXLAN() / ETHER / IP() / TCP() / Raw(b"aab")),
        bytes(ETHER / IP() / TCP() / Raw(b"aab"))[:-1],
    ]
    packets = dissected(frames)
    assert selected(packets, "frame contains 'aa'") == [True] * 6
    assert selected(packets, "payload contains 'aa'") == [False, False, False, False, True, True]
    assert selected(packets, "tcp.payload contains 61:61") == [False, False, False, False, True, True]
    assert selected(packets, "tcp.payload contains 'aab'") == [False, False, False, False, True, False]
    assert selected(packets, "not payload contains 'aa'") == [True, False, False, False, False, False]
    assert selected(packets, "udp.payload contains 'b' and not tcp") == [True, *[False] * 5]


def test_the_link_type_of_the_interface_says_where_headers_are() -> None:
    frames = [bytes(IP() / UDP(sport=0x6161) / Raw(b"b" * 40)), bytes(IP() / UDP() / Raw(b"aa" * 20))]
    packets = dissected(frames, 101)
    assert selected(packets, "payload contains 'aa'", [Interface("edge", "tun0", 101)]) == [False, True]
    assert selected(dissected([bytes(ETHER / IP())[:14] + frame for frame in frames]), "payload contains 'aa'", []) == [
        *(False, True)
    ]


def test_rows_without_bytes_and_frames_said_to_reach_beyond_their_piece_do_no_harm() -> None:
    packets = dissected([bytes(ETHER / IP() / UDP() / Raw(b"aa"))] * 3)
    packets.columns.cap_len[0] = 0
    packets.columns.cap_len[2] = 2**31
    assert selected(packets, "payload contains 'aa'") == [False, True, True]
    packets.columns.frame_pos[2] = 2**packets.arena_bits - 1
    assert selected(packets, "payload contains 'aa'") == [False, True, False]


@pytest.mark.parametrize(
    ("file", "ours", "tsharks"),
    [
        ("PcapPlusPlus/650HttpResponses.pcap", "tcp.payload contains 'gzip'", 'tcp.payload contains "gzip"'),
        ("PcapPlusPlus/four_ipv6_http_streams.pcap", "tcp.payload contains 'GET '", 'tcp.payload contains "GET "'),
        ("tcpdump/LINKTYPE_RAW_ipv6.pcap", "payload contains 'com'", 'udp.payload contains "com"'),
        (
            "ja4/gre-erspan-vxlan.pcap",
            "payload contains 'HTTP/1'",
            'tcp.payload contains "HTTP/1"',
        ),
    ],
)
def test_tshark_finds_the_same_in_real_captures(shared_captures: Path, file: str, ours: str, tsharks: str) -> None:
    predicate = compile_expression(ours)
    numbers: list[int] = []
    for packets, rows in read_file(shared_captures / file, predicate):
        numbers += (packets.first_number + rows).tolist()
    command = ["tshark", "-n", "-r", str(shared_captures / file), "-Y", tsharks, "-T", "fields", "-e", "frame.number"]
    known = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert numbers == [int(line) for line in known.split()]
    assert numbers


@pytest.mark.parametrize("payload", ["payload contains 'aa'", "not payload contains 'aa'", "frame contains 'aa'"])
@pytest.mark.parametrize("other", ["src_port > 4", "not tcp", "dst_port == 9", "udp or src_port == 1"])
def test_only_rows_that_the_rest_selects_are_searched(payload: str, other: str) -> None:
    bodies = [b"aab", b"xaax", b"", b"abab", b"aa" * 40]
    content = [
        bytes(ETHER / IP() / layer(sport=i % 7, dport=i % 3 + 8) / body)
        for i, (layer, body) in enumerate(itertools.product((TCP, UDP), bodies))
    ]
    packets = dissected(content)
    both = [a and b for a, b in zip(selected(packets, payload), selected(packets, other), strict=True)]
    for text in (f"{payload} and {other}", f"({other}) & {payload}", f"{other} and ({payload} or {payload})"):
        if " or " not in other or text.startswith("("):
            assert selected(packets, text) == both
    assert selected(packets, f"({other}) and ({payload} or dst_port == 8)") == [
        a and (b or c)
        for a, b, c in zip(
            selected(packets, other), selected(packets, payload), selected(packets, "dst_port == 8"), strict=True
        )
    ]
