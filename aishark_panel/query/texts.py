"""Conditions on texts and numbers about them, made once per distinct text of a block and then gathered by code.

Texts of packets live in the block's pool, protocols in PROTOCOLS, interfaces with the session; a `Decision` or a
`Measure` sees any of them as one Arrow array of strings. Regular expressions are Arrow's (RE2): their time is linear in
the text.
"""

import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aishark_panel.errors import ExpressionError
from aishark_panel.jit import kernel
from aishark_panel.query.names import Field
from aishark_panel.query.rows import Rows, Test
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import Kind

__all__ = [
    "Decision", "Measure", "among", "beginning", "containing", "ending", "entropies", "filling", "lengths", "matching",
    "ordered", "starting", "text_numbers", "text_test",
]  # fmt: skip

Decision = Callable[[pa.Array], pa.Array]
"""Strings in, as many booleans out."""
Measure = Callable[[pa.Array], npt.NDArray[Any]]
"""Strings in, as many numbers out."""

_ORDERS: Final = {"==": "equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
_SPECIAL: Final = re.compile(r"[\\^$.|?*+()\[\]{}]")
"""A regular expression without any of these is plain text, which is found faster."""


def ordered(operator: str, text: str) -> Decision:
    """Compare with one text, by code points as Python does."""
    decide, (other,) = getattr(pc, _ORDERS[operator]), _strings([text])
    return lambda strings: decide(strings, other)


def among(texts: Sequence[str]) -> Decision:
    """Equal to one of these."""
    members = _strings(texts)
    return lambda strings: pc.is_in(strings, value_set=members)


def starting(text: str) -> Decision:
    """Begins with this text."""
    return lambda strings: pc.starts_with(strings, pattern=text)


def ending(text: str) -> Decision:
    """Ends with this text."""
    return lambda strings: pc.ends_with(strings, pattern=text)


def containing(text: str, *, ignore_case: bool = False) -> Decision:
    """Has this plain text somewhere."""
    return lambda strings: pc.match_substring(strings, pattern=text, ignore_case=ignore_case)


def matching(regex: str, position: int, *, ignore_case: bool = False) -> Decision:
    """Has a match of the regular expression somewhere. Raises ExpressionError where RE2 refuses it."""
    if not _SPECIAL.search(regex):
        return containing(regex, ignore_case=ignore_case)
    return _regex(regex, position, ignore_case)


def beginning(regex: str, position: int, *, ignore_case: bool = False) -> Decision:
    """Has a match that starts with the text. Raises ExpressionError where RE2 refuses the regular expression."""
    _regex(regex, position, ignore_case)  # by itself: brackets put around 'a)|(b' would make one of it
    return _regex(f"\\A(?:{regex})", position, ignore_case)


def filling(regex: str, position: int, *, ignore_case: bool = False) -> Decision:
    """Has a match that is the whole text. Raises ExpressionError where RE2 refuses the regular expression."""
    _regex(regex, position, ignore_case)
    return _regex(f"\\A(?:{regex})\\z", position, ignore_case)


def _regex(regex: str, position: int, ignore_case: bool) -> Decision:
    def decide(strings: pa.Array) -> pa.Array:
        return pc.match_substring_regex(strings, pattern=regex, ignore_case=ignore_case)

    try:
        decide(_strings([""]))
    except pa.ArrowInvalid as error:
        reason, _, at = str(error).removeprefix("Invalid regular expression: ").partition(": ")
        where = f" at {at[:20]!a}" if at else ""
        raise ExpressionError(f"RE2 does not accept this regular expression: {reason}{where}", position) from None
    return decide


def lengths(strings: pa.Array) -> npt.NDArray[np.int32]:
    """Characters of each string."""
    return _numbers(pc.utf8_length(strings), np.int32)


def entropies(strings: pa.Array) -> npt.NDArray[np.float64]:
    """Shannon's entropy of each string's bytes, in bits per byte; 0 for an empty one."""
    _, ends, data = strings.buffers()
    found = np.zeros(len(strings))
    if data is not None:
        ends = np.frombuffer(ends, np.int32)[strings.offset : strings.offset + len(strings) + 1]
        _entropies(np.frombuffer(data, np.uint8), ends, found)
    return found


def text_test(field: Field, decision: Decision) -> Test:
    """The test that `decision` makes of a field of texts, protocols or interfaces. What is null is left open."""
    return text_numbers(field, lambda strings: _booleans(decision(strings)), np.bool_)


def text_numbers(field: Field, measure: Measure, dtype: npt.DTypeLike) -> Callable[[Rows], npt.NDArray[Any]]:
    """What `measure` says of a field of texts, protocols or interfaces, a value a row. What is null is left open."""
    stored = field.stored
    match field.kind:
        case Kind.PROTOCOL:
            of_protocols = measure(_strings(PROTOCOLS))
            return lambda rows: of_protocols.take(rows.values(stored))
        case Kind.INTERFACE:
            attribute = "agent" if field.name == "agent" else "name"

            def of_interfaces(rows: Rows) -> npt.NDArray[Any]:
                names = _strings([getattr(interface, attribute) for interface in rows.interfaces])
                unknown = np.zeros(1, dtype)  # what a code beyond the known interfaces is clipped to
                return np.concatenate([measure(names), unknown]).take(rows.values(stored), mode="clip")

            return of_interfaces
        case _:
            of_texts = _PerText(measure, dtype)
            return lambda rows: of_texts.by_code(rows).take(rows.values(stored))


class _PerText:
    """What a measure says of each text of the block it was asked about last; texts that came since are added."""

    def __init__(self, measure: Measure, dtype: npt.DTypeLike) -> None:
        self._measure = measure
        self._no_text = np.zeros(1, dtype)  # code 0 is null
        # Replaced as a whole, because threads share it.
        self._known: tuple[weakref.ref[Packets] | None, int, npt.NDArray[Any]] = (None, 0, self._no_text)

    def by_code(self, rows: Rows) -> npt.NDArray[Any]:
        packets = rows.packets
        block, generation, known = self._known
        if block is None or block() is not packets or generation != packets.generation:
            known = self._no_text
        pool = rows.pool()
        if len(pool) >= len(known):
            known = np.concatenate([known, self._measure(pool.slice(len(known) - 1))])
            self._known = (weakref.ref(packets), packets.generation, known)
        return known


@kernel
def _entropies(data: npt.NDArray[np.uint8], ends: npt.NDArray[np.int32], found: npt.NDArray[np.float64]) -> None:
    """Of each text data[ends[i]:ends[i + 1]]."""
    counts = np.zeros(256, np.int64)
    for i in range(len(found)):
        start, stop = ends[i], ends[i + 1]
        for at in range(start, stop):
            counts[data[at]] += 1
        bits, length = 0.0, stop - start
        for at in range(start, stop):
            count = counts[data[at]]
            if count:  # each distinct byte once
                bits -= count / length * np.log2(count / length)
                counts[data[at]] = 0
        found[i] = bits


def _strings(texts: Sequence[str]) -> pa.Array:
    """Arrow strings; `pa.array` and `pa.scalar` would import pandas, which a hub does without."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _numbers(array: pa.Array, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def _booleans(array: pa.Array) -> npt.NDArray[np.bool_]:
    bits = np.frombuffer(array.buffers()[1], np.uint8)
    return np.unpackbits(bits, count=array.offset + len(array), bitorder="little")[array.offset :].view(np.bool_)
