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

from aishark_panel.agent.cooked import COOKED_BYTES
from aishark_panel.jit import kernel

__all__ = ["BLOCK_BYTES", "count_waiting", "take_blocks"]

BLOCK_BYTES: Final = 256 << 10
"""Size of a ring block. Every block that is not full is handed over after RETIRE_MS, so many small ones bridge a
longer pause of the reader than few big ones."""
_BLOCK_WORDS: Final = BLOCK_BYTES // 4

_STATUS, _PACKETS, _FIRST = 2, 3, 4
"""words of the block: status, number of packets, byte offset of the first"""
_NEXT, _SEC, _NSEC, _SNAPLEN, _LEN, _FLAGS, _MAC, _TCI, _TPID = 0, 1, 2, 3, 4, 5, 6, 8, 9
"""words of a packet's header; _MAC and _TPID are the first 16 bits of theirs"""
_ADDRESS: Final = 48
"""Byte offset in that header of struct sockaddr_ll."""
_LL_PROTOCOL, _LL_IFINDEX, _LL_HARDWARE, _LL_PACKET_TYPE, _LL_LENGTH, _LL_ADDRESS = 2, 4, 8, 10, 11, 12
"""byte offsets in struct sockaddr_ll"""
_LL_ADDRESS_BYTES: Final = 8
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
    cooked: bool,
    ts: npt.NDArray[np.int64],
    orig_len: npt.NDArray[np.uint32],
    ifindex: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int32],
    data: npt.NDArray[np.uint8],
) -> tuple[int, int]:
    """Copy the packets of the blocks that are ready, from `block` on, and hand those blocks back to the kernel.

    Stops before a block that might not fit the output (rows: `ts.size`, bytes: `data.size`), which must have room
    for one block. `cooked`: the ring's packets begin at the network layer; give each a Linux cooked v2 header, which is
    shorter than the ring's own header, so that they still fit. Returns (rows, next block).
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
            tagged = flags & _VLAN_VALID != 0
            tpid = halves[2 * (header + _TPID)] if flags & _VLAN_TPID_VALID else np.uint16(_TPID_8021Q)
            if cooked:
                address = header * 4 + _ADDRESS
                ifindex[rows] = np.int32(ring[(address + _LL_IFINDEX) >> 2])
                end = _put_cooked_header(octets, address, np.uint32(ifindex[rows]), data, end)
                orig_len[rows] += COOKED_BYTES
                if tagged:  # the tag's type is the header's protocol then, and what that was comes behind the tag
                    _put16(data, end - COOKED_BYTES, tpid)
                    end = _put_tci(ring, header, data, end)
                    end = _copy(octets, address + _LL_PROTOCOL, address + _LL_PROTOCOL + 2, data, end)
                    orig_len[rows] += _TAG_BYTES
            elif tagged and stop - start >= _MAC_ADDRESSES_BYTES:
                orig_len[rows] += _TAG_BYTES
                end = _copy(octets, start, start + _MAC_ADDRESSES_BYTES, data, end)
                end = _put_tci(ring, header, data, _put16(data, end, tpid))
                start += _MAC_ADDRESSES_BYTES
            end = _copy(octets, start, max(start, min(stop, start + room - end)), data, end)
            rows += 1
            offsets[rows] = end
            header += int(ring[header + _NEXT]) >> 2
        ring[base + _PACKETS] = 0  # the kernel sets it when it opens the block again; see count_waiting
        _fence()
        ring[base + _STATUS] = _OWNED_BY_KERNEL
        block += 1
        if block * _BLOCK_WORDS >= ring.size:
            block = 0
    return rows, block


@kernel
def count_waiting(ring: npt.NDArray[np.uint32]) -> int:
    """Packets in the ring that have not been taken, those in the block that the kernel is filling included."""
    packets = 0
    for block in range(ring.size // _BLOCK_WORDS):
        packets += int(ring[block * _BLOCK_WORDS + _PACKETS])
    return packets


@kernel
def _put_cooked_header(
    octets: npt.NDArray[np.uint8], address: int, ifindex: np.uint32, data: npt.NDArray[np.uint8], end: int
) -> int:
    """Write the header of LINKTYPE_LINUX_SLL2 for a struct sockaddr_ll; returns where it ends."""
    head = data[end : end + COOKED_BYTES]
    head[0] = octets[address + _LL_PROTOCOL]  # in network byte order there and here
    head[1] = octets[address + _LL_PROTOCOL + 1]
    head[2] = head[3] = 0
    _put16(head, 4, np.uint16(ifindex >> 16))
    _put16(head, 6, np.uint16(ifindex & 0xFFFF))
    hardware = octets[address + _LL_HARDWARE : address + _LL_HARDWARE + 2].view(np.uint16)
    _put16(head, 8, hardware[0])
    head[10] = octets[address + _LL_PACKET_TYPE]
    length = octets[address + _LL_LENGTH]
    head[11] = length
    for i in range(_LL_ADDRESS_BYTES):
        head[12 + i] = octets[address + _LL_ADDRESS + i] if i < length else 0
    return end + COOKED_BYTES


@kernel
def _put_tci(ring: npt.NDArray[np.uint32], header: int, data: npt.NDArray[np.uint8], end: int) -> int:
    return _put16(data, end, np.uint16(ring[header + _TCI] & 0xFFFF))


@kernel
def _put16(data: npt.NDArray[np.uint8], at: int, value: np.uint16) -> int:
    data[at] = value >> 8
    data[at + 1] = value & 0xFF
    return at + 2


@kernel
def _copy(source: npt.NDArray[np.uint8], start: int, stop: int, target: npt.NDArray[np.uint8], at: int) -> int:
    """Copy source[start:stop] to target[at:]; returns where it ends."""
    # Slices first: without index arithmetic in it, the loop becomes vector instructions (20 times faster).
    kept = source[start:stop]
    place = target[at : at + kept.size]
    for i in range(place.size):
        place[i] = kept[i]
    return at + place.size
