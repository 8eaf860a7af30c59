"""Percentiles: those of the values, to 1 %, for each key and whatever buckets are looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.alerts import distributions
from aishark_panel.alerts.distributions import Distributions

ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.one_of(st.integers(0, 300), st.integers(0, 2**40))), max_size=80
)
"""slot, position, value"""


def add(spread: Distributions, rows: list[tuple[int, int, int]]) -> None:
    slots, positions, values = np.array(rows, np.int64).reshape(-1, 3).T
    spread.add(slots.astype(np.int32), positions.astype(np.int8), values.astype(np.float64))


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, forgotten=st.lists(st.integers(0, 3), max_size=2), more=ROWS)
def test_percentiles_are_those_of_the_values(
    rows: list[tuple[int, int, int]], forgotten: list[int], more: list[tuple[int, int, int]]
) -> None:
    spread = Distributions(4)
    add(spread, rows)
    for position in forgotten:
        spread.forget(position, np.arange(6, dtype=np.int32))
    add(spread, more)
    left = [row for row in rows if row[1] not in forgotten] + more
    found = spread.percentiles((0.5, 0.95), np.array([0, 1, 2]), 6)
    for slot in range(6):
        values = [value for key, position, value in left if key == slot and position <= 2]
        if not values:
            assert np.isnan(found[slot]).all()
            continue
        exact = np.percentile(values, [50, 95], method="inverted_cdf")
        assert found[slot] == pytest.approx(exact, rel=0.01)
        assert all(f == e for f, e in zip(found[slot], exact, strict=True) if e < 128)


def test_nulls_and_other_keys_are_not_counted() -> None:
    spread = Distributions(4)
    spread.add(np.array([0, 0, -1], np.int32), np.zeros(3, np.int8), np.array([np.nan, 7.0, 100.0]))
    assert spread.percentiles((0.5,), np.array([0]), 1).tolist() == [[7.0]]


def test_bins_beyond_the_limit_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributions, "MAX_BINS", 600)
    spread = Distributions(4)
    add(spread, [(slot, 0, value) for slot in range(10) for value in range(100)])
    assert spread.missed == 400
    assert spread.percentiles((0.5,), np.array([0]), 1).tolist() == [[49.0]]
