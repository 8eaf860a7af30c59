"""TCP analysis: rules one by one, then against tshark on random connections and on captures by others."""

import itertools
import os
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.capturefile import open_capture
from aishark_panel.dissect import Dissector
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.layers import Layer, TcpProblem
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.segments import ACK, MS, RST, SYN, Segment, frames_of, interleaved, random_connection

P = TcpProblem
NONE = TcpProblem(0)
X = b"x" * 100
WANTED_AGREEMENT = 0.99


def analysed(
    frames: Frames, dissector: Dissector | None = None, cuts: Sequence[int] = (), ifaces: int = 1
) -> list[TcpProblem]:
    """Problems of each frame; the frames are taken in batches that end at `cuts`."""
    dissector = dissector or Dissector()
    found: list[TcpProblem] = []
    ends = [0, *cuts, len(frames)]
    for start, stop in itertools.pairwise(ends):
        packets = Packets(stop - start + 1)
        codes = np.arange(ifaces, dtype=np.uint16)
        batch = frames.slice(start, stop)
        assert dissector.append(batch, 0, np.ones(ifaces, np.int32), codes, packets) == stop - start
        found += [P(int(value)) for value in packets.values("tcp_problem")]
    return found


def of(*segments: Segment) -> list[TcpProblem]:
    """Problems of segments a millisecond apart, unless they say when."""
    for k, segment in enumerate(segments):
        segment.at_ns = segment.at_ns or k * MS
    return analysed(frames_of(list(segments)))


def a(seq: int, payload: bytes = b"", ack: int = 500, **more: int) -> Segment:
    return Segment(True, seq, ack, payload=payload, **more)


def b(seq: int, payload: bytes = b"", ack: int = 100, **more: int) -> Segment:
    return Segment(False, seq, ack, payload=payload, **more)


def test_data_in_sequence_is_no_problem() -> None:
    assert of(a(100, X), a(200, X), b(500, X, ack=300), a(300, X, ack=600)) == [NONE] * 4


def test_sequence_numbers_go_on_from_zero_after_the_last() -> None:
    assert of(a(2**32 - 50, X), a(50, X), b(500, ack=150)) == [NONE] * 3


def test_data_sent_again_later_is_a_retransmission() -> None:
    assert of(a(100, X), a(200, X), a(200, X, at_ns=300 * MS))[-1] == P.RETRANSMISSION


def test_data_sent_again_after_its_acknowledgement_is_spurious() -> None:
    problems = of(a(100, X), b(500, ack=200), a(100, X, at_ns=300 * MS))
    assert problems[-1] == P.RETRANSMISSION | P.SPURIOUS_RETRANSMISSION


def test_what_duplicate_acknowledgements_ask_for_is_retransmitted_fast() -> None:
    asks = [b(500, ack=200) for _ in range(3)]
    problems = of(a(100, X), a(200, X), a(300, X), *asks, a(200, X))
    assert problems[3:] == [NONE, P.DUPLICATE_ACK, P.DUPLICATE_ACK, P.RETRANSMISSION | P.FAST_RETRANSMISSION]


def test_a_gap_and_the_segment_that_fills_it_at_once() -> None:
    assert of(a(100, X), a(300, X), a(200, X)) == [NONE, P.LOST_SEGMENT, P.OUT_OF_ORDER]


def test_what_was_not_captured_may_be_acknowledged() -> None:
    assert of(a(100, X), b(500, ack=900), b(500, ack=901)) == [NONE, P.ACK_LOST_SEGMENT, NONE]


def test_a_closed_window_is_probed_and_opened() -> None:
    problems = of(a(100, X), b(500, ack=200, window=0), a(200, b"p"), b(500, ack=200, window=0), b(500, ack=200))
    assert problems[1:] == [
        P.ZERO_WINDOW, P.ZERO_WINDOW_PROBE, P.ZERO_WINDOW | P.ZERO_WINDOW_PROBE_ACK, P.WINDOW_UPDATE
    ]  # fmt: skip


def test_keep_alives_and_their_answers() -> None:
    assert of(a(100, X), b(500, ack=200), a(199), b(500, ack=200))[2:] == [P.KEEP_ALIVE, P.KEEP_ALIVE_ACK]


def test_data_that_fills_the_scaled_window() -> None:
    def hands(seq: int, from_a: bool, ack: int, flags: int) -> Segment:
        return Segment(from_a, seq, ack, flags, scale=2)

    shake = [hands(99, True, 0, SYN), hands(499, False, 100, SYN | ACK), a(100), b(500, window=50)]
    assert of(*shake, a(100, X), a(200, X))[4:] == [NONE, P.WINDOW_FULL]


def test_a_new_syn_between_the_same_ports_starts_anew() -> None:
    problems = of(Segment(True, 10, 0, SYN), a(11, X), Segment(True, 9_000, 0, SYN), a(9_001, X))
    assert problems == [NONE, NONE, P.REUSED_PORTS, NONE]


def test_the_numbers_of_a_conversation() -> None:
    dissector = Dissector()
    shake = [Segment(True, 99, 0, SYN), Segment(False, 499, 100, SYN | ACK, at_ns=7 * MS), a(100, at_ns=8 * MS)]
    data = [a(100, X, at_ns=10 * MS), b(500, ack=200, at_ns=13 * MS), a(100, X, at_ns=900 * MS)]
    analysed(frames_of(shake + data), dissector)
    rows = dissector.conversations.rows()
    assert (int(rows.handshake_rtt_ns[0]), rows.rtt_ns[0].tolist()) == (8 * MS, [3 * MS, 0])
    assert (rows.retransmissions[0].tolist(), rows.duplicate_acks[0].tolist()) == ([1, 0], [0, 0])


def test_a_packet_that_passes_two_interfaces_is_no_retransmission() -> None:
    here = [a(100, X), a(200, X, at_ns=MS), a(200, X, at_ns=400 * MS)]
    copies = [Segment(True, s.seq, s.ack, payload=s.payload, at_ns=s.at_ns + 20_000) for s in here]
    content = [s.frame() for pair in zip(here, copies, strict=True) for s in pair]
    frames = Frames.from_list(content, [s.at_ns + 1 for pair in zip(here, copies, strict=True) for s in pair])
    frames.iface[1::2] = 1
    assert analysed(frames, ifaces=2) == [NONE, NONE, NONE, NONE, P.RETRANSMISSION, NONE]


def test_a_direction_that_moves_to_another_interface_is_followed_there() -> None:
    frames = frames_of([a(100, X), a(200, X, at_ns=1_500 * MS), a(200, X, at_ns=1_800 * MS)])
    frames.iface[1:] = 1
    assert analysed(frames, ifaces=2) == [NONE, NONE, P.RETRANSMISSION]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 300), max_size=8).map(sorted))
def test_neither_batches_nor_other_conversations_change_anything(seed: int, cuts: list[int]) -> None:
    rng = random.Random(seed)
    connections = [random_connection(rng, 100) for _ in range(3)]
    frames, turns = interleaved(connections, rng)
    together = analysed(frames, cuts=cuts)
    alone = [iter(analysed(frames_of(segments, 30_000 + k))) for k, segments in enumerate(connections)]
    assert together == [next(alone[turn]) for turn in turns]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_header_breaks_the_analysis(data: st.DataObject) -> None:
    number = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1]))
    segment = st.builds(
        Segment, st.booleans(), number, number, st.integers(0, 0x1FF), st.sampled_from([b"", b"x", X]),
        st.integers(0, 65_535), st.one_of(st.none(), st.integers(0, 255)), st.integers(-(2**40), 2**62 - 1 - 2**61),
    )  # fmt: skip
    segments = data.draw(st.lists(segment, min_size=1, max_size=60))
    problems = analysed(frames_of(segments))
    assert max(problems) < 1 << len(P)


def test_forgotten_conversations_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.dissect.conversations.MAX_CONVERSATIONS", 4_096)
    dissector = Dissector()
    frames = [a(100, X).frame(port) for port in range(1_024, 21_024)]
    assert analysed(Frames.from_list(frames, list(range(len(frames)))), dissector) == [NONE] * len(frames)
    again = Frames.from_list([frames[-1], frames[0]], [10**12, 10**12])
    assert analysed(again, dissector) == [P.RETRANSMISSION, NONE]
    assert len(dissector.conversations) <= 4_096


def of_tshark(tshark: str, path: Path) -> dict[int, TcpProblem]:
    """tshark's problems of the TCP packets in a capture file, by frame number."""
    names = [f"tcp.analysis.{str(problem.name).lower()}" for problem in P]
    fields = [part for name in ["frame.number", *names] for part in ("-e", name)]
    command = [tshark, "-n", "-Q", "-r", str(path), "-Y", "tcp", "-T", "fields", "-E", "occurrence=f", *fields]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, env={**os.environ, "TZ": "UTC"})
    found = {}
    for line in result.stdout.splitlines():
        number, *values = line.split("\t")
        found[int(number)] = P(sum(1 << bit for bit, value in enumerate(values) if value))
    return found


def disagreements(ours: dict[int, TcpProblem], theirs: dict[int, TcpProblem]) -> tuple[Counter[P], Counter[P]]:
    """How often each problem was found by both, and by one only."""
    both, one = Counter[P](), Counter[P]()
    for number in ours.keys() & theirs.keys():
        both.update(P(ours[number] & theirs[number]))
        one.update(P(ours[number] ^ theirs[number]))
    return both, one


def test_random_connections_have_the_problems_that_tshark_finds(
    require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    rng = random.Random(7)
    frames, _ = interleaved([random_connection(rng, 100) for _ in range(300)], rng)
    writer = PcapWriter(1)
    path = tmp_path / "random.pcap"
    path.write_bytes(writer.header() + writer.frames(frames))
    theirs = of_tshark(require_tool("tshark"), path)
    ours = dict(enumerate(analysed(frames), 1))
    assert len(theirs) == len(ours)
    # Where data was acknowledged that was not captured, tshark counts it as duplicate acknowledgements without end (it
    # keeps -1 in an unsigned number) and calls what follows a fast retransmission.
    odd = {n for n, problem in theirs.items() if P.FAST_RETRANSMISSION in problem and P.OUT_OF_ORDER in ours[n]}
    odd |= {n for n in theirs if theirs[n] ^ ours[n] == P.FAST_RETRANSMISSION and P.FAST_RETRANSMISSION in theirs[n]}
    assert len(odd) < 30
    different = {n: (ours[n], theirs[n]) for n in theirs if ours[n] != theirs[n] and n not in odd}
    assert not different
    both, _ = disagreements(ours, theirs)
    assert set(both) == set(P), "some problem never occurred"


def captured(path: Path) -> dict[int, TcpProblem]:
    """Our problems of the TCP packets in a capture file, by frame number; of a damaged one, those before the damage."""
    found: dict[int, TcpProblem] = {}
    number = 0
    dissector = Dissector()
    with open_capture(path) as capture:
        batches = iter(capture)
        while True:
            try:
                frames = next(batches)
            except (StopIteration, CaptureFileError):
                return found
            link_types: npt.NDArray[np.int32] = np.array([i.link_type for i in capture.interfaces], np.int32)
            packets = Packets(2 * len(frames) + 8)  # so that texts never fill it
            dissector.append(frames, 0, link_types, np.arange(len(link_types), dtype=np.uint16), packets)
            for row in np.flatnonzero(packets.values("layers") & int(Layer.TCP)):
                found[number + int(row) + 1] = P(int(packets.columns.tcp_problem[row]))
            number += len(frames)


def test_captures_by_others_have_the_problems_that_tshark_finds(
    require_tool: Callable[[str], str], shared_captures: Path
) -> None:
    tshark = require_tool("tshark")
    both, one, files = Counter[P](), Counter[P](), 0
    for path in sorted(p for p in shared_captures.rglob("*.pcap*") if p.stat().st_size > 2_000):
        try:
            ours = captured(path)
        except CaptureFileError:
            continue
        if any(ours.values()):
            agreeing, differing = disagreements(ours, of_tshark(tshark, path))
            both, one, files = both + agreeing, one + differing, files + 1
    assert files > 20
    assert both[P.RETRANSMISSION] > 1_000
    for problem in both:
        assert both[problem] >= WANTED_AGREEMENT * (both[problem] + one[problem]) - 1, (problem, both, one)


def test_a_reset_says_nothing_of_gaps() -> None:
    assert of(a(100, X), Segment(True, 9_000, 0, RST))[-1] == NONE
