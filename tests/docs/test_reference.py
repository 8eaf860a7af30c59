"""The pages that are made from the code say what the code says."""

from collections.abc import Callable

import pytest

from aishark_panel.alerts.channels import CHANNEL_KEYS
from aishark_panel.alerts.rule import KEYS
from aishark_panel.reference import PAGES
from tests.codebase.sources import ROOT


@pytest.mark.parametrize(("name", "render"), PAGES.items(), ids=PAGES)
def test_a_page_is_up_to_date(name: str, render: Callable[[], str]) -> None:
    assert (ROOT / "docs" / name).read_text("utf-8") == render(), "run `make docs`"


@pytest.mark.parametrize("key", [*KEYS, *CHANNEL_KEYS])
def test_every_key_of_rules_and_channels_has_a_line(key: str) -> None:
    page = (ROOT / "docs" / "rules.md").read_text("utf-8")
    assert f"\n| `{key}` |" in page
