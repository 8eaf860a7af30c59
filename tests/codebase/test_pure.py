"""wire, dissect, query and the alert engine only compute: they open nothing, wait for nothing, are told the time."""

import ast

import pytest

from tests.codebase.sources import MODULES, Module

PURE = ("wire", "dissect", "query")
PURE_ALERTS = {f"aishark_panel.alerts.{name}" for name in ("engine", "having", "keys", "rule", "windows")}
IMPURE_MODULES = {
    "asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "queue", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl",
    "subprocess", "tempfile", "threading", "time", "tornado", "urllib",
}  # fmt: skip
ALLOWED = {
    # os.urandom: a seed of its own for each process, so that nobody can prepare texts that collide in the pool.
    "aishark_panel.dissect.texts": {"os"},
    # Addresses to text and back (inet_ntop, inet_pton): computing, in spite of the module's name.
    "aishark_panel.wire.packets": {"socket"},
}
IMPURE_CALLS = {"open", "input", "print", "eval", "exec", "breakpoint"}
IMPURE_METHODS = {
    "fromfile", "tofile", "memmap", "now", "utcnow", "today", "read_text", "write_text", "read_bytes", "write_bytes",
}  # fmt: skip

each_pure_module = pytest.mark.parametrize(
    "module",
    [m for m in MODULES if (m.name.split(".")[1:2] and m.name.split(".")[1] in PURE) or m.name in PURE_ALERTS],
    ids=lambda m: m.name,
)


@each_pure_module
def test_a_pure_module_imports_nothing_that_does_io_or_reads_a_clock(module: Module) -> None:
    forbidden = IMPURE_MODULES - ALLOWED.get(module.name, set())
    assert [f"line {line}: {name}" for line, name in module.imports() if name.split(".")[0] in forbidden] == []


@each_pure_module
def test_a_pure_module_calls_nothing_that_does_io_or_reads_a_clock(module: Module) -> None:
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    assert [f"line {call.lineno}: {ast.unparse(call)}" for call in calls if is_impure(call.func)] == []


def is_impure(function: ast.expr) -> bool:
    match function:
        case ast.Name(id=name):
            return name in IMPURE_CALLS
        case ast.Attribute(attr=name):
            return name in IMPURE_METHODS
        case _:
            return False
