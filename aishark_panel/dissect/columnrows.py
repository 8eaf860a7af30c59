"""Column batches into a block: rows that were dissected elsewhere, by an agent that keeps its frames to itself."""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.load import Bytes
from aishark_panel.dissect.texts import SEED, intern_slice
from aishark_panel.jit import lean_kernel
from aishark_panel.wire.columnbatch import SENT_COLUMNS, ColumnBatch
from aishark_panel.wire.packets import PACKET_TEXT_BYTES, Packets, Texts
from aishark_panel.wire.schema import Kind, column

__all__ = ["append_columns"]

_TEXT_COLUMNS: Final = tuple(name for name in SENT_COLUMNS if column(name).kind is Kind.TEXT)


def append_columns(batch: ColumnBatch, start: int, iface_codes: npt.NDArray[np.uint16], packets: Packets) -> int:
    """Append rows [start, ...) of a batch to a block; returns how many were appended.

    These are fewer than offered only when the block is full: of rows, or of texts. An empty block takes one at least.
    `iface_codes` (values for the `iface` column) is indexed by the batch's; an index beyond it raises ValueError.
    """
    count = min(len(batch) - start, packets.capacity - packets.length)
    if count <= 0:
        return 0
    if int(batch.iface[start : start + count].max()) >= len(iface_codes):
        raise ValueError(f"columns name an interface beyond the {len(iface_codes)} that are known")
    used = _used(batch, start, count)
    while not _has_room(packets.texts, batch.text_ends, used):
        if packets.length or count == 1:
            return 0
        count //= 2
        used = _used(batch, start, count)
    codes = np.zeros(len(batch.text_ends), np.uint32)
    if len(used):
        _intern(batch.text_data, batch.text_ends, used, packets.texts, SEED, codes)
    rows, taken = slice(packets.length, packets.length + count), slice(start, start + count)
    for name in packets.columns._fields:
        target = getattr(packets.columns, name)
        if name not in batch.columns:
            target[rows] = 0
        elif name == "iface":
            target[rows] = iface_codes[batch.iface[taken]]
        elif name in _TEXT_COLUMNS:
            target[rows] = codes[batch.columns[name][taken]]
        else:
            target[rows] = batch.columns[name][taken]
    packets.length += count
    return count


def _used(batch: ColumnBatch, start: int, count: int) -> npt.NDArray[np.int32]:
    """Codes of the texts that some rows have."""
    used = np.zeros(len(batch.text_ends), np.bool_)
    for name in _TEXT_COLUMNS:
        if name in batch.columns:
            used[batch.columns[name][start : start + count]] = True
    used[0] = False
    return np.flatnonzero(used).astype(np.int32)


def _has_room(texts: Texts, ends: npt.NDArray[np.int32], used: npt.NDArray[np.int32]) -> bool:
    """Does the pool take these texts, even if it knows none of them?"""
    size = int((ends[used] - ends[used - 1]).sum())
    enough_codes = int(texts.counts[0]) + len(used) < texts.ends.size
    return enough_codes and bool(int(texts.counts[1]) + size + PACKET_TEXT_BYTES <= texts.data.size)


@lean_kernel
def _intern(
    data: Bytes,
    ends: npt.NDArray[np.int32],
    used: npt.NDArray[np.int32],
    texts: Texts,
    seed: int,
    codes: npt.NDArray[np.uint32],
) -> None:
    """Write to `codes`, by the batch's code of each text used, its code in the pool."""
    for i in range(used.size):
        code = used[i]
        codes[code] = intern_slice(texts, data, ends[code - 1], ends[code], False, seed)
