"""Payload policy: how much of each packet leaves the host.

`full` sends frames as they were captured. A number N, and `headers`, which is 0, cut each frame so many bytes behind
its head (dissect.heads). `none` dissects here and sends columns, so that no byte of a frame leaves the host; what
columns say, names of hosts and paths included, does.

Everything but `full` loads the dissector's kernels. Pure.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.agent.limits import copy_frames
from aishark_panel.wire.columnbatch import MAX_COLUMN_ROWS, ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PayloadPolicy
from aishark_panel.wire.packets import Packets

__all__ = ["Columns", "Cutter", "Payload"]

_MIN_ROWS: Final = 256
"""A smaller block might have no room for the texts of a joined ClientHello."""


class Cutter:
    """Cuts frames behind their heads."""

    def __init__(self, payload_bytes: int) -> None:
        """`payload_bytes` are kept behind each head."""
        from aishark_panel.dissect.heads import Heads

        self._payload_bytes = payload_bytes
        self._heads = Heads()
        self._all = np.empty(0, np.int32)
        self._data = np.empty(0, np.uint8)

    def cut(self, frames: Frames, link_types: npt.NDArray[np.int32]) -> Frames:
        """The same frames, cut; their memory is valid until the next call. `link_types` is indexed by `iface`."""
        n = len(frames)
        heads, _ = self._heads.find(frames, link_types)
        lengths = np.minimum(heads + np.int32(self._payload_bytes), np.diff(frames.offsets))
        offsets = np.zeros(n + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        if self._all.size < n:
            self._all = np.arange(n, dtype=np.int32)
        if self._data.size < offsets[-1]:
            self._data = np.empty(int(offsets[-1]), np.uint8)
        copy_frames(frames.offsets, frames.data, self._all[:n], offsets, self._data)
        return Frames(frames.ts, frames.orig_len, frames.iface, offsets, self._data)


class Columns:
    """Dissects frames into column batches. ClientHellos in several segments are joined, as at the hub."""

    def __init__(self, *, rows: int = MAX_COLUMN_ROWS) -> None:
        """`rows`: about how many packets come at a time."""
        from aishark_panel.dissect.hellos import Hellos

        self._packets = Packets(min(max(rows, _MIN_ROWS), MAX_COLUMN_ROWS))
        self._hellos = Hellos()

    def dissect(self, frames: Frames, link_types: npt.NDArray[np.int32]) -> Iterator[ColumnBatch]:
        """The frames as columns, in order; each batch is valid until the next is asked for."""
        from aishark_panel.dissect import dissect

        packets, done = self._packets, 0
        own = np.arange(len(link_types), dtype=np.uint16)
        while done < len(frames):
            packets.clear()
            taken = dissect(frames, done, link_types, own, packets)
            self._hellos.join(frames, done, packets, 0, taken)
            done += taken
            yield ColumnBatch.from_packets(packets)


class Payload:
    """One policy in force."""

    def __init__(self, policy: PayloadPolicy, *, batch_rows: int) -> None:
        """Loads what the policy needs, or compiles it on a machine that has not done so before."""
        self.policy = policy
        self._cutter: Cutter | None = None
        self._columns: Columns | None = None
        one = Frames.from_list([b""], [0])
        ethernet = np.ones(1, np.int32)
        if policy == "none":
            self._columns = Columns(rows=batch_rows)
            list(self._columns.dissect(one, ethernet))
        elif policy != "full":
            self._cutter = Cutter(0 if policy == "headers" else policy)
            self._cutter.cut(one, ethernet)

    def cut(self, frames: Frames, link_types: npt.NDArray[np.int32]) -> Frames:
        """What may be kept of captured frames on their way into a batch; valid until the next call."""
        return self._cutter.cut(frames, link_types) if self._cutter else frames

    def contents(self, frames: Frames, link_types: npt.NDArray[np.int32]) -> Iterator[Frames | ColumnBatch]:
        """What is sent of a batch of them; each is valid until the next is asked for."""
        if self._columns is None:
            yield frames
        else:
            yield from self._columns.dissect(frames, link_types)
