"""docs/schema.md says what the code says."""

import re

from aishark_panel.export.on_demand import ON_DEMAND
from aishark_panel.wire.layers import FLAG_NAMES
from aishark_panel.wire.other_names import OTHER_NAMES
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.schema import COLUMNS
from aishark_panel.wire.schema_docs import render


def test_every_column_people_see_is_described_and_no_internal_one() -> None:
    page = render()
    for name in {*ARROW_NAMES, *ON_DEMAND, *(column.name for column in COLUMNS)}:
        assert page.count(f"\n| `{name}` |") >= (2 if name in (*ARROW_NAMES, *ON_DEMAND) else 0)
        assert (f"\n| `{name}` |" in page) is (name in (*ARROW_NAMES, *ON_DEMAND))


def test_every_name_elsewhere_is_listed_beside_its_column() -> None:
    section = render().split("## Names elsewhere")[1].split("## ")[0]
    lines = {line.split("`")[1]: line for line in section.splitlines() if line.startswith("| `")}
    for column in COLUMNS:
        names = (*column.wireshark, *column.zeek, *column.ecs, *column.suricata)
        assert [name for name in names if f"`{name}`" not in lines[column.name]] == []


def test_names_elsewhere_are_of_columns_there_are() -> None:
    assert set(OTHER_NAMES) <= {*ARROW_NAMES, *ON_DEMAND}


def test_no_condition_is_a_name_of_the_code() -> None:
    to_be_typed = {name for names in FLAG_NAMES.values() for name in names}
    assert set(re.findall(r"\b[A-Z]+_[A-Z0-9_]+\b", render())) <= to_be_typed
