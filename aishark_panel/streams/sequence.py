"""The payloads of a TCP connection in the order of their sequence numbers: nothing twice, and what is missing is told.

Both directions are read in the order they were captured. A segment is given out once nothing before it is missing; one
that came early waits. What is missing is given up, and counted, when the other side acknowledges what lies behind it
(the receiver had it, the capture had not) or when the packets end. So does Wireshark's Follow TCP Stream.
"""

import heapq
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel

__all__ = ["MAX_PIECES", "Pieces", "Segments", "State", "in_sequence"]

MAX_PIECES: Final = 20_000
"""Most pieces of one answer; keystrokes are a byte each."""

_SYN, _ACK = 2, 16
_UNKNOWN: Final = -1
_ALL: Final = 2**62


class Segments(NamedTuple):
    """n TCP segments as captured, one array each."""

    side: npt.NDArray[np.uint8]
    """0: sent by a, 1: by b"""
    seq: npt.NDArray[np.uint32]
    ack: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint16]
    length: npt.NDArray[np.uint32]
    """bytes of payload, by the headers' own lengths"""


class State(NamedTuple):
    """Of each side, modulo 2**32: the sequence number that comes next, and that of its first byte; -1: not known."""

    next: tuple[int, int] = (_UNKNOWN, _UNKNOWN)
    first: tuple[int, int] = (_UNKNOWN, _UNKNOWN)


class Pieces(NamedTuple):
    """Payload bytes in order, one array each."""

    row: npt.NDArray[np.int64]
    """index of the segment"""
    skip: npt.NDArray[np.int64]
    """bytes of its payload that were given out before"""
    gap: npt.NDArray[np.int64]
    """bytes of its direction that are missing before it"""
    begins: npt.NDArray[np.bool_]
    """a new connection between the same ports begins with it"""
    resume: int
    """segment to go on from, with `state`; n when all were given out"""
    state: State


def in_sequence(segments: Segments, state: State, limit_bytes: int) -> Pieces:
    """Pieces of at least `limit_bytes` bytes together, or all there are; at most MAX_PIECES."""
    known = np.array([*state.next, *state.first], np.int64)
    pieces = np.empty((MAX_PIECES, 3), np.int64)
    begins = np.zeros(MAX_PIECES, np.bool_)
    count, resume = _order(*segments, known, limit_bytes, pieces, begins)
    next_a, next_b, first_a, first_b = (int(value) for value in known)
    row, skip, gap = pieces[:count].T
    return Pieces(row, skip, gap, begins[:count], resume, State((next_a, next_b), (first_a, first_b)))


@kernel
def _order(  # type: ignore[no-untyped-def]  # noqa: ANN202
    side,  # noqa: ANN001
    seq,  # noqa: ANN001
    ack,  # noqa: ANN001
    flags,  # noqa: ANN001
    length,  # noqa: ANN001
    known,  # noqa: ANN001
    limit_bytes,  # noqa: ANN001
    pieces,  # noqa: ANN001
    begins,  # noqa: ANN001
):
    """(pieces, segment to go on from); `known` is next of a and b, first of a and b, and is brought up to date.

    Within, numbers do not wrap: they count on from the first one that was seen.
    """
    nothing = (np.int64(0), np.int64(0))
    waiting: Any = ([nothing], [nothing])  # of each side (number, segment), the lowest number first
    waiting[0].pop()
    waiting[1].pop()
    count = fresh = 0
    room = np.int64(limit_bytes)
    i = 0
    while room > 0 and i < len(side):
        mine, segment_flags = np.int64(side[i]), np.int64(flags[i])
        start = (np.int64(seq[i]) + (1 if segment_flags & _SYN else 0)) & 0xFFFFFFFF
        if segment_flags & _SYN and known[2 + mine] >= 0 and known[2 + mine] != start:
            for which in range(2):
                count, room = _give(waiting[which], which, _ALL, length, known, room, pieces, count)
            if room <= 0:
                break
            fresh = count + 1
            known[mine] = known[2 + mine] = _UNKNOWN
            if not segment_flags & _ACK:
                known[1 - mine] = known[3 - mine] = _UNKNOWN
        if segment_flags & _ACK and len(waiting[1 - mine]) > 0:
            received = known[1 - mine] + _ahead(np.int64(ack[i]), known[1 - mine])
            count, room = _give(waiting[1 - mine], 1 - mine, received, length, known, room, pieces, count)
            if room <= 0:
                break
        if known[mine] < 0:
            known[mine] = known[2 + mine] = start
        at = known[mine] + _ahead(start, known[mine])
        if length[i] > 0 and at + np.int64(length[i]) > known[mine]:
            heapq.heappush(waiting[mine], (at, np.int64(i)))
            count, room = _give(waiting[mine], mine, np.int64(0), length, known, room, pieces, count)
        if fresh and count >= fresh:
            begins[fresh - 1] = True
            fresh = 0
        i += 1
    for which in range(2):
        if room > 0:
            count, room = _give(waiting[which], which, _ALL, length, known, room, pieces, count)
    for which in range(2):
        if known[which] >= 0:
            known[which] &= 0xFFFFFFFF
        for entry in waiting[which]:
            i = min(i, entry[1])
    return count, i


@kernel
def _give(queue, which, received, length, known, room, pieces, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Give out what waits of a side, across gaps only below the number `received`; (pieces, bytes of room left)."""
    while len(queue) > 0:
        at, row = queue[0]
        end, expected = at + np.int64(length[row]), known[which]
        if end > expected:
            if room <= 0 or (at > expected and at >= received):
                break
            pieces[count, 0] = row
            pieces[count, 1] = max(expected - at, 0)
            pieces[count, 2] = max(at - expected, 0)
            room -= end - max(at, expected)
            known[which] = end
            count += 1
            if count == len(pieces):
                room = np.int64(0)
        heapq.heappop(queue)
    return count, room


@kernel
def _ahead(number, known):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """How far a sequence number lies before what is known, modulo 2**32 (RFC 9293 section 3.4); negative: behind."""
    distance = (number - known) & 0xFFFFFFFF
    return distance - 0x100000000 if distance >= 0x80000000 else distance
