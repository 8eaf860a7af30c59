"""Windows: bounded in keys and values, and nothing is kept of a bucket that was forgotten."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.alerts.windows import BUCKETS, Selected, Windows

ROWS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4), st.integers(0, 9)), max_size=60)
"""key, position, value"""


def add(windows: Windows, rows: list[tuple[int, int, int]]) -> None:
    keys, positions, values = np.array(rows, np.int64).reshape(-1, 3).T
    words: npt.NDArray[np.uint64] = np.stack([np.ones_like(values), values], axis=1).astype(np.uint64)
    numbers = values.astype(np.float64)[:, np.newaxis]
    packets = Selected(
        chosen=np.arange(len(rows)),
        times=100 * positions,
        marks=np.zeros(len(rows), np.int64),
        lengths=values.astype(np.uint32),
        keys=keys.astype(np.uint64)[:, np.newaxis],
        added=numbers / 2,
        topped=numbers,
        values=[words],
        spread=[],
    )
    if rows:
        assert windows.add(packets, 0) == len(rows)


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, forgotten=st.lists(st.integers(0, 4), max_size=3), more=ROWS)
def test_totals_are_those_of_the_rows_that_are_left(
    rows: list[tuple[int, int, int]], forgotten: list[int], more: list[tuple[int, int, int]]
) -> None:
    windows = Windows(100, 1, 1, 1, 1)
    add(windows, rows)
    for position in forgotten:
        windows.forget(position)
    add(windows, more)
    left = [row for row in rows if row[1] not in forgotten] + more
    assert set(windows.keys()[:, 0].tolist()) == {key for key, _, _ in left}
    totals = windows.totals(np.array([0, 1, 2]))
    for slot, (key,) in enumerate(windows.keys().tolist()):
        values = [value for k, position, value in left if k == key and position <= 2]
        assert totals.sums[slot].tolist() == [len(values), sum(values), sum(values) / 2]
        assert totals.maxima[slot, 0] == max(values, default=-np.inf)
        assert totals.distinct[slot, 0] == len(set(values))


def test_keys_beyond_the_limit_are_missed_until_others_are_gone() -> None:
    windows = Windows(100, 1, 1, 1, 1, max_keys=3)
    add(windows, [(key, 0, 0) for key in (5, 6, 7, 8, 5, 9)])
    assert (windows.keys()[:, 0].tolist(), windows.missed_keys) == ([5, 6, 7], 2)
    windows.forget(0)
    add(windows, [(8, 1, 0)])
    assert windows.keys()[:, 0].tolist() == [8]


def test_values_beyond_the_limit_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.alerts.windows.MAX_VALUES", 600)
    windows = Windows(100, 1, 1, 1, 1)
    add(windows, [(1, 0, value) for value in range(1_000)] + [(1, 1, 5)])
    assert windows.totals(np.arange(BUCKETS))[2].tolist() == [[600]]
    assert windows.totals(np.array([1])).distinct.tolist() == [[1]]
    assert windows.missed_values == 400


def test_a_null_is_no_value() -> None:
    windows = Windows(100, 0, 0, 0, 1)
    words = np.array([[1, 7], [0, 7], [0, 8]], np.uint64)
    nothing, zeros = np.empty((3, 0)), np.zeros(3, np.int64)
    no_key = nothing.astype(np.uint64)
    windows.add(Selected(np.arange(3), zeros, zeros, np.ones(3, np.uint32), no_key, nothing, nothing, [words], []), 0)
    totals = windows.totals(np.array([0]))
    assert (totals.sums.tolist(), totals.distinct.tolist()) == ([[3, 3]], [[1]])
