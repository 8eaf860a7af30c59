"""Places: how many of something may be in use at once, in all and by one person."""

from collections import Counter
from typing import Final

from aishark_panel.errors import TooManyRequestsError
from aishark_panel.streams.people import OWNER

__all__ = ["MAX_SUBSCRIBERS_EACH", "Places", "places_for_sockets"]

MAX_SOCKETS: Final = 1_000
"""Of agents; of clients; of subscribers: at once."""
MAX_AGENTS_EACH: Final = 100
MAX_CLIENTS_EACH: Final = 100
MAX_SUBSCRIBERS_EACH: Final = 50


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


def places_for_sockets() -> dict[str, Places]:
    """Those for WebSockets of each kind."""
    return {
        "agent": Places("agents", total=MAX_SOCKETS, each=MAX_AGENTS_EACH),
        "client": Places("clients", total=MAX_SOCKETS, each=MAX_CLIENTS_EACH),
        "subscriber": Places("subscribers", total=MAX_SOCKETS, each=MAX_SUBSCRIBERS_EACH),
    }
