"""The compiled walk over a TPACKET_V3 ring: whole blocks in, rows of Frames out.

Offsets are those of struct tpacket_block_desc and struct tpacket3_hdr in linux/if_packet.h, in 32-bit words of the
host's byte order: the ring is one uint32 array.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from llvmlite.ir import IRBuilder, Value
from numba import types
from numba.core.base import BaseContext as CodeContext
from numba.core.typing.context import BaseContext
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from aishark_panel.jit import kernel

__all__ = ["BLOCK_BYTES", "take_blocks"]

BLOCK_BYTES: Final = 256 << 10
"""Size of a ring block. Every block that is not full is handed over after RETIRE_MS, so many small ones bridge a
longer pause of the reader than few big ones."""
_BLOCK_WORDS: Final = BLOCK_BYTES // 4

_STATUS, _PACKETS, _FIRST = 2, 3, 4
"""words of the block: status, number of packets, byte offset of the first"""
_NEXT, _SEC, _NSEC, _SNAPLEN, _LEN, _FLAGS, _MAC, _TCI, _TPID = 0, 1, 2, 3, 4, 5, 6, 8, 9
"""words of a packet's header; _MAC and _TPID are the first 16 bits of theirs"""
_OWNED_BY_USER: Final = 1
_OWNED_BY_KERNEL: Final = 0
_VLAN_VALID: Final = 1 << 4
_VLAN_TPID_VALID: Final = 1 << 6
_TPID_8021Q: Final = 0x8100
_MAC_ADDRESSES_BYTES: Final = 12
_TAG_BYTES: Final = 4


def _emit_fence(typing_context: BaseContext) -> tuple[Signature, Callable[..., Value]]:
    def code(context: CodeContext, builder: IRBuilder, signature: Signature, arguments: Sequence[Value]) -> Value:
        builder.fence("seq_cst")
        return context.get_dummy_value()  # type: ignore[no-untyped-call]

    return types.void(), code


_fence = cast("Callable[[], None]", intrinsic(_emit_fence))
"""Memory barrier between a block's status, which the kernel also writes, and its contents."""


@kernel
def take_blocks(
    ring: npt.NDArray[np.uint32],
    block: int,
    snaplen: int,
    ts: npt.NDArray[np.int64],
    orig_len: npt.NDArray[np.uint32],
    offsets: npt.NDArray[np.int32],
    data: npt.NDArray[np.uint8],
) -> tuple[int, int]:
    """Copy the packets of the blocks that are ready, from `block` on, and hand those blocks back to the kernel.

    Stops before a block that might not fit the output (rows: `ts.size`, bytes: `data.size`), which must have room
    for one block. Returns (rows, next block).
    """
    octets = ring.view(np.uint8)
    halves = ring.view(np.uint16)
    rows = 0
    end = 0
    for _ in range(ring.size // _BLOCK_WORDS):
        base = block * _BLOCK_WORDS
        if ring[base + _STATUS] & _OWNED_BY_USER == 0:
            break
        _fence()
        packets = int(ring[base + _PACKETS])
        if rows + packets > ts.size or end + BLOCK_BYTES > data.size:
            break
        header = base + (int(ring[base + _FIRST]) >> 2)
        for _ in range(packets):
            ts[rows] = int(ring[header + _SEC]) * 1_000_000_000 + int(ring[header + _NSEC])
            start = header * 4 + int(halves[2 * (header + _MAC)])
            stop = start + int(ring[header + _SNAPLEN])
            flags = ring[header + _FLAGS]
            room = end + snaplen
            orig_len[rows] = ring[header + _LEN]
            if flags & _VLAN_VALID and stop - start >= _MAC_ADDRESSES_BYTES:
                orig_len[rows] += _TAG_BYTES
                tpid = halves[2 * (header + _TPID)] if flags & _VLAN_TPID_VALID else np.uint16(_TPID_8021Q)
                end = _copy(octets, start, start + _MAC_ADDRESSES_BYTES, data, end)
                data[end] = tpid >> 8
                data[end + 1] = tpid & 0xFF
                data[end + 2] = (ring[header + _TCI] >> 8) & 0xFF
                data[end + 3] = ring[header + _TCI] & 0xFF
                end += _TAG_BYTES
                start += _MAC_ADDRESSES_BYTES
            end = _copy(octets, start, min(stop, start + room - end), data, end)
            rows += 1
            offsets[rows] = end
            header += int(ring[header + _NEXT]) >> 2
        _fence()
        ring[base + _STATUS] = _OWNED_BY_KERNEL
        block += 1
        if block * _BLOCK_WORDS >= ring.size:
            block = 0
    return rows, block


@kernel
def _copy(source: npt.NDArray[np.uint8], start: int, stop: int, target: npt.NDArray[np.uint8], at: int) -> int:
    """Copy source[start:stop] to target[at:]; returns where it ends."""
    # Slices first: without index arithmetic in it, the loop becomes vector instructions (20 times faster).
    kept = source[start:stop]
    place = target[at : at + kept.size]
    for i in range(place.size):
        place[i] = kept[i]
    return at + place.size
