"""Exports: a session's packets as a file, made chunk by chunk while capture goes on.

The reader sets the pace: the next chunk is made when the last one has left, so an export needs the memory of one chunk
however long it is, and a slow reader delays nothing else. Packets evicted before their turn are left out.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from typing import Final

import numpy as np

from aishark_panel.errors import ConfigError
from aishark_panel.export.writer import Writer, open_writer
from aishark_panel.query import Predicate, compile_expression
from aishark_panel.streams.about import about, comment
from aishark_panel.streams.exportlog import ExportProgress
from aishark_panel.streams.session import Session

__all__ = ["FORMATS", "check_format", "export_chunks"]

log = logging.getLogger(__name__)

FORMATS: Final = {
    "pcapng": "application/x-pcapng",
    "pcap": "application/vnd.tcpdump.pcap",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "json": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.file",
}
"""Export formats and their media types."""

_CHUNK_ROWS: Final = 8_192
_FOLLOW_S: Final = 0.1
_STREAMED: Final = ("pcapng", "pcap", "csv", "json")
"""Formats that can be followed: the others have their table of contents at the end."""


class _Sink:
    """Collects what a writer writes until it is sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes | memoryview) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """All bytes since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class _Export:
    """One export on its way through the ring."""

    def __init__(self, session: Session, export_format: str, where: str, progress: ExportProgress) -> None:
        self._session = session
        self._progress = progress
        self._predicate: Predicate = compile_expression(where)
        self._sink = _Sink()
        self._writer: Writer = open_writer(
            self._sink,
            f".{export_format}",
            session.interfaces,
            capture_interfaces=session.runs.described_interfaces,
            about=lambda: about(session, where, progress.missed),
            comment=comment(session, where),
        )
        self.first = self.cursor = session.ring.first

    def chunk(self, end: int) -> bytes:
        """Bytes for the next packets before `end`; moves the cursor by at least one packet."""
        with self._session.ring.read(self.cursor, min(end, self.cursor + _CHUNK_ROWS)) as views:
            for packets, start, stop in views:
                mask = self._predicate.mask(packets, start, stop, self._session.interfaces)
                self._writer.write(packets, np.flatnonzero(mask) + start)
                self.cursor = packets.first_number + stop
            if not views and self.cursor < end:
                ring = self._session.ring
                self._progress.missed += max(0, min(ring.first, end) - self.cursor)
                self.cursor = ring.following(self.cursor, end)
        return self._taken()

    def close(self) -> bytes:
        """The file's last bytes."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        data = self._sink.take()
        progress = self._progress
        progress.looked_at, progress.written = self.cursor - self.first, self._writer.packets
        progress.bytes += len(data)
        return data


def check_format(export_format: str, *, follow: bool = False) -> None:
    """ConfigError for a format that is not there, or cannot be followed."""
    if export_format not in FORMATS:
        raise ConfigError(f"no export format {export_format!r:.20}; there are {', '.join(FORMATS)}")
    if follow and export_format not in _STREAMED:
        raise ConfigError(f"{export_format} cannot be followed; {', '.join(_STREAMED)} can")


async def export_chunks(
    session: Session,
    export_format: str,
    where: str,
    *,
    follow: bool,
    executor: Executor,
    progress: ExportProgress,
) -> AsyncGenerator[bytes, None]:
    """The packets in the ring that `where` selects, as the bytes of a file in one of FORMATS.

    With `follow` it goes on with packets as they arrive, until the session ends or is deleted, and yields b"" while
    there are none. Errors of the request come with the first step. `progress` is told how far it is; packets that were
    evicted before their turn are logged too.
    """
    check_format(export_format, follow=follow)
    loop = asyncio.get_running_loop()
    export = await loop.run_in_executor(executor, _Export, session, export_format, where, progress)
    end = session.ring.end
    progress.state, progress.total = "writing", end - export.first
    yield await loop.run_in_executor(executor, export.chunk, end)
    while True:
        while export.cursor < end:
            yield await loop.run_in_executor(executor, export.chunk, end)
        if not follow or session.deleted or (session.state == "ended" and session.ring.end == end):
            break
        if session.ring.end == end:
            await asyncio.sleep(_FOLLOW_S)
            yield b""
        end = session.ring.end
        progress.total = end - export.first
    if progress.missed:
        log.warning("%d packets of session %s were evicted before they were exported", progress.missed, session.name)
    yield await loop.run_in_executor(executor, export.close)
