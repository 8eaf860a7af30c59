"""Places: how many of something may be in use at once, in all and by one person."""

from collections import Counter

from aishark_panel.errors import TooManyRequestsError
from aishark_panel.streams.people import OWNER

__all__ = ["Places"]


class Places:
    """At most `total` of what is named, at most `each` of one person, so that there are some for others; the hub's
    owner may have all."""

    def __init__(self, what: str, *, total: int, each: int) -> None:
        self._what = what
        self._total = total
        self._each = each
        self._taken: Counter[str] = Counter()

    def take(self, person: str) -> None:
        """One more. Raises TooManyRequestsError where there is no room for it."""
        if self._taken.total() >= self._total:
            raise TooManyRequestsError(f"this hub takes {self._total} {self._what} at once, its most; try again later")
        if person != OWNER.name and self._taken[person] >= self._each:
            raise TooManyRequestsError(f"{person} has {self._each} {self._what} at once, the most of one person")
        self._taken[person] += 1

    def leave(self, person: str) -> None:
        """One less."""
        self._taken[person] -= 1
        if not self._taken[person]:
            del self._taken[person]

    @property
    def taken(self) -> int:
        """How many there are."""
        return self._taken.total()
