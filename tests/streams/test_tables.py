"""Every name that expressions about a table may use has its column; docs/expressions.md lists them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aishark_panel.dissect.conversations import Conversations
from aishark_panel.query import compile_expression
from aishark_panel.query.names import Meaning
from aishark_panel.query.tables import Table
from aishark_panel.streams.groupings import Grouped
from aishark_panel.streams.rollups import BinCounts
from aishark_panel.streams.tables import (
    BIN_NAMES,
    CONVERSATION_NAMES,
    ENDPOINT_NAMES,
    bin_table,
    conversation_table,
    endpoint_table,
)
from aishark_panel.streams.talks import ends_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "expressions.md").read_text()


def bins() -> Table:
    one = np.ones(1, np.int64)
    return bin_table(Grouped(BinCounts(one, one, one, one), ["TCP", "DNS"]))


# Made within the tests: each worker collects all of them, and making a table loads kernels.
TABLES: list[tuple[dict[str, Meaning], Callable[[], Table]]] = [
    (CONVERSATION_NAMES, lambda: conversation_table(Conversations().rows())),
    (ENDPOINT_NAMES, lambda: endpoint_table(ends_of(Conversations().rows()))),
    (BIN_NAMES, bins),
]


@pytest.mark.parametrize(("names", "made"), TABLES, ids=["conversations", "endpoints", "bins"])
def test_every_name_has_its_column_and_is_documented(names: dict[str, Meaning], made: Callable[[], Table]) -> None:
    table = made()
    documented = PAGE.split("## Other tables")[1].split("```")[0]
    for name in names:
        assert compile_expression(name, names).mask(table, 0, table.length).all()
        assert re.search(rf"\b{re.sub('_(ab|ba)$', '', name)}", documented), name


def test_examples_of_the_page_compile() -> None:
    for text in PAGE.split("## Other tables")[1].split("```")[1].strip().splitlines():
        assert compile_expression(text, CONVERSATION_NAMES).columns


def test_a_group_is_its_name() -> None:
    table = bins()
    assert compile_expression("group == 'DNS'", BIN_NAMES).mask(table, 0, 1).tolist() == [True]
    assert compile_expression("group.str.len() == 3 and group != 'TCP'", BIN_NAMES).mask(table, 0, 1).tolist() == [True]
