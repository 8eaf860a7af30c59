"""Parquet files that aishark wrote, read back as packets, row group by row group."""

import json
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

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

    Within each row group, which is sorted by time, packets come in the order of their numbers: as they were captured.
    """

    warning: str | None = None
    """Parquet is whole or cannot be read at all"""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises CaptureFileError where it is not whole, or not aishark's or without some of the columns."""
        self.name = os.fspath(path)
        self.interfaces: list[Interface] = []
        """indexed by the packets' `iface`; grows while blocks are read"""
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise CaptureFileError(f"cannot read {self.name}: {_first_line(error)}") from None
        metadata = self._file.metadata
        self.bytes_total: int = max(1, os.path.getsize(path))
        self._sizes: list[int] = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
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

    @property
    def bytes_done(self) -> int:
        """How far into `bytes_total` reading has come."""
        return self.bytes_total * (sum(self._sizes[: self._done]) + 1) // (sum(self._sizes) + 1)

    def numbers_of(self, packets: Packets, row: int) -> TcpNumbers | None:
        """What TCP's numbers count from is not in the file."""
        return None

    def blocks(self, where: Predicate | None = None) -> Iterator[tuple[Packets, Rows]]:
        """Each block with the rows that `where` selects.

        Raises ConfigError where it asks for bytes that the file does not keep, CaptureFileError where the file is
        damaged.
        """
        if where is not None and where.needs_frames and not self.has_frames:
            raise ConfigError(f"{where.text!r:.100} looks into packets: {self.name} cannot say. {NO_BYTES}.")
        next_number = 1
        for batch in self._batches():
            try:
                packets = from_arrow(batch, self.interfaces, self._link_type)
            except _BAD as error:
                raise CaptureFileError(f"cannot read {self.name}: {_first_line(error)}") from None
            packets.first_number = next_number
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

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for group in range(len(self._sizes)):
            try:
                for table in self._tables(group):
                    if "number" in self._columns:
                        table = table.take(pc.sort_indices(table["number"]))
                    batches = table.combine_chunks().to_batches(max_chunksize=_BLOCK_ROWS)
                    yield from (batch for batch in batches if batch.num_rows)
            except (OSError, pa.ArrowException) as error:
                raise CaptureFileError(f"cannot read {self.name}: {_first_line(error)}") from None
            self._done = group + 1

    def _tables(self, group: int) -> Iterator[pa.Table]:
        if self._sizes[group] <= _MAX_GROUP_BYTES:
            yield self._file.read_row_group(group, columns=self._columns)
            return
        for batch in self._file.iter_batches(_BLOCK_ROWS, row_groups=[group], columns=self._columns):
            yield pa.Table.from_batches([batch])

    def _link_type(self, agent: str, interface: str) -> int:
        return self._link_types.get((agent, interface), _ETHERNET)


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
