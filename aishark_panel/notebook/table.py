"""Packets as a table: Arrow inside, pandas on request, a summary when a cell shows it."""

import html
import os
from collections.abc import Iterable
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aishark_panel.export.read import open_packets
from aishark_panel.query import compile_expression
from aishark_panel.wire.packets import ARROW_NAMES, Packets
from aishark_panel.wire.schema import COLUMNS

__all__ = ["Table", "read"]

_NULLABLE: Final = {c.name for c in COLUMNS if c.present}
_INTEGERS: Final = {
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
_SHOWN_PROTOCOLS: Final = 6


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
        names: list[str] = self.arrow.schema.names
        may_lack = [name for name in names if name in _NULLABLE]
        always = self.arrow.drop_columns(may_lack).to_pandas()
        sometimes = self.arrow.select(may_lack).to_pandas(types_mapper=_INTEGERS.get)
        frame: pd.DataFrame = pd.concat([always, sometimes], axis=1)[names]
        for name in frame.columns.intersection(["protocol"]):  # its dictionary names every protocol there is
            frame[name] = frame[name].cat.remove_unused_categories()
        return frame

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
        return f"<b>{html.escape(self.title)}</b><table>{rows}</table>"


def read(path: str | os.PathLike[str], where: str = "") -> Table:
    """The packets of a file that `where` selects: pcap or pcapng, may be packed by gzip or zstd, or our Parquet.

    All of them are held in memory. A damaged file gives what stands before the damage, and `Table.warning`. Raises
    CaptureFileError where not one packet can be read, ExpressionError where `where` does not parse.
    """
    predicate = compile_expression(where) if where else None
    with open_packets(path) as file:
        batches = [
            packets.to_arrow(file.interfaces, ARROW_NAMES, rows)
            for packets, rows in file.blocks(predicate)
            if len(rows)
        ]
        return Table(_joined(batches), os.path.basename(path), file.warning or "")


def _joined(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    empty = Packets(1).to_arrow((), ARROW_NAMES)
    return pa.Table.from_batches([empty, *batches]).unify_dictionaries()
