"""Parquet files that aishark wrote, read back as packets, row group by row group."""

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aishark_panel.dissect.info import TcpNumbers
from aishark_panel.errors import CaptureFileError, ConfigError
from aishark_panel.export.on_demand import Rows
from aishark_panel.query import Predicate
from aishark_panel.wire.from_arrow import NEEDED, from_arrow
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.schema import SCHEMA_VERSION

__all__ = ["NO_BYTES", "ParquetFile", "is_parquet"]

NO_BYTES: Final = "Parquet keeps the columns of packets, not their bytes"
_MAGIC: Final = b"PAR1"
_BLOCK_ROWS: Final = 8_192
_MAX_GROUP_BYTES: Final = 256 * 2**20
"""Of columns, unpacked; larger row groups than any of ours are read in pieces, each in the order of its numbers"""
_BAD: Final = (ValueError, TypeError, OSError, KeyError, OverflowError, pa.ArrowException)
"""what columns of others' types and values raise"""
_ETHERNET: Final = 1


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as Parquet does. A pipe is not looked into."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


class ParquetFile:
    """The packets of a Parquet file in blocks, with the numbers they had, or numbered from 1; a context manager.

    Row groups are sorted by time, but packets come in the order of their numbers: as they were captured.
    """

    warning: str | None = None
    """Parquet is whole or cannot be read at all"""

    def __init__(self, source: str | os.PathLike[str] | BinaryIO, name: str = "") -> None:
        """`source` is a path, or a file that is open, which has a `name`.

        Raises CaptureFileError where it is not whole, or not aishark's or without some of the columns.
        """
        self.name = name or os.fspath(source)  # type: ignore[arg-type]  # a file has a name
        self.interfaces: list[Interface] = []
        """indexed by the packets' `iface`; grows while blocks are read"""
        try:
            self._file = pq.ParquetFile(source)
        except (OSError, pa.ArrowException) as error:
            raise CaptureFileError(f"cannot read {self.name}: {_first_line(error)}") from None
        metadata = self._file.metadata
        self._sizes: list[int] = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
        self.bytes_total: int = max(1, sum(self._sizes))
        self._done = 0
        said = {key.decode(errors="replace"): value for key, value in (metadata.metadata or {}).items()}
        names = set(self._file.schema_arrow.names)
        version = said.get("aishark.schema_version", b"").decode(errors="replace")
        if version not in ("", str(SCHEMA_VERSION)):
            self.close()
            raise CaptureFileError(
                f"cannot read {self.name}: its columns are those of another version of aishark (schema {version:.20}; "
                f"this one reads {SCHEMA_VERSION})"
            )
        if missing := sorted(NEEDED - names):
            self.close()
            raise CaptureFileError(
                f"cannot read {self.name} as packets: it has no column {missing[0]}; write it with all columns"
            )
        self._columns = [name for name in self._file.schema_arrow.names if name in NEEDED | {"number", "frame"}]
        self.has_frames = "frame" in names
        self._link_types = _link_types(said.get("aishark.agents", b""))
        self.session_id = said.get("aishark.session_id", b"").decode(errors="replace")
        """of the session that was recorded; "" where the file does not tell"""

    @property
    def bytes_done(self) -> int:
        """How far into `bytes_total` reading has come."""
        return self.bytes_total if self._done == len(self._sizes) else sum(self._sizes[: self._done])

    @property
    def first_number(self) -> int:
        """Number of its oldest packet, as its statistics tell; 0 where they do not."""
        known = [number for group in range(len(self._sizes)) if (number := self._first_number(group)) is not None]
        return min(known, default=0)

    @property
    def last(self) -> tuple[int, int]:
        """Number and time (ns) of its newest packet, as its statistics tell; (0, 0) where they do not."""
        groups = range(len(self._sizes))
        found = [(self._statistics(group, "number"), self._statistics(group, "ts")) for group in groups]
        known = [
            (int(number.max), _nanoseconds(ts.max)) for number, ts in found if number is not None and ts is not None
        ]
        return max(known, default=(0, 0))

    def numbers_of(self, packets: Packets, row: int) -> TcpNumbers | None:
        """What TCP's numbers count from is not in the file."""
        return None

    def blocks(
        self, where: Predicate | None = None, within: tuple[int, int] | None = None, before: int | None = None
    ) -> Iterator[tuple[Packets, Rows]]:
        """Each block with the rows that `where` selects. With `within`, [start, end) in ns, row groups without a packet
        of that time are passed over, and the numbers within a block have no gap; it ends `before` a number.

        Raises ConfigError where it asks for bytes that the file does not keep, CaptureFileError where the file is
        damaged.
        """
        if where is not None and where.needs_frames and not self.has_frames:
            raise ConfigError(f"{where.text!r:.100} looks into packets: {self.name} cannot say. {NO_BYTES}.")
        next_number = 1
        for batch in self._batches(within, before):
            try:
                packets = from_arrow(batch, self.interfaces, self._link_type)
            except _BAD as error:
                raise CaptureFileError(f"cannot read {self.name}: {_first_line(error)}") from None
            packets.first_number = next_number if packets.numbers is None else int(packets.numbers[0])
            next_number += packets.length
            length = packets.length
            everything = np.arange(length, dtype=np.intp)
            yield packets, everything if where is None else everything[where.mask(packets, 0, length, self.interfaces)]

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def __enter__(self) -> "ParquetFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, within: tuple[int, int] | None, before: int | None) -> Iterator[pa.RecordBatch]:
        groups = [group for group in range(len(self._sizes)) if self._may_hold(group, within)]
        held: list[pa.Table] = []  # rows whose turn comes with the next group
        for place, group in enumerate(groups):
            following = self._first_number(groups[place + 1]) if place + 1 < len(groups) else None
            try:
                for table in self._tables(group):
                    if "number" in self._columns:
                        table = pa.concat_tables([*held, table]).unify_dictionaries()
                        table = table.take(pc.sort_indices(table["number"]))
                        count = _count_below(table["number"], following)
                        held, table = (
                            [table.slice(count)],
                            table.slice(0, min(count, _count_below(table["number"], before))),
                        )
                    for batch in table.combine_chunks().to_batches(max_chunksize=_BLOCK_ROWS):
                        if batch.num_rows:
                            yield from _unbroken(batch) if within and "number" in self._columns else (batch,)
            except (*_BAD, IndexError) as error:
                raise CaptureFileError(f"cannot read {self.name}: {_first_line(error)}") from None
            self._done = group + 1
        self._done = len(self._sizes)

    def _may_hold(self, group: int, within: tuple[int, int] | None) -> bool:
        """Whether a row group may hold packets of a time, as its statistics tell."""
        known = self._statistics(group, "ts")
        if within is None or known is None:
            return True
        first, last = (_nanoseconds(value) for value in (known.min, known.max))
        return first < within[1] and last >= within[0]

    def _first_number(self, group: int) -> int | None:
        known = self._statistics(group, "number")
        return None if known is None else int(known.min)

    def _statistics(self, group: int, name: str) -> Any:
        metadata = self._file.metadata
        if name not in self._file.schema_arrow.names:
            return None
        found = metadata.row_group(group).column(self._file.schema_arrow.get_field_index(name)).statistics
        return found if found is not None and found.has_min_max else None

    def _tables(self, group: int) -> Iterator[pa.Table]:
        if self._sizes[group] <= _MAX_GROUP_BYTES:
            yield self._file.read_row_group(group, columns=self._columns)
            return
        for batch in self._file.iter_batches(_BLOCK_ROWS, row_groups=[group], columns=self._columns):
            yield pa.Table.from_batches([batch])

    def _link_type(self, agent: str, interface: str) -> int:
        return self._link_types.get((agent, interface), _ETHERNET)


def _count_below(numbers: pa.ChunkedArray, limit: int | None) -> int:
    """How many of ascending numbers are below a limit."""
    return len(numbers) if limit is None else int(np.searchsorted(numbers.to_numpy(), limit))


def _unbroken(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows in batches, of which the numbers have no gap."""
    ends = [*(np.flatnonzero(np.diff(batch["number"].to_numpy().astype(np.int64)) != 1) + 1).tolist(), batch.num_rows]
    for start, stop in pairwise([0, *ends]):
        yield batch.slice(start, stop - start)


def _nanoseconds(value: Any) -> int:
    """A time as Parquet's statistics give it."""
    return int(getattr(value, "value", value))


def _link_types(agents: bytes) -> dict[tuple[str, str], int]:
    """Link types by agent and interface, as the file's metadata tells them."""
    try:
        said: list[dict[str, Any]] = json.loads(agents or b"[]")
        types = {(agent["name"], i["name"]): int(i["link_type"]) for agent in said for i in agent["interfaces"]}
        return {pair: link_type for pair, link_type in types.items() if 0 <= link_type < 2**16}
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return {}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
