"""Limiter: what passes is what the limits allow, in order, whatever the chopping; the rest is counted by reason."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.limits import BURST_NS, Limiter
from aishark_panel.wire.frames import Frames

PACKETS = st.lists(st.tuples(st.integers(0, 40_000_000), st.binary(max_size=60)), max_size=120)
"""Steps of time in ns, and frames."""


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The kernels are ready before hypothesis looks at the clock."""
    limiter(packets_per_s=1).take(traffic([(0, b"x"), (0, b"y")]))


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
