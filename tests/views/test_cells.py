"""What stands in a cell can be asked for: its condition selects the packet it was taken from."""

import pytest

from aishark_panel.errors import NotFoundError
from aishark_panel.views.cells import EITHER, PROBLEMS, choices, condition, needed, row_columns
from aishark_panel.wire.layers import TcpProblem
from tests.views.hub import MemoryHub, wait


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_condition_of_every_cell_selects_its_packet(hub: MemoryHub, number: int) -> None:
    hub.add(["tcp", "dns", "arp", "tcp"])
    names = [choice["name"] for choice in choices()]
    found = 0
    for name in names:
        batch, _ = wait(hub.rows("5e55", number, 1, "", needed([name])))
        try:
            where = condition(name, batch)
        except NotFoundError:
            columns = [c for c in EITHER.get(name, (name,)) if c != "info"]
            assert all(batch.column(c)[0].as_py() is None for c in columns)
            continue
        selected, _ = wait(hub.rows("5e55", 0, 10, where, ["number"]))
        assert number in selected.column("number").to_pylist(), where
        found += 1
    assert found >= 15


def test_marked_rows_are_those_that_the_next_problem_stops_at(hub: MemoryHub) -> None:
    hub.add(["tcp", "tcp", "dns", "reset", "tcp"])
    batch, _ = wait(hub.rows("5e55", 1, 10, "", needed(["info"])))
    rows = row_columns(batch, ["info"])
    assert rows["grade"] == ["", "bad", "", "odd", "bad"]
    assert [words.split(", ")[-1] for words in rows["problem"]] == [
        "",
        "retransmission",
        "",
        "connection reset",
        "retransmission",
    ]
    stops, _ = wait(hub.rows("5e55", 0, 10, PROBLEMS, ["number"]))
    assert stops.column("number").to_pylist() == [2, 4, 5]


def test_no_rows_are_no_columns(hub: MemoryHub) -> None:
    batch, _ = wait(hub.rows("5e55", 1, 10, "", needed(["info", "source"])))
    assert row_columns(batch, ["info", "source"]) == {}


def test_every_kind_of_problem_has_words_for_people() -> None:
    from aishark_panel.views.cells import _mark

    for problem in TcpProblem:
        words, grade = _mark(int(problem), False, malformed=False)
        assert words == str(problem.name).lower().replace("_", " ")
        assert grade in ("bad", "odd")
    assert _mark(int(TcpProblem.KEEP_ALIVE), False, malformed=True)[1] == "bad"
