"""Limiter: what passes is what the limits allow, in order, whatever the chopping; the rest is counted by reason."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.limits import BURST_NS, Limiter
from aishark_panel.dissect.heads import Heads
from aishark_panel.wire.frames import Frames
from tests.traffic import tcp_frame

PACKETS = st.lists(st.tuples(st.integers(0, 40_000_000), st.binary(max_size=60)), max_size=120)
"""Steps of time in ns, and frames."""


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The kernels are ready before hypothesis looks at the clock."""
    limiter(packets_per_s=1).take(traffic([(0, b"x"), (0, b"y")]))
    limiter(sampling=2, by_conversation=True)


def traffic(packets: list[tuple[int, bytes]]) -> Frames:
    times = np.cumsum([step for step, _ in packets], dtype=np.int64) + 10**18
    return Frames.from_list([frame for _, frame in packets], times.tolist())


def rows(frames: Frames) -> list[tuple[int, int, bytes]]:
    return [(int(frames.ts[i]), int(frames.orig_len[i]), frames.frame(i)) for i in range(len(frames))]


def limiter(**limits: Any) -> Limiter:
    made = Limiter()
    made.set(**{"sampling": 1, **limits})
    return made


@given(
    PACKETS, st.integers(1, 7), st.integers(0, 300), st.integers(0, 20_000), st.lists(st.integers(0, 120), max_size=6)
)
def test_what_passes_does_not_depend_on_the_chopping_and_the_rest_is_counted(
    packets: list[tuple[int, bytes]], sampling: int, packets_per_s: int, bits_per_s: int, cuts: list[int]
) -> None:
    frames = traffic(packets)
    limits = {"sampling": sampling, "packets_per_s": packets_per_s, "bits_per_s": bits_per_s}
    whole, chopped = limiter(**limits), limiter(**limits)
    passed = rows(whole.take(frames))
    marks = sorted({0, len(frames), *(min(cut, len(frames)) for cut in cuts)})
    pieces = [row for a, b in itertools.pairwise(marks) for row in rows(chopped.take(frames.slice(a, b)))]
    assert pieces == passed
    assert len(passed) + whole.sampled_out + whole.throttled == len(frames)
    assert (chopped.sampled_out, chopped.throttled) == (whole.sampled_out, whole.throttled)
    left = iter(rows(frames))
    assert all(row in left for row in passed)  # in order
    if not packets_per_s and not bits_per_s:
        assert passed == rows(frames)[::sampling]


@given(PACKETS, st.integers(1, 300))
def test_no_span_of_time_has_more_packets_than_its_rate_and_one_burst(
    packets: list[tuple[int, bytes]], rate: int
) -> None:
    times = limiter(packets_per_s=rate).take(traffic(packets)).ts
    burst = max(rate * BURST_NS / 1e9, 1)
    for first in range(len(times)):
        spans_s = (times[first:] - times[first]) / 1e9
        assert (np.arange(1, len(spans_s) + 1) <= burst + rate * spans_s + 1e-6).all()


@given(PACKETS, st.integers(1, 20_000))
def test_no_span_of_time_has_more_bits_than_its_rate_one_burst_and_one_frame(
    packets: list[tuple[int, bytes]], rate: int
) -> None:
    passed = limiter(bits_per_s=rate).take(traffic(packets))
    bits = 8 * np.diff(passed.offsets)
    burst = max(rate * BURST_NS / 1e9, 1) + 8 * 60
    for first in range(len(bits)):
        spans_s = (passed.ts[first:] - passed.ts[first]) / 1e9
        assert (np.cumsum(bits[first:]) <= burst + rate * spans_s + 1e-6).all()


def test_the_first_packets_of_each_interval_pass() -> None:
    frames = traffic([(1_000_000, bytes([i % 250])) for i in range(1_000)])  # one per ms
    passed = limiter(packets_per_s=100).take(frames)
    assert 100 <= len(passed) <= 110
    assert [row[2] for row in rows(passed)[:10]] == [bytes([i]) for i in range(10)]


def test_without_limits_the_frames_are_handed_through() -> None:
    frames = traffic([(1, b"a"), (1, b"b")])
    assert limiter().take(frames) is frames
    assert limiter(packets_per_s=1_000).take(frames) is frames


@pytest.mark.parametrize("step_ns", [-5_000_000_000, 3_600_000_000_000])
def test_a_clock_that_is_set_neither_closes_nor_opens_the_tap(step_ns: int) -> None:
    limited = limiter(packets_per_s=100)
    before = traffic([(1_000_000, b"x")] * 1_000)
    after = Frames(before.ts + step_ns, before.orig_len, before.iface, before.offsets, before.data)
    limited.take(before)
    assert 95 <= len(limited.take(after)) <= 112


def test_other_limits_hold_from_then_on() -> None:
    limited = limiter(sampling=2)
    frames = traffic([(1_000_000, b"x")] * 100)
    assert len(limited.take(frames)) == 50
    limited.set(sampling=10)
    assert len(limited.take(frames)) == 10
    assert limited.sampled_out == 140


def exchange(port: int, packets: int) -> list[bytes]:
    """A conversation in both directions."""
    there = tcp_frame("10.0.0.1", "10.0.0.2", port, 443, b"question")
    back = tcp_frame("10.0.0.2", "10.0.0.1", 443, port, b"answer")
    return [there, back] * packets


@given(st.integers(2, 9), st.lists(st.integers(1, 400), min_size=1, max_size=60), st.lists(st.integers(0, 60)))
def test_conversations_are_kept_whole_by_every_agent_or_left_out(
    sampling: int, ports: list[int], cuts: list[int]
) -> None:
    content = [frame for port in ports for frame in exchange(port, 1)]
    frames = Frames.from_list(content, list(range(len(content))))
    ethernet = np.ones(1, np.int32)
    one, other = (limiter(sampling=sampling, by_conversation=True) for _ in range(2))
    passed = rows(one.take(frames, ethernet))
    marks = sorted({0, len(frames), *(min(cut, len(frames)) for cut in cuts)})
    pieces = [row for a, b in itertools.pairwise(marks) for row in rows(other.take(frames.slice(a, b), ethernet))]
    assert pieces == passed
    assert one.sampled_out == other.sampled_out == len(frames) - len(passed)
    _, conversations = Heads().find(frames, ethernet)
    kept = conversations % np.uint64(sampling) == 0
    assert [row[2] for row in passed] == [frame for frame, is_kept in zip(content, kept, strict=True) if is_kept]
    assert kept[::2].tolist() == kept[1::2].tolist()


def test_about_one_conversation_in_so_many_is_kept() -> None:
    content = [frame for port in range(1, 20_001) for frame in exchange(port, 1)]
    frames = Frames.from_list(content, list(range(len(content))))
    passed = limiter(sampling=10, by_conversation=True).take(frames, np.ones(1, np.int32))
    assert len(passed) == pytest.approx(4_000, rel=0.1)


def test_the_rate_holds_for_the_conversations_that_are_kept() -> None:
    content = [frame for port in range(1, 101) for frame in exchange(port, 5)]
    frames = Frames.from_list(content, [i * 1_000 for i in range(len(content))])
    limited = limiter(sampling=2, by_conversation=True, packets_per_s=100)
    passed = limited.take(frames, np.ones(1, np.int32))
    assert len(passed) + limited.sampled_out + limited.throttled == len(frames)
    assert min(len(passed), limited.sampled_out, limited.throttled) > 0
