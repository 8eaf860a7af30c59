"""Frames in, PACKETS columns out: numba kernels, one file per family of protocols.

`dissect` appends a batch of frames to a block; a `Dissector` does so for one capture and adds what follows only from
several of its packets; `info_text` makes the one-line summary of a row for people.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.columnrows import append_columns
from aishark_panel.dissect.conversations import Conversations
from aishark_panel.dissect.hellos import Hellos
from aishark_panel.dissect.info import info_text
from aishark_panel.dissect.link import is_dissected
from aishark_panel.dissect.packet import SCRATCH_ROWS, dissect_rows
from aishark_panel.dissect.row import ROW_TYPE, ROW_WORDS
from aishark_panel.dissect.texts import SEED
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets

__all__ = ["Dissector", "dissect", "info_text", "link_type_note", "warm_up"]


def dissect(
    frames: Frames,
    start: int,
    link_types: npt.NDArray[np.int32],
    iface_codes: npt.NDArray[np.uint16],
    packets: Packets,
) -> int:
    """Dissect frames[start:] and append them to `packets`; returns how many were appended.

    These are fewer than offered only when the block is full: of rows, or of texts. An empty block takes one at least.
    All columns of the new rows are written but `frame_pos`, which is the caller's. `link_types` (LINKTYPE numbers)
    and `iface_codes` (values for the `iface` column) are indexed by `frames.iface`; an index beyond them raises
    ValueError.

    One thread may append to a block at a time; others may read its rows [0, length) meanwhile.
    """
    count = min(len(frames) - start, packets.capacity - packets.length)
    if count <= 0:
        return 0
    interfaces = min(len(link_types), len(iface_codes))
    if int(frames.iface[start : start + count].max()) >= interfaces:
        raise ValueError(f"frames name an interface beyond the {interfaces} that are known")
    rows = np.empty(SCRATCH_ROWS, ROW_TYPE).view(np.recarray)
    appended = dissect_rows(
        _input(frames.ts, np.int64),
        _input(frames.orig_len, np.uint32),
        _input(frames.iface, np.uint16),
        _input(frames.offsets, np.int32),
        _input(frames.data, np.uint8),
        _input(link_types, np.int32),
        _input(iface_codes, np.uint16),
        start,
        count,
        packets.columns,
        packets.texts,
        packets.length,
        SEED,
        rows,
        rows.view(np.uint64, np.ndarray).reshape(SCRATCH_ROWS, ROW_WORDS),
    )
    packets.length += appended
    return appended


class Dissector:
    """Dissects the frames of one capture, in the order they were taken, and remembers what later ones need.

    Results do not depend on how frames are cut into batches.
    """

    def __init__(self) -> None:
        self.conversations = Conversations()
        self._hellos = Hellos()

    def append(
        self,
        frames: Frames,
        start: int,
        link_types: npt.NDArray[np.int32],
        iface_codes: npt.NDArray[np.uint16],
        packets: Packets,
    ) -> int:
        """As `dissect`; fills `tcp_problem` too, and what a ClientHello in several segments says."""
        first = packets.length
        appended = dissect(frames, start, link_types, iface_codes, packets)
        self._hellos.join(frames, start, packets, first, first + appended)
        self.conversations.add(packets, first, first + appended)
        return appended

    def append_columns(
        self, batch: ColumnBatch, start: int, iface_codes: npt.NDArray[np.uint16], packets: Packets
    ) -> int:
        """As `append`, for packets that were dissected where their frames stayed."""
        first = packets.length
        appended = append_columns(batch, start, iface_codes, packets)
        self.conversations.add(packets, first, first + appended)
        return appended

    def clear(self) -> None:
        """Forget all that was remembered."""
        self.conversations.clear()
        self._hellos.clear()


def link_type_note(link_type: int) -> str:
    """Why packets of this link type have no columns but times and lengths, and `protocol` '?'; '' where they have."""
    return "" if is_dissected(link_type) else f"link type {link_type} not dissected"


def _input(array: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A read-only view of one fixed type: to numba a writable array is another type, and costs another compilation."""
    view = np.require(array, dtype, ["C", "A"]).view()
    view.flags.writeable = False
    return view


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, so that the first real batch does not wait."""
    Dissector().append(Frames.from_list([b""], [0]), 0, np.ones(1, np.int32), np.zeros(1, np.uint16), Packets(1))
