"""docs/schema.md says what the code says."""

from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.schema import COLUMNS
from aishark_panel.wire.schema_docs import render
from tests.codebase.sources import ROOT


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "schema.md").read_text("utf-8") == render(), "run `make docs`"


def test_every_column_people_see_is_described_and_no_internal_one() -> None:
    page = render()
    for name in {*ARROW_NAMES, *(column.name for column in COLUMNS)}:
        assert (f"\n| `{name}` |" in page) is (name in ARROW_NAMES)


def test_every_wireshark_name_is_listed() -> None:
    page = render()
    assert [name for column in COLUMNS for name in column.wireshark if f"`{name}`" not in page] == []
