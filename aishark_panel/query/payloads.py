"""Look for bytes in what packets carry behind their transport header, but not in headers or padding.

Where the payload begins is in no column. It is found again in the frames that hold the bytes anywhere, mostly few.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.heads import Heads
from aishark_panel.jit import kernel
from aishark_panel.query.frames import FRAME_COLUMNS, Needle, places
from aishark_panel.query.rows import Mask, Rows, Test
from aishark_panel.wire.frames import Frames

__all__ = ["PAYLOAD_COLUMNS", "payloads_containing"]

PAYLOAD_COLUMNS: Final = (*FRAME_COLUMNS, "orig_len", "iface", "payload_len")
_HEAD_BYTES: Final = 2_048
"""Headers are looked for in so many bytes of a frame, which bounds the memory it takes; of any real frame they are
shorter."""
_ETHERNET: Final = 1


def payloads_containing(needle: bytes) -> Test:
    """Packets whose innermost transport carries these bytes, as far as they were captured, all of them in one packet.

    An interface that the session does not list is taken for Ethernet.
    """
    wanted = Needle(needle)

    def test(rows: Rows) -> Mask:
        captured = rows.captured()
        found = wanted.search(rows, 0, captured)
        which = np.flatnonzero(found & (captured > 0))
        if needle and len(which):
            skip, carried = np.zeros((2, len(rows)), np.int64)
            skip[which] = _heads(rows, which)
            carried[which] = np.minimum(captured[which] - skip[which], rows.values("payload_len")[which])
            found = wanted.search(rows, skip, carried)
        return found

    return test


def _heads(rows: Rows, which: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
    """Bytes of the headers of these rows, (n,)."""
    link_types = np.array([*(interface.link_type for interface in rows.interfaces), _ETHERNET], np.int32)
    iface = np.minimum(rows.values("iface")[which], len(rows.interfaces)).astype(np.uint16)
    kept = np.minimum(rows.values("cap_len")[which], _HEAD_BYTES)
    offsets = np.zeros(len(which) + 1, np.int32)
    np.cumsum(kept, out=offsets[1:])
    data = np.zeros(int(offsets[-1]), np.uint8)
    pieces, starts = (each[which] for each in places(rows))
    for piece in np.unique(pieces):
        _copy(rows.packets.arena[int(piece)], pieces == piece, starts, offsets, data)
    frames = Frames(rows.values("ts")[which], rows.values("orig_len")[which], iface, offsets, data)
    lengths, _ = Heads().find(frames, link_types)
    return lengths


@kernel
def _copy(
    source: npt.NDArray[np.uint8],
    here: Mask,
    starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    data: npt.NDArray[np.uint8],
) -> None:
    """Put the bytes that begin at starts[i] of the source to data[offsets[i]:offsets[i + 1]], where i is `here`."""
    for i in range(len(starts)):
        if here[i]:
            for k in range(min(offsets[i + 1] - offsets[i], len(source) - starts[i])):
                data[offsets[i] + k] = source[starts[i] + k]
