"""Files that get their name when they are whole, and what becomes of those that a killed hub left behind.

A part file is written under NAME.part without a buffer, so that what was written survives the death of the process.
`finish` syncs it to the disk and renames it. While its writer lives the part is locked (flock), and the lock dies with
the writer: so hubs may share a folder, and `recover_parts` tells an abandoned part from one that is being written.
"""

import contextlib
import fcntl
import logging
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from aishark_panel.errors import ConfigError
from aishark_panel.wire.pcapwrite import whole_blocks

__all__ = ["PART", "PartFile", "make_folder", "recover_part", "recover_parts", "sync_folder"]

log = logging.getLogger(__name__)

PART: Final = ".part"
"""Suffix of a file that is not whole yet."""


def make_folder(folder: Path) -> None:
    """Make a folder for packets, closed to other users, unless it exists. Raises ConfigError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The hub cannot make its folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"The hub may not write to its folder {folder}.")


class PartFile:
    """A file on its way to `path`; a sink that takes all bytes or raises OSError."""

    def __init__(self, path: Path) -> None:
        """Begin the file. Raises OSError, among them FileExistsError where it is there already, whole or not."""
        if path.exists():
            raise FileExistsError(0, "it exists already", str(path))
        self.path = path
        self.part = path.with_name(path.name + PART)
        """where the bytes are until `finish`"""
        self.size_bytes = 0
        self._fd = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def write(self, data: bytes | memoryview, /) -> int:
        """Append all of `data`."""
        rest = memoryview(data)
        while len(rest):
            count = os.write(self._fd, rest)
            self.size_bytes += count
            rest = rest[count:]
        return len(data)

    def cut(self, size_bytes: int) -> None:
        """Take back what was written beyond so many bytes."""
        os.ftruncate(self._fd, size_bytes)
        os.lseek(self._fd, size_bytes, os.SEEK_SET)
        self.size_bytes = size_bytes

    def sync(self) -> None:
        """Have the disk keep what was written so far. Raises OSError; what became of it is then unknown."""
        os.fsync(self._fd)

    def name(self) -> None:
        """Give the file, which is synced, its name. Raises OSError; the part is then still there."""
        self.part.rename(self.path)
        sync_folder(self.path.parent)
        os.close(self._fd)

    def finish(self) -> None:
        """Sync the file to the disk and give it its name. Raises OSError; the part is then still there."""
        self.sync()
        self.name()

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self.part.unlink()
        os.close(self._fd)


def recover_part(path: Path, size_bytes: int) -> bool:
    """Finish the part of `path`, which nobody writes any more, with its first `size_bytes`; whether that is done.

    A part that is shorter, or not whole blocks of pcapng up to there, is of no use and is removed, as with 0. Raises
    OSError.
    """
    part = path.with_name(path.name + PART)
    try:
        fd = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return path.exists() and size_bytes > 0
    try:
        whole = 0 < size_bytes <= os.fstat(fd).st_size
        if whole and path.suffix == ".pcapng":
            whole = _whole_bytes(fd, size_bytes) == size_bytes
        if whole:
            os.ftruncate(fd, size_bytes)
            os.fsync(fd)
            part.rename(path)
        else:
            part.unlink()
    finally:
        os.close(fd)
    sync_folder(path.parent)
    return whole


def recover_parts(folder: Path) -> None:
    """Finish what a killed hub left in a folder and below: pcapng is cut after its last whole block, everything else is
    of no use.

    Parts of hubs that live are left alone. What is done, or fails, is said in the log.
    """
    for part in sorted(folder.rglob(f"*{PART}")):
        try:
            with _abandoned(part) as fd:
                if fd is not None:
                    _recover(part, fd)
        except OSError as error:
            log.warning("the unfinished file %s is left as it is: %s", part, error.strerror)


@contextlib.contextmanager
def _abandoned(part: Path) -> Iterator[int | None]:
    """A part opened and locked, or None while somebody writes to it."""
    fd = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield None
    else:
        yield fd
    finally:
        os.close(fd)


def _recover(part: Path, fd: int) -> None:
    path = part.with_name(part.name.removesuffix(PART))
    size_bytes = os.fstat(fd).st_size
    whole_bytes = _whole_bytes(fd, size_bytes) if path.suffix == ".pcapng" else 0
    if path.exists():
        log.warning("the unfinished file %s is left as it is: %s exists", part, path.name)
        return
    if not whole_bytes:
        part.unlink()
        log.warning("removed the unfinished file %s (%d bytes) of a hub that was killed", part, size_bytes)
        return
    os.ftruncate(fd, whole_bytes)
    os.fsync(fd)
    part.rename(path)
    sync_folder(path.parent)
    log.warning("finished %s of a hub that was killed: %d of %d bytes are whole", path, whole_bytes, size_bytes)


def _whole_bytes(fd: int, size_bytes: int) -> int:
    if not size_bytes:
        return 0
    with mmap.mmap(fd, size_bytes, access=mmap.ACCESS_READ) as mapped:
        data = np.frombuffer(mapped, np.uint8)
        whole = whole_blocks(data)
        del data  # a map that is looked at cannot be closed
    return whole


def sync_folder(folder: Path) -> None:
    """Make a new name in the folder survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
