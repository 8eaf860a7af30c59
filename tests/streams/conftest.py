"""What several tests of journals want."""

import pytest


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of some 20 kB: two batches."""
    for module in ("journal", "sessionjournal"):
        monkeypatch.setattr(f"aishark_panel.streams.{module}.SEGMENT_BYTES", 20_000)
