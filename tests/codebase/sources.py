"""The project's own files as the tests of this folder see them: source text and syntax trees, nothing imported."""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

__all__ = ["MODULES", "ROOT", "Module", "of_each"]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """One Python module of the package."""

    path: Path

    @property
    def name(self) -> str:
        """Dotted name, as imported."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def is_empty_package(self) -> bool:
        return self.path.name == "__init__.py" and not self.text.strip()

    @property
    def exports(self) -> list[str] | None:
        """The names in `__all__`; None where the module has none."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                    return list(ast.literal_eval(node.value))
        return None

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of every import, wherever it stands; `from a import b` gives a.b."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


MODULES = [Module(path) for path in sorted((ROOT / "aishark_panel").rglob("*.py"))]


def of_each(items: Sequence[T], name: Callable[[T], str]) -> Callable[[Callable[[T], None]], Callable[[], None]]:
    """A check of one item as one test of all: thousands of tests that take no time would take minutes to be counted."""

    def as_test(check: Callable[[T], None]) -> Callable[[], None]:
        def test() -> None:
            failed = []
            for item in items:
                try:
                    check(item)
                except AssertionError as error:
                    failed.append(f"{name(item)}: {error}")
            assert not failed, "\n".join(failed)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return as_test
