"""Conversations: both directions of one address pair, port pair and protocol, counted as packets arrive.

A bounded hash table in numpy arrays, keyed by `conversation_id`. Side a is the sender of the first packet seen. When
the table is full the half that was silent longest makes room; how many were forgotten is counted.
"""

from collections import namedtuple
from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.schema import Layer

__all__ = ["MAX_CONVERSATIONS", "ConversationRows", "Conversations"]

MAX_CONVERSATIONS: Final = 262_144
_FIRST_CAPACITY: Final = 1_024

ConversationRows = namedtuple(
    "ConversationRows",
    ["id", "addr_a", "addr_b", "port_a", "port_b", "v6", "protocol", "packets", "bytes", "first_ts", "last_ts"],
)
"""Arrays of n conversations: id uint64; addr_* (n, 2) uint64 as in PACKETS; port_* uint16; v6 bool; protocol code of
the highest protocol seen (uint16); packets and bytes (n, 2) int64, a to b and b to a; first_ts, last_ts int64 ns."""

_SHAPES: Final = ("u8", "2u8", "2u8", "u2", "u2", "?", "u2", "2i8", "2i8", "i8", "i8")
_IP: Final = int(Layer.IP)
_IPV6: Final = int(Layer.IPV6)


class Conversations:
    """The conversations of one session, at most MAX_CONVERSATIONS."""

    def __init__(self) -> None:
        self.forgotten = 0
        """conversations dropped to make room"""
        self._allocate(_FIRST_CAPACITY)

    def _allocate(self, capacity: int) -> None:
        self._capacity = capacity
        self._rows = ConversationRows(*(np.zeros(capacity, shape) for shape in _SHAPES))
        self._table = np.full(2 * capacity, -1, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, packets: Packets, start: int, stop: int) -> None:
        """Count rows [start, stop) of a block."""
        while start < stop:
            self._count, start = _add(packets.columns, start, stop, self._rows, self._table, self._count)
            if start < stop:
                self._make_room()

    def rows(self) -> ConversationRows:
        """A copy of all conversations, in order of first appearance."""
        return ConversationRows(*(a[: self._count].copy() for a in self._rows))

    def top(self, limit: int) -> ConversationRows:
        """The `limit` conversations with most bytes, most first."""
        rows = self.rows()
        order = np.argsort(rows.bytes.sum(axis=1), kind="stable")[::-1][:limit]
        return ConversationRows(*(a[order] for a in rows))

    def clear(self) -> None:
        """Forget all conversations."""
        self._allocate(_FIRST_CAPACITY)

    def _make_room(self) -> None:
        old, count = self._rows, self._count
        if self._capacity < MAX_CONVERSATIONS:
            keep: npt.NDArray[np.intp] = np.arange(count)
            self._allocate(self._capacity * 2)
        else:
            keep = np.sort(np.argpartition(old.last_ts[:count], count // 2)[count // 2 :])
            self.forgotten += count - len(keep)
            self._allocate(self._capacity)
        for new_array, old_array in zip(self._rows, old, strict=True):
            new_array[: len(keep)] = old_array[keep]
        self._count = len(keep)
        _index(self._rows.id, self._count, self._table)


@kernel
def _index(ids, count, table):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(table) - 1)
    for row in range(count):
        slot = ids[row] & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = row


@kernel
def _add(columns, start, stop, rows, table, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Count packet rows until done or the table is full; returns (conversations, next packet row)."""
    mask = np.uint64(len(table) - 1)
    for i in range(start, stop):
        if columns.layers[i] & _IP == 0:
            continue
        key = columns.conversation_id[i]
        slot = key & mask
        row = table[slot]
        while row >= 0 and rows.id[row] != key:
            slot = (slot + np.uint64(1)) & mask
            row = table[slot]
        if row < 0:
            if count == len(rows.id):
                return count, i
            row = count
            count += 1
            table[slot] = row
            rows.id[row] = key
            rows.addr_a[row, 0] = columns.src_ip[i, 0]
            rows.addr_a[row, 1] = columns.src_ip[i, 1]
            rows.addr_b[row, 0] = columns.dst_ip[i, 0]
            rows.addr_b[row, 1] = columns.dst_ip[i, 1]
            rows.port_a[row] = columns.src_port[i]
            rows.port_b[row] = columns.dst_port[i]
            rows.v6[row] = columns.layers[i] & _IPV6 != 0
            rows.protocol[row] = columns.protocol[i]
            rows.first_ts[row] = columns.ts[i]
        forward = (
            rows.addr_a[row, 0] == columns.src_ip[i, 0]
            and rows.addr_a[row, 1] == columns.src_ip[i, 1]
            and rows.port_a[row] == columns.src_port[i]
        )
        side = 0 if forward else 1
        rows.packets[row, side] += 1
        rows.bytes[row, side] += columns.orig_len[i]
        rows.protocol[row] = max(rows.protocol[row], columns.protocol[i])
        rows.last_ts[row] = columns.ts[i]
    return count, stop
