"""Help for somebody who types an expression: values of the session that may stand there, and the answer to the browser.

What may stand where is `completion`'s and `rule_completion`'s to say; this here asks the hub for values.
"""

import asyncio
import contextlib
from dataclasses import asdict
from typing import Any, Final

from aishark_panel.errors import AisharkError
from aishark_panel.views.completion import MAX_CHOICES, Place, with_values
from aishark_panel.views.feed import Feed

__all__ = ["is_unfinished", "typing_answer", "with_values_of"]

_MAX_VALUES: Final = MAX_CHOICES // 2
_VALUES_S: Final = 1.0
"""How long a list waits for the session's values; a hub that is busy must not hold up the names."""


async def with_values_of(feed: Feed, place: Place) -> Place:
    """The place with the values of its columns that the session has."""
    if place.columns and feed.session:
        with contextlib.suppress(AisharkError, TimeoutError):  # the names and operators are there without the hub
            asked = feed.client.values(feed.reach, place.columns, place.where, place.typed, limit=_MAX_VALUES)
            return with_values(place, await asyncio.wait_for(asked, _VALUES_S))
    return place


def is_unfinished(fault: dict[str, Any], place: Place) -> bool:
    """Whether a fault is only that somebody has not typed on yet: at their place, or behind it."""
    return fault["position"] is None or bool(fault["position"] >= place.start)


def typing_answer(place: Place, fault: dict[str, Any] | None) -> dict[str, Any]:
    """What completion.js shows: the place's choices, and what is wrong with the text, if it is not just unfinished."""
    return {
        "start": place.start,
        "end": place.end,
        "typed": place.typed,
        "choices": [asdict(choice) for choice in place.choices],
        "fault": fault if fault and not is_unfinished(fault, place) else None,
        "right": fault is None,
    }
