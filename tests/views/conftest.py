"""Fixtures of the view tests: a hub in memory and a feed over it."""

from typing import Any

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


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was sent to the browser."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr("aishark_panel.views.base.Element.send", lambda self, message: sent.append(message))
    return sent
