"""What docs/expressions.md says is so: its examples compile, and it names every function."""

import re
from pathlib import Path

import pytest

from aishark_panel.query import compile_expression
from aishark_panel.query.parser import FUNCTIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "expressions.md").read_text()
BLOCK = PAGE.split("```")[1].strip().splitlines()
IN_TEXT = [
    piece for piece in re.findall(r"`([^`\n]+)`", PAGE) if re.search(r"[a-z_]+ (==|!=|contains|&|in|not) \S", piece)
]


@pytest.mark.parametrize(
    "text", [*BLOCK, *(t for t in IN_TEXT if ".." not in t.replace("80, 8000..8100", "") and "x'" not in t)]
)
def test_an_example_compiles(text: str) -> None:
    compile_expression(text)


def test_every_function_is_named() -> None:
    assert [name for name in FUNCTIONS if f"{name}(" not in PAGE] == []
