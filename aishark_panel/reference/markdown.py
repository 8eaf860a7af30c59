"""What the pages are written with: tables, and the texts that stand below the fields of a class."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

__all__ = ["code", "field_texts", "table", "texts_below"]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, ending in a newline. What would end a cell is escaped, within code too, as Markdown's tables want it."""
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|\n" for line in lines)


def code(text: object) -> str:
    """A text as code; '' stays ''."""
    return f"`{text}`" if str(text) else ""


def field_texts(kind: type) -> dict[str, str]:
    """What the text below each field of a class says of it, by the field's name."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    return texts_below(tree.body)


def texts_below(body: Sequence[ast.stmt]) -> dict[str, str]:
    """The same of the statements of a class or function, which may assign to attributes."""
    return dict(_pairs(body))


def _pairs(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for assigned, below in pairwise(body):
        if isinstance(assigned, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
            target = assigned.targets[0] if isinstance(assigned, ast.Assign) else assigned.target
            if isinstance(below.value, ast.Constant) and isinstance(target, ast.Name | ast.Attribute):
                yield target.id if isinstance(target, ast.Name) else target.attr, str(below.value.value)
