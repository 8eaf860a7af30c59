"""Big-endian fields out of frame bytes, and what to note when the bytes run out.

Two positions bound every parser. `end`: the bytes captured of this layer stop there; nothing at or after it may be
read. `wire_end` >= `end`: the layer itself stopped there on the wire, by the headers seen so far. Each parser checks
its whole header against `end` once, then reads freely.

Positions are converted to unsigned indices because numba wraps negative ones around, which costs a test a byte and
would turn a mistake into a wrong read instead of an error under NUMBA_BOUNDSCHECK.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from aishark_panel.dissect.row import Row
from aishark_panel.jit import kernel_part

__all__ = ["Bytes", "mac", "note_short", "prefetch", "u8", "u16", "u24", "u32", "word"]

Bytes = npt.NDArray[np.uint8]

_ONE, _TWO, _THREE, _FOUR = (np.uint64(n) for n in (1, 2, 3, 4))


@kernel_part
def u8(data: Bytes, pos: int) -> int:
    """The byte at `pos`."""
    return np.int64(data[np.uint64(pos)])  # type: ignore[return-value]


@kernel_part
def u16(data: Bytes, pos: int) -> int:
    """The big-endian 16-bit integer at `pos`."""
    p = np.uint64(pos)
    return np.int64(data[p]) << 8 | np.int64(data[p + _ONE])  # type: ignore[return-value]


@kernel_part
def u24(data: Bytes, pos: int) -> int:
    """The big-endian 24-bit integer at `pos`."""
    return u8(data, pos) << 16 | u16(data, pos + 1)


@kernel_part
def u32(data: Bytes, pos: int) -> int:
    """The big-endian 32-bit integer at `pos`."""
    p = np.uint64(pos)
    high = np.int64(data[p]) << 24 | np.int64(data[p + _ONE]) << 16
    return high | np.int64(data[p + _TWO]) << 8 | np.int64(data[p + _THREE])  # type: ignore[return-value]


@kernel_part
def mac(data: Bytes, pos: int) -> np.uint64:
    """The MAC address at `pos`. Eight bytes are read, as one machine word: two more than it has must be there."""
    p = np.uint64(pos)
    high = np.uint64(data[p]) << np.uint64(24) | np.uint64(data[p + _ONE]) << np.uint64(16)
    high |= np.uint64(data[p + _TWO]) << np.uint64(8) | np.uint64(data[p + _THREE])
    p += _FOUR
    low = np.uint64(data[p]) << np.uint64(24) | np.uint64(data[p + _ONE]) << np.uint64(16)
    low |= np.uint64(data[p + _TWO]) << np.uint64(8) | np.uint64(data[p + _THREE])
    return (high << np.uint64(32) | low) >> np.uint64(16)


@kernel_part
def word(data: Bytes, pos: int) -> np.uint64:
    """Eight bytes as they lie in memory (first byte least significant): half an IPv6 address, or text to compare."""
    p = np.uint64(pos)
    low = np.uint64(data[p]) | np.uint64(data[p + _ONE]) << np.uint64(8)
    low |= np.uint64(data[p + _TWO]) << np.uint64(16) | np.uint64(data[p + _THREE]) << np.uint64(24)
    p += _FOUR
    high = np.uint64(data[p]) | np.uint64(data[p + _ONE]) << np.uint64(8)
    high |= np.uint64(data[p + _TWO]) << np.uint64(16) | np.uint64(data[p + _THREE]) << np.uint64(24)
    return low | high << np.uint64(32)


@kernel_part
def note_short(row: Row, end: int, wire_end: int) -> None:
    """A header does not fit: truncated where the capture cut the bytes off, malformed where they never were."""
    if end < wire_end:
        row.truncated = 1
    else:
        row.malformed = 1


def prefetch(data: Bytes, pos: int) -> None:
    """Ask the CPU to bring the cache line of `pos` in; never faults. (As plain Python it does nothing.)"""


@intrinsic
def _prefetch(typing_context: Any, data: types.Array, pos: types.Integer) -> tuple[Any, Callable[..., Any]]:
    def lower(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Constant:
        array = context.make_array(data)(context, builder, args[0])
        address = builder.gep(array.data, [args[1]])
        address = builder.bitcast(address, ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [address.type], ir.FunctionType(ir.VoidType(), [address.type, flag, flag, flag])
        )
        builder.call(function, [address, flag(0), flag(3), flag(1)])  # read, keep in all caches, data
        return context.get_dummy_value()

    return types.void(data, pos), lower


@overload(prefetch)
def _compiled_prefetch(data: Bytes, pos: int) -> Callable[[Bytes, int], None]:
    def implementation(data: Bytes, pos: int) -> None:
        _prefetch(data, pos)  # type: ignore[call-arg, arg-type]

    return implementation
