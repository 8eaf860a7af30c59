"""Capture files without a hub: read, dissect, filter, write.

Blocks of packets are used again and again, so memory does not depend on the length of the file.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from aishark_panel.capturefile import CaptureFile, open_capture
from aishark_panel.dissect import Dissector, link_type_note
from aishark_panel.export.tables import Rows
from aishark_panel.export.writer import check_suffix, open_writer
from aishark_panel.query import Predicate, compile_expression
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.pcapfile import BATCH_ROWS

__all__ = ["CaptureTable", "check_capture", "read_file", "read_to"]

Progress = Callable[[int, int | None], None]
"""called with (bytes done, bytes in all or None)"""


def check_capture(path: str | os.PathLike[str]) -> None:
    """Raise CaptureFileError, with the reason, unless `path` is a capture file that can be read."""
    with open_capture(path) as file:
        file.read()


class CaptureTable:
    """The packets of a capture file in blocks; `interfaces` grows as the file describes them."""

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
    with open_capture(path, snaplen=snaplen) as file:
        yield from CaptureTable(file).blocks(where)


def read_to(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    where: str = "",
    columns: Sequence[str] = (),
    progress: Progress | None = None,
) -> str | None:
    """Write the packets of a capture file that `where` selects to `out` (format by its suffix), or as text to stdout.

    Returns a sentence where the end of the file is damaged or cut, or where link types are not dissected, else None;
    the packets before the damage are written.
    Raises CaptureFileError, ExpressionError or ConfigError.
    """
    predicate = compile_expression(where) if where else None
    suffix = ".txt" if out is None else check_suffix(Path(out).suffix)
    with open_capture(path) as file:
        table = CaptureTable(file)
        target = sys.stdout.buffer if out is None else out
        with open_writer(
            target,
            suffix,
            table.interfaces,
            columns,
            capture_interfaces=file.interfaces,
            numbers_of=table.numbers_of,
        ) as writer:
            for packets, rows in table.blocks(predicate):
                writer.write(packets, rows)
                if progress is not None:
                    progress(file.bytes_done, file.bytes_total)
        notes = {link_type_note(interface.link_type) for interface in table.interfaces} - {""}
        return "; ".join(filter(None, [file.warning, *sorted(notes)])) or None
