"""What several tests want: an empty session and a run that feeds it, and small segments of journals."""

import pytest

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from tests.traffic import hello


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of some 20 kB: two batches."""
    for module in ("journal", "sessionjournal"):
        monkeypatch.setattr(f"aishark_panel.streams.{module}.SEGMENT_BYTES", 20_000)


@pytest.fixture
def session() -> Session:
    """An empty one, with the smallest ring."""
    return Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)


@pytest.fixture
def run(session: Session) -> AgentRun:
    """An agent's run that feeds it."""
    return session.runs.attach(hello())
