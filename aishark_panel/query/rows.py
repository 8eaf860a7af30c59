"""The rows an expression is evaluated on, and the shape of what is evaluated.

A `Test` gives one verdict a row. It sees packets through `Rows` only, which gives columns as views (nothing is copied)
and works out once which rows have a value, however many comparisons ask.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.query.names import Presence
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["Mask", "Rows", "Test"]

Mask = npt.NDArray[np.bool_]


class Rows:
    """Rows [start, stop) of a block, for one evaluation."""

    __slots__ = ("_present", "interfaces", "packets", "start", "stop")

    def __init__(self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> None:
        if not 0 <= start <= stop <= packets.length:
            raise IndexError(f"rows [{start}, {stop}) are not all within the block's {packets.length}")
        self.packets = packets
        self.start = start
        self.stop = stop
        self.interfaces = interfaces
        self._present: dict[Presence, Mask] = {}

    def __len__(self) -> int:
        return self.stop - self.start

    def values(self, stored: str) -> npt.NDArray[Any]:
        """Stored values of a column, (n,) or (n, 2) for addresses; a view, not to be written to."""
        values: npt.NDArray[Any] = getattr(self.packets.columns, stored)[self.start : self.stop]
        return values

    def numbers(self) -> npt.NDArray[np.int64]:
        """The packets' numbers."""
        first = self.packets.first_number
        return np.arange(first + self.start, first + self.stop, dtype=np.int64)

    def present(self, presence: Presence) -> Mask:
        """Which rows have the value; shared, not to be written to."""
        known = self._present.get(presence)
        if known is None:
            values = self.values(presence.column)
            bits = values & values.dtype.type(presence.bits) if presence.bits else values
            known = self._present[presence] = bits != 0
        return known

    def pool(self) -> pa.Array:
        """The block's texts as Arrow strings over the same memory; text of code k at k - 1. May not be valid UTF-8."""
        texts = self.packets.texts
        count = int(texts.counts[0])
        buffers = [None, pa.py_buffer(texts.ends[: count + 1]), pa.py_buffer(texts.data)]
        return pa.Array.from_buffers(pa.string(), count, buffers)


Test = Callable[[Rows], Mask]
"""One verdict a row, in an array that belongs to the caller."""
