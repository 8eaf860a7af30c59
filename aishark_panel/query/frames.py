"""Look for bytes in the frames themselves: the one condition that columns cannot answer.

Knuth-Morris-Pratt, so that the time is linear in the bytes searched whatever bytes are looked for.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.query.rows import Mask, Rows, Test

__all__ = ["FRAME_COLUMNS", "frames_containing"]

FRAME_COLUMNS: Final = ("frame_pos", "cap_len")


def frames_containing(needle: bytes) -> Test:
    """Frames that hold these bytes, all of them within one frame. No bytes are in every frame."""
    pattern = np.frombuffer(needle, np.uint8)
    fallback = _fallback(needle)

    def test(rows: Rows) -> Mask:
        found = np.zeros(len(rows), np.bool_) if needle else np.ones(len(rows), np.bool_)
        if not needle or not len(rows):
            return found
        packets = rows.packets
        positions, lengths = (rows.values(name) for name in FRAME_COLUMNS)
        bits = np.uint64(packets.arena_bits)
        pieces = positions >> bits
        starts = (positions & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
        held = pieces[lengths > 0]  # rows without bytes have no place in the arena
        for piece in range(int(held.min()), int(held.max()) + 1) if len(held) else ():
            _search(packets.arena[piece], pieces == piece, starts, lengths, pattern, fallback, found)
        return found

    return test


def _fallback(needle: bytes) -> npt.NDArray[np.int32]:
    """Of each prefix, the length of the longest proper prefix that is its suffix too."""
    table = np.zeros(len(needle), np.int32)
    matched = 0
    for i in range(1, len(needle)):
        while matched and needle[i] != needle[matched]:
            matched = int(table[matched - 1])
        matched += needle[i] == needle[matched]
        table[i] = matched
    return table


@kernel
def _search(
    data: npt.NDArray[np.uint8],
    here: Mask,
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.uint32],
    pattern: npt.NDArray[np.uint8],
    fallback: npt.NDArray[np.int32],
    found: Mask,
) -> None:
    """Set found[i] for the frames that are in this piece of the arena and hold the pattern."""
    for i in range(len(starts)):
        if not here[i]:
            continue
        start = starts[i]
        stop = min(start + np.int64(lengths[i]), np.int64(len(data)))
        matched, at = 0, start
        while at < stop:
            if matched == 0:  # most bytes are passed over here
                while at < stop and data[at] != pattern[0]:
                    at += 1
                if at == stop:
                    break
            while matched > 0 and data[at] != pattern[matched]:
                matched = fallback[matched - 1]
            if data[at] == pattern[matched]:
                matched += 1
                if matched == len(pattern):
                    found[i] = True
                    break
            at += 1
