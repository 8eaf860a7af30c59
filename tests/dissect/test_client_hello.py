"""ClientHellos in packets: split every way, and on captures by others equal to the answers of others."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from aishark_panel.capturefile import open_capture
from aishark_panel.dissect.client_hello import HelloReader
from aishark_panel.dissect.fingerprint import ClientHello, parse_client_hello
from aishark_panel.dissect.headers import headers
from aishark_panel.dissect.quic_initial import client_keys
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.packets import address_text
from tests.dissect.test_quic_initial import DESTINATION, crypto_frame, sealed
from tests.dissect.test_tls import HELLO, record

CHANGE_CIPHER_SPEC = record(b"\x01", kind=20)


def segment(data: bytes, seq: int, sport: int = 40_000) -> bytes:
    return bytes(Ether() / IP() / TCP(sport=sport, dport=443, seq=seq % 2**32) / data)


def datagram(data: bytes) -> bytes:
    return bytes(Ether() / IPv6() / UDP(sport=40_000, dport=443) / data)


def read(*frames: bytes) -> list[ClientHello | None]:
    reader = HelloReader()
    return [reader.read(frame, 1) for frame in frames]


EXPECTED = parse_client_hello(HELLO, "t")


@pytest.mark.parametrize("start", [5, 2**32 - 20])
def test_segments_are_joined_in_any_order_after_the_first(start: int) -> None:
    data = record(HELLO)
    parts = [segment(data[a:b], start + a) for a, b in ((0, 30), (60, 200), (20, 60))]
    other = segment(data[:7], 99, sport=40_001)
    assert read(parts[0], other, *parts[1:]) == [None, None, None, EXPECTED]


def test_records_are_joined() -> None:
    assert read(segment(record(HELLO[:50]) + record(HELLO[50:]), 1)) == [EXPECTED]


def test_a_second_hello_after_a_change_of_cipher_is_found_too() -> None:
    data = CHANGE_CIPHER_SPEC + record(HELLO)
    first = segment(record(HELLO), 1)
    second = [segment(data[:40], 500), segment(data[40:], 540)]
    assert read(first, *second) == [EXPECTED, None, EXPECTED]


def test_a_cut_segment_is_not_waited_for() -> None:
    whole = segment(record(HELLO), 1)
    reader = HelloReader()
    assert reader.read(whole[:100], 1, len(whole)) is None
    assert reader.waiting == 0


def test_hellos_that_never_end_are_bounded() -> None:
    reader = HelloReader()
    start = segment(record(HELLO)[:20], 1)
    for port in range(3_000):
        reader.read(start[:34] + port.to_bytes(2, "big") + start[36:], 1)
    assert reader.waiting == 1_024
    for k in range(100):
        reader.read(segment(bytes(1_000), 1 + 20 + 1_000 * k, sport=2_999), 1)
    assert reader.waiting == 1_023


def test_a_hello_in_crumbs_is_given_up() -> None:
    data = record(HELLO)
    reader = HelloReader()
    read = [reader.read(segment(data[k : k + 1], 1 + k), 1) for k in range(len(data))]
    assert not any(read)
    assert reader.waiting == 0


def test_quic_packets_are_joined_with_the_keys_of_the_first() -> None:
    keys = client_keys(1, DESTINATION)
    first = datagram(sealed(crypto_frame(60, HELLO[60:])))
    second = datagram(sealed(crypto_frame(0, HELLO[:60]), packet_number=3, keys=keys))
    assert read(first, second) == [None, parse_client_hello(HELLO, "q")]


def frames_of(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """(number, frame, link type) of a capture, up to where it is damaged."""
    number = 0
    with open_capture(path) as capture:
        try:
            for frames in capture:
                for row in range(len(frames)):
                    number += 1
                    yield number, frames.frame(row), capture.interfaces[int(frames.iface[row])].link_type
        except CaptureFileError:
            return


def flow(frame: bytes, link_type: int) -> tuple[str, ...]:
    """Innermost source, destination and ports as text."""
    found = headers(frame, link_type)
    ip = next(header for header in reversed(found) if header.kind in ("ipv4", "ipv6"))
    size = 4 if ip.kind == "ipv4" else 16
    at = ip.start + (12 if size == 4 else 8)
    addresses = [frame[at + k * size : at + (k + 1) * size] for k in (0, 1)]
    texts = [address_text(a if size == 16 else bytes(10) + b"\xff\xff" + a, v6=size == 16) for a in addresses]
    ports = [str(int.from_bytes(frame[found[-1].start + k : found[-1].start + k + 2], "big")) for k in (0, 2)]
    return (*texts, *ports)


def test_ja4_is_equal_to_those_of_its_makers_programs(shared_dir: Path, shared_captures: Path) -> None:
    lines = (shared_dir / "expected" / "ja4_expected.tsv").read_text("utf-8").splitlines()
    titles = lines[0].split("\t")
    streams = [dict(zip(titles, line.split("\t"), strict=False)) for line in lines[1:]]
    assert streams
    for file in {stream["file"] for stream in streams}:
        ours: dict[tuple[str, ...], list[str]] = defaultdict(list)
        reader = HelloReader()
        for _, frame, link_type in frames_of(shared_captures / file):
            hello = reader.read(frame, link_type)
            if hello:
                ours[flow(frame, link_type)].append(hello.ja4())
        for stream in (stream for stream in streams if stream["file"] == file):
            found = ours.pop((stream["src"], stream["dst"], stream["src_port"], stream["dst_port"]), [])
            assert found, stream
            assert stream["ja4_rust"] in ("", found[0]), stream
            assert stream["ja4_python"] in ("", ",".join(found)), stream
        assert not ours, f"{file}: more than expected"


def test_ja3_is_equal_to_tshark_s(shared_dir: Path, shared_captures: Path) -> None:
    columns = ["file", "frame_number", "ja3"]
    oracle = pq.read_table(shared_dir / "oracle" / "oracle_reassembled.parquet", columns=columns).to_pandas()
    oracle = oracle[oracle.ja3.notna()]
    for file, rows in oracle.groupby("file"):
        reader = HelloReader()
        read = [
            (number, reader.read(frame, link_type)) for number, frame, link_type in frames_of(shared_captures / file)
        ]
        ours = {number: hello.ja3() for number, hello in read if hello}
        theirs = dict(zip(rows.frame_number, rows.ja3, strict=True))
        if file != "PcapPlusPlus/ssl-malformed1.pcap":  # a malformed hello, of which tshark gives none
            assert ours == theirs
