"""Room on the disk for recordings: less than the disk has, so that journal and database have some left, and no more
than a quota, beyond which the oldest finished files go.

The folder itself is the truth of what is there: hubs may share it, and people delete files. Threads may share a
DiskRoom.
"""

import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from aishark_panel.streams.partfile import PART

__all__ = ["DiskRoom", "remove_empty"]

_RESERVE_BYTES: Final = 2**30
_RESERVE_SHARE: Final = 20
"""A twentieth of the disk, at most 1 GiB, is not for recordings."""
_MAX_PARTS: Final = 32
"""A file is at most this part of the quota: 16 recordings at once leave half of it to files that are finished."""
_OURS: Final = re.compile(r".+-\d{8}T\d{6}\.\d{3}Z-\d{4,}\.(pcapng|parquet)")


class _File(NamedTuple):
    written_ns: int
    path: Path
    size_bytes: int


class DiskRoom:
    """What recordings ask before they write to `folder`; `limit_bytes` is the quota, None: the disk itself.

    `on_removed` is told the path within `folder` of each file that made room, on the thread that asked for it.
    """

    def __init__(self, folder: Path, limit_bytes: int | None, on_removed: Callable[[str], None]) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._on_removed = on_removed
        self._lock = threading.Lock()
        self._used_bytes: int | None = None
        """at most; None: not known yet"""

    @property
    def most_bytes_of_a_file(self) -> float:
        """A file that has reached this size must end."""
        return float("inf") if self._limit_bytes is None else self._limit_bytes // _MAX_PARTS

    def ask(self, size_bytes: int) -> None:
        """So much is to be written. Raises OSError where there is no room for it."""
        disk = os.statvfs(self._folder)
        reserve = min(_RESERVE_BYTES, disk.f_blocks * disk.f_frsize // _RESERVE_SHARE)
        if disk.f_bavail * disk.f_frsize - size_bytes < reserve:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
        if self._limit_bytes is None:
            return
        with self._lock:
            if self._used_bytes is None or self._used_bytes + size_bytes > self._limit_bytes:
                self._used_bytes = self._make_room(self._limit_bytes - size_bytes)
            self._used_bytes += size_bytes

    def _make_room(self, most_bytes: int) -> int:
        """Remove the oldest files until those that stay take no more than that; what they take."""
        finished, used_bytes = self._look()
        for _, path, size_bytes in sorted(finished):
            if used_bytes <= most_bytes:
                break
            path.unlink(missing_ok=True)
            used_bytes -= size_bytes
            self._on_removed(path.relative_to(self._folder).as_posix())
            remove_empty(path.parent, self._folder)
        if used_bytes > most_bytes:
            self._used_bytes = None
            raise OSError(errno.EDQUOT, "its quota is used up by files that are not finished", str(self._folder))
        return used_bytes

    def _look(self) -> tuple[list[_File], int]:
        """Finished files of recordings, and the bytes of all files of recordings."""
        finished, used_bytes = [], 0
        for folder, _, names in os.walk(self._folder):
            for path in (Path(folder, name) for name in names if _OURS.fullmatch(name.removesuffix(PART))):
                try:
                    about = path.lstat()
                except FileNotFoundError:
                    continue
                if not stat.S_ISREG(about.st_mode):
                    continue
                used_bytes += about.st_size
                if path.suffix != PART:
                    finished.append(_File(about.st_mtime_ns, path, about.st_size))
        return finished, used_bytes


def remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder below `top` and those around it, as far as they are empty."""
    while folder != top:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
