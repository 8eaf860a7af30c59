"""Encoder: gathers frames into batches and closes each by rows, bytes or age, whichever comes first.

At low rate a batch leaves within `max_age_s`; at high rate it fills up, so batches grow with the load by themselves.
Pure: time is an argument.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from aishark_panel.wire.frames import Frames

__all__ = ["BatchLimits", "Encoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """When a batch is closed. Messages of 0.3-4 MB are the fastest on a WebSocket (see docs/design.md)."""

    max_rows: int = 8_192
    max_bytes: int = 2 * 2**20
    """captured bytes"""
    max_age_s: float = 0.05
    """longest time a frame waits for company"""


class Encoder:
    """Takes the frames a source returns (whose memory it may reuse) and yields batches that may be kept."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        rows, size = limits.max_rows, limits.max_bytes
        self._ts = np.empty(rows, np.int64)
        self._orig_len = np.empty(rows, np.uint32)
        self._iface = np.empty(rows, np.uint16)
        self._offsets = np.zeros(rows + 1, np.int32)
        self._data = np.empty(size, np.uint8)
        self._rows = 0
        self._opened_s = 0.0

    @property
    def rows(self) -> int:
        """Frames that wait in the open batch."""
        return self._rows

    def add(self, frames: Frames, now_s: float) -> Iterator[Frames]:
        """Take frames; yields the batches they complete, each valid until the next is asked for."""
        done, n = 0, len(frames)
        while done < n:
            stop = self._fitting(frames, done)
            if self._rows == 0 and (stop < n or self._is_full(frames, done, stop)):
                yield frames.slice(done, stop)  # fills a batch by itself: no copy
            elif stop > done:
                self._copy(frames, done, stop, now_s)
            if self._rows and (stop < n or self._rows == self._limits.max_rows):
                yield self._close()
            done = stop

    def poll(self, now_s: float) -> Frames | None:
        """The open batch, once it is old enough; valid until the next `add`."""
        if self._rows and now_s - self._opened_s >= self._limits.max_age_s:
            return self._close()
        return None

    def flush(self) -> Frames | None:
        """The open batch, whatever its age."""
        return self._close() if self._rows else None

    def due_s(self, now_s: float) -> float:
        """Seconds until `poll` will have something; max_age_s when nothing waits."""
        if not self._rows:
            return self._limits.max_age_s
        return max(0.0, self._opened_s + self._limits.max_age_s - now_s)

    def _fitting(self, frames: Frames, done: int) -> int:
        """End of the run of frames that fits the open batch; a frame longer than max_bytes goes alone."""
        used = int(self._offsets[self._rows])
        room_until = int(frames.offsets[done]) + self._limits.max_bytes - used
        stop = int(np.searchsorted(frames.offsets, room_until, side="right")) - 1
        stop = min(stop, done + self._limits.max_rows - self._rows, len(frames))
        return max(stop, done + 1) if self._rows == 0 else max(stop, done)

    def _is_full(self, frames: Frames, done: int, stop: int) -> bool:
        size = int(frames.offsets[stop]) - int(frames.offsets[done])
        return stop - done == self._limits.max_rows or size >= self._limits.max_bytes // 2

    def _copy(self, frames: Frames, done: int, stop: int, now_s: float) -> None:
        if not self._rows:
            self._opened_s = now_s
        rows = slice(self._rows, self._rows + stop - done)
        self._ts[rows] = frames.ts[done:stop]
        self._orig_len[rows] = frames.orig_len[done:stop]
        self._iface[rows] = frames.iface[done:stop]
        begin, end = int(frames.offsets[done]), int(frames.offsets[stop])
        used = int(self._offsets[self._rows])
        self._data[used : used + end - begin] = frames.data[begin:end]
        self._offsets[self._rows + 1 : self._rows + 1 + stop - done] = frames.offsets[done + 1 : stop + 1] - (
            begin - used
        )
        self._rows += stop - done

    def _close(self) -> Frames:
        n, self._rows = self._rows, 0
        return Frames(self._ts[:n], self._orig_len[:n], self._iface[:n], self._offsets[: n + 1], self._data)
