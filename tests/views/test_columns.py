"""Rollup rows become bars, stacks and slices."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.views.columns import (
    MAX_BARS,
    MIN_BARS,
    TOP_PROTOCOLS,
    WINDOWS,
    Bins,
    Span,
    nice_ceiling,
    plan,
    shares,
    stack,
)
from aishark_panel.views.theme import FAMILIES

S = 1_000_000_000
ALL = Span(resolution_ms=1000, first=0, end=20, step=1)


def batch(*rows: tuple[int, str, int, int]) -> pa.RecordBatch:
    bins, protocols, packets, sizes = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(bins, pa.int64()),
            pa.array(protocols, pa.string()).dictionary_encode(),
            pa.array(packets, pa.int64()),
            pa.array(sizes, pa.int64()),
        ],
        names=["bin", "protocol", "packets", "bytes"],
    )


def test_the_last_bin_is_asked_for_again_and_replaced() -> None:
    bins = Bins.empty(1000).merge(batch((1, "TCP", 5, 500), (2, "TCP", 1, 100)))
    assert bins.cursor == 2
    bins = bins.merge(batch((2, "TCP", 4, 400), (2, "DNS", 1, 80), (3, "DNS", 2, 160)))
    packets, _ = stack(bins, ALL)
    assert packets.sum(axis=0)[:5].tolist() == [0, 5, 5, 2, 0]


def test_bins_before_the_window_are_forgotten() -> None:
    bins = Bins.empty(1000).merge(batch((1, "TCP", 5, 500), (2, "TCP", 1, 100)))
    bins = bins.merge(batch((3, "TCP", 1, 1)), keep_from=2)
    assert bins.bin.tolist() == [2, 3]


def test_an_answer_without_news_changes_nothing() -> None:
    bins = Bins.empty(1000).merge(batch((1, "TCP", 5, 500), (2, "TCP", 5, 500)))
    assert bins.merge(batch()) is bins
    assert bins.merge(batch((2, "TCP", 5, 500))) is bins
    assert bins.merge(batch((2, "TCP", 6, 600))) is not bins


def test_protocols_of_one_family_are_stacked_as_one() -> None:
    bins = Bins.empty(1000).merge(batch((0, "TLSv1.2", 1, 100), (0, "TLSv1.3", 1, 50), (0, "OSPF", 1, 7)))
    _, volume = stack(bins, ALL)
    names = [f.name for f in FAMILIES]
    assert volume[names.index("TLS"), 0] == 150
    assert volume[names.index("Other"), 0] == 7
    assert volume.sum() == 157


@given(
    st.lists(
        st.tuples(
            st.integers(0, 19),
            st.sampled_from(["TCP", "DNS", "TLSv1.3", "GRE"]),
            st.integers(1, 1000),
            st.integers(1, 10**6),
        ),
        max_size=60,
    ),
    st.sampled_from([1, 2, 4, 5]),
)
def test_nothing_is_lost_between_rollup_and_chart(rows: list[tuple[int, str, int, int]], step: int) -> None:
    bins = Bins.empty(1000).merge(batch(*rows))
    span = Span(resolution_ms=1000, first=0, end=20, step=step)
    packets, volume = stack(bins, span)
    assert packets.shape == (len(FAMILIES), 20 // step)
    assert packets.sum() == sum(r[2] for r in rows)
    assert volume.sum() == pytest.approx(sum(r[3] for r in rows))
    assert sum(s.packets for s in shares(bins, span)) == sum(r[2] for r in rows)


def test_the_tail_of_the_protocols_becomes_other() -> None:
    names = [f"P{k}" for k in range(TOP_PROTOCOLS + 5)]
    bins = Bins.empty(1000).merge(batch(*((0, name, 1, 1000 - k) for k, name in enumerate(names))))
    found = shares(bins, ALL)
    assert [s.name for s in found] == [*names[:TOP_PROTOCOLS], "other"]
    assert found[-1].members == 5


def test_one_protocol_too_many_keeps_its_name() -> None:
    bins = Bins.empty(1000).merge(batch(*((0, f"P{k}", 1, 10) for k in range(TOP_PROTOCOLS + 1))))
    assert "other" not in [s.name for s in shares(bins, ALL)]


def test_a_live_window_ends_with_the_last_whole_bar() -> None:
    span = plan("1 min", 0, 1_000 * S + 300_000_000, growing=True)
    assert (span.start_ms, span.end_ms) == (940_000, 1_000_000)
    assert plan("1 min", 0, 1_000 * S + 300_000_000, growing=False).end_ms == 1_000_500


def test_a_young_capture_fills_its_window() -> None:
    span = plan("1 min", 100 * S, 115 * S, growing=True)
    assert (span.start_ms, span.end_ms) == (100_000, 115_000)
    assert plan("1 min", 100 * S, 101 * S, growing=True).bars == MIN_BARS


@given(
    st.sampled_from([*WINDOWS, "all"]),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.booleans(),
)
def test_no_capture_makes_too_many_bars(window: str, first: int, length: int, growing: bool) -> None:
    span = plan(window, first, min(first + length, 2**63 - 1), growing=growing)
    assert 1 <= span.bars <= MAX_BARS
    assert span.first % span.step == 0
    assert span.end % span.step == 0


def test_the_whole_of_a_file_is_within_its_span() -> None:
    first, last = 1_234_567_890_123_456_789, 1_234_569_890_123_456_789
    span = plan("all", first, last, growing=False)
    assert span.start_ms <= first // 10**6
    assert span.end_ms > last // 10**6


@pytest.mark.parametrize(
    ("value", "ceiling"), [(0, 1), (0.2, 0.2), (1, 1), (1.2, 1.5), (7, 8), (9, 10), (12_300, 15_000)]
)
def test_axes_end_at_round_numbers(value: float, ceiling: float) -> None:
    assert nice_ceiling(value) == pytest.approx(ceiling)


def test_rows_of_another_resolution_are_not_drawn() -> None:
    bins = Bins.empty(100).merge(batch((1, "TCP", 5, 500)))
    assert np.count_nonzero(stack(bins, ALL)[0]) == 0
