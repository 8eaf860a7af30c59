"""Frames: one FRAMES record batch as numpy views, and its Arrow IPC message in both directions.

Emit and parse are twins: what `Frames.to_message` makes, `Frames.from_message` reads without copying the frame bytes.
`from_message` is a border: bytes from a peer are checked in full there (lengths, offsets, nulls, compression) and
trusted afterwards.

pyarrow arrays are built from buffers because `pa.array()` imports pandas where it is installed, and agents must not.
"""

import struct
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.schema import FRAMES

__all__ = ["MAX_FRAME_BYTES", "Frames", "buffer_view", "check_metadata"]

MAX_FRAME_BYTES: Final = 262_144
"""Longest captured frame accepted, as libpcap's MAXIMUM_SNAPLEN."""

Bytes = npt.NDArray[np.uint8]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Frames:
    """n captured frames in columns; frame i is `data[offsets[i]:offsets[i + 1]]`."""

    ts: npt.NDArray[np.int64]
    """(n,) capture time, ns since 1970 UTC"""
    orig_len: npt.NDArray[np.uint32]
    """(n,) length on the wire in bytes"""
    iface: npt.NDArray[np.uint16]
    """(n,) index of the interface"""
    offsets: npt.NDArray[np.int32]
    """(n + 1,) never decreasing, within `data`"""
    data: Bytes
    """captured bytes; those before offsets[0] and after offsets[n] belong to no frame"""

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def captured_bytes(self) -> int:
        return int(self.offsets[-1]) - int(self.offsets[0])

    def frame(self, i: int) -> bytes:
        """The captured bytes of frame i."""
        return self.data[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def slice(self, start: int, stop: int) -> "Frames":
        """Frames [start, stop) as views of the same memory."""
        return Frames(
            self.ts[start:stop],
            self.orig_len[start:stop],
            self.iface[start:stop],
            self.offsets[start : stop + 1],
            self.data,
        )

    @classmethod
    def from_list(
        cls, frames: list[bytes], ts: list[int], orig_len: list[int] | None = None, iface: int = 0
    ) -> "Frames":
        """Build from Python values; for tests and small inputs."""
        ends = np.cumsum([0, *map(len, frames)], dtype=np.int32)
        lengths = [len(f) for f in frames] if orig_len is None else orig_len
        return cls(
            np.array(ts, np.int64),
            np.array(lengths, np.uint32),
            np.full(len(frames), iface, np.uint16),
            ends,
            np.frombuffer(b"".join(frames), np.uint8),
        )

    def to_arrow(self) -> pa.RecordBatch:
        """A FRAMES record batch over the same memory."""
        n = len(self)
        first = int(self.offsets[0]) if n else 0
        offsets, data = self.offsets, self.data
        if first:
            offsets = offsets - np.int32(first)
        data = data[first : first + (int(offsets[-1]) if n else 0)]
        types = FRAMES.types
        return pa.RecordBatch.from_arrays(
            [
                pa.Array.from_buffers(types[0], n, [None, pa.py_buffer(np.ascontiguousarray(self.ts))]),
                pa.Array.from_buffers(types[1], n, [None, pa.py_buffer(np.ascontiguousarray(self.orig_len))]),
                pa.Array.from_buffers(types[2], n, [None, pa.py_buffer(np.ascontiguousarray(self.iface))]),
                pa.Array.from_buffers(
                    types[3], n, [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(data)]
                ),
            ],
            schema=FRAMES,
        )

    def to_message(self) -> pa.Buffer:
        """One Arrow IPC record-batch message (no schema, no dictionaries, no IPC compression)."""
        return self.to_arrow().serialize()

    @classmethod
    def from_message(cls, message: pa.Buffer | bytes | memoryview) -> "Frames":
        """Read what `to_message` made, checking everything a hostile sender could have got wrong.

        Raises ProtocolError. The frame bytes are not copied: the result keeps `message` alive.
        """
        buffer = message if isinstance(message, pa.Buffer) else pa.py_buffer(message)
        check_metadata(memoryview(buffer))
        try:
            batch = pa.ipc.read_record_batch(buffer, FRAMES)
            batch.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, IndexError) as error:
            raise ProtocolError(f"batch is not a FRAMES record batch: {str(error).splitlines()[0]}") from error
        n = batch.num_rows
        if any(c.null_count for c in batch.columns):
            raise ProtocolError("batch has nulls; no FRAMES column may")
        ts, orig_len, iface, frame = batch.columns
        for name, array in zip(FRAMES.names, batch.columns, strict=True):
            if array.offset:
                raise ProtocolError(f"batch column {name} is a slice")
        _, offsets_buffer, data_buffer = frame.buffers()
        offsets = buffer_view(offsets_buffer, np.int32, n + 1) if n else np.zeros(1, np.int32)
        data = np.frombuffer(data_buffer, np.uint8) if data_buffer and data_buffer.size else np.zeros(0, np.uint8)
        if n and int(np.max(np.diff(offsets))) > MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame is longer than {MAX_FRAME_BYTES:,} bytes")
        return cls(
            buffer_view(ts.buffers()[1], np.int64, n),
            buffer_view(orig_len.buffers()[1], np.uint32, n),
            buffer_view(iface.buffers()[1], np.uint16, n),
            offsets,
            data,
        )


def buffer_view(buffer: pa.Buffer | None, dtype: type[T], count: int) -> npt.NDArray[T]:
    """numpy view of an Arrow buffer; copied only where a peer's message left it unaligned."""
    if buffer is None or count == 0:
        return np.zeros(count, dtype)
    array = np.frombuffer(buffer, dtype, count)
    return array if array.flags.aligned else array.copy()


def check_metadata(message: memoryview) -> None:
    """Refuse a message that is not a plain record batch, or declares IPC compression, before Arrow sees it.

    A forged length in a compressed buffer makes Arrow allocate up to 16 GiB before it errors, so the flatbuffer is
    read by hand: Message {version, header_type, header, bodyLength}, RecordBatch {length, nodes, buffers,
    compression} (Arrow format/Message.fbs).
    """
    try:
        marker, size = struct.unpack_from("<II", message, 0)
        if marker != 0xFFFFFFFF:
            raise ProtocolError("batch does not start with an Arrow IPC continuation marker")
        meta = message[8 : 8 + size]
        root = struct.unpack_from("<I", meta, 0)[0]
        header_type_at = _field(meta, root, 1)
        header_at = _field(meta, root, 2)
        if not header_type_at or not header_at or meta[header_type_at] != 3:
            raise ProtocolError("batch is not an Arrow record-batch message")
        record_batch = header_at + struct.unpack_from("<I", meta, header_at)[0]
        if _field(meta, record_batch, 3):
            raise ProtocolError("batch declares Arrow IPC compression; use the envelope's codec")
    except (struct.error, IndexError) as error:
        raise ProtocolError("batch is cut inside its Arrow metadata") from error


def _field(meta: memoryview, table: int, index: int) -> int:
    """Position of field `index` of the flatbuffer table at `table`; 0 where it is absent."""
    vtable = table - struct.unpack_from("<i", meta, table)[0]
    if vtable < 0:
        raise IndexError("vtable before the buffer")
    vtable_bytes = struct.unpack_from("<H", meta, vtable)[0]
    slot = 4 + 2 * index
    if slot + 2 > vtable_bytes:
        return 0
    relative = int(struct.unpack_from("<H", meta, vtable + slot)[0])
    return table + relative if relative else 0
