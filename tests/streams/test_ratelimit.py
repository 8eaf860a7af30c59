"""Token buckets, with a time that the test chooses."""

import pytest

from aishark_panel.streams import ratelimit
from aishark_panel.streams.ratelimit import RateLimit


def test_a_burst_passes_and_then_the_rate() -> None:
    limit = RateLimit(per_s=8, burst=5)
    assert [limit.wait_s("a", 100.0) for _ in range(5)] == [0.0] * 5
    assert limit.wait_s("a", 100.0) == 0.125
    assert limit.wait_s("a", 100.0625) == 0.0625
    assert limit.wait_s("a", 100.125) == 0.0
    passed = sum(limit.wait_s("a", 101.0 + i / 1_024) == 0.0 for i in range(10 * 1_024))
    assert passed == 5 + 79


def test_keys_do_not_share() -> None:
    limit = RateLimit(per_s=1, burst=1)
    assert limit.wait_s("a", 0.0) == 0.0
    assert limit.wait_s("a", 0.0) > 0
    assert limit.wait_s("b", 0.0) == 0.0


def test_the_key_silent_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "MAX_KEYS", 2)
    limit = RateLimit(per_s=1e-9, burst=1)
    for key in ("a", "b", "a", "c"):
        limit.wait_s(key, 0.0)
    assert limit.wait_s("a", 0.0) > 0
    assert limit.wait_s("b", 0.0) == 0.0
