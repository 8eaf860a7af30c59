"""docs/reference/names.md: every name that an expression knows, as completion offers them."""

from collections.abc import Iterable
from typing import Final

from aishark_panel.query.names import Word, vocabulary
from aishark_panel.query.parser import FUNCTIONS
from aishark_panel.query.tokens import SPELLINGS
from aishark_panel.reference.markdown import code, table
from aishark_panel.wire.packets import ARROW_NAMES

__all__ = ["render"]

_HEAD: Final = """\
# Names in expressions

<!-- Made from aishark_panel/query by `make docs`. -->

[Expressions](../expressions.md) explains the language; these are the words it knows.

"""


def render() -> str:
    """The page."""
    words = vocabulary()
    fields = [word for word in words if word.kind not in ("function", "protocol name")]
    columns = [word for word in fields if word.name in ARROW_NAMES]
    others = sorted((word for word in fields if word.name not in ARROW_NAMES), key=lambda word: word.name)
    protocols = sorted((word for word in words if word.kind == "protocol name"), key=lambda word: word.name)
    parts = [
        ("Functions", table(["function", ""], ([code(name), _about(name)] for name in FUNCTIONS))),
        ("Operators", table(["operator", "also written"], _spellings())),
        ("Columns", _words(columns)),
        ("Wireshark's fields", _words(others)),
        ("Protocols", "A name alone selects the packets of the protocol.\n\n" + _protocols(protocols)),
    ]
    return _HEAD + "\n".join(f"## {title}\n\n{text}" for title, text in parts)


def _about(name: str) -> str:
    how, _, what = FUNCTIONS[name].partition(": ")
    return f"{code(how)}{what and f': {what}'}"


def _spellings() -> Iterable[list[str]]:
    for symbol in dict.fromkeys(SPELLINGS.values()):
        others = [each for each, meant in SPELLINGS.items() if meant == symbol and each != symbol]
        if others:
            yield [code(symbol), ", ".join(map(code, others))]


def _words(words: Iterable[Word]) -> str:
    return table(["name", "type", ""], ([code(word.name), word.kind, word.meaning] for word in words))


def _protocols(words: Iterable[Word]) -> str:
    return table(["name", "selects packets where"], ([code(word.name), word.meaning] for word in words))
