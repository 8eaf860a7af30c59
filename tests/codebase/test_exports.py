"""`__all__` tells the truth: every name in it exists and is documented, and nobody reaches for a private one."""

import ast
from collections.abc import Iterator

from tests.codebase.sources import MODULES, Module, of_each

each_module = of_each(MODULES, lambda module: module.name)


def top_level_names(module: Module) -> set[str]:
    """Names that importing the module binds; a package's lazy names count through its `__getattr__`."""
    return {name for statement in module.tree.body for name in bound_names(statement)}


def bound_names(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)


@each_module
def test_every_exported_name_exists(module: Module) -> None:
    names = top_level_names(module)
    assert [name for name in module.exports or [] if name not in names and "__getattr__" not in names] == []


@each_module
def test_every_exported_function_and_class_is_documented(module: Module) -> None:
    documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    names = module.exports or []
    exported = [node for node in module.tree.body if isinstance(node, documented) and node.name in names]
    assert [node.name for node in exported if not ast.get_docstring(node)] == []


@each_module
def test_no_module_imports_a_private_name_of_another(module: Module) -> None:
    ours = ((line, name) for line, name in module.imports() if name.startswith("aishark_panel."))
    private = [f"line {line}: {name}" for line, name in ours if is_private(name)]
    assert private == []


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
