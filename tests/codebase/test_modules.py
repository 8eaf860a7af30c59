"""Every module can be read in one sitting: it says its duty, lists its public names, and stays short."""

import ast
import re
from pathlib import Path

from tests.codebase.sources import MODULES, ROOT, Module, of_each

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 80
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "misc"}
NOTE_TO_SELF = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")

each_module = of_each(MODULES, lambda module: module.name)
each_source = of_each(
    [path for folder in ("aishark_panel", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))],
    lambda path: str(path.relative_to(ROOT)),
)


def functions(module: Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@each_module
def test_a_module_opens_with_its_duty(module: Module) -> None:
    assert module.is_empty_package or ast.get_docstring(module.tree)


@each_module
def test_a_module_lists_its_public_names(module: Module) -> None:
    assert module.path.name.startswith("__") or module.exports is not None


@each_module
def test_a_module_is_short(module: Module) -> None:
    assert len(module.text.splitlines()) <= MAX_MODULE_LINES


@each_module
def test_functions_are_short(module: Module) -> None:
    lengths = {f"{f.name} (line {f.lineno})": (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions(module)}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@each_source
def test_a_module_is_named_for_its_duty(path: Path) -> None:
    assert path.stem not in EMPTY_NAMES


@each_source
def test_a_module_leaves_no_notes_to_self(path: Path) -> None:
    notes = [line for line in path.read_text("utf-8").splitlines() if NOTE_TO_SELF.search(line)]
    assert notes == []
