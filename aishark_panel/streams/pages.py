"""A page of packets: those that an expression selects from a cursor on, in one of some formats, and the cursor to go on
with.

A cursor is a packet number, so it stays good while packets come and are evicted. A page is bounded in packets, in bytes
of frames, and in how many packets are looked at, so the next one may have to be asked for before all is filled.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from aishark_panel.export.writer import open_writer
from aishark_panel.query import compile_expression
from aishark_panel.streams.session import Session

__all__ = ["MAX_PACKETS", "PAGE_FORMATS", "Page", "page"]

PAGE_FORMATS: Final = {
    "application/x-ndjson": ".json",
    "text/csv": ".csv",
    "application/vnd.apache.arrow.stream": ".arrows",
    "application/x-pcapng": ".pcapng",
}
"""Media types of a page, and the suffixes they are known by; the first is that of who does not mind."""
MAX_PACKETS: Final = 10_000
MAX_FRAME_BYTES: Final = 32 * 2**20
"""Of one page; a frame more may come on top."""
SCAN_PACKETS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """Some packets."""

    body: bytes
    cursor: int
    """number of the packet that the next page begins with"""
    is_last: bool
    """whether all packets there are now were looked at"""
    missed: int
    """packets from the cursor on that are no longer there"""


def page(
    session: Session, suffix: str, *, where: str, columns: Sequence[str], cursor: int, end: int, limit: int
) -> Page:
    """At most `limit` packets with numbers [cursor, end); cursor 0: from the oldest. ExpressionError, ConfigError."""
    predicate = compile_expression(where)
    sink = io.BytesIO()
    writer = open_writer(
        sink,
        suffix,
        session.interfaces,
        columns,
        capture_interfaces=session.runs.described_interfaces,
        numbers_of=session.conversations.tcp_numbers,
    )
    end = min(end, session.ring.end)
    frame_bytes = scanned = 0
    with session.ring.read(cursor, end) as views:
        first = views[0].packets.first_number + views[0].start if views else end
        following = max(cursor, end)
        for packets, start, stop in views:
            rows = np.flatnonzero(predicate.mask(packets, start, stop, session.interfaces)) + start
            lengths = frame_bytes + np.cumsum(packets.columns.cap_len[rows], dtype=np.int64)
            room = min(limit - writer.packets, 1 + int(np.searchsorted(lengths, MAX_FRAME_BYTES)))
            writer.write(packets, rows[:room])
            if len(rows) >= room:
                following = packets.first_number + int(rows[room - 1]) + 1
                break
            frame_bytes = int(lengths[-1]) if len(rows) else frame_bytes
            scanned += stop - start
            if scanned >= SCAN_PACKETS:
                following = packets.first_number + stop
                break
    writer.close()
    missed = max(0, first - cursor) if cursor else 0
    return Page(sink.getvalue(), following, is_last=following >= end, missed=missed)
