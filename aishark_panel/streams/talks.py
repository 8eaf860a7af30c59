"""Who talks with whom among the packets that an expression selects; and addresses, out of any conversations.

A session's own conversations (dissect/conversations.py) are of all packets it took. Here the selected ones are counted
again; what must be followed from the first packet on (round trips, which side is a) is taken from the session's.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.conversations import ConversationRows, Conversations
from aishark_panel.jit import kernel
from aishark_panel.streams.addresshash import address_hash
from aishark_panel.streams.summaries import Counter, Rows
from aishark_panel.wire.layers import Layer, TcpProblem
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["Ends", "Talks", "ends_of"]

_MAX_TALKS: Final = 65_536
_FIRST_CAPACITY: Final = 1_024
_COUNTED: Final = np.array(
    [
        TcpProblem.RETRANSMISSION,
        TcpProblem.OUT_OF_ORDER,
        TcpProblem.LOST_SEGMENT,
        TcpProblem.DUPLICATE_ACK,
        TcpProblem.ZERO_WINDOW,
    ],
    np.int64,
)
"""In the order of ConversationRows."""
_IP: Final = int(Layer.IP)
_IPV6: Final = int(Layer.IPV6)

_TALK: Final = np.dtype(
    [
        ("id", "u8"),
        ("a", "u8", 2),
        ("b", "u8", 2),
        ("port_a", "u2"),
        ("port_b", "u2"),
        ("protocol", "u2"),
        ("v6", "?"),
        ("packets", "i8", 2),
        ("bytes", "i8", 2),
        ("first_ts", "i8"),
        ("last_ts", "i8"),
        ("problems", "u4", (2, len(_COUNTED))),
    ]
)


class Talks(Counter):
    """Conversations of the packets that are counted; when there are too many, the half silent longest makes room."""

    def __init__(self) -> None:
        self._talks = np.zeros(_FIRST_CAPACITY, _TALK)
        self._slots = np.zeros(2 * _FIRST_CAPACITY, np.int32)
        self._count = 0
        self.forgotten = 0
        """conversations that made room"""

    def __len__(self) -> int:
        return self._count

    def count(self, packets: Packets, rows: Rows, interfaces: Sequence[Interface]) -> None:
        """Take some rows of a block, in their order."""
        done = 0
        while done < len(rows):
            self._count, taken = _count(packets.columns, rows[done:], self._talks, self._slots, self._count)
            done += taken
            if done < len(rows):
                self._make_room()

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self._talks.nbytes + self._slots.nbytes

    def ids(self) -> npt.NDArray[np.uint64]:
        """Of all conversations."""
        ids: npt.NDArray[np.uint64] = self._talks["id"][: self._count].copy()
        return ids

    def rows(self, known: Conversations) -> ConversationRows:
        """A copy of all; side a and round trips as in the session's own conversations, where it knows them."""
        talks = self._talks[: self._count].copy()
        own = known.find(talks["id"])
        here = own.id == talks["id"]
        flipped = here & ((own.addr_a != talks["a"]).any(axis=1) | (own.port_a != talks["port_a"]))
        for one, other in (("a", "b"), ("port_a", "port_b")):
            kept = talks[one][flipped].copy()
            talks[one][flipped] = talks[other][flipped]
            talks[other][flipped] = kept
        for name in ("packets", "bytes", "problems"):
            talks[name][flipped] = talks[name][flipped][:, ::-1]
        return ConversationRows(
            talks["id"],
            talks["a"],
            talks["b"],
            talks["port_a"],
            talks["port_b"],
            talks["v6"],
            talks["protocol"],
            talks["packets"],
            talks["bytes"],
            talks["first_ts"],
            talks["last_ts"],
            np.where(here, own.handshake_rtt_ns, 0),
            np.where(here[:, None], own.rtt_ns, 0),
            *(talks["problems"][:, :, kind] for kind in range(len(_COUNTED))),
        )

    def _make_room(self) -> None:
        old, count = self._talks, self._count
        capacity = len(old)
        if capacity < _MAX_TALKS:
            capacity *= 4
            kept = old[:count]
        else:
            newest = np.argpartition(old["last_ts"], count // 2)[count // 2 :]
            kept = old[np.sort(newest)]
            self.forgotten += count - len(kept)
        self._talks = np.zeros(capacity, _TALK)
        self._talks[: len(kept)] = kept
        self._slots = np.zeros(2 * capacity, np.int32)
        self._count = len(kept)
        _index(self._talks["id"], self._count, self._slots)


class Ends(NamedTuple):
    """Addresses, in no order; arrays of n."""

    address: npt.NDArray[np.uint64]
    """(n, 2) as in PACKETS"""
    v6: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    """(n, 5): conversations; packets and bytes that were sent; packets and bytes that were received"""
    first_ts: npt.NDArray[np.int64]
    last_ts: npt.NDArray[np.int64]


def ends_of(rows: ConversationRows) -> Ends:
    """The addresses that these conversations are between."""
    most = 2 * len(rows.id)
    address, v6 = np.zeros((most, 2), np.uint64), np.zeros(most, np.bool_)
    counts, times = np.zeros((most, 5), np.int64), np.zeros((most, 2), np.int64)
    slots = np.zeros(1 << max(4, (2 * most).bit_length()), np.int32)
    count = _ends(
        rows.addr_a, rows.addr_b, rows.v6, rows.packets, rows.bytes, rows.first_ts, rows.last_ts,
        address, v6, counts, times, slots,
    )  # fmt: skip
    return Ends(address[:count], v6[:count], counts[:count], times[:count, 0], times[:count, 1])


@kernel
def _index(ids, count, slots):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(slots) - 1)
    for row in range(count):
        slot = ids[row] & mask
        while slots[slot]:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = row + 1


@kernel
def _count(columns, rows, talks, slots, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.uint64(len(slots) - 1)
    for k in range(len(rows)):
        i = rows[k]
        if columns.layers[i] & _IP == 0:
            continue
        key = columns.conversation_id[i]
        slot = key & mask
        while slots[slot] and talks[slots[slot] - 1].id != key:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            if count == len(talks):
                return count, k
            talk = talks[count]
            count += 1
            slots[slot] = count
            talk.id = key
            talk.v6 = columns.layers[i] & _IPV6 != 0
            talk.port_a, talk.port_b = columns.src_port[i], columns.dst_port[i]
            talk.first_ts = talk.last_ts = columns.ts[i]
            for half in range(2):
                talk.a[half], talk.b[half] = columns.src_ip[i, half], columns.dst_ip[i, half]
        talk = talks[slots[slot] - 1]
        from_a = (
            talk.port_a == columns.src_port[i]
            and talk.a[1] == columns.src_ip[i, 1]
            and talk.a[0] == columns.src_ip[i, 0]
        )
        side = 0 if from_a else 1
        talk.packets[side] += 1
        talk.bytes[side] += columns.orig_len[i]
        talk.first_ts = min(talk.first_ts, columns.ts[i])
        talk.last_ts = max(talk.last_ts, columns.ts[i])
        talk.protocol = max(talk.protocol, columns.protocol[i])
        problem = np.int64(columns.tcp_problem[i])
        if problem:
            for kind in range(len(_COUNTED)):
                if problem & _COUNTED[kind]:
                    talk.problems[side, kind] += 1
    return count, len(rows)


@kernel
def _ends(addr_a, addr_b, is_v6, packets, volume, first_ts, last_ts, address, v6, counts, times, slots):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    mask = np.int64(len(slots) - 1)
    count: Any = 0
    for k in range(len(addr_a)):
        for side in range(2):
            high, low = (addr_a[k, 0], addr_a[k, 1]) if side == 0 else (addr_b[k, 0], addr_b[k, 1])
            slot = address_hash(high, low) & mask
            while True:
                end: Any = np.int64(slots[slot]) - 1
                if end < 0:
                    end = count
                    count += 1
                    slots[slot] = count
                    address[end, 0], address[end, 1], v6[end] = high, low, is_v6[k]
                    times[end, 0], times[end, 1] = first_ts[k], last_ts[k]
                    break
                if address[end, 0] == high and address[end, 1] == low and v6[end] == is_v6[k]:
                    break
                slot = (slot + 1) & mask
            counts[end, 0] += 1
            counts[end, 1] += packets[k, side]
            counts[end, 2] += volume[k, side]
            counts[end, 3] += packets[k, 1 - side]
            counts[end, 4] += volume[k, 1 - side]
            times[end, 0] = min(times[end, 0], first_ts[k])
            times[end, 1] = max(times[end, 1], last_ts[k])
    return count
