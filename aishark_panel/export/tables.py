"""Packets as tables: text for people, CSV, JSON lines, Parquet and Arrow IPC files.

Each class writes one format to a binary sink and has the same two methods: `write` some rows of a block, and `close`,
which ends the format but leaves the sink open. The sink needs no more than `write(bytes)`.

CSV, JSON and text are made column by column with Arrow's string functions; Python runs once per distinct address or
name of a block, not per packet. CSV cells that a spreadsheet would take for a formula get an apostrophe in front
(OWASP, CSV Injection). In text for people, characters that control a terminal or turn writing round are replaced.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aishark_panel.errors import ConfigError
from aishark_panel.export.on_demand import COMMUNITY_ID, JA3, JA4, ON_DEMAND, NumbersOf, Rows, RowTables
from aishark_panel.query.columns import choose_columns
from aishark_panel.wire.packets import ARROW_NAMES, LAYERS, Interface, Packets
from aishark_panel.wire.schema import Kind, column

__all__ = [
    "FRAME",
    "About",
    "ArrowStream",
    "ArrowTable",
    "CsvTable",
    "JsonTable",
    "ParquetTable",
    "Rows",
    "Sink",
    "TextTable",
    "chosen_columns",
]

FRAME: Final = "frame"
"""the captured bytes"""
_ROW_GROUP_ROWS: Final = 131_072
_HELD_ROWS: Final = 32_768
"""Rows that are held back while a Parquet file is written: a packet that comes at most so many rows late is put in its
place in time"""
_ASCENDING: Final = frozenset({"number", "ts"})
_ALL_DIFFERENT: Final = _ASCENDING | {"ip_id", "tcp_seq", "tcp_ack", "tcp_tsval", "tcp_tsecr", "conversation_id"}
_WIDTHS: Final = {Kind.TIME: 30, Kind.ADDRESS: 15, Kind.MAC: 17, Kind.PROTOCOL: 8, Kind.TEXT: 20}
_ON_DEMAND_WIDTHS: Final = {COMMUNITY_ID: 30, JA3: 32, JA4: 36}
"""characters of a column in text for people; what is longer shifts its line"""


About = Callable[[], Mapping[str, str]]
"""gives what a file is to say of where its packets come from; it is asked when the file ends"""


class Sink(Protocol):
    """Where bytes go: a file opened for writing, or anything that collects."""

    def write(self, data: bytes, /) -> Any:
        """Take all of `data`."""


def chosen_columns(names: Sequence[str], *, whole: bool) -> list[str]:
    """The columns that are named, as choose_columns, with ON_DEMAND. `whole`: whether the format can hold bytes, and so
    all of a packet."""
    if FRAME in names and not whole:
        raise ConfigError("frame bytes have no place in text, .csv and .json; write .parquet, .arrow or .pcapng")
    return choose_columns(names, (*ARROW_NAMES, *ON_DEMAND, *((LAYERS, FRAME) if whole else ())))


class ParquetTable:
    """Parquet with zstd, sorted by time; texts, addresses and protocols stay dictionaries.

    Numbers that differ in nearly every packet get none: to try costs a fifth of the time, and a quarter of the size.
    Row groups are sorted by `ts`, where that is a column, and say so; so is the file, unless packets came more than
    _HELD_ROWS rows late.
    """

    def __init__(
        self,
        sink: Sink,
        interfaces: Sequence[Interface],
        columns: Sequence[str],
        numbers_of: NumbersOf | None,
        about: About | None = None,
    ) -> None:
        self._tables, self._about = RowTables(interfaces, columns, numbers_of), about
        self._is_timed = "ts" in columns
        self._writer = pq.ParquetWriter(
            sink,
            self._tables.schema,
            compression="zstd",
            use_dictionary=[name for name in columns if name not in _ALL_DIFFERENT],
            column_encoding={name: "DELTA_BINARY_PACKED" for name in columns if name in _ASCENDING},
            sorting_columns=[pq.SortingColumn(list(columns).index("ts"))] if self._is_timed else None,
        )
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def write(self, packets: Packets, rows: Rows) -> None:
        self._batches.append(self._tables.batch(packets, rows))
        self._rows += len(rows)
        if self._rows >= _ROW_GROUP_ROWS + _HELD_ROWS:
            self._flush(_ROW_GROUP_ROWS)

    def close(self) -> None:
        while self._rows:
            self._flush(min(self._rows, _ROW_GROUP_ROWS))
        if self._about:
            self._writer.add_key_value_metadata(dict(self._about()))
        self._writer.close()

    def _flush(self, count: int) -> None:
        """Write the first `count` rows in time as a row group."""
        if self._is_timed and not _ascends(self._batches):
            held = pa.Table.from_batches(self._batches).unify_dictionaries()
            order = np.argsort(held["ts"].cast(pa.int64()).to_numpy(), kind="stable")
            # Without the values that stand in earlier rows only, or dictionaries would grow with the file.
            self._batches = _encoded_anew(held.take(pa.array(order)), count)
        head, tail = _parted(self._batches, count)
        # One dictionary a row group: where it changes within one, Parquet falls back to plain values.
        self._writer.write_table(pa.Table.from_batches(head).unify_dictionaries(), row_group_size=count)
        self._batches, self._rows = tail, self._rows - count


class ArrowTable:
    """Arrow IPC file with zstd. Dictionaries become plain strings: the file format allows one per column only."""

    def __init__(
        self, sink: Sink, interfaces: Sequence[Interface], columns: Sequence[str], numbers_of: NumbersOf | None
    ) -> None:
        self._tables = RowTables(interfaces, columns, numbers_of)
        self._schema = pa.schema([(f.name, _plain_type(f.type)) for f in self._tables.schema])
        self._writer = self._open(sink, self._schema)

    @staticmethod
    def _open(sink: Sink, schema: pa.Schema) -> Any:
        return pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))

    def write(self, packets: Packets, rows: Rows) -> None:
        self._writer.write_batch(self._tables.batch(packets, rows).cast(self._schema))

    def close(self) -> None:
        self._writer.close()


class ArrowStream(ArrowTable):
    """The same as a stream, for who reads it as it comes; not compressed, for not every reader can undo that."""

    @staticmethod
    def _open(sink: Sink, schema: pa.Schema) -> Any:
        return pa.ipc.new_stream(sink, schema)


class CsvTable:
    """CSV as RFC 4180 has it, with a header line; null is an empty cell, times are ISO 8601."""

    def __init__(
        self, sink: Sink, interfaces: Sequence[Interface], columns: Sequence[str], numbers_of: NumbersOf | None
    ) -> None:
        self._sink, self._tables = sink, RowTables(interfaces, columns, numbers_of)
        sink.write((",".join(columns) + "\r\n").encode())

    def write(self, packets: Packets, rows: Rows) -> None:
        batch = self._tables.batch(packets, rows)
        cells = [_cells(array, _csv_cells) for array in batch.columns]
        self._sink.write(_lines(pc.binary_join_element_wise(*cells, ",", **_NULL_IS_EMPTY), "\r\n"))

    def close(self) -> None:
        pass


class JsonTable:
    """JSON lines: one object a packet; a column that is null is left out of it."""

    def __init__(
        self, sink: Sink, interfaces: Sequence[Interface], columns: Sequence[str], numbers_of: NumbersOf | None
    ) -> None:
        self._sink, self._tables = sink, RowTables(interfaces, columns, numbers_of)

    def write(self, packets: Packets, rows: Rows) -> None:
        batch = self._tables.batch(packets, rows)
        members = [
            pc.binary_join_element_wise(f'"{name}"', _json_cells(array), ":")
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        ]
        objects = pc.binary_join_element_wise(*members, ",", null_handling="skip")
        self._sink.write(_lines(pc.binary_join_element_wise("{", objects, "}", ""), "\n"))

    def close(self) -> None:
        pass


class TextTable:
    """Aligned columns for people, under a header line."""

    def __init__(
        self, sink: Sink, interfaces: Sequence[Interface], columns: Sequence[str], numbers_of: NumbersOf | None
    ) -> None:
        self._sink, self._tables = sink, RowTables(interfaces, columns, numbers_of)
        self._widths = [_width(name) for name in columns]
        header = "  ".join(name.ljust(width) for name, width in zip(columns, self._widths, strict=True))
        sink.write((header.rstrip() + "\n").encode())

    def write(self, packets: Packets, rows: Rows) -> None:
        batch = self._tables.batch(packets, rows)
        cells = [
            pc.utf8_rpad(pc.fill_null(_cells(array, _shown), ""), width)
            for array, width in zip(batch.columns, self._widths, strict=True)
        ]
        self._sink.write(_lines(pc.utf8_rtrim_whitespace(pc.binary_join_element_wise(*cells, "  ")), "\n"))

    def close(self) -> None:
        pass


def _ascends(batches: Sequence[pa.RecordBatch]) -> bool:
    """Whether no packet is older than the one before it."""
    times = np.concatenate([batch["ts"].cast(pa.int64()).to_numpy() for batch in batches])
    return bool((times[1:] >= times[:-1]).all())


def _parted(batches: Sequence[pa.RecordBatch], count: int) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """The first `count` rows, and the others."""
    head: list[pa.RecordBatch] = []
    for place, batch in enumerate(batches):
        if batch.num_rows > count:
            return [*head, batch.slice(0, count)], [batch.slice(count), *batches[place + 1 :]]
        head.append(batch)
        count -= batch.num_rows
    return head, []


def _encoded_anew(table: pa.Table, first: int) -> list[pa.RecordBatch]:
    """Batches of the first rows, and of those behind them, each with dictionaries of no more than its own values."""
    batches: list[pa.RecordBatch] = []
    for part in (table.slice(0, first), table.slice(first)):
        arrays = [
            column.combine_chunks().dictionary_decode().dictionary_encode()
            if pa.types.is_dictionary(column.type)
            else column.combine_chunks()
            for column in part.columns
        ]
        if part.num_rows:
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=table.schema))
    return batches


_NULL_IS_EMPTY: Final = {"null_handling": "replace", "null_replacement": ""}


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _cells(array: pa.Array, mend: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Strings of a column; `mend` is applied to text from outside, once per distinct value where possible."""
    if pa.types.is_dictionary(array.type):
        return mend(array.dictionary).take(array.indices)
    if pa.types.is_timestamp(array.type):
        return _iso_times(array)
    return mend(array) if pa.types.is_string(array.type) else array.cast(pa.string())


def _iso_times(array: pa.Array) -> pa.Array:
    text = pc.replace_substring(array.cast(pa.timestamp("ns")).cast(pa.string()), " ", "T")
    return pc.binary_join_element_wise(text, "Z", "")


def _json_cells(array: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(array.type):
        return pc.binary_join_element_wise('"', _iso_times(array), '"', "")
    return _cells(array, lambda texts: pa.array([json.dumps(text) for text in texts.to_pylist()], pa.string()))


def _csv_cells(texts: pa.Array) -> pa.Array:
    texts = pc.replace_substring_regex(texts, r"^([=+\-@\t\r])", r"'\1")
    needs_quotes = pc.match_substring_regex(texts, '[",\r\n]')
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(needs_quotes, quoted, texts)


def _shown(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, r"[\p{Cc}\p{Cf}]", "\N{REPLACEMENT CHARACTER}")


def _lines(lines: pa.Array, end: str) -> bytes:
    """All strings, each with its line end. The buffer of a string array is just that."""
    ended = pc.binary_join_element_wise(lines, "", end)
    if not len(ended):
        return b""
    _, offsets, data = ended.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = int(ends[ended.offset]), int(ends[ended.offset + len(ended)])
    return data[first:last].to_pybytes() if data else b""


def _width(name: str) -> int:
    if name in _ON_DEMAND_WIDTHS:
        return _ON_DEMAND_WIDTHS[name]
    if name in ("number", "info"):
        return 8
    kind = None if name == "agent" else column(name).kind
    return max(len(name), _WIDTHS.get(kind, 0) if kind else 8)
