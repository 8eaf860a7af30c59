"""A subscription: a client's own cursor in a session's ring.

Nothing is queued for a subscriber: it reads what the ring holds from its cursor on, as fast as its socket takes it. One
that is too slow finds packets evicted; it is told how many it missed and goes on with the oldest there are. So it can
harm neither ingest nor others, and costs no memory while it does not read.
"""

import json
from typing import Final

import numpy as np
import pyarrow as pa

from aishark_panel.errors import ConfigError
from aishark_panel.query import compile_expression
from aishark_panel.streams.session import Session
from aishark_panel.wire.packets import ARROW_NAMES

__all__ = ["Subscription"]

_CHUNK_ROWS: Final = 8_192


class Subscription:
    """Packets of a session from `start` on ("now", "oldest", or a packet number), filtered, some columns."""

    def __init__(self, session: Session, *, where: str, columns: list[str], start: str) -> None:
        self._session = session
        self._predicate = compile_expression(where)
        self._columns = list(dict.fromkeys(columns or ARROW_NAMES))
        unknown = [c for c in self._columns if c not in (*ARROW_NAMES, "frame")]
        if unknown:
            raise ConfigError(f"no column {unknown[0]!r:.50}; there are {', '.join(ARROW_NAMES)} and frame")
        if start == "now":
            self._cursor = session.ring.end
        elif start == "oldest":
            self._cursor = session.ring.first
        elif start.isdecimal() and len(start) < 19:
            self._cursor = max(int(start), 1)
        else:
            raise ConfigError(f"start is now, oldest or a packet number, not {start!r:.50}")

    @property
    def ended(self) -> bool:
        """Whether no more packets will come: the session was deleted."""
        return self._session.deleted

    def next_messages(self) -> tuple[list[str | bytes], bool]:
        """What comes next: a notice of missed packets or an Arrow IPC stream, and whether more is there already.

        Looks at no more than a few thousand packets, of which none may match; then ask again at once.
        """
        ring = self._session.ring
        with ring.read(self._cursor, self._cursor + _CHUNK_ROWS) as views:
            first = ring.first
            if self._cursor < first:
                missed, self._cursor = first - self._cursor, first
                return [json.dumps({"type": "missed", "packets": missed, "next": first})], True
            messages: list[str | bytes] = []
            for packets, start, stop in views:
                mask = self._predicate.mask(packets, start, stop, self._session.interfaces)
                rows = np.flatnonzero(mask) + start
                self._cursor = packets.first_number + stop
                if len(rows):
                    messages.append(_stream(packets.to_arrow(self._session.interfaces, self._columns, rows)))
            return messages, bool(views)


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data
