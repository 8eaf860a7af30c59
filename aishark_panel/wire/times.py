"""Moments as text, to the nanosecond: as expressions take them, and as people write them."""

from datetime import UTC, datetime
from typing import Final

__all__ = ["instant", "nanoseconds", "within"]

_SECOND_NS: Final = 10**9
_DIGITS: Final = 9


def instant(ns: int) -> str:
    """A moment, ns since 1970, as expressions take it: 2026-11-26T18:00:05.000000000Z."""
    seconds, rest = divmod(ns, _SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def within(start_ns: int, end_ns: int, where: str = "") -> str:
    """An expression that selects packets of [start, end), ns since 1970, of those that another one selects."""
    time = f"ts >= '{instant(start_ns)}' and ts < '{instant(end_ns)}'"
    return f"({where}) and {time}" if where else time


def nanoseconds(text: str) -> int:
    """Since 1970, of a moment in ISO 8601: 2026-11-26, "2026-11-26 18:00", with up to nine digits behind the seconds;
    in UTC unless it says otherwise. Raises ValueError.
    """
    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if dot and not 0 < len(digits) <= _DIGITS:
        raise ValueError(f"{text!r} has no fraction of a second behind its point")
    moment = datetime.fromisoformat(whole + rest[len(digits) :])
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * _SECOND_NS + int(digits.ljust(_DIGITS, "0"))
