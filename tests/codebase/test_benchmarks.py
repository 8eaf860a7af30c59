"""The benchmarks' driver: each benchmark has its place on the page, where figures stand as they were found."""

import ast
import importlib
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.codebase.sources import ROOT

BENCHMARKS = ROOT / "benchmarks"
PAGE = (ROOT / "docs" / "performance.md").read_text("utf-8")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("run")


@pytest.fixture
def results(run: ModuleType) -> ModuleType:
    return importlib.import_module("results")


def options_of(script: Path) -> set[str]:
    """What its parser is told to take."""
    calls = [node for node in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    return {str(call.args[0].value) for call in added if isinstance(call.args[0], ast.Constant)}


def test_each_section_has_a_script_that_takes_its_options_and_a_place_on_the_page(run: ModuleType) -> None:
    for name, section in run.SECTIONS.items():
        taken = options_of(BENCHMARKS / f"{section.script}.py")
        words = {word for text in (section.options, section.quick) for word in shlex.split(text)}
        negated = {option.replace("--", "--no-", 1) for option in taken}
        assert {word for word in words if word.startswith("--")} <= taken | negated, name
        assert run.replaced(PAGE, name, "new") != PAGE
    assert set(re.findall(r"<!-- begin (\w+) -->", PAGE)) == {"machine", *run.SECTIONS}


def test_all_of_them_take_half_an_hour(run: ModuleType) -> None:
    assert sum(section.expected_s for section in run.SECTIONS.values()) <= 30 * 60


def test_a_table_shows_median_and_spread_counts_exactly_and_ratios(results: ModuleType) -> None:
    table = results.Table("Files", "reader", ["packets", "CPU, ns a packet"], base="ours", of="CPU, ns a packet")
    table.add("ours", 1_234_567, [230.4, 210.0, 251.26])
    table.add("theirs", 5_000, [45_900.0])
    table.add("absent", 0, [])
    assert table.markdown() == (
        "**Files**\n\n"
        "| reader | packets | CPU, ns a packet | CPU, times ours |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| ours | 1,234,567 | 230 (210 to 251) | 1.00 |\n"
        "| theirs | 5,000 | 45,900 | 199 |\n"
        "| absent | 0 |  |  |"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1_684_321.0, "1,680,000"),
        (1_684_321, "1,684,321"),
    ],
)
def test_measured_values_have_three_digits(results: ModuleType, value: float, text: str) -> None:
    assert results.number(value) == text


def test_a_result_goes_to_its_place_and_prose_stays(run: ModuleType, results: ModuleType, tmp_path: Path) -> None:
    table = results.Table("A title", "", ["packets"])
    table.add(r"a \1 name", 7)
    began = datetime(2026, 1, 2, tzinfo=UTC)
    found = run.Outcome("--packets 7", began, 3.2, 0.1, results.Result("dissect", [table], ["a note"]))
    text = run.section_text("dissect", found)
    assert text.startswith("`python benchmarks/dissect.py --packets 7`, 2026-01-02, 3 s, load before it 0.1.")
    assert text.endswith("| a \\1 name | 7 |\n\n- a note")
    page = run.replaced("before <!-- begin dissect -->old<!-- end dissect --> after", "dissect", text)
    assert page == f"before <!-- begin dissect -->\n\n{text}\n\n<!-- end dissect --> after"
    assert run.replaced(page, "dissect", text) == page
    with pytest.raises(ValueError, match="begin wire"):
        run.replaced(page, "wire", text)


def test_a_script_that_fails_says_why_in_its_place(run: ModuleType) -> None:
    outcome = run.measured("results", "", 60.0, "")  # a module that measures nothing
    assert outcome.result is None
    assert run.section_text("results", outcome).endswith("**no figures**, it ended with 0: .")
    outcome = run.measured("there_is_none", "", 60.0, "")
    assert "No such file or directory" in run.section_text("there_is_none", outcome)


def test_figures_come_with_their_pictures(run: ModuleType, results: ModuleType) -> None:
    table = results.Table("Files: mixed", "to", ["million packets/s"])
    table.add("columns", [4.0, 4.2, 4.4])
    table.add("theirs", 0.02)
    (picture,) = run.pictures(results.Result("dissect", [table]))
    ElementTree.fromstring(picture.svg)
    assert "4.20 million" in picture.svg
    assert "prefers-color-scheme:dark" in picture.svg
    outcome = run.Outcome("", datetime(2026, 1, 2, tzinfo=UTC), 1.0, 0.0, results.Result("dissect", [table]))
    assert f"![{picture.title}](images/throughput.svg)" in run.section_text("dissect", outcome)


def test_pictures_ask_for_tables_that_there_are(run: ModuleType) -> None:
    assert {run.LIVE_PAGE, run.SHOWN_P50, run.SHOWN_P95} <= texts_of(BENCHMARKS / "dashboard.py")
    assert {"mixed", "million packets/s"} <= texts_of(BENCHMARKS / "dissect.py")


def texts_of(script: Path) -> set[str]:
    constants = (node for node in ast.walk(ast.parse(script.read_text("utf-8"))) if isinstance(node, ast.Constant))
    return {constant.value for constant in constants if isinstance(constant.value, str)}
