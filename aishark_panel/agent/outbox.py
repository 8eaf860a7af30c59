"""Outbox: numbered batches that the hub has not acknowledged yet, bounded in bytes.

The capture thread puts, the connection takes; a batch stays until the hub holds it durably, so that after a broken
connection it can be sent again.
"""

import threading
from collections import deque
from typing import Final

from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, CodecName

__all__ = ["DEFAULT_OUTBOX_BYTES", "Outbox"]

DEFAULT_OUTBOX_BYTES: Final = 64 * 2**20


class Outbox:
    """Batches [first_sequence, next_sequence) of one agent's run."""

    def __init__(
        self, codec: CodecName, *, limit_bytes: int = DEFAULT_OUTBOX_BYTES, compress_from_rows: int = 1
    ) -> None:
        self._codec = codec
        self._limit_bytes = limit_bytes
        self._compress_from_rows = compress_from_rows
        self._batches: deque[bytes] = deque()
        self._rows: deque[int] = deque()
        self._changed = threading.Condition()
        self.first_sequence = 1
        self.size_bytes = 0
        self.rows = 0
        """packets that wait here"""
        self.delivered = 0
        """packets that the hub has acknowledged"""

    @property
    def next_sequence(self) -> int:
        """Number the next batch will get."""
        return self.first_sequence + len(self._batches)

    @property
    def is_full(self) -> bool:
        """Whether the next batch would find no room."""
        return self.size_bytes >= self._limit_bytes

    def put(self, content: Frames | ColumnBatch, counters: dict[str, int]) -> None:
        """Number and pack one batch; ask `is_full` first: the bound is exceeded by one batch at most."""
        codec: CodecName = self._codec if len(content) >= self._compress_from_rows else "none"
        packed = Batch.pack(self.next_sequence, content, codec, counters)
        with self._changed:
            self._batches.append(packed)
            self._rows.append(len(content))
            self.size_bytes += len(packed)
            self.rows += len(content)

    def get(self, sequence: int) -> bytes | None:
        """The packed batch of that number; None while it is not there yet."""
        with self._changed:
            index = sequence - self.first_sequence
            return self._batches[index] if 0 <= index < len(self._batches) else None

    def release(self, durable: int) -> None:
        """Forget the batches up to `durable`: the hub holds them safely."""
        with self._changed:
            while self._batches and self.first_sequence <= durable:
                self.size_bytes -= len(self._batches.popleft())
                rows = self._rows.popleft()
                self.rows -= rows
                self.delivered += rows
                self.first_sequence += 1
            self._changed.notify_all()

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until the outbox is no longer full; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.is_full, timeout_s)
