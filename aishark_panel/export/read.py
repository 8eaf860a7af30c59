"""Files of packets without a hub: read, dissect, filter, write.

Blocks of packets are used again and again, so memory does not depend on the length of the file.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from aishark_panel.capturefile import CaptureFile, open_capture
from aishark_panel.dissect import Dissector, link_type_note
from aishark_panel.errors import ConfigError
from aishark_panel.export.on_demand import NumbersOf, Rows
from aishark_panel.export.parquet_read import NO_BYTES, ParquetFile, is_parquet
from aishark_panel.export.writer import CAPTURES, check_suffix, open_writer
from aishark_panel.query import Predicate, compile_expression
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.pcapfile import BATCH_ROWS

__all__ = ["CaptureTable", "PacketFile", "check_capture", "open_packets", "read_file", "read_to"]

Progress = Callable[[int, int | None], None]
"""called with (bytes done, bytes in all or None)"""


def check_capture(path: str | os.PathLike[str]) -> None:
    """Raise CaptureFileError, with the reason, unless `path` is a capture file that can be read."""
    with open_capture(path) as file:
        file.read()


class PacketFile(Protocol):
    """A file of packets that is being read; a context manager that closes it."""

    @property
    def interfaces(self) -> list[Interface]:
        """Indexed by the packets' `iface`; the list grows as the file describes them."""

    @property
    def numbers_of(self) -> NumbersOf:
        """For the column `info` of the block that was taken last."""

    @property
    def has_frames(self) -> bool:
        """Whether it keeps the packets' bytes."""

    @property
    def bytes_done(self) -> int: ...
    @property
    def bytes_total(self) -> int | None: ...
    @property
    def warning(self) -> str | None:
        """once all was read: what was damaged or cut at the end"""

    def blocks(self, where: Predicate | None = None) -> Iterator[tuple[Packets, Rows]]:
        """Each block with the rows that `where` selects, until the next one is taken."""

    def __enter__(self) -> "PacketFile": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def open_packets(path: str | os.PathLike[str]) -> PacketFile:
    """Open a capture file, standard input for "-", or a Parquet file that aishark wrote. Raises CaptureFileError."""
    return ParquetFile(path) if is_parquet(path) else CaptureTable(open_capture(path))


class CaptureTable:
    """The packets of a capture file in blocks. A context manager that closes the file."""

    has_frames = True

    def __init__(self, file: CaptureFile) -> None:
        self.file = file
        self.interfaces: list[Interface] = []
        """indexed by the packets' `iface`; agent is "" """
        self._packets = Packets(BATCH_ROWS)
        self._dissector = Dissector()
        self.numbers_of = self._dissector.conversations.tcp_numbers
        """for the column `info` of the block that was taken last"""
        self._link_types = np.zeros(0, np.int32)
        self._next_number = 1

    @property
    def bytes_done(self) -> int:
        """How far into `bytes_total` reading has come."""
        return self.file.bytes_done

    @property
    def bytes_total(self) -> int | None:
        """Length of the file; None for a pipe."""
        return self.file.bytes_total

    @property
    def warning(self) -> str | None:
        """Once all was read: what was damaged or cut at the end, and which link types are not dissected."""
        notes = {link_type_note(interface.link_type) for interface in self.interfaces} - {""}
        return "; ".join(filter(None, [self.file.warning, *sorted(notes)])) or None

    def __enter__(self) -> "CaptureTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.file.close()

    def blocks(self, where: Predicate | None = None) -> Iterator[tuple[Packets, Rows]]:
        """Each block with the rows that `where` selects. The block's memory is used again by the next one."""
        for frames in self.file:
            self._note_interfaces()
            start = 0
            while start < len(frames):
                start += self._dissect(frames, start)
                yield self._packets, self._select(where)

    def _dissect(self, frames: Frames, start: int) -> int:
        packets = self._packets
        packets.clear()
        codes = np.arange(len(self._link_types), dtype=np.uint16)
        taken = self._dissector.append(frames, start, self._link_types, codes, packets)
        if taken == 0:
            raise RuntimeError("an empty block had no room for a packet")
        packets.columns.frame_pos[:taken] = frames.offsets[start : start + taken]
        packets.arena = [frames.data]
        packets.first_number = self._next_number
        self._next_number += taken
        return taken

    def _select(self, where: Predicate | None) -> Rows:
        length = self._packets.length
        if where is None:
            return np.arange(length, dtype=np.intp)
        return np.flatnonzero(where.mask(self._packets, 0, length, self.interfaces))

    def _note_interfaces(self) -> None:
        described = self.file.interfaces
        if len(described) > len(self.interfaces):
            for interface in described[len(self.interfaces) :]:
                self.interfaces.append(Interface("", interface.name, interface.link_type))
            self._link_types = np.array([i.link_type for i in described], np.int32)


def read_file(
    path: str | os.PathLike[str], where: Predicate | None = None, *, snaplen: int | None = None
) -> Iterator[tuple[Packets, Rows]]:
    """The packets of a capture file in blocks of up to 8,192, each with the rows that `where` selects.

    A block is valid until the next one is taken. Raises CaptureFileError where not one packet can be read.
    """
    with CaptureTable(open_capture(path, snaplen=snaplen)) as file:
        yield from file.blocks(where)


def read_to(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    where: str = "",
    columns: Sequence[str] = (),
    progress: Progress | None = None,
) -> str | None:
    """Write the packets of a file that `where` selects to `out` (format by its suffix), or as text to stdout.

    Returns a sentence where the end of the file is damaged or cut, or where link types are not dissected, else None;
    the packets before the damage are written.
    Raises CaptureFileError, ExpressionError or ConfigError.
    """
    predicate = compile_expression(where) if where else None
    suffix = ".txt" if out is None else check_suffix(Path(out).suffix)
    with open_packets(path) as file:
        if suffix in CAPTURES and not file.has_frames:
            raise ConfigError(f"{suffix} holds whole frames, and {path} has none: {NO_BYTES}")
        target = sys.stdout.buffer if out is None else out
        with open_writer(
            target,
            suffix,
            file.interfaces,
            columns,
            capture_interfaces=file.file.interfaces if isinstance(file, CaptureTable) else None,
            numbers_of=file.numbers_of,
        ) as writer:
            for packets, rows in file.blocks(predicate):
                writer.write(packets, rows)
                if progress is not None:
                    progress(file.bytes_done, file.bytes_total)
        return file.warning
