"""docs/reference/python.md: what `import aishark_panel as ais` offers, from signatures and docstrings."""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from functools import cached_property
from types import FunctionType
from typing import Final

import aishark_panel
from aishark_panel.notebook import alerts, archive, capture, live, magic, session, table
from aishark_panel.reference.markdown import texts_below

__all__ = ["render"]

_HEAD: Final = """\
# Python

<!-- Made from the docstrings of aishark_panel/notebook by `make docs`; edit these instead. -->

```python
import aishark_panel as ais
```

Calls block until their answer is there. Errors are those of `aishark_panel.errors`: each says what is wrong, where, and
what to do next.
"""
_LINE: Final = 88
_CLASSES: Final = (
    session.Hub,
    session.Session,
    capture.Capture,
    table.Table,
    aishark_panel.PacketStream,
    live.Live,
    alerts.WatchedRule,
    alerts.TriedRules,
    archive.PacketArchive,
)
"""what these functions return, and what that returns"""


def render() -> str:
    """The page."""
    functions = [getattr(aishark_panel, name) for name in aishark_panel.__all__]
    return "\n".join(
        [
            _HEAD,
            "## Functions\n",
            *(text for each in functions if isinstance(each, FunctionType) for text in _function(each, "ais")),
            *(text for each in _CLASSES for text in _class(each)),
            "## In a cell: `%%capture_packets`\n",
            f"`%load_ext aishark_panel` makes it known, `%%capture_packets?` says its options.\n\n{_magic()}\n",
        ]
    )


def _magic() -> str:
    """The docstring as it was written; IPython puts options before it, in words that differ with Python's version."""
    functions = [each for each in ast.walk(_tree(magic.PacketMagics)) if isinstance(each, ast.FunctionDef)]
    (about,) = (ast.get_docstring(each) for each in functions if each.name == "capture_packets")
    return str(about)


def _tree(thing: type | FunctionType) -> ast.stmt:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    return tree


def _function(function: FunctionType, owner: str) -> Iterator[str]:
    """A function of a class or, called `ais`, of the package."""
    tree = _tree(function)
    assert isinstance(tree, ast.FunctionDef)
    arguments = list(_arguments(function, tree))
    end = f") -> {_type(tree.returns)}: ..."
    line = f"def {tree.name}({', '.join(arguments)}{end}"
    if len(line) > _LINE:
        line = f"def {tree.name}(\n" + "".join(f"    {each},\n" for each in arguments) + end
    yield f"### `{owner}.{tree.name}()`\n\n```python\n{line}\n```\n\n{inspect.getdoc(function)}\n"


def _arguments(function: FunctionType, tree: ast.FunctionDef) -> Iterator[str]:
    annotations = {each.arg: each.annotation for each in ast.walk(tree.args) if isinstance(each, ast.arg)}
    starred = False
    for name, each in inspect.signature(function).parameters.items():
        if each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        if name != "self":
            default = "" if each.default is each.empty else f" = {_literal(each.default)}"
            yield f"{'**' if each.kind is each.VAR_KEYWORD else ''}{name}: {_type(annotations[name])}{default}"


def _literal(value: object) -> str:
    """A default as the project's formatter writes it."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _type(annotation: ast.expr | None) -> str:
    """As it is written, without the quotes around names that come later."""
    return ast.unparse(annotation).replace("'", "") if annotation else "None"


def _class(kind: type) -> Iterator[str]:
    tree = _tree(kind)
    assert isinstance(tree, ast.ClassDef)
    offered = f"ais.{tree.name}" if tree.name in aishark_panel.__all__ else tree.name
    yield f"## `{offered}`\n\n{ast.get_docstring(tree)}\n"
    yield from (f"All of {base.__name__}, and:\n" for base in kind.__bases__ if base in _CLASSES)
    for name, text in _attributes(tree):
        yield f"### `{tree.name}.{name}`\n\n{_sentence(text)}\n"
    for name, each in vars(kind).items():
        if name.startswith("_") or not inspect.getdoc(each):
            continue
        if isinstance(each, FunctionType):
            yield from _function(each, tree.name)
        elif isinstance(each, property | cached_property):
            yield f"### `{tree.name}.{name}`\n\n{inspect.getdoc(each)}\n"


def _attributes(tree: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Attributes that `__init__` sets, with the text below each."""
    for each in tree.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            yield from ((name, text) for name, text in texts_below(each.body).items() if not name.startswith("_"))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
