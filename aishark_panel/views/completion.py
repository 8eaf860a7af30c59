"""What may stand where somebody is typing in a display filter, and what is wrong with the text so far. Pure.

Names come from the expression language itself (`query.vocabulary`), so whatever it learns is offered at once. Values
are the session's: a `Place` says which columns they are of, and its holder asks the hub for them.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from aishark_panel.errors import ExpressionError
from aishark_panel.query import Word, compile_expression, vocabulary
from aishark_panel.query.literals import quote
from aishark_panel.query.names import PAYLOADS, Meaning, resolve
from aishark_panel.query.parser import FUNCTIONS
from aishark_panel.query.tokens import Token, tokenize
from aishark_panel.wire.layers import FLAG_NAMES
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import Kind

__all__ = [
    "MAX_CHOICES",
    "Choice",
    "Place",
    "fault_of",
    "fitting",
    "open_quote",
    "place_of",
    "with_values",
    "word_at",
]

MAX_CHOICES: Final = 40
"""Most choices in one list; who looks for more types another letter."""

_NUMBER: Final = ("==", "!=", "<", "<=", ">", ">=", "in [")
_OPERATORS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.TIME: ("<", "<=", ">", ">="),
    Kind.INTEGER: _NUMBER,
    Kind.FLAGS: _NUMBER,
    Kind.BOOLEAN: ("==",),
    Kind.MAC: ("==", "!=", "in ["),
    Kind.ADDRESS: ("==", "!=", "in ["),
    Kind.PROTOCOL: ("==", "!=", "in ["),
    Kind.TEXT: ("==", "!=", "contains", "matches", "in ["),
    Kind.INTERFACE: ("==", "!=", "in ["),
}
_SAID: Final = {
    "==": "is", "!=": "is not", "<": "less than", "<=": "at most", ">": "more than", ">=": "at least",
    "in [": "is one of", "contains": "holds this text", "matches": "matches this regular expression",
    "and": "both hold", "or": "one of the two holds",
}  # fmt: skip
_BARE: Final = frozenset({Kind.TIME, Kind.INTEGER, Kind.FLAGS, Kind.BOOLEAN, Kind.ADDRESS, Kind.MAC})
"""Kinds whose values need no quotes."""

_QUOTED: Final = re.compile(r"""[rR]?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""", re.DOTALL)
_WORD_BEFORE: Final = re.compile(r"[\w.:/]*\Z")
_WORD_AFTER: Final = re.compile(r"[\w.:/]*")
_WRONG: Final = re.compile(r"""[A-Za-z0-9_.]+|"[^"]*"|'[^']*'|.""", re.DOTALL)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "contains", "matches"})
_JOINTS: Final = frozenset({"and", "or", "&", "|", "not"})
_WORDS: Final = vocabulary()
_ABOUT: Final = {"has": Kind.FLAGS, "entropy": Kind.TEXT}
"""Kinds of the columns that functions look at; of the others, addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One line of the list: what is put in, and what it is."""

    text: str
    kind: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where somebody types: text[start:end] is the word there, which a choice replaces."""

    start: int
    end: int
    typed: str = ""
    """the word up to the cursor, without its opening quote"""
    choices: tuple[Choice, ...] = ()
    columns: tuple[str, ...] = ()
    """values of these columns belong here; none where values do not"""
    where: str = ""
    """in packets of this condition"""
    bare: bool = False
    """whether the values need no quotes"""


def place_of(text: str, cursor: int) -> Place:
    """The place at `cursor`, with the names and operators that may stand there."""
    head, tail = text[:cursor], text[cursor:]
    opening = open_quote(head)
    if opening is None:
        place = word_at(text, cursor)
    else:
        closing = tail.find(head[opening])
        end = cursor if closing < 0 else cursor + closing + 1
        place = Place(start=opening, end=end, typed=head[opening + 1 :])
    try:
        tokens = tokenize(text[: place.start])[:-1]
    except ExpressionError:
        return place
    return _Around(tokens).fill(place, quoted=opening is not None)


def word_at(text: str, cursor: int) -> Place:
    """The place of the word at `cursor`, of which `typed` is the part before it."""
    start = _match(_WORD_BEFORE, text[:cursor]).start()
    end = cursor + _match(_WORD_AFTER, text[cursor:]).end()
    return Place(start=start, end=end, typed=text[start:cursor])


def with_values(place: Place, values: list[tuple[str, int]]) -> Place:
    """The place with these values of its columns, each with its number of packets, before what it had."""
    said = [
        Choice(text=value if place.bare else quote(value), meaning=f"{packets:,} of the newest packets")
        for value, packets in values
        if value.isprintable()
    ]
    known = {choice.text for choice in said}
    others = [choice for choice in place.choices if choice.text not in known]
    return replace(place, choices=tuple((said + others)[:MAX_CHOICES]))


def fault_of(text: str, compiled: Callable[[str], object] = compile_expression) -> dict[str, Any] | None:
    """What is wrong with an expression that `compiled` takes: text, message, position and `fix`, the text as it was
    probably meant, '' where nobody can tell; None if nothing is."""
    try:
        compiled(text)
    except ExpressionError as error:
        return {"text": text, "message": str(error), "position": error.position, "fix": _fix(text, error, compiled)}
    return None


def _fix(text: str, error: ExpressionError, compiled: Callable[[str], object]) -> str:
    """The text with what was meant in its place, if that takes the error away, or moves it on."""
    if not error.meant or error.position is None or error.position >= len(text):
        return ""
    wrong = _match(_WRONG, text, error.position).group()
    meant = f"{wrong[0]}{error.meant}{wrong[0]}" if wrong[0] in "\"'" else error.meant
    fixed = text[: error.position] + meant + text[error.position + len(wrong) :]
    try:
        compiled(fixed)
    except ExpressionError as after:
        return fixed if after.position is None or after.position > error.position else ""
    return fixed


class _Around:
    """The tokens before a place, and what they ask for there."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens

    def fill(self, place: Place, *, quoted: bool) -> Place:
        last = self._tokens[-1] if self._tokens else None
        opening = self._bracket()
        if opening is not None and (found := self._in_bracket(place, opening)) is not None:
            return found
        if last is None or (last.kind == "symbol" and last.text in (*_JOINTS, "(")):
            return place if quoted else replace(place, choices=_names(place.typed))
        if last.kind == "name":
            meaning = _meaning(last.text)
            if meaning is None or quoted:
                return place
            offered = _OPERATORS[meaning.fields[0].kind] if meaning.fields else ("and", "or")
            if last.text == "frame" or last.text in PAYLOADS:
                offered = ("contains", *offered)
            return replace(place, choices=_symbols(offered, place.typed))
        if last.kind == "symbol" and last.text in _COMPARISONS and len(self._tokens) > 1:
            return _of_field(place, self._tokens[-2])
        if not quoted and (last.kind in ("number", "text", "bare") or last.text in (")", "]", "}")):
            return replace(place, choices=_symbols(("and", "or"), place.typed))
        return place

    def _bracket(self) -> int | None:
        """Index of the innermost bracket that is open."""
        opened: list[int] = []
        for index, token in enumerate(self._tokens):
            if token.kind == "symbol" and token.text in "([{":
                opened.append(index)
            elif token.kind == "symbol" and token.text in ")]}" and opened:
                opened.pop()
        return opened[-1] if opened else None

    def _in_bracket(self, place: Place, opening: int) -> Place | None:
        """Of a set or a function's arguments; None for a bracket that only groups."""
        tokens, begins = self._tokens, self._tokens[-1].text in ("(", "[", "{", ",")
        if tokens[opening].text != "(":
            subject = opening - (3 if opening > 2 and tokens[opening - 2].text == "not" else 2)
            return _of_field(place, tokens[subject]) if begins and subject >= 0 else place
        name = tokens[opening - 1].text if opening and tokens[opening - 1].kind == "name" else ""
        column, _, method = name.partition(".str.")
        if method:
            return _of_field(place, tokens[opening - 1]._replace(text=column)) if begins else place
        if name not in FUNCTIONS:
            return None
        if not begins:
            return place
        if tokens[-1].text == "(":
            return replace(place, choices=_names(place.typed, (_ABOUT.get(name, Kind.ADDRESS).value,)))
        subject_name = tokens[opening + 1].text
        if name == "has":
            flags = FLAG_NAMES.get(_stored(subject_name), ())
            chosen = [Choice(text=quote(f), kind="flag") for f in flags if place.typed.upper() in f]
            return replace(place, choices=tuple(chosen))
        return replace(_of_field(place, tokens[opening + 1]), bare=False)


def _of_field(place: Place, token: Token) -> Place:
    """A place of values of what a token names."""
    meaning = _meaning(token.text) if token.kind == "name" else None
    if meaning is None or not meaning.fields:
        return place
    field = meaning.fields[0]
    if field.bit or field.kind is Kind.BOOLEAN:
        return replace(place, choices=(Choice(text="1", meaning="yes"), Choice(text="0", meaning="no")))
    choices: tuple[Choice, ...] = ()
    if field.kind is Kind.PROTOCOL:
        folded = place.typed.lower()
        fitting = sorted((p for p in PROTOCOLS if folded in p.lower()), key=lambda p: not p.lower().startswith(folded))
        choices = tuple(Choice(text=quote(p), kind="protocol") for p in fitting[:MAX_CHOICES])
    protocol = token.text.partition(".")[0]  # its packets only, but for ip.addr and the like: they are of IPv6 too
    return replace(
        place,
        choices=choices,
        columns=tuple(each.name for each in meaning.fields),
        where=protocol if protocol != token.text and protocol != "ip" and _meaning(protocol) else "",
        bare=field.kind in _BARE,
    )


def _names(typed: str, kinds: tuple[str, ...] = ()) -> tuple[Choice, ...]:
    words = [word for word in _WORDS if not word.name.startswith("str.") and (not kinds or word.kind in kinds)]
    return fitting(words, typed)


def fitting(words: Iterable[Word], typed: str) -> tuple[Choice, ...]:
    """Those that hold what was typed: the ones that begin with it first, then those of which a part does."""
    folded = typed.lower()

    def rank(word: Word) -> int:
        name = word.name.lower()
        return 0 if name.startswith(folded) else 1 if re.search(rf"[._]{re.escape(folded)}", name) else 2

    found = sorted((word for word in words if folded in word.name.lower()), key=rank)
    if len(found) == 1 and found[0].name == typed:
        return ()
    return tuple(_choice(word) for word in found[:MAX_CHOICES])


def _choice(word: Word) -> Choice:
    if word.kind == "function":
        return Choice(text=f"{word.name}(", kind=word.kind, meaning=word.meaning)
    return Choice(text=word.name, kind=word.kind, meaning=word.meaning)


def _symbols(symbols: tuple[str, ...], typed: str) -> tuple[Choice, ...]:
    return tuple(Choice(text=s, meaning=_SAID[s]) for s in symbols if s.startswith(typed) and s != typed)


def _meaning(name: str) -> Meaning | None:
    try:
        return resolve(name, 0)
    except ExpressionError:
        return None


def _stored(name: str) -> str:
    meaning = _meaning(name)
    return meaning.fields[0].stored if meaning and meaning.fields else ""


def open_quote(text: str) -> int | None:
    """Where a quote was opened that is not closed yet."""
    blank = _QUOTED.sub(lambda found: " " * len(found.group()), text)
    found = re.search("[\"']", blank)
    return found.start() if found else None


def _match(pattern: re.Pattern[str], text: str, position: int = 0) -> re.Match[str]:
    """A match of a pattern that always matches, if only nothing."""
    found = pattern.search(text, position) if pattern is _WORD_BEFORE else pattern.match(text, position)
    assert found is not None
    return found
