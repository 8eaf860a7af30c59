"""What may stand where somebody types in those boxes of a rule that are no display filter: `having` and `by`. Pure."""

import re
from dataclasses import replace
from typing import Any, Final

from aishark_panel.alerts.having import BASIC, FUNCTIONS, compile_having
from aishark_panel.alerts.keys import key_field
from aishark_panel.errors import ExpressionError
from aishark_panel.query import Word, vocabulary
from aishark_panel.query.comparisons import NUMERIC
from aishark_panel.views.completion import Choice, Place, fault_of, fitting, open_quote, place_of, word_at

__all__ = ["by_fault", "columns_of", "having_fault", "place_in_by", "place_in_having"]

_SAID: Final = {
    "packets": "how many packets",
    "bytes": "how many bytes, on the wire",
    "packets_per_s": "packets per second of the window",
    "bits_per_s": "bits per second of the window",
}
_OPERATORS: Final = {
    ">=": "at least", ">": "more than", "<=": "at most", "<": "less than", "==": "is", "!=": "is not",
    "and": "both hold", "or": "one of the two holds",
    "+": "sum", "-": "difference", "*": "product", "/": "share of",
}  # fmt: skip
_ANY_COLUMN: Final = frozenset({"nunique"})
_OF_EXPRESSION: Final = "count"
_OF_AGGREGATE: Final = "before"
_CALL: Final = re.compile(r"(\w+)\(\s*\Z")
_COUNT_CALL: Final = re.compile(rf"\b{_OF_EXPRESSION}\(\s*\Z")
_BETWEEN: Final = re.compile(r"[,\s]+")
_VALUE_BEFORE: Final = re.compile(r"""[\w)'"]\s*\Z""")
_JOINT_BEFORE: Final = re.compile(r"\b(?:and|or|not)\s*\Z")


def _groupable(word: Word) -> bool:
    try:
        key_field(word.name, 0)
    except ExpressionError:
        return False
    return True


_COLUMNS: Final = [word for word in vocabulary() if word.kind not in ("function", "protocol name") and _groupable(word)]
_NUMBERS: Final = [word for word in _COLUMNS if key_field(word.name, 0).kind in NUMERIC]
_AGGREGATES: Final = [
    *(Word(name, "aggregate", _SAID[name]) for name in BASIC),
    *(Word(name, "function", meaning) for name, meaning in FUNCTIONS.items()),
]


def place_in_having(text: str, cursor: int) -> Place:
    """The place at `cursor` of a condition on a window, with what may stand there."""
    head = text[:cursor]
    opening = open_quote(head)
    if opening is not None:
        return _in_count(text, cursor, opening)
    place = word_at(text, cursor)
    before = text[: place.start]
    if call := _CALL.search(before):
        if call[1] == _OF_EXPRESSION:
            return place
        if call[1] in FUNCTIONS and call[1] != _OF_AGGREGATE:
            return replace(place, choices=fitting(_COLUMNS if call[1] in _ANY_COLUMN else _NUMBERS, place.typed))
    if _VALUE_BEFORE.search(before) and not _JOINT_BEFORE.search(before):
        said = _OPERATORS.items()
        return replace(place, choices=tuple(Choice(text=s, meaning=m) for s, m in said if s.startswith(place.typed)))
    if place.typed[:1].isdigit():
        return place
    return replace(place, choices=fitting(_AGGREGATES, place.typed))


def _in_count(text: str, cursor: int, opening: int) -> Place:
    """The place within the expression of `count('...')`, whose quotes its own texts must not have."""
    quote = text[opening]
    if not _COUNT_CALL.search(text[:opening]):
        return Place(start=cursor, end=cursor)
    begin = opening + 1
    closing = text.find(quote, cursor)
    place = place_of(text[begin : closing if closing >= 0 else len(text)], cursor - begin)
    choices = tuple(replace(each, text=each.text.replace("'", '"')) for each in place.choices if quote == "'")
    return replace(
        place, start=place.start + begin, end=place.end + begin, choices=choices or place.choices, columns=()
    )


def having_fault(text: str) -> dict[str, Any] | None:
    """What is wrong with a condition, as `completion.fault_of`."""
    return fault_of(text, compile_having)


def place_in_by(text: str, cursor: int) -> Place:
    """The place at `cursor` of a list of columns, with the columns that are not in it yet."""
    place = word_at(text, cursor)
    others = set(columns_of(text[: place.start] + " " + text[place.end :]))
    return replace(place, choices=fitting((word for word in _COLUMNS if word.name not in others), place.typed))


def by_fault(text: str) -> dict[str, Any] | None:
    """What is wrong with a list of columns, as `completion.fault_of`."""
    return fault_of(text, _compile_by)


def _compile_by(text: str) -> None:
    for found in re.finditer(r"[^,\s]+", text):
        key_field(found.group(), found.start())


def columns_of(text: str) -> list[str]:
    """The names in a list that has commas or spaces between them."""
    return [name for name in _BETWEEN.split(text) if name]
