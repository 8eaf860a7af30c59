"""Look for bytes in the frames themselves: the one condition that columns cannot answer.

Knuth-Morris-Pratt, so that the time is linear in the bytes searched whatever bytes are looked for.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.query.rows import Mask, Rows, Test

__all__ = ["FRAME_COLUMNS", "Needle", "frames_containing", "places"]

FRAME_COLUMNS: Final = ("frame_pos", "cap_len")


def frames_containing(needle: bytes) -> Test:
    """Frames that hold these bytes, all of them within one frame. No bytes are in every frame."""
    wanted = Needle(needle)
    return lambda rows: wanted.search(rows, 0, rows.captured())


class Needle:
    """Bytes that are looked for."""

    def __init__(self, needle: bytes) -> None:
        self._pattern = np.frombuffer(needle, np.uint8)
        self._fallback = _fallback(needle)

    def search(self, rows: Rows, skip: npt.NDArray[np.int64] | int, lengths: npt.NDArray[Any]) -> Mask:
        """Which frames hold the bytes in those that follow their first `skip`, so many as `lengths` says."""
        found = np.zeros(len(rows), np.bool_) if len(self._pattern) else np.ones(len(rows), np.bool_)
        if not len(self._pattern) or not len(rows):
            return found
        pieces, starts = places(rows)
        searched = lengths > 0  # rows without bytes have no place in the arena
        for piece in np.unique(pieces[searched]):
            here = searched & (pieces == piece)
            data = rows.packets.arena[int(piece)]
            _search(data, here, starts + skip, lengths.astype(np.int64), self._pattern, self._fallback, found)
        return found


def places(rows: Rows) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Which piece of the arena each frame is in, and where in it."""
    positions, bits = rows.values("frame_pos"), np.uint64(rows.packets.arena_bits)
    return positions >> bits, (positions & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)


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
    lengths: npt.NDArray[np.int64],
    pattern: npt.NDArray[np.uint8],
    fallback: npt.NDArray[np.int32],
    found: Mask,
) -> None:
    """Set found[i] for the frames that are in this piece of the arena and hold the pattern."""
    for i in range(len(starts)):
        if not here[i]:
            continue
        start = starts[i]
        stop = min(start + lengths[i], np.int64(len(data)))
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
