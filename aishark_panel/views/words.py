"""Sentences that several views say."""

from aishark_panel.views.feed import Feed

__all__ = ["why_nothing"]


def why_nothing(feed: Feed, what: str) -> str:
    """Why there is no `what` ('conversation') to see, and what to do next."""
    if feed.problem or not feed.stats.get("packets"):
        return feed.problem or str(feed.stats.get("reason") or f"No {what} has been seen yet.")
    if feed.range:
        return f"There is no {what} in the time that was chosen. A double click on the timeline shows all of it."
    if feed.where:
        return f"No {what} matches the display filter. Escape in its box clears it."
    return f"No {what} has been seen yet."
