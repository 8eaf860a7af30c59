"""The rows an expression is evaluated on, and the shape of what is evaluated.

A `Test` gives one verdict a row. It sees packets through `Rows` only, which gives columns as views (nothing is copied)
and remembers verdicts: which rows have a value, and what conditions select, however many expressions ask for the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.errors import CaptureFileError
from aishark_panel.jit import kernel
from aishark_panel.query.names import Presence
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["CHUNK_ROWS", "Mask", "Rows", "Test"]

CHUNK_ROWS: Final = 16_384
"""Rows worth looking at together: what is made of them on the way stays in the processor's cache."""

Mask = npt.NDArray[np.bool_]


class Rows:
    """Rows [start, stop) of a block, for the evaluation of one expression or of several."""

    __slots__ = ("_known", "interfaces", "packets", "start", "stop", "wanted")

    def __init__(self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> None:
        if not 0 <= start <= stop <= packets.length:
            raise IndexError(f"rows [{start}, {stop}) are not all within the block's {packets.length}")
        self.packets = packets
        self.start = start
        self.stop = stop
        self.interfaces = interfaces
        self._known: dict[object, Mask] = {}
        self.wanted: Mask | None = None
        """the rows whose verdicts are used, None for all: what is costly leaves the others out"""

    def __len__(self) -> int:
        return self.stop - self.start

    def values(self, stored: str) -> npt.NDArray[Any]:
        """Stored values of a column, (n,) or (n, 2) for addresses; a view, not to be written to."""
        values: npt.NDArray[Any] = getattr(self.packets.columns, stored)[self.start : self.stop]
        return values

    def narrowed(self, wanted: Mask) -> "Rows":
        """The same rows for who uses the verdicts of those that are `wanted` only."""
        rows = Rows(self.packets, self.start, self.stop, self.interfaces)
        rows.wanted = wanted
        return rows

    def captured(self) -> npt.NDArray[Any]:
        """Captured bytes of each row that is wanted, 0 of the others. CaptureFileError where the block has none."""
        captured = self.values("cap_len")
        if not self.packets.arena and captured.any():
            raise CaptureFileError("these packets were kept without their bytes, so nothing can be looked for in them")
        return captured if self.wanted is None else np.where(self.wanted, captured, 0)

    def numbers(self) -> npt.NDArray[np.int64]:
        """The packets' numbers."""
        if self.packets.numbers is not None:
            return self.packets.numbers[self.start : self.stop]
        first = self.packets.first_number
        return np.arange(first + self.start, first + self.stop, dtype=np.int64)

    def remembered(self, key: object, test: "Test") -> Mask:
        """What `test` says, asked once for each key; shared, so it cannot be written to."""
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = test(self)
            known.flags.writeable = False
        return known

    def everything(self) -> Mask:
        """All of them; shared, so it cannot be written to."""
        return self.remembered("", lambda rows: np.ones(len(rows), np.bool_))

    def present(self, presence: Presence) -> Mask:
        """Which rows have the value; shared, so it cannot be written to."""
        return self.remembered(presence, lambda rows: _present(rows.values(presence.column), presence.bits))

    def pool(self) -> pa.Array:
        """The block's texts as Arrow strings over the same memory; text of code k at k - 1. May not be valid UTF-8."""
        texts = self.packets.texts
        count = int(texts.counts[0])
        buffers = [None, pa.py_buffer(texts.ends[: count + 1]), pa.py_buffer(texts.data)]
        return pa.Array.from_buffers(pa.string(), count, buffers)


Test = Callable[[Rows], Mask]
"""One verdict a row. The array may be shared: it is not to be written to."""


def _present(values: npt.NDArray[Any], bits: int) -> Mask:
    found = np.empty(len(values), np.bool_)
    if bits:
        _have_any(values, bits, found)
    else:
        np.not_equal(values, 0, out=found)
    return found


@kernel
def _have_any(values: npt.NDArray[np.int64], bits: int, found: Mask) -> None:
    for i in range(len(values)):
        found[i] = values[i] & bits != 0
