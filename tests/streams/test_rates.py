"""Rates are made from totals."""

import pytest

from aishark_panel.streams.rates import Rates


def test_rates_are_those_of_the_last_two_seconds() -> None:
    rates = Rates()
    assert (rates.per_second, rates.marked_s) == ((0.0, 0.0), None)
    for second in range(5):
        rates.mark(float(second), 10 * second, second)
    rates.mark(5.0, 150, 55)
    assert rates.per_second == pytest.approx((60.0, 208.0))
    assert rates.marked_s == 5.0
