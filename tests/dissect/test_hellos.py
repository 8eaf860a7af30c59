"""ClientHellos in several segments, against tshark's reassembly and by hand."""

import itertools
import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.dissect import Dissector
from aishark_panel.dissect.hellos import MAX_HELLO_BYTES
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.segments import Segment, frames_of


def hello(name: str, padding: int = 1_700, *, name_first: bool = False) -> bytes:
    """A TLS record with a ClientHello whose key share takes `padding` bytes."""
    text = name.encode()
    sni = struct.pack(">HHHBH", 0, len(text) + 5, len(text) + 3, 0, len(text)) + text
    share = struct.pack(">HHHHH", 51, padding + 6, padding + 4, 0x11EC, padding) + bytes(padding)
    extensions = sni + share if name_first else share + sni
    body = b"\x03\x03" + bytes(32) + b"\x00" + struct.pack(">HH", 2, 0x1301) + b"\x01\x00"
    body += struct.pack(">H", len(extensions)) + extensions
    return struct.pack(">BHHI", 22, 0x0301, len(body) + 4, 1 << 24 | len(body)) + body


def pieces(payload: bytes, *cuts: int, seq: int = 1_000) -> list[Segment]:
    ends = [0, *cuts, len(payload)]
    return [Segment(True, seq + i, 1, payload=payload[i:k]) for i, k in itertools.pairwise(ends)]


def names(frames: Frames, dissector: Dissector | None = None, batch: int = 1_000) -> list[str]:
    """The server name each frame tells of."""
    dissector, told = dissector or Dissector(), []
    for start in range(0, len(frames), batch):
        part = frames.slice(start, min(start + batch, len(frames)))
        packets = Packets(len(part) + 1)
        assert dissector.append(part, 0, np.ones(1, np.int32), np.zeros(1, np.uint16), packets) == len(part)
        told += [packets.text(int(code)) for code in packets.values("tls_sni")]
    return told


def test_the_frame_that_completes_a_hello_tells_what_it_says() -> None:
    frames = frames_of(pieces(hello("www.example.com"), 800, 1_500))
    dissector, packets = Dissector(), Packets(8)
    dissector.append(frames, 0, np.ones(1, np.int32), np.zeros(1, np.uint16), packets)
    assert [packets.text(int(c)) for c in packets.values("tls_sni")] == ["", "", "www.example.com"]
    assert packets.values("tls_handshake").tolist() == [1, 0, 1]
    assert packets.values("protocol")[2] == packets.values("protocol")[0]
    layers = Layer(int(packets.values("layers")[2]))
    assert Layer.TLS in layers
    assert Layer.TLS_HANDSHAKE in layers


@pytest.mark.parametrize("batch", [1, 2])
def test_batches_do_not_matter(batch: int) -> None:
    assert names(frames_of(pieces(hello("example.org"), 1_000)), batch=batch) == ["", "example.org"]


def test_a_segment_sent_again_is_taken_once() -> None:
    first, second, third = pieces(hello("example.org"), 700, 1_400)
    assert names(frames_of([first, first, second, first, second, third])) == [""] * 5 + ["example.org"]


def test_segments_that_overlap_are_joined() -> None:
    payload = hello("example.org")
    ends = ((0, 900), (500, 1_500), (1_200, len(payload)))
    overlapping = [Segment(True, 1_000 + i, 1, payload=payload[i:k]) for i, k in ends]
    assert names(frames_of(overlapping)) == ["", "", "example.org"]


def test_a_gap_ends_the_wait() -> None:
    first, _, third = pieces(hello("example.org"), 700, 1_400)
    assert names(frames_of([first, third, third])) == ["", "", ""]


def test_a_segment_that_the_capture_cut_ends_the_wait() -> None:
    first, second = (s.frame() for s in pieces(hello("example.org"), 1_000))
    frames = Frames.from_list([first, second[:200], second], [1, 2, 3], [len(first), len(second), len(second)])
    assert names(frames) == ["", "", ""]


def test_both_directions_and_other_connections_are_told_apart() -> None:
    ours, others = pieces(hello("ours.example"), 1_000), pieces(hello("others.example"), 1_000)
    back = Segment(False, 1, 1_000, payload=b"x" * 50)
    content = [ours[0].frame(1), others[0].frame(2), back.frame(1), others[1].frame(2), ours[1].frame(1)]
    told = names(Frames.from_list(content, list(range(5))))
    assert told == ["", "", "", "others.example", "ours.example"]


def test_the_ethernet_trailer_is_no_part_of_a_hello() -> None:
    content = [s.frame() + b"\xde\xad\xbe\xef" for s in pieces(hello("example.org"), 1_000)]
    assert names(Frames.from_list(content, [1, 2])) == ["", "example.org"]


def test_a_record_beyond_the_limit_is_not_kept() -> None:
    fits = hello("example.org", MAX_HELLO_BYTES - 200)
    beyond = hello("example.org", MAX_HELLO_BYTES)
    assert names(frames_of(pieces(fits, 8_000)))[-1] == "example.org"
    assert names(frames_of(pieces(beyond, 8_000)))[-1] == ""


def test_more_hellos_than_places_make_the_oldest_give_way() -> None:
    both = [[s.frame(port) for s in pieces(hello("example.org"), 1_000)] for port in range(1_024, 3_024)]
    content = [first for first, _ in both] + [second for _, second in reversed(both)]
    told = names(Frames.from_list(content, list(range(len(content)))))[len(both) :]
    completed = [k for k, name in enumerate(told) if name]
    assert 200 < len(completed) <= 256
    assert completed[:50] == list(range(50)), "the newest wait"


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_bytes_may_follow(data: st.DataObject) -> None:
    payload = hello("example.org", 400)
    number = st.integers(990, 1_000 + len(payload) + 10)
    segment = st.builds(
        Segment, st.booleans(), number, st.just(1), st.just(16),
        st.one_of(st.binary(max_size=80), st.integers(0, len(payload)).map(lambda k: payload[k:])),
    )  # fmt: skip
    segments = [*pieces(payload, 100)[:1], *data.draw(st.lists(segment, max_size=20))]
    frames = frames_of(segments)
    cut = frames.slice(0, len(segments))
    cut.orig_len[:] += data.draw(st.integers(0, 3))
    assert names(cut, batch=7) == names(cut)


def test_hellos_are_joined_as_tshark_joins_them(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    rng = random.Random(3)
    content = []
    for port in range(1_024, 1_064):
        payload = hello(f"host{port}.example.com", rng.randrange(200, 5_000), name_first=rng.random() < 0.3)
        cuts = sorted(rng.sample(range(100, len(payload)), rng.randrange(1, 3)))
        content += [s.frame(port) for s in pieces(payload, *cuts)]
    frames = Frames.from_list(content, [1_000 * k for k in range(len(content))])
    writer = PcapWriter(1)
    path = tmp_path / "hellos.pcap"
    path.write_bytes(writer.header() + writer.frames(frames))
    command = [require_tool("tshark"), "-n", "-Q", "-r", str(path), "-Y", "tls.handshake.type == 1", "-T", "fields"]
    command += ["-e", "frame.number", "-e", "tls.handshake.extensions_server_name"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=100, env={**os.environ, "TZ": "UTC"})
    theirs = {int(number): name for number, name in (line.split("\t") for line in output.stdout.splitlines())}
    told = names(frames)
    assert len(theirs) == 40
    assert {number: told[number - 1] for number in theirs} == theirs
