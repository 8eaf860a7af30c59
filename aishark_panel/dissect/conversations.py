"""Conversations: both directions of one address pair, port pair and protocol, followed as packets arrive.

A bounded hash table in numpy arrays, keyed by `conversation_id`. Side a is the sender of the first packet seen. When
the table is full the half that was silent longest makes room; how many were forgotten is counted. One look-up a packet
finds its counters, the state of its TCP connection (`dissect.tcp`), which fills the packet's `tcp_problem`, and what it
speaks (`dissect.spoken`), which completes the packet's `protocol`.

What a packet reads and writes lies in three cache lines side by side, one of counters and one for each direction of
TCP; those of the packets ahead are asked for early, because with many conversations waiting for memory is nearly all
of the cost.
"""

from collections import namedtuple
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.infos.view import TcpNumbers
from aishark_panel.dissect.load import prefetch
from aishark_panel.dissect.spoken import NOTHING, name
from aishark_panel.dissect.tcp import FLOW_TYPE, begin, follow, takes
from aishark_panel.jit import kernel, kernel_part, lean_kernel
from aishark_panel.wire.layers import Layer, TcpProblem
from aishark_panel.wire.packets import Columns, Packets

__all__ = ["MAX_CONVERSATIONS", "ConversationRows", "Conversations"]

MAX_CONVERSATIONS: Final = 262_144
_FIRST_CAPACITY: Final = 1_024
_GROWTH: Final = 4
_CACHE_LINE_BYTES: Final = 64


class ConversationRows(NamedTuple):
    """Arrays of n conversations; those of shape (n, 2) have what a sent to b and what b sent to a."""

    id: npt.NDArray[np.uint64]
    addr_a: npt.NDArray[np.uint64]
    """(n, 2) as in PACKETS"""
    addr_b: npt.NDArray[np.uint64]
    port_a: npt.NDArray[np.uint16]
    port_b: npt.NDArray[np.uint16]
    v6: npt.NDArray[np.bool_]
    protocol: npt.NDArray[np.uint16]
    """code of the highest protocol seen"""
    packets: npt.NDArray[np.int64]
    """(n, 2)"""
    bytes: npt.NDArray[np.int64]
    """(n, 2) on the wire"""
    first_ts: npt.NDArray[np.int64]
    """ns"""
    last_ts: npt.NDArray[np.int64]
    handshake_rtt_ns: npt.NDArray[np.int64]
    """from the SYN to the acknowledgement that ends TCP's handshake; 0: not seen"""
    rtt_ns: npt.NDArray[np.int64]
    """(n, 2) from TCP data to its acknowledgement, smoothed; 0: not known"""
    retransmissions: npt.NDArray[np.uint32]
    """(n, 2), as the next four: packets with such a problem (wire.layers.TcpProblem)"""
    out_of_order: npt.NDArray[np.uint32]
    lost_segments: npt.NDArray[np.uint32]
    duplicate_acks: npt.NDArray[np.uint32]
    zero_windows: npt.NDArray[np.uint32]


_COUNTERS_TYPE: Final = np.dtype(
    [
        ("id", "u8"),
        ("first_ts", "i8"),
        ("last_ts", "i8"),
        ("packets_ab", "i8"),
        ("packets_ba", "i8"),
        ("bytes_ab", "i8"),
        ("bytes_ba", "i8"),
        ("port_a", "u2"),
        ("port_b", "u2"),
        ("protocol", "u1"),  # of the highest number seen
        ("spoken", "u1"),  # see dissect.spoken
        ("v6", "?"),
        ("a_greater", "?"),  # is side a the greater endpoint? Then a packet alone tells its direction
    ]
)
"""What every packet changes of its conversation: one cache line."""
assert _COUNTERS_TYPE.itemsize == FLOW_TYPE.itemsize == _CACHE_LINE_BYTES

_LINES: Final = 3
"""Cache lines of a row: counters, side a's flow, side b's."""

_Table = namedtuple("_Table", ["slots", "counters", "flows", "addresses", "handshakes", "problems"])
"""slots (2 * capacity,) int32 open-addressing hash of rows (-1 free); counters and flows are the same memory, as
_COUNTERS_TYPE and as FLOW_TYPE: row r has its counters in place 3r and its flows in places 3r + 1 and 3r + 2;
addresses (capacity, 4) uint64: a, then b; handshakes (capacity, 2) int64, see dissect.tcp.follow; problems
(capacity, 2, len(_COUNTED)) uint32, by direction."""

_COUNTED: Final = (
    TcpProblem.RETRANSMISSION,
    TcpProblem.OUT_OF_ORDER,
    TcpProblem.LOST_SEGMENT,
    TcpProblem.DUPLICATE_ACK,
    TcpProblem.ZERO_WINDOW,
)
_COUNTED_BITS: Final = np.array(_COUNTED, np.int64)

_SLOT_AHEAD, _ROW_AHEAD = 24, 12
"""How many packets ahead a hash slot, and what it leads to, are asked for."""

_IP: Final = int(Layer.IP)
_IPV6: Final = int(Layer.IPV6)
_TCP: Final = int(Layer.TCP)
_FRAGMENT: Final = int(Layer.FRAGMENT)
_TCP_PROTO: Final = 6


class Conversations:
    """The conversations of one capture, at most MAX_CONVERSATIONS."""

    def __init__(self) -> None:
        self.forgotten = 0
        """conversations dropped to make room"""
        self._count = 0
        self._table = _allocate(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._count

    def add(self, packets: Packets, start: int, stop: int) -> None:
        """Count rows [start, stop) of a block, in the order they were taken; fill `tcp_problem`, mend `protocol`."""
        while start < stop:
            self._count, start = _add(packets.columns, start, stop, self._table, self._count)
            if start < stop:
                self._make_room()

    def tcp_numbers(self, packets: Packets, row: int) -> TcpNumbers | None:
        """What the numbers of a TCP segment count from, while its conversation is remembered. From any thread."""
        columns, table = packets.columns, self._table
        found = _find(table, int(columns.conversation_id[row]))
        if found is None or not columns.layers[row] & _TCP:
            return None
        source, destination = (
            (int(ip[row, 1]), int(ip[row, 0]), int(port[row]))
            for ip, port in ((columns.src_ip, columns.src_port), (columns.dst_ip, columns.dst_port))
        )
        side = 0 if (source > destination) == bool(table.counters["a_greater"][_LINES * found]) else 1
        flows = table.flows[_LINES * found + 1 : _LINES * found + 3]
        scale = int(flows["scale"][side])
        return TcpNumbers(int(flows["first_seq"][side]), int(flows["first_seq"][1 - side]), max(scale, 0))

    def rows(self) -> ConversationRows:
        """A copy of all conversations, in order of first appearance."""
        return _rows(self._table, np.arange(self._count))

    def top(self, limit: int) -> ConversationRows:
        """The `limit` conversations with most bytes, most first."""
        table = self._table
        counters = table.counters[: _LINES * self._count : _LINES]
        order = np.argsort(counters["bytes_ab"] + counters["bytes_ba"], kind="stable")[::-1][:limit]
        return _rows(table, order)

    def find(self, ids: npt.NDArray[np.uint64]) -> ConversationRows:
        """The conversations of these ids, one row each; what is not remembered has another id there."""
        table = self._table
        return _rows(table, _places(table.slots, table.counters["id"], ids))

    def handshakes(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of conversations whose TCP handshake was seen: id, time of the first packet, round trip; both in ns."""
        table, count = self._table, self._count
        took_ns = table.handshakes[:count, 1].copy()
        seen = np.flatnonzero(took_ns)
        counters = table.counters[_LINES * seen]
        return counters["id"], counters["first_ts"], took_ns[seen]

    def one(self, conversation_id: int) -> ConversationRows | None:
        """The conversation of that id, while it is remembered. From any thread."""
        table = self._table
        found = _find(table, conversation_id)
        return None if found is None else _rows(table, np.array([found]))

    def clear(self) -> None:
        """Forget all conversations."""
        self._count = 0
        self._table = _allocate(_FIRST_CAPACITY)

    def _make_room(self) -> None:
        old, count = self._table, self._count
        capacity, kept = len(old.addresses), count
        keep: slice | npt.NDArray[np.intp] = slice(count)
        if capacity < MAX_CONVERSATIONS:
            capacity = min(_GROWTH * capacity, MAX_CONVERSATIONS)
        else:
            last_ts = old.counters["last_ts"][::_LINES]
            keep = np.sort(np.argpartition(last_ts, count // 2)[count // 2 :])
            kept = len(keep)
            self.forgotten += count - kept
        table = _allocate(capacity)
        table.flows.reshape(-1, _LINES)[:kept] = old.flows.reshape(-1, _LINES)[keep]
        for new_array, old_array in zip(table[3:], old[3:], strict=True):
            new_array[:kept] = old_array[keep]
        _index(table.counters["id"][::_LINES], kept, table.slots)
        self._count = min(self._count, kept)
        self._table = table


def _find(table: _Table, conversation_id: int) -> int | None:
    """The row of a conversation."""
    mask = len(table.slots) - 1
    slot = conversation_id & mask
    while (row := int(table.slots[slot])) >= 0:
        if int(table.counters["id"][_LINES * row]) == conversation_id:
            return row
        slot = (slot + 1) & mask
    return None


def _rows(table: _Table, rows: npt.NDArray[np.intp]) -> ConversationRows:
    counters = table.counters[_LINES * rows]
    flows = table.flows.reshape(-1, _LINES)[rows, 1:]
    problems = table.problems[rows]
    return ConversationRows(
        counters["id"],
        table.addresses[rows, :2],
        table.addresses[rows, 2:],
        counters["port_a"],
        counters["port_b"],
        counters["v6"],
        counters["protocol"].astype(np.uint16),
        np.stack([counters["packets_ab"], counters["packets_ba"]], axis=1),
        np.stack([counters["bytes_ab"], counters["bytes_ba"]], axis=1),
        counters["first_ts"],
        counters["last_ts"],
        table.handshakes[rows, 1],
        flows["rtt_ns"],
        *(problems[:, :, kind] for kind in range(len(_COUNTED))),
    )


def _allocate(capacity: int) -> _Table:
    size = _LINES * capacity * _CACHE_LINE_BYTES
    raw = np.zeros(size + _CACHE_LINE_BYTES, np.uint8)
    skip = -raw.ctypes.data % _CACHE_LINE_BYTES  # numpy by itself would let every record straddle two lines
    lines = raw[skip : skip + size]
    return _Table(
        np.full(2 * capacity, -1, np.int32),
        lines.view(_COUNTERS_TYPE),
        lines.view(FLOW_TYPE),
        np.zeros((capacity, 4), np.uint64),
        np.zeros((capacity, 2), np.int64),
        np.zeros((capacity, 2, len(_COUNTED)), np.uint32),
    )


@kernel
def _index(ids, count, slots):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(slots) - 1)
    for row in range(count):
        slot = ids[row] & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = row


@kernel
def _places(slots, counter_ids, ids):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Rows of ids; 0 for those that are not there."""
    mask = np.uint64(len(slots) - 1)
    places = np.zeros(len(ids), np.int64)
    for k in range(len(ids)):
        slot = ids[k] & mask
        while slots[slot] >= 0:
            row = np.int64(slots[slot])
            if counter_ids[_LINES * row] == ids[k]:
                places[k] = row
                break
            slot = (slot + np.uint64(1)) & mask
    return places


@lean_kernel
def _add(columns: Columns, start: int, stop: int, table: Any, count: int) -> tuple[int, int]:
    """Count packet rows until done or the table is full; returns (conversations, next packet row)."""
    slots, counters, flows = table.slots, table.counters, table.flows
    mask = np.uint64(len(slots) - 1)
    for i in range(start, stop):
        prefetch(slots, columns.conversation_id[min(i + _SLOT_AHEAD, stop - 1)] & mask)
        ahead: Any = np.int64(slots[columns.conversation_id[min(i + _ROW_AHEAD, stop - 1)] & mask])
        if ahead >= 0:
            for line in range(_LINES):
                prefetch(counters, _LINES * ahead + line)
        layers = columns.layers[i]
        if layers & _IP == 0:
            continue
        key = columns.conversation_id[i]
        slot = key & mask
        row: Any = np.int64(slots[slot])
        while row >= 0 and counters[_LINES * row].id != key:
            slot = (slot + np.uint64(1)) & mask
            row = np.int64(slots[slot])
        if row < 0:
            if count == len(table.addresses):
                return count, i
            row = count
            count += 1
            slots[slot] = row
            _begin(columns, i, table, row)
        counter = counters[_LINES * row]
        side = 0 if _source_is_greater(columns, i) == counter.a_greater else 1
        if side == 0:
            counter.packets_ab += 1
            counter.bytes_ab += columns.orig_len[i]
        else:
            counter.packets_ba += 1
            counter.bytes_ba += columns.orig_len[i]
        counter.last_ts = columns.ts[i]
        problem = 0
        # A fragment's segment has an unknown length, and what a tunnel carries has connections of its own.
        segment = layers & _TCP != 0 and columns.ip_proto[i] == _TCP_PROTO and not layers & _FRAGMENT
        if segment:
            fwd, rev = flows[_LINES * row + 1 + side], flows[_LINES * row + 2 - side]
            if takes(fwd, columns.iface[i], columns.ts[i]):
                problem = follow(columns, i, fwd, rev, table.handshakes[row])
                if problem:
                    columns.tcp_problem[i] = problem
                    for kind in range(len(_COUNTED_BITS)):
                        if problem & _COUNTED_BITS[kind]:
                            table.problems[row, side, kind] += 1
        counter.spoken = name(columns, i, segment, problem, counter.spoken)
        counter.protocol = max(counter.protocol, columns.protocol[i])
    return count, stop


@kernel_part
def _source_is_greater(columns: Columns, i: int) -> bool:
    """Is the source endpoint (address, port) the greater one?"""
    if columns.src_ip[i, 1] != columns.dst_ip[i, 1]:
        return columns.src_ip[i, 1] > columns.dst_ip[i, 1]  # type: ignore[no-any-return]
    if columns.src_ip[i, 0] != columns.dst_ip[i, 0]:
        return columns.src_ip[i, 0] > columns.dst_ip[i, 0]  # type: ignore[no-any-return]
    return columns.src_port[i] > columns.dst_port[i]  # type: ignore[no-any-return]


@kernel_part
def _begin(columns: Columns, i: int, table: Any, row: int) -> None:
    """A new conversation, whose side a sent the packet in row i."""
    counter = table.counters[_LINES * row]
    counter.id = columns.conversation_id[i]
    counter.first_ts = columns.ts[i]
    counter.packets_ab = counter.packets_ba = counter.bytes_ab = counter.bytes_ba = 0
    counter.port_a, counter.port_b = columns.src_port[i], columns.dst_port[i]
    counter.protocol = 0
    counter.spoken = NOTHING
    counter.v6 = columns.layers[i] & _IPV6 != 0
    counter.a_greater = _source_is_greater(columns, i)
    begin(table.flows[_LINES * row + 1])
    begin(table.flows[_LINES * row + 2])
    for half in range(2):
        table.addresses[row, half] = columns.src_ip[i, half]
        table.addresses[row, 2 + half] = columns.dst_ip[i, half]
