"""Gather: bytes of frames that lie here and there, copied behind one another."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel

__all__ = ["gather"]

Bytes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.intp]

_NO_BYTES: Final = np.zeros(0, np.uint8)


def gather(
    sources: Sequence[Bytes],
    source_of: npt.NDArray[np.integer],
    starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
) -> Bytes:
    """The bytes of n frames: frame i is in `sources[source_of[i]]` from `starts[i]` on, and goes to bytes
    [offsets[i], offsets[i + 1]) of the result. One that has no bytes needs no source."""
    out = np.empty(int(offsets[-1]), np.uint8) if len(offsets) else _NO_BYTES
    for source in np.unique(source_of[np.diff(offsets) > 0]):
        _copy_frames(sources[int(source)], starts, offsets, np.flatnonzero(source_of == source), out)
    return out


@kernel
def _copy_frames(
    source: Bytes,
    starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    chosen: Rows,
    out: Bytes,
) -> None:
    for i in chosen:
        length = offsets[i + 1] - offsets[i]
        piece, target = source[starts[i] : starts[i] + length], out[offsets[i] : offsets[i + 1]]
        for k in range(length):  # compiled to a block copy, unlike an assignment of slices
            target[k] = piece[k]
