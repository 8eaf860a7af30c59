"""Rate limits: a token bucket for each key, so that one key's haste costs nobody else anything.

A bucket holds up to `burst` requests and fills at `per_s`. Time is an argument, in seconds of any steady clock.
"""

from typing import Final

__all__ = ["RateLimit"]

MAX_KEYS: Final = 10_000
"""Most keys that are remembered; the one silent longest is forgotten first, when its bucket has long been full."""


class RateLimit:
    """At most `burst` requests of one key at once, and `per_s` of them a second from then on."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}
        """what is left, and when that was; the key used last comes last"""

    def wait_s(self, key: str, now_s: float) -> float:
        """Take one request of `key`: 0 if it may pass, else the seconds after which it may (then none is taken)."""
        left, then_s = self._buckets.pop(key, (self._burst, now_s))
        left = min(self._burst, left + (now_s - then_s) * self._per_s)
        allowed = left >= 1
        self._buckets[key] = (left - 1 if allowed else left, now_s)
        if len(self._buckets) > MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if allowed else (1 - left) / self._per_s
