"""Conditions on texts, decided once per distinct text of a block and then gathered by code.

Texts of packets live in the block's pool, protocols in PROTOCOLS, interfaces with the session; a `Decision` sees any of
them as one Arrow array of strings. Regular expressions are Arrow's (RE2): their time is linear in the text.
"""

import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aishark_panel.errors import ExpressionError
from aishark_panel.query.names import Field
from aishark_panel.query.rows import Mask, Rows, Test
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import Kind

__all__ = ["Decision", "among", "containing", "ending", "matching", "ordered", "starting", "text_test"]

Decision = Callable[[pa.Array], pa.Array]
"""Strings in, as many booleans out."""

_ORDERS: Final = {"==": "equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
_NO_TEXT: Final = np.zeros(1, np.bool_)
"""Code 0 is null."""
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

    def decide(strings: pa.Array) -> pa.Array:
        return pc.match_substring_regex(strings, pattern=regex, ignore_case=ignore_case)

    try:
        decide(_strings([""]))
    except pa.ArrowInvalid as error:
        reason, _, at = str(error).removeprefix("Invalid regular expression: ").partition(": ")
        where = f" at {at[:20]!a}" if at else ""
        raise ExpressionError(f"RE2 does not accept this regular expression: {reason}{where}", position) from None
    return decide


def text_test(field: Field, decision: Decision) -> Test:
    """The test that `decision` makes of a field of texts, protocols or interfaces. What is null is left open."""
    stored = field.stored
    match field.kind:
        case Kind.PROTOCOL:
            verdicts = _booleans(decision(_strings(PROTOCOLS)))
            return lambda rows: _gather(verdicts, rows.values(stored))
        case Kind.INTERFACE:
            attribute = "agent" if field.name == "agent" else "name"

            def test_interfaces(rows: Rows) -> Mask:
                names = _strings([getattr(interface, attribute) for interface in rows.interfaces])
                unknown = np.zeros(1, np.bool_)  # what a code beyond the known interfaces is clipped to
                return np.concatenate([_booleans(decision(names)), unknown]).take(rows.values(stored), mode="clip")

            return test_interfaces
        case _:
            of_texts = _Verdicts(decision)
            return lambda rows: _gather(of_texts.by_code(rows), rows.values(stored))


class _Verdicts:
    """What a decision says of each text of the block it was asked about last; texts that came since are added."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision
        # Replaced as a whole, because threads share it.
        self._known: tuple[weakref.ref[Packets] | None, int, Mask] = (None, 0, _NO_TEXT)

    def by_code(self, rows: Rows) -> Mask:
        packets = rows.packets
        block, generation, verdicts = self._known
        if block is None or block() is not packets or generation != packets.generation:
            verdicts = _NO_TEXT
        pool = rows.pool()
        if len(pool) >= len(verdicts):
            verdicts = np.concatenate([verdicts, _booleans(self._decision(pool.slice(len(verdicts) - 1)))])
            self._known = (weakref.ref(packets), packets.generation, verdicts)
        return verdicts


def _gather(verdicts: Mask, codes: Any) -> Mask:
    taken: Mask = verdicts.take(codes)
    return taken


def _strings(texts: Sequence[str]) -> pa.Array:
    """Arrow strings; `pa.array` and `pa.scalar` would import pandas, which a hub does without."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _booleans(array: pa.Array) -> Mask:
    bits = np.frombuffer(array.buffers()[1], np.uint8)
    return np.unpackbits(bits, count=array.offset + len(array), bitorder="little")[array.offset :].view(np.bool_)
