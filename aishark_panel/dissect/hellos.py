"""ClientHellos in several TCP segments: joined, so that the frame that completes one says what it says.

Key shares that withstand quantum computers (1,184 bytes and more) make hellos longer than a segment. A segment that
begins with an incomplete ClientHello is kept until those that follow in sequence complete it. At most 256 wait, each of
at most 16 KiB; where one more comes the oldest of four places makes room. A gap, or a segment that the capture cut,
ends the wait: then each frame says what it says alone.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import ROW_TYPE
from aishark_panel.dissect.texts import SEED, has_room
from aishark_panel.dissect.tls import tls
from aishark_panel.jit import kernel_part, lean_kernel
from aishark_panel.memory import sparse_zeros
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Columns, Packets, Texts

__all__ = ["MAX_HELLO_BYTES", "Hellos"]

_SETS: Final = 64
_WAYS: Final = 4
_PLACES: Final = _SETS * _WAYS
MAX_HELLO_BYTES: Final = 16_384
"""Longest record of a ClientHello that is joined, with its header."""

_WAITING_TYPE: Final = np.dtype(
    [
        ("conversation", "u8"),
        ("turn", "i8"),  # the lowest of a set is the oldest; 0: free
        ("next_seq", "u4"),
        ("length", "i4"),  # bytes so far
        ("wanted", "i4"),  # bytes of the whole record
        ("iface", "u2"),
        ("src_port", "u2"),
        ("protocol", "u2"),  # of its first segment
    ]
)

_TCP: Final = int(Layer.TCP)
_HANDSHAKE_BIT: Final = int(Layer.TLS_HANDSHAKE)
_TLS_BITS: Final = int(Layer.TLS | Layer.TLS_HANDSHAKE)
_RECORD_HEADER_BYTES: Final = 5
_TCP_HEADER_BYTES: Final = 20
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_MASK, _HALF = 0xFFFFFFFF, 0x80000000
_ABSENT: Final = -1


class Hellos:
    """The hellos of one capture that wait for more segments."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget them."""
        self._waiting = np.zeros(_PLACES, _WAITING_TYPE)
        self._bytes = sparse_zeros(_PLACES * MAX_HELLO_BYTES, np.uint8)
        self._counts = np.zeros(2, np.int64)
        """hellos that wait, hellos so far"""
        self._row = np.zeros(1, ROW_TYPE).view(np.recarray)

    def join(self, frames: Frames, start: int, packets: Packets, first: int, stop: int) -> None:
        """Look at rows [first, stop) of a block, which are frames[start:], and complete what they complete."""
        _join(
            np.require(frames.offsets, np.int32, ["C"]),
            np.require(frames.data, np.uint8, ["C"]),
            start - first,
            packets.columns,
            packets.texts,
            first,
            stop,
            SEED,
            self._waiting,
            self._bytes,
            self._counts,
            self._row,
            self._row.view(np.uint64, np.ndarray),
        )


@lean_kernel
def _join(
    offsets: npt.NDArray[np.int32],
    data: Bytes,
    shift: int,
    columns: Columns,
    texts: Texts,
    first: int,
    stop: int,
    seed: int,
    waiting: npt.NDArray[Any],
    kept: Bytes,
    counts: npt.NDArray[np.int64],
    rows: npt.NDArray[Any],
    words: npt.NDArray[np.uint64],
) -> None:
    """Row i is frame i + shift."""
    for i in range(first, stop):
        layers = columns.layers[i]
        begins = layers & _HANDSHAKE_BIT != 0 and columns.tls_handshake[i] == _CLIENT_HELLO
        if not (begins or counts[0]) or not layers & _TCP or columns.payload_len[i] == 0:
            continue
        at = _place(columns, i, waiting)
        if at == _ABSENT and not begins:
            continue
        length = np.int64(columns.payload_len[i])
        end = np.int64(offsets[i + shift + 1])
        pos = _payload(data, np.int64(offsets[i + shift]), end, columns, i)
        if pos == _ABSENT or end - pos < length:
            if at != _ABSENT:
                _free(waiting, at, counts)
        elif at != _ABSENT and _goes_on(data, pos, length, columns, i, waiting, at, kept, counts):
            if waiting[at].length == waiting[at].wanted:
                if has_room(texts):
                    words[:] = 0
                    begin = at * MAX_HELLO_BYTES
                    end = begin + waiting[at].length
                    if tls(kept, begin, end, end, rows[0], texts, seed):
                        _tell(columns, i, rows[0], waiting[at].protocol)
                _free(waiting, at, counts)
        elif begins:
            _keep(data, pos, length, columns, i, waiting, at, kept, counts)


@kernel_part
def _place(columns: Columns, i: int, waiting: npt.NDArray[Any]) -> int:
    """Where the hello of this direction waits; absent if there is none."""
    key = columns.conversation_id[i]
    base = np.int64(key % np.uint64(_SETS)) * _WAYS
    for at in range(base, base + _WAYS):
        hello = waiting[at]
        if (
            hello.turn
            and hello.conversation == key
            and hello.src_port == columns.src_port[i]
            and hello.iface == columns.iface[i]
        ):
            return at
    return _ABSENT


@kernel_part
def _payload(data: Bytes, pos: int, end: int, columns: Columns, i: int) -> int:
    """Where the TCP payload of row i starts in its frame data[pos:end].

    The headers below are not read again: the row's ports and numbers, twelve bytes in sequence, mark the TCP header.
    """
    ports = np.int64(columns.src_port[i]) << 16 | np.int64(columns.dst_port[i])
    seq, ack = np.int64(columns.tcp_seq[i]), np.int64(columns.tcp_ack[i])
    while end - pos >= _TCP_HEADER_BYTES:
        if u32(data, pos) == ports and u32(data, pos + 4) == seq and u32(data, pos + 8) == ack:
            pos += (u8(data, pos + 12) >> 4) * 4
            return pos if pos < end else _ABSENT
        pos += 1
    return _ABSENT


@kernel_part
def _keep(
    data: Bytes,
    pos: int,
    length: int,
    columns: Columns,
    i: int,
    waiting: npt.NDArray[Any],
    at: int,
    kept: Bytes,
    counts: npt.NDArray[np.int64],
) -> None:
    """Keep a segment that begins with a ClientHello and ends before it does."""
    if length <= _RECORD_HEADER_BYTES or u8(data, pos) != _HANDSHAKE:
        return
    wanted = _RECORD_HEADER_BYTES + u16(data, pos + 3)
    if u8(data, pos + _RECORD_HEADER_BYTES) != _CLIENT_HELLO or not length < wanted <= MAX_HELLO_BYTES:
        return
    key = columns.conversation_id[i]
    if at == _ABSENT:
        base: Any = np.int64(key % np.uint64(_SETS)) * _WAYS
        at = base
        for other in range(base + 1, base + _WAYS):
            if waiting[other].turn < waiting[at].turn:
                at = other
    hello = waiting[at]
    if hello.turn == 0:
        counts[0] += 1
    counts[1] += 1
    hello.turn = counts[1]
    hello.conversation = key
    hello.src_port = columns.src_port[i]
    hello.iface = columns.iface[i]
    hello.protocol = columns.protocol[i]
    hello.wanted = wanted
    hello.length = 0
    _append(data, pos, length, hello, at, kept)
    hello.next_seq = (np.int64(columns.tcp_seq[i]) + length) & _MASK


@kernel_part
def _goes_on(
    data: Bytes,
    pos: int,
    length: int,
    columns: Columns,
    i: int,
    waiting: npt.NDArray[Any],
    at: int,
    kept: Bytes,
    counts: npt.NDArray[np.int64],
) -> bool:
    """Take the part of a segment that the hello waits for. False where it does not continue it."""
    hello = waiting[at]
    known: Any = (np.int64(hello.next_seq) - np.int64(columns.tcp_seq[i])) & _MASK
    if known >= _HALF:  # a gap
        _free(waiting, at, counts)
        return False
    if known < length:
        take = min(length - known, np.int64(hello.wanted) - np.int64(hello.length))
        _append(data, pos + known, take, hello, at, kept)
        hello.next_seq = (np.int64(columns.tcp_seq[i]) + length) & _MASK
        return True
    # Sent again, unless it lies so far back that it is of another connection between the same ports.
    return bool(known < MAX_HELLO_BYTES)


@kernel_part
def _append(data: Bytes, pos: int, length: int, hello: Any, at: int, kept: Bytes) -> None:
    begin = at * MAX_HELLO_BYTES + np.int64(hello.length)
    for k in range(length):
        kept[np.uint64(begin + k)] = data[np.uint64(pos + k)]
    hello.length += length


@kernel_part
def _free(waiting: npt.NDArray[Any], at: int, counts: npt.NDArray[np.int64]) -> None:
    waiting[at].turn = 0
    counts[0] -= 1


@kernel_part
def _tell(columns: Columns, i: int, row: Any, protocol: int) -> None:
    """The completing row says what the whole hello says."""
    columns.layers[i] |= _TLS_BITS
    columns.protocol[i] = protocol
    columns.tls_version[i] = row.tls_version
    columns.tls_handshake[i] = _CLIENT_HELLO
    columns.tls_sni[i] = row.tls_sni
    columns.tls_alpn[i] = row.tls_alpn
