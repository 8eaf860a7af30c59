"""Seeking: where in the list of what an expression selects the next packet of another one stands.

No row is fetched for it: match sets know by their bitmaps which packets they hold, and look only as far as the answer
is (streams/matches.py).
"""

from collections.abc import Callable
from typing import NamedTuple

from aishark_panel.streams.matches import MatchRange, MatchSet
from aishark_panel.streams.session import Session

__all__ = ["Found", "seek"]

_SCAN_ROWS = 1_000_000
"""Rows between two looks whether the answer is known; some ms."""


class Found(NamedTuple):
    """A packet of the list."""

    number: int
    """0 if there is none"""
    row: int
    """its rank in the list, or its number in the list of all packets"""
    wrapped: bool
    """whether the end of the list was passed to find it"""


_NOTHING = Found(0, 0, False)


def seek(session: Session, number: int, where: str, only: str, *, back: bool) -> Found:
    """The first packet from `number` on, or with `back` the last one up to it, that both `where` (the list) and `only`
    select; if there is none, the search goes on from the other end. ExpressionError if one does not parse."""
    both = f"({where}) and ({only})" if where and only else where or only
    if not both:
        return _any(session, number, back=back)
    candidates = session.matches.get(both)

    def rank() -> int:
        return candidates.rank(number + 1) - 1 if back else candidates.rank(number)

    known = _look(session, candidates, lambda at: at.scanned_to > number if back else rank() < at.end)
    place = rank()
    wrapped = not known.first <= place < known.end
    if wrapped:
        known = _look(session, candidates, lambda at: not back and at.first < at.end)
        place = known.end - 1 if back else known.first
    numbers = candidates.numbers(place, 1)
    if not len(numbers):  # there is none, or it was evicted a moment ago, by what another thread asked
        return _NOTHING
    found = int(numbers[0])
    if not where:
        return Found(found, found, wrapped)
    rows = session.matches.get(where)
    _look(session, rows, lambda at: at.scanned_to > found)
    return Found(found, rows.rank(found), wrapped)


def _any(session: Session, number: int, *, back: bool) -> Found:
    """Among all packets."""
    first, end = session.ring.first, session.ring.end
    if first >= end:
        return _NOTHING
    wrapped = number < first if back else number >= end
    found = (end - 1 if back else first) if wrapped else min(max(number, first), end - 1)
    return Found(found, found, wrapped)


def _look(session: Session, matches: MatchSet, enough: Callable[[MatchRange], bool]) -> MatchRange:
    """Let a match set look on until it is enough, or at all that the ring holds now."""
    end = session.ring.end
    known = matches.update(session.ring, session.interfaces, 0)
    while known.scanned_to < end and not enough(known):
        known = matches.update(session.ring, session.interfaces, _SCAN_ROWS)
    return known
