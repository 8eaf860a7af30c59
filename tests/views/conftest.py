"""Fixtures of the view tests: a hub in memory and a feed over it."""

import pytest

from aishark_panel.views.feed import Feed
from tests.views.hub import MemoryHub


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def feed(hub: MemoryHub) -> Feed:
    """A feed whose clock stands still."""
    return Feed(hub, clock=lambda: 0.0)  # type: ignore[arg-type]
