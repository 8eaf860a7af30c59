"""Moments as text and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.wire.times import instant, nanoseconds


@given(st.integers(0, 2**63 - 1))
def test_a_moment_comes_back(ns: int) -> None:
    assert nanoseconds(instant(ns)) == ns


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01 01:00", 3_600),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 00:00:00.5", 0.5),
        ("1970-01-01T01:00:00.25+01:00", 0.25),
        ("1970-01-01T00:00:01Z", 1),
    ],
)
def test_what_people_write(text: str, seconds: float) -> None:
    assert nanoseconds(text) == seconds * 10**9


@pytest.mark.parametrize("text", ["", "noon", "1970-01-01 00:00:00.", "1970-01-01 00:00:00.1234567890", "1970-13-01"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (the words are datetime's)
        nanoseconds(text)
