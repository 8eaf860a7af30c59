"""docs/rest.md says what the code says."""

from aishark_panel.streams.rest_docs import render
from tests.codebase.sources import ROOT


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "rest.md").read_text("utf-8") == render(), "run `make docs`"
