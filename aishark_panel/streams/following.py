"""What was said in one conversation, as far as the ring holds it: payload bytes in order, and traffic over time.

TCP is put in the order of its sequence numbers (streams/sequence.py), anything else is told datagram by datagram as it
was captured. An answer is bounded; its cursor leads to what follows, and is good for as long as the ring holds the
packets it needs, because it says all there is to know of what came before.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.headers import headers
from aishark_panel.dissect.heads import Heads
from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.matches import rows_of
from aishark_panel.streams.ring import BlockView
from aishark_panel.streams.sequence import MAX_PIECES, Segments, State, in_sequence
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Packets, address_text
from aishark_panel.wire.protocols import PROTOCOLS

__all__ = ["MAX_ANSWER_BYTES", "SERIES_BINS", "payloads", "traffic"]

MAX_ANSWER_BYTES: Final = 1_000_000
"""An answer ends with the packet that reaches this."""
SERIES_BINS: Final = 120
_MAX_PACKETS: Final = 1_000_000
"""Packets of the conversation that one answer looks at."""
_TCP_BITS: Final = int(Layer.TCP | Layer.FRAGMENT)
_TCP_WHOLE: Final = int(Layer.TCP)
_TCP_PROTO: Final = 6
_CARRIERS: Final = ("tcp", "udp", "udplite", "sctp")
"""Headers with payload behind them."""


Said = tuple[dict[str, Any], bytes]


class _Ends(NamedTuple):
    """Addresses and ports of the two sides; a sent the first packet that is known."""

    addresses: tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]
    ports: tuple[int, int]
    v6: bool

    def texts(self) -> list[str]:
        found = []
        for words, port in zip(self.addresses, self.ports, strict=True):
            text = address_text(words.tobytes(), v6=self.v6)
            found.append(text if not port else f"[{text}]:{port}" if self.v6 else f"{text}:{port}")
        return found

    def side(self, packets: Packets, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Who sent each row: 0 for a, 1 for b."""
        columns = packets.columns
        from_a = (columns.src_ip[rows] == self.addresses[0]).all(axis=1) & (columns.src_port[rows] == self.ports[0])
        sides: npt.NDArray[np.uint8] = (~from_a).astype(np.uint8)
        return sides


def payloads(session: Session, conversation: int, cursor: str = "", limit: int = MAX_ANSWER_BYTES) -> Said:
    """({a, b, protocol, pieces, cursor, more}, bytes) of a conversation, from the cursor of an earlier answer on.

    A piece is {number, ts, side, at, length, missing, cut, begins}: body[at:at + length] was sent by side 0 (a) or 1
    (b) in packet `number`; `missing` bytes of that side before it were not captured, `cut` bytes of the packet's own
    payload are not in it (the capture cut it, or it is a fragment); with `begins` a new connection between the same
    ports starts. NotFoundError where the ring holds no packet of it, ConfigError for a cursor that is none.
    """
    first, state = _read_cursor(cursor)
    limit = max(1, min(limit, MAX_ANSWER_BYTES))
    with session.ring.read() as views:
        numbers = _numbers(session, conversation)
        ends, protocol = _ends(session, list(views), numbers, conversation)
        numbers = numbers[np.searchsorted(numbers, first) :]
        looked_at = numbers[:_MAX_PACKETS]
        blocks = rows_of(list(views), looked_at)
        taken = _in_order(blocks, ends, state, limit)
        pieces, body = _read(session, blocks, taken)
        following = int(looked_at[taken.resume]) if taken.resume < len(looked_at) else None
    more = following is not None or len(numbers) > len(looked_at)
    if following is None:
        following = max(first, int(looked_at[-1]) + 1 if len(looked_at) else first)
    a, b = ends.texts()
    known = {"a": a, "b": b, "protocol": protocol, "pieces": pieces, "more": more}
    return {**known, "cursor": _cursor(following, taken.state)}, body


def traffic(session: Session, conversation: int) -> dict[str, Any]:
    """Bytes on the wire over time: {first, last, packets, bin_ns, start_ns, bytes_ab, bytes_ba} of what the ring holds.

    `first` and `last` are packet numbers; the two lists have SERIES_BINS bins or fewer. All 0 where it holds nothing.
    """
    with session.ring.read() as views:
        numbers = _numbers(session, conversation)
        if not len(numbers):
            return {"first": 0, "last": 0, "packets": 0, "bin_ns": 0, "start_ns": 0, "bytes_ab": [], "bytes_ba": []}
        ends, _ = _ends(session, list(views), numbers, conversation)
        blocks = rows_of(list(views), numbers)
        times = [packets.columns.ts[rows] for packets, rows in blocks]
        start, stop = min(int(ts.min()) for ts in times), max(int(ts.max()) for ts in times)
        bin_ns = max(1_000_000, -(-(stop - start + 1) // SERIES_BINS))
        bins = (stop - start) // bin_ns + 1
        sums = np.zeros(2 * bins)
        for (packets, rows), ts in zip(blocks, times, strict=True):
            places = (ts - start) // bin_ns + bins * ends.side(packets, rows).astype(np.int64)
            sums += np.bincount(places, packets.columns.orig_len[rows], minlength=2 * bins)
    ab, ba = sums.astype(np.int64).reshape(2, bins).tolist()
    series = {"bin_ns": bin_ns, "start_ns": start, "bytes_ab": ab, "bytes_ba": ba}
    return {"first": int(numbers[0]), "last": int(numbers[-1]), "packets": len(numbers), **series}


def _numbers(session: Session, conversation: int) -> npt.NDArray[np.int64]:
    """Numbers of the conversation's packets, ascending. The set is the one of the filter that shows it alone."""
    matches = session.matches.get(f"conversation_id == {conversation}")
    known = matches.update(session.ring, session.interfaces, 2**62)
    return matches.numbers(known.first, known.end - known.first)


def _ends(
    session: Session, views: list[BlockView], numbers: npt.NDArray[np.int64], conversation: int
) -> tuple[_Ends, str]:
    """Its two sides, and its protocol."""
    found = session.conversations.one(conversation)
    if found is not None:
        addresses, ports = (found.addr_a[0], found.addr_b[0]), (int(found.port_a[0]), int(found.port_b[0]))
        return _Ends(addresses, ports, bool(found.v6[0])), PROTOCOLS[int(found.protocol[0])]
    blocks = rows_of(views, numbers[:1])
    if not blocks:
        raise NotFoundError(f"there is no conversation {conversation} here, or its packets made room for newer ones")
    packets, (row,) = blocks[0]
    columns = packets.columns
    addresses, ports = (
        (columns.src_ip[row], columns.dst_ip[row]),
        (int(columns.src_port[row]), int(columns.dst_port[row])),
    )
    return _Ends(addresses, ports, bool(columns.layers[row] & int(Layer.IPV6))), PROTOCOLS[int(columns.protocol[row])]


class _Taken(NamedTuple):
    """Payloads in the order they are told; `row` counts packets of the conversation."""

    row: npt.NDArray[np.int64]
    side: npt.NDArray[np.uint8]
    skip: npt.NDArray[np.int64]
    gap: npt.NDArray[np.int64]
    begins: npt.NDArray[np.bool_]
    resume: int
    state: State


def _in_order(blocks: list[tuple[Packets, npt.NDArray[np.intp]]], ends: _Ends, state: State, limit: int) -> _Taken:
    def gather(name: str) -> npt.NDArray[Any]:
        parts = [getattr(packets.columns, name)[rows] for packets, rows in blocks]
        return np.concatenate(parts) if parts else np.zeros(0, np.uint32)

    side = np.concatenate([np.zeros(0, np.uint8), *(ends.side(packets, rows) for packets, rows in blocks)])
    length = gather("payload_len")
    layers, proto = gather("layers").astype(np.int64), gather("ip_proto")
    carried = (layers & int(Layer.TRANSPORT)) != 0
    segments = (layers & _TCP_BITS == _TCP_WHOLE) & (proto == _TCP_PROTO)
    if segments.any():
        which = np.flatnonzero(segments)
        seq, ack, flags = (gather(name)[which] for name in ("tcp_seq", "tcp_ack", "tcp_flags"))
        found = in_sequence(Segments(side[which], seq, ack, flags, length[which]), state, limit)
        rows = which[found.row]
        resume = int(which[found.resume]) if found.resume < len(which) else len(side)
        return _Taken(rows, side[rows], found.skip, found.gap, found.begins, resume, found.state)
    rows = np.flatnonzero(carried & (length > 0))
    within = int(np.searchsorted(np.cumsum(length[rows], dtype=np.int64), limit)) + 1
    resume = int(rows[within]) if within < len(rows) else len(side)
    if within > MAX_PIECES:
        within, resume = MAX_PIECES, int(rows[MAX_PIECES])
    rows = rows[:within]
    nothing = np.zeros(len(rows), np.int64)
    return _Taken(rows, side[rows], nothing, nothing, nothing.astype(bool), resume, state)


def _read(
    session: Session, blocks: list[tuple[Packets, npt.NDArray[np.intp]]], taken: _Taken
) -> tuple[list[dict[str, Any]], bytes]:
    """The pieces and their bytes, out of the frames."""
    starts = np.cumsum([0, *(len(rows) for _, rows in blocks)])
    pieces, parts, at = [], [], 0
    for k, place in enumerate(taken.row):
        which = int(np.searchsorted(starts, place, side="right")) - 1
        packets, row = blocks[which][0], int(blocks[which][1][place - starts[which]])
        skip = int(taken.skip[k])
        wanted = int(packets.columns.payload_len[row]) - skip
        data = _payload(session, packets, row)[skip:][:wanted]
        pieces.append(
            {
                "number": packets.first_number + row,
                "ts": int(packets.columns.ts[row]),
                "side": int(taken.side[k]),
                "at": at,
                "length": len(data),
                "missing": int(taken.gap[k]),
                "cut": wanted - len(data),
                "begins": bool(taken.begins[k]),
            }
        )
        parts.append(data)
        at += len(data)
    return pieces, b"".join(parts)


def _payload(session: Session, packets: Packets, row: int) -> bytes:
    """What was captured of the innermost transport's payload."""
    frame = packets.frame(row)
    link_type = session.interfaces[int(packets.columns.iface[row])].link_type
    orig_len = int(packets.columns.orig_len[row])
    found = headers(frame, link_type, orig_len)
    if found and found[-1].kind in _CARRIERS:
        return frame[found[-1].payload : found[-1].end]
    # Of a link layer that only the kernels know, or cut before the payload.
    heads, _ = Heads().find(Frames.from_list([frame], [0], [orig_len]), np.array([link_type], np.int32))
    return frame[int(heads[0]) :]


def _cursor(number: int, state: State) -> str:
    return ".".join(map(str, (number, *state.next, *state.first)))


def _read_cursor(text: str) -> tuple[int, State]:
    """Number of the packet to go on from, and what is known there."""
    if not text:
        return 0, State()
    try:
        number, next_a, next_b, first_a, first_b = (int(part) for part in text.split("."))
    except ValueError:
        raise ConfigError(f"{text[:50]!r} is no cursor of an earlier answer") from None
    if not 0 <= number < 2**53 or not all(-1 <= n < 2**32 for n in (next_a, next_b, first_a, first_b)):
        raise ConfigError(f"{text[:50]!r} is no cursor of an earlier answer")
    return number, State((next_a, next_b), (first_a, first_b))
