"""Packets as a table: Arrow inside, pandas and SQL on request, a summary when a cell shows it."""

import html
import os
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aishark_panel.errors import ConfigError
from aishark_panel.export.read import open_packets
from aishark_panel.notebook.histogram import histogram
from aishark_panel.query import compile_expression
from aishark_panel.wire.from_arrow import NEEDED, from_arrow
from aishark_panel.wire.packets import ARROW_NAMES, LAYERS, Interface, Packets
from aishark_panel.wire.schema import COLUMNS

__all__ = ["ALL_COLUMNS", "Table", "answer_frame", "read"]

ALL_COLUMNS: Final = (*ARROW_NAMES, LAYERS)
"""columns of a table that can be asked anything"""
_NULLABLE: Final = {c.name for c in COLUMNS if c.present}
_INTEGERS: Final = {
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
_SHOWN_PROTOCOLS: Final = 6
_BLOCK_ROWS: Final = 65_536
_ETHERNET: Final = 1


class Table:
    """Packets in columns (docs/schema.md), oldest first. Showing it in a cell gives a summary."""

    def __init__(self, arrow: pa.Table, title: str = "", warning: str = "") -> None:
        self.arrow = arrow
        """the packets as a pyarrow.Table"""
        self.title = title
        """where they come from"""
        self.warning = warning
        """what was damaged or cut in the file they come from; '' when nothing was"""

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @cached_property
    def df(self) -> pd.DataFrame:
        """The packets as a pandas DataFrame, made once.

        `ts` is in UTC with nanoseconds; addresses, names and protocols are categoricals; numbers that a packet may
        lack (ports, say) have pandas' nullable integer types, so that 64-bit ones stay exact.
        """
        names = [name for name in self.arrow.schema.names if name != LAYERS]
        may_lack = [name for name in names if name in _NULLABLE]
        always = self.arrow.select([name for name in names if name not in _NULLABLE]).to_pandas()
        sometimes = self.arrow.select(may_lack).to_pandas(types_mapper=_INTEGERS.get)
        frame: pd.DataFrame = pd.concat([always, sometimes], axis=1)[names]
        for name in frame.columns.intersection(["protocol"]):  # its dictionary names every protocol there is
            frame[name] = frame[name].cat.remove_unused_categories()
        return frame

    def where(self, expression: str) -> "Table":
        """The packets that an expression selects, in the language of the display filter: `tcp.port == 443`.

        Raises ExpressionError where it does not parse, ConfigError where the table has not all columns.
        """
        predicate = compile_expression(expression)
        if predicate.needs_frames:
            raise ConfigError(f"{expression!r:.100} looks into packets, whose bytes a table does not have")
        if missing := sorted(NEEDED - set(self.arrow.schema.names)):
            raise ConfigError(f"where() needs a table with all columns; this one has no {missing[0]}")
        interfaces: list[Interface] = []
        masks = [np.zeros(0, np.bool_)]
        for batch in self.arrow.to_batches(max_chunksize=_BLOCK_ROWS):
            packets = from_arrow(batch, interfaces, lambda *_: _ETHERNET)
            masks.append(predicate.mask(packets, 0, packets.length, interfaces))
        chosen = self.arrow.filter(pa.array(np.concatenate(masks)))
        for place, field in enumerate(chosen.schema):
            if pa.types.is_dictionary(field.type):  # without the values that are gone
                values = chosen.column(place).cast(field.type.value_type).dictionary_encode()
                chosen = chosen.set_column(place, field, values)
        return Table(chosen, self.title, self.warning)

    def sql(self, query: str) -> pd.DataFrame:
        """What an SQL query (DuckDB's dialect) says of the table `packets`, which is this one, not copied:
        `select protocol, count(*) from packets group by protocol`.

        Raises ConfigError, with DuckDB's words, for a query that it refuses, or where DuckDB is not installed.
        """
        try:
            import duckdb
        except ModuleNotFoundError:
            raise ConfigError("sql() needs DuckDB, which is not installed: pip install duckdb") from None
        with duckdb.connect() as database:
            database.register("packets", self.arrow)
            try:
                found = database.sql(query)
                return answer_frame(found.to_arrow_table() if found else pa.table({}))  # SET, say, gives nothing
            except duckdb.Error as error:
                raise ConfigError(str(error)) from None

    def summary(self) -> list[tuple[str, str]]:
        """What the table holds in words: pairs of a name and a text."""
        lines = [("packets", f"{len(self):,}")]
        names = self.arrow.schema.names
        if not len(self):
            return lines
        if "ts" in names:
            first, last = (pd.Timestamp(pc.min_max(self.arrow["ts"])[k].value, tz="UTC") for k in ("min", "max"))
            lines.append(("time", f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"))
            lines.append(("duration", f"{(last - first).total_seconds():,.3f} s"))
        if "orig_len" in names:
            lines.append(("bytes", f"{pc.sum(self.arrow['orig_len']).as_py():,} on the wire"))
        if "protocol" in names:
            counts = self.arrow["protocol"].combine_chunks()
            found = np.bincount(counts.indices.to_numpy(), minlength=len(counts.dictionary))
            top = [(counts.dictionary[int(k)].as_py(), found[k]) for k in np.argsort(-found, kind="stable") if found[k]]
            shown = [f"{name} {count:,}" for name, count in top[:_SHOWN_PROTOCOLS]]
            lines.append(("protocols", ", ".join(shown) + (", ..." if len(top) > _SHOWN_PROTOCOLS else "")))
        return lines + ([("note", self.warning)] if self.warning else [])

    def __repr__(self) -> str:
        return "\n".join([self.title or "packets", *(f"  {name:<10} {text}" for name, text in self.summary())])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in self.summary()
        )
        times = (
            self.arrow["ts"].cast(pa.int64()).to_numpy() if "ts" in self.arrow.schema.names else np.zeros(0, np.int64)
        )
        return f"<b>{html.escape(self.title)}</b><table>{rows}</table>{histogram(times)}"


def answer_frame(arrow: pa.Table) -> pd.DataFrame:
    """What a query answered, as a DataFrame: integers that may be null stay exact, times are in UTC."""
    frame: pd.DataFrame = arrow.to_pandas(types_mapper=_INTEGERS.get)
    for name in frame.columns[[isinstance(kind, pd.DatetimeTZDtype) for kind in frame.dtypes]]:
        frame[name] = frame[name].dt.tz_convert("UTC")
    return frame


def read(path: str | os.PathLike[str], where: str = "") -> Table:
    """The packets of a file that `where` selects: pcap or pcapng, may be packed by gzip or zstd, or our Parquet.

    All of them are held in memory. A damaged file gives what stands before the damage, and `Table.warning`. Raises
    CaptureFileError where not one packet can be read, ExpressionError where `where` does not parse.
    """
    predicate = compile_expression(where) if where else None
    with open_packets(path) as file:
        batches = [
            packets.to_arrow(file.interfaces, ALL_COLUMNS, rows)
            for packets, rows in file.blocks(predicate)
            if len(rows)
        ]
        return Table(_joined(batches), os.path.basename(path), file.warning or "")


def _joined(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    empty = Packets(1).to_arrow((), ALL_COLUMNS)
    return pa.Table.from_batches([empty, *batches]).unify_dictionaries()
