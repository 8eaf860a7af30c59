"""A capture file played as if it were captured now: a Source over a file or standard input.

Frames keep the times the file gives them. Pacing delays them by the distances of these times: at speed 1 as they came,
at speed 10 ten times as fast, at "max" without delay.
"""

import math
import os
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np

from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.capturefile import open_capture
from aishark_panel.errors import ConfigError
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames

__all__ = ["Pacer", "ReplaySource", "parse_speed"]

_WINDOW_S: Final = 0.05
"""A paced batch spans at most this much of the viewer's time: it feels live, yet batches are not single frames."""


def parse_speed(text: str) -> float | None:
    """Speed as a user writes it: a factor such as 1 or 0.5, or "max" (None). Raises ConfigError."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise ConfigError(f"speed {text!r} is neither a factor above 0 nor 'max'; use for example --speed 10")
    return speed


class Pacer:
    """Says when frames are due. Times of `now_s` are any monotonic clock's; the first frame is due at once."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start_s = 0.0
        self._start_ns: int | None = None

    def next(self, frames: Frames, now_s: float) -> tuple[int, float]:
        """(n, wait): the first n frames are the next batch, due as one in `wait` seconds (0: they are late)."""
        if self._start_ns is None:
            self._start_s, self._start_ns = now_s, int(frames.ts[0])
        window_ns = int(_WINDOW_S * self._speed * 1e9)
        beyond = frames.ts > int(frames.ts[0]) + window_ns  # times may go back, so no binary search
        count = int(np.argmax(beyond)) if beyond.any() else len(frames)
        elapsed_s = (int(frames.ts[count - 1]) - self._start_ns) / 1e9 / self._speed
        return count, max(0.0, self._start_s + elapsed_s - now_s)


class ReplaySource:
    """Frames of a capture file; see `Source` for the interface. `speed` None plays without delay."""

    kind: SourceKind = "replay"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        speed: float | None = None,
        snaplen: int = MAX_FRAME_BYTES,
        follow: bool = False,
    ) -> None:
        """Open the file and look at its start; `follow` waits at its end for more. Raises CaptureFileError."""
        self._file = open_capture(path, snaplen=snaplen, follow=follow)
        self._snaplen = snaplen
        self._interfaces: list[SourceInterface] = []
        self._pacer = None if speed is None else Pacer(speed)
        self._woken = threading.Event()
        self._matched = 0
        try:
            # So that a file that cannot be read is refused here, and its first interfaces are known.
            self._frames = self._file.read(timeout_s=0)
        except BaseException:
            self._file.close()
            raise

    @property
    def interfaces(self) -> list[SourceInterface]:
        """Interfaces the file has described so far; those without a name get the file's."""
        known = self._interfaces
        for interface in self._file.interfaces[len(known) :]:
            unnamed = Path(self._file.name).name + (f" #{len(known)}" if known else "")
            known.append(
                SourceInterface(
                    name=interface.name or unnamed,
                    link_type=interface.link_type,
                    snaplen=min(interface.snaplen or self._snaplen, self._snaplen),
                    filter=interface.filter,
                    description=interface.description,
                )
            )
        return known

    @property
    def exhausted(self) -> bool:
        """Whether all frames were returned."""
        return self._frames is None and self._file.ended

    @property
    def warning(self) -> str | None:
        """Once exhausted: what was damaged or cut at the end of the file."""
        return self._file.warning

    @property
    def progress(self) -> tuple[int, int | None]:
        """(bytes done, bytes in all) of the file as it lies on disk; in all is None for a pipe."""
        return self._file.bytes_done, self._file.bytes_total

    def read(self, timeout_s: float) -> Frames | None:
        """The next frames that are due, within `timeout_s`; their memory is valid until the next read."""
        if self._frames is None:
            self._frames = self._file.read(timeout_s)
        frames = self._frames
        if frames is None:
            return None
        count, wait_s = len(frames), 0.0
        if self._pacer is not None:
            count, wait_s = self._pacer.next(frames, time.monotonic())
        if wait_s > 0:
            woken = self._woken.wait(min(wait_s, timeout_s))
            self._woken.clear()
            if woken or wait_s > timeout_s:
                return None
        self._frames = frames.slice(count, len(frames)) if count < len(frames) else None
        self._matched += count
        return frames.slice(0, count)

    def counters(self) -> dict[str, int]:
        """Frames returned so far, as "matched"."""
        return {"matched": self._matched}

    def wake(self) -> None:
        """Make a waiting read return now."""
        self._woken.set()
        self._file.wake()

    def close(self) -> None:
        """Close the file."""
        self._frames = None
        self._file.close()
