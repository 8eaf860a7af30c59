"""No check of the language can be lost unnoticed: each is taken out, one at a time, and the suite's own cases go red.

The cases are those of the other tests of this folder: what is refused, where, and with which words. Here each `raise`
in the source of a module becomes `pass` in a copy of it; then at least one case has to end otherwise than it should.
"""

import ast
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import arithmetic, comparisons, compiler, literals, names, parser, regexes, texts, tokens
from aishark_panel.query.predicate import compile_expression
from tests.query import (
    test_arithmetic,
    test_compiler,
    test_literals,
    test_names,
    test_parser,
    test_predicate,
    test_regexes,
    test_texts,
    test_tokens,
)

MODULES = [tokens, parser, names, literals, regexes, texts, arithmetic, comparisons, compiler]
CASES = [test_tokens, test_parser, test_names, test_literals, test_texts, test_regexes, test_arithmetic, test_compiler]


def refused() -> Iterator[Any]:
    """The first parameter of the cases; some are expressions that are refused."""
    yield from test_predicate.HOSTILE
    for module in CASES:
        for test in vars(module).values():
            for mark in getattr(test, "pytestmark", []):
                if mark.name == "parametrize":
                    for case in mark.args[1]:
                        yield case[0] if isinstance(case, tuple) else case


def outcome(text: str) -> tuple[Any, ...]:
    """How an expression ends: what is said and where; () if it is accepted."""
    try:
        compile_expression(text)
    except ExpressionError as error:
        return type(error), str(error), error.position
    except Exception as error:  # what a check would have kept away
        return (type(error),)
    return ()


Place = tuple[str, int]
"""(file, line of the `raise`)"""


@cache
def cases_by_place() -> dict[Place, list[str]]:
    """The refused texts, by the check that refuses them."""
    found: dict[Place, list[str]] = {}
    for text in refused():
        try:
            compile_expression(text) if isinstance(text, str) else None
        except ExpressionError as error:
            frames = traceback.extract_tb(error.__traceback__)
            for frame in frames:  # a raise that calls what raises stands further out
                found.setdefault((frame.filename, frame.lineno or 0), []).append(text)
    return found


def checks(module: ModuleType) -> list[ast.Raise]:
    """Each `raise` of a module."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]


def without(module: ModuleType, line: int) -> ModuleType:
    """A copy of a module in which the `raise` of this line does nothing."""

    class Removing(ast.NodeTransformer):
        def visit_Raise(self, node: ast.Raise) -> ast.stmt:
            return ast.copy_location(ast.Pass(), node) if node.lineno == line else node

    tree = Removing().visit(ast.parse(Path(str(module.__file__)).read_text()))
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    exec(compile(tree, str(module.__file__), "exec"), vars(copy))
    return copy


def put_in_place(monkeypatch: pytest.MonkeyPatch, module: ModuleType, copy: ModuleType) -> None:
    """Let everybody use the copy's functions and classes instead of the module's."""
    new = {id(value): vars(copy)[name] for name, value in vars(module).items() if hasattr(value, "__module__")}
    for other in [user for name, user in sys.modules.items() if name.startswith("aishark_panel.query")]:
        for name, value in list(vars(other).items()):
            if id(value) in new and getattr(value, "__module__", "") == module.__name__:
                monkeypatch.setattr(other, name, new[id(value)])


PLACES = [(module, check.lineno) for module in MODULES for check in checks(module)]


@pytest.mark.parametrize(("module", "line"), PLACES, ids=[f"{m.__name__.rpartition('.')[2]}-{n}" for m, n in PLACES])
def test_a_check_that_is_taken_out_is_missed(module: ModuleType, line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at_place = cases_by_place()
    cases = at_place.get((str(module.__file__), line), [])
    if not cases:  # one that is caught in its own function, which refuses with another
        cases = [case for (file, _), some in at_place.items() if file == module.__file__ for case in some]
    before = {text: outcome(text) for text in cases}
    put_in_place(monkeypatch, module, without(module, line))
    assert any(outcome(text) != before[text] for text in cases)
