"""Column batches: dissected packets without their frames, and their message in both directions.

What an agent sends that must not let frame bytes leave its host. Emit and parse are twins, as in wire.frames, and
`from_message` is a border as well: bytes from a peer are checked in full there and trusted afterwards.

A message is a head (its size as uint32, little endian; JSON; padded to 8 bytes) and two Arrow IPC record-batch
messages: the columns the head names, and the texts they refer to. A column that is absent in all rows is left out.
Protocols go by their names, which the head has, because their codes are those of one process.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.frames import buffer_view, check_metadata
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import MAX_TEXT_BYTES, Packets
from aishark_panel.wire.protocols import PROTOCOLS, protocol_code
from aishark_panel.wire.schema import COLUMNS, Column, Kind, column

__all__ = ["MAX_COLUMN_ROWS", "SENT_COLUMNS", "ColumnBatch"]

MAX_COLUMN_ROWS: Final = 16_384
"""Most rows of a column batch: with all columns and many texts it is still well below a batch's bytes."""

_NOT_SENT: Final = ("cap_len", "frame_pos", "tcp_problem")
"""No byte is kept; and what follows from several packets the hub finds out."""
SENT_COLUMNS: Final = tuple(c.name for c in COLUMNS if c.name not in _NOT_SENT)
_ALWAYS: Final = ("ts", "orig_len", "iface", "layers")

_TEXT_SCHEMA: Final = pa.schema([pa.field("text", pa.binary(), nullable=False)])
_ALL_LAYERS: Final = int(np.bitwise_or.reduce([int(layer) for layer in Layer]))
_LIMITS: Final = {"truncated": 1, "malformed": 1, "ip_version": 6}
"""Greatest values of columns of which not every number means something"""
_MAX_MAC: Final = (1 << 48) - 1
_MOST_TEXTS: Final = 3
"""Most texts a row adds to those before it, as dissect.texts has it"""
_WORD_BYTES: Final = 8


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    columns: Annotated[dict[str, str], msgspec.Meta(max_length=len(COLUMNS))]
    """numpy type of a value by the column's name, in the order of the record batch"""
    protocols: Annotated[tuple[str, ...], msgspec.Meta(max_length=len(PROTOCOLS))]
    """what the column `protocol` indexes"""
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    """size of the first record-batch message, a multiple of 8"""


_head_decoder: Final = msgspec.json.Decoder(_Head)


def _arrow_type(spec: Column) -> pa.DataType:
    if spec.kind is Kind.TIME:
        return pa.timestamp("ns", tz="UTC")
    return pa.binary(16) if spec.kind is Kind.ADDRESS else pa.from_numpy_dtype(np.dtype(spec.dtype))


_TYPES: Final = {name: _arrow_type(column(name)) for name in SENT_COLUMNS}


@dataclass(frozen=True, slots=True)
class ColumnBatch:
    """n dissected packets. Which texts a row has is said by codes from 1 on; 0 is none."""

    rows: int
    columns: dict[str, npt.NDArray[Any]]
    """(n,) or (n, 2) by name, stored as in Packets; a column that is not there is 0 in all rows. `iface` indexes the
    agent's interfaces"""
    text_ends: npt.NDArray[np.int32]
    """(texts + 1,): text k is text_data[text_ends[k - 1]:text_ends[k]]"""
    text_data: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return self.rows

    @property
    def ts(self) -> npt.NDArray[np.int64]:
        return self.columns["ts"]

    @property
    def orig_len(self) -> npt.NDArray[np.uint32]:
        return self.columns["orig_len"]

    @property
    def iface(self) -> npt.NDArray[np.uint16]:
        return self.columns["iface"]

    def take(self, rows: slice | npt.NDArray[np.intp]) -> "ColumnBatch":
        """Some rows, with all texts."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return ColumnBatch(len(columns["ts"]), columns, self.text_ends, self.text_data)

    @classmethod
    def joined(cls, batches: Sequence["ColumnBatch"]) -> "ColumnBatch":
        """All rows of some batches, one behind the other; it may be longer than what fits in a message."""
        columns = {}
        for name in dict.fromkeys(name for batch in batches for name in batch.columns):
            spec, pieces, texts = column(name), [], 0
            for batch in batches:
                values = batch.columns.get(name)
                if values is None:
                    values = np.zeros((batch.rows, *spec.shape), spec.dtype)
                elif spec.kind is Kind.TEXT:
                    values = np.where(values, values + values.dtype.type(texts), 0).astype(values.dtype)
                texts += len(batch.text_ends) - 1
                pieces.append(values)
            columns[name] = np.concatenate(pieces)
        begins = np.cumsum([0, *(len(batch.text_data) for batch in batches)])
        ends = [batch.text_ends[1:] + np.int32(begin) for batch, begin in zip(batches, begins[:-1], strict=True)]
        return cls(
            sum(batch.rows for batch in batches),
            columns,
            np.concatenate([np.zeros(1, np.int32), *ends]),
            np.concatenate([batch.text_data for batch in batches]),
        )

    @classmethod
    def from_packets(cls, packets: Packets) -> "ColumnBatch":
        """All rows of a block, as views of its memory; its `iface` must index the agent's interfaces."""
        values = {name: packets.values(name) for name in SENT_COLUMNS}
        present = {name: array for name, array in values.items() if name in _ALWAYS or array.any()}
        count, size = (int(n) for n in packets.texts.counts)
        return cls(packets.length, present, packets.texts.ends[: count + 1], packets.texts.data[:size])

    def to_message(self) -> pa.Buffer:
        """One message; the twin of `from_message`."""
        used, protocols = _numbered(self.columns.get("protocol"))
        arrays = [
            _array(_TYPES[name], protocols if name == "protocol" else values) for name, values in self.columns.items()
        ]
        schema = pa.schema([pa.field(name, _TYPES[name], nullable=False) for name in self.columns])
        columns = pa.RecordBatch.from_arrays(arrays, schema=schema).serialize()
        count = len(self.text_ends) - 1
        buffers = [None, pa.py_buffer(np.ascontiguousarray(self.text_ends)), pa.py_buffer(self.text_data)]
        texts = pa.RecordBatch.from_arrays(
            [pa.Array.from_buffers(pa.binary(), count, buffers)], schema=_TEXT_SCHEMA
        ).serialize()
        size = columns.size + -columns.size % _WORD_BYTES
        head = msgspec.json.encode(
            _Head(columns={name: column(name).dtype for name in self.columns}, protocols=used, bytes=size)
        )
        head += b" " * (-(4 + len(head)) % _WORD_BYTES)
        padding = bytes(size - columns.size)
        return pa.py_buffer(b"".join((struct.pack("<I", len(head)), head, columns, padding, texts)))

    @classmethod
    def from_message(cls, message: pa.Buffer | bytes | memoryview) -> "ColumnBatch":
        """Read what `to_message` made, checking everything a hostile sender could have got wrong.

        Raises ProtocolError. Nothing but the texts' ends is copied: the result keeps `message` alive.
        """
        buffer = message if isinstance(message, pa.Buffer) else pa.py_buffer(message)
        view = memoryview(buffer)
        if len(view) < 4 or (size := struct.unpack_from("<I", view)[0]) > len(view) - 4:
            raise ProtocolError("column batch is cut in its head")
        try:
            head = _head_decoder.decode(view[4 : 4 + size])
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise ProtocolError(f"head of a column batch not understood: {error}") from error
        start = 4 + size
        if start % _WORD_BYTES or head.bytes % _WORD_BYTES or head.bytes > len(view) - start:
            raise ProtocolError("column batch and the sizes in its head disagree")
        columns = _read_columns(buffer.slice(start, head.bytes), head.columns)
        rows = len(columns["ts"])
        ends, data = _read_texts(buffer.slice(start + head.bytes), _MOST_TEXTS * rows)
        for name, values in columns.items():
            _check_values(column(name), values, len(ends) - 1)
        if "protocol" in columns:
            columns["protocol"] = _known(head.protocols, columns["protocol"])
        return cls(rows, columns, ends, data)


def _numbered(codes: npt.NDArray[np.uint16] | None) -> tuple[tuple[str, ...], npt.NDArray[np.uint16]]:
    """The names of the protocols that occur, and for each row which of them it has."""
    if codes is None:
        return (), np.zeros(0, np.uint16)
    places = np.zeros(len(PROTOCOLS), np.uint16)
    used = np.flatnonzero(np.bincount(codes, minlength=len(PROTOCOLS)))
    places[used] = np.arange(len(used))
    return tuple(PROTOCOLS[code] for code in used), places[codes]


def _known(names: tuple[str, ...], places: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """The twin of `_numbered`: codes of this process."""
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise ProtocolError(f"column batch has a protocol {unknown[0]!r:.50}; install one version on agent and hub")
    if len(places) and int(places.max()) >= len(names):
        raise ProtocolError("column batch has a protocol without a name")
    return np.array([protocol_code(name) for name in names] or [0], np.uint16)[places]


def _array(kind: pa.DataType, values: npt.NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _read_columns(message: pa.Buffer, types: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
    for name, kind in types.items():
        if name not in _TYPES:
            raise ProtocolError(f"column batch has a column {name!r:.50}, which is unknown or not for agents to send")
        if kind != column(name).dtype:
            raise ProtocolError(f"column batch has a {name} of type {kind!r:.20}, not {column(name).dtype}")
    missing = [name for name in _ALWAYS if name not in types]
    if missing:
        raise ProtocolError(f"column batch lacks the column {missing[0]}")
    batch = _read(message, pa.schema([pa.field(name, _TYPES[name], nullable=False) for name in types]))
    rows = batch.num_rows
    if rows > MAX_COLUMN_ROWS:
        raise ProtocolError(f"column batch of {rows:,} rows; at most {MAX_COLUMN_ROWS:,} are allowed")
    found = {}
    for name, array in zip(types, batch.columns, strict=True):
        spec = column(name)
        words = 2 if spec.kind is Kind.ADDRESS else 1
        values = buffer_view(array.buffers()[1], np.dtype(spec.dtype).type, rows * words)
        found[name] = values.reshape(rows, 2) if words == 2 else values
    return found


def _read_texts(message: pa.Buffer, most: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    batch = _read(message, _TEXT_SCHEMA)
    count = batch.num_rows
    if count > most:
        raise ProtocolError(f"column batch has {count:,} texts; at most {most:,} are allowed")
    if count == 0:
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    _, ends_buffer, data_buffer = batch.column(0).buffers()
    ends = buffer_view(ends_buffer, np.int32, count + 1)
    lengths = np.diff(ends)
    if int(lengths.min()) < 1 or int(lengths.max()) > MAX_TEXT_BYTES:
        raise ProtocolError(f"a text of a column batch is empty, or longer than {MAX_TEXT_BYTES} bytes")
    data = np.frombuffer(data_buffer, np.uint8)[int(ends[0]) : int(ends[-1])]
    return ends - ends[0], data


def _read(message: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """One record-batch message of a schema: whole, without nulls, without slices."""
    check_metadata(memoryview(message))
    try:
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, IndexError) as error:
        raise ProtocolError(f"column batch is not as its head says: {str(error).splitlines()[0]}") from error
    for array in batch.columns:
        if array.null_count or array.offset:
            raise ProtocolError("column batch has nulls or slices")
    return batch


def _check_values(spec: Column, values: npt.NDArray[Any], texts: int) -> None:
    """Refuse values that mean nothing, where something would look them up."""
    if not len(values):
        return
    most = _most(spec, texts)
    if most is not None and int(values.max()) > most:
        raise ProtocolError(f"column batch has a {spec.name} of {int(values.max())}; at most {most} is possible")
    if spec.name == "layers" and bool((values & ~np.int64(_ALL_LAYERS)).any()):
        raise ProtocolError("column batch has layers that are unknown")


def _most(spec: Column, texts: int) -> int | None:
    if spec.kind is Kind.TEXT:
        return texts
    return _MAX_MAC if spec.kind is Kind.MAC else _LIMITS.get(spec.name)
