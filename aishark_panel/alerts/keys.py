"""Values of columns as words: what the groups of a rule, and the distinct values it counts, are told apart by.

A *key* is the values of the columns a rule groups by. Each value becomes one or more uint64 words, equal where the
values are equal, whatever block of packets they come from; `KeyColumn.value` turns the words back for people.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.errors import ExpressionError
from aishark_panel.jit import kernel
from aishark_panel.query.names import Field, resolve
from aishark_panel.query.rows import Mask, Rows
from aishark_panel.wire.packets import address_text, mac_text
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import Kind, ipv6_layer

__all__ = ["Chosen", "KeyColumn", "Words", "key_field", "key_words", "present_in_all", "value_words"]

Words = npt.NDArray[np.uint64]
"""(rows, words of a key)"""
Chosen = npt.NDArray[np.intp]
"""which rows, in ascending order"""

_ALL_BITS: Final = 2**64 - 1


def key_field(name: str, position: int) -> Field:
    """The one field a name stands for; ExpressionError where it stands for none, for two, or for a moment in time."""
    fields = resolve(name, position).fields
    if len(fields) != 1:
        meaning = "a protocol" if not fields else "two columns, either of which"
        raise ExpressionError(f"{name} means {meaning}; name one column, such as src_ip", position)
    if fields[0].kind is Kind.TIME or not fields[0].stored:
        raise ExpressionError(f"{name} differs in every packet; nothing can be grouped or counted by it", position)
    return fields[0]


def present_in_all(fields: Sequence[Field], rows: Rows, mask: Mask) -> Mask:
    """`mask` without the rows where one of the fields is null."""
    for presence in dict.fromkeys(presence for each in fields for presence in each.presence):
        mask = mask & rows.present(presence)
    return mask


def key_words(columns: Sequence["KeyColumn"], rows: Rows, chosen: Chosen) -> Words:
    """The values of these columns in some of the rows, side by side."""
    words = np.empty((len(chosen), sum(column.width for column in columns)), np.uint64)
    at = 0
    for column in columns:
        column.fill(words, at, rows, chosen)
        at += column.width
    return words


def value_words(column: "KeyColumn", rows: Rows, chosen: Chosen) -> Words:
    """The column's values in some of the rows, behind a word that is 0 for null."""
    words = np.empty((len(chosen), 1 + column.width), np.uint64)
    words[:, 0] = 1
    for presence in column.field.presence:
        words[:, 0] &= rows.present(presence).take(chosen)
    column.fill(words, 1, rows, chosen)
    return words


class KeyColumn:
    """A field's values as words; `is_read_back`: `value` will be asked, else words only tell values apart."""

    def __init__(self, field: Field, *, is_read_back: bool = True) -> None:
        self.field = field
        self._is_read_back = is_read_back
        self.texts: dict[int, str] = {}
        """text of each word, of a column of texts or interfaces that is read back; grows until `keep_texts`"""

    @property
    def width(self) -> int:
        """Words a value has: an address is two, and whether it is IPv6 (which may carry a real ::ffff:a.b.c.d)."""
        return 3 if self.field.kind is Kind.ADDRESS else 1

    def fill(self, words: Words, at: int, rows: Rows, chosen: Chosen) -> None:
        """Write the values of some of the rows into words[:, at : at + width]."""
        stored = rows.values(self.field.stored)
        match self.field.kind:
            case Kind.ADDRESS:
                v6 = np.int64(ipv6_layer(self.field.stored))
                _fill_addresses(stored, rows.values("layers"), chosen, v6, words, at)
            case Kind.TEXT:
                words[:, at] = self._text_words(rows, stored.take(chosen))
            case Kind.INTERFACE:
                names = [i.agent if self.field.name == "agent" else i.name for i in rows.interfaces]
                words[:, at] = self._hashes(names)[stored.take(chosen)]
            case _ if self.field.bit:
                words[:, at] = (stored.take(chosen) & self.field.bit) != 0
            case _:
                words[:, at] = stored.take(chosen)

    def _text_words(self, rows: Rows, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint64]:
        """Codes mean something within their block only; Python's hash of the text, 64 bits, means it everywhere."""
        used, places = np.unique(codes, return_inverse=True)
        known = rows.packets.text_values()
        return self._hashes([known[code] for code in used])[places]

    def _hashes(self, texts: Sequence[str]) -> npt.NDArray[np.uint64]:
        """A word for each text, the same wherever it comes from; an interface goes by its name, or its agent's."""
        words = [hash(text) & _ALL_BITS for text in texts]
        if self._is_read_back:
            self.texts.update(zip(words, texts, strict=True))
        return np.array(words, np.uint64)

    def value(self, words: Sequence[int]) -> Any:
        """The value people read: a text or a number."""
        match self.field.kind:
            case Kind.ADDRESS:
                return address_text(np.array(words[:2], np.uint64).tobytes(), v6=bool(words[2]))
            case Kind.TEXT | Kind.INTERFACE:
                return self.texts[words[0]]
            case Kind.MAC:
                return mac_text(words[0])
            case Kind.PROTOCOL:
                return PROTOCOLS[words[0]]
            case Kind.BOOLEAN:
                return bool(words[0])
            case _:
                return words[0]

    def keep_texts(self, words: set[int]) -> None:
        """Forget all texts but these."""
        self.texts = {word: text for word, text in self.texts.items() if word in words}


@kernel
def _fill_addresses(
    stored: npt.NDArray[np.uint64],
    layers: npt.NDArray[np.int64],
    chosen: Chosen,
    v6: np.int64,
    words: Words,
    at: int,
) -> None:
    for i in range(len(chosen)):
        row = np.uint64(chosen[i])  # unsigned, so that no index is taken for one from the end
        words[i, at] = stored[row, 0]
        words[i, at + 1] = stored[row, 1]
        words[i, at + 2] = layers[row] & v6 != 0
