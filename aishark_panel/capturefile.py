"""Capture files on disk, arriving through standard input, or still being written, plain or packed, as Frames.

`open_capture` finds out by the first bytes whether the file is packed (gzip, zstd, lz4, bzip2) and unpacks it while it
is read. A plain file is mapped into memory and walked where it lies; one that is followed is read in pieces. Memory use
does not depend on the length of the file, packed or unpacked.

Following is what `tail -f` does: at the end, wait for more. It stays with the file that was opened. That file has ended
when another has its name, or none, and nothing was added for some time; or when it became shorter.
"""

import contextlib
import io
import mmap
import os
import select
import socket
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final

import pyarrow as pa

from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapfile import CaptureReader
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapnotes import CaptureNotes

__all__ = ["STANDARD_INPUT", "CaptureFile", "open_capture"]

STANDARD_INPUT: Final = "-"
"""The path that stands for standard input."""
_PIECE_BYTES: Final = 2**20
_PACKED_PIECE_BYTES: Final = 2**16
_ARROW_PIECE_BYTES: Final = 2**16
"""small: what Arrow unpacked in a call that ends in an error is lost"""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_FORMAT: Final = 31
"""zlib's wbits: a window of 32 kiB, gzip's header and trailer"""
_ARROW_CODECS: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"BZh": "bz2"}
"""packings that Arrow unpacks, by the first bytes of their files"""
_MAGIC_BYTES: Final = 4
_FOLLOW_S: Final = 0.1
"""between two looks at whether a followed file grew"""
_LINGER_S: Final = 2.0
"""a followed file that lost its name is given up after so long without growth: its writer may not know yet"""


def open_capture(path: str | os.PathLike[str], *, snaplen: int | None = None, follow: bool = False) -> "CaptureFile":
    """Open a capture file, or standard input for "-", keeping at most `snaplen` bytes of each frame.

    `follow` waits at the end of a file for what is still to be written; pipes are waited for anyway.
    Raises CaptureFileError where the file cannot be opened; whether it is a capture file shows when it is read.
    """
    name = os.fspath(path)
    if name == STANDARD_INPUT:
        return CaptureFile("standard input", _Input(os.dup(sys.stdin.fileno())), snaplen)
    try:
        # Opening a FIFO waits for its writer; everything else opens at once.
        source = _Input(os.open(name, os.O_RDONLY | os.O_CLOEXEC), name if follow else "")
        return CaptureFile(name, source, snaplen)
    except OSError as error:
        raise CaptureFileError(f"cannot open {name}: {error.strerror}") from error


class CaptureFile:
    """An open capture file: iterate over it, or call `read` until `ended`. A context manager that closes it."""

    def __init__(self, name: str, source: "_Input", snaplen: int | None) -> None:
        self.name = name
        """path, or "standard input"; stands in errors"""
        self.warning: str | None = None
        """once `ended`: what was damaged or cut at the end of the file"""
        self.ended = False
        """whether all that can be read was returned"""
        self._input = source
        self._mapped = False
        self._packing = ""
        self._reader = CaptureReader(snaplen=snaplen)
        self._next_piece: Callable[[], bytes | memoryview] | None = None

    @property
    def interfaces(self) -> list[CaptureInterface]:
        """Interfaces described so far; the list grows while a pcapng file is read, and counters come at its end."""
        return self._reader.interfaces

    @property
    def notes(self) -> CaptureNotes:
        """Format, writer, names and comments, as far as the file has been read."""
        return self._reader.notes

    @property
    def packing(self) -> str:
        """What the file is packed with: gzip, zstd, lz4 or bz2; empty where it is plain, or before the first read."""
        return self._packing

    def packet_drops(self, index: int) -> int:
        """Packets of an interface that were lost between others, as these say."""
        return self._reader.packet_drops(index)

    @property
    def packets(self) -> int:
        """Frames returned so far."""
        return self._reader.packets

    @property
    def bytes_total(self) -> int | None:
        """Length of the file as it lies on disk; None where it has no end yet (a pipe, or one that is followed)."""
        return self._input.size

    @property
    def bytes_done(self) -> int:
        """How far into `bytes_total` reading has come."""
        return self._reader.bytes_read if self._mapped else self._input.position

    def read(self, timeout_s: float | None = None) -> Frames | None:
        """The next batch; its memory is used again by the next call. None: nothing within `timeout_s`, or the end.

        Files and plain or gzip-packed pipes respect `timeout_s`; a pipe packed otherwise blocks until it has a piece.
        Raises CaptureFileError where not one packet can be read.
        """
        self._input.timeout_s = timeout_s
        try:
            if self._mapped and not self.ended and self._became_shorter():
                return None
            frames = self._reader.frames()
            if frames is None and not self.ended:
                self._feed()
                frames = self._reader.frames()
            return frames
        except _NothingYetError:
            return None
        except CaptureFileError as error:
            raise CaptureFileError(f"cannot read {self.name}: {error}") from None

    def wake(self) -> None:
        """Make a `read` that is waiting in another thread return now. Safe after `close` too."""
        self._input.wake()

    def close(self) -> None:
        """Release the file; batches already returned stay valid."""
        self.ended = True
        self._input.close()

    def __iter__(self) -> Iterator[Frames]:
        while not self.ended:
            frames = self.read()
            if frames is not None:
                yield frames

    def __enter__(self) -> "CaptureFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _became_shorter(self) -> bool:
        """Whether the mapped file was cut, which ends it: to touch what is gone of it would end the process."""
        if self._input.length() >= (self._input.size or 0):
            return False
        self.ended = True
        self.warning = f"it became shorter while it was read; {self.packets:,} packets were read before"
        if self.packets == 0:
            raise CaptureFileError("it became shorter while it was read")
        return True

    def _feed(self) -> None:
        if self._next_piece is None:
            self._next_piece = self._open_pieces()
        unpacking_failed = ""
        piece: bytes | memoryview = b""
        if not self._reader.damaged:
            try:
                piece = self._next_piece()
            except (EOFError, zlib.error, OSError) as error:  # pyarrow's errors are OSError here
                unpacking_failed = str(error).partition("\n")[0]
        if len(piece):
            self._reader.feed(piece)
            return
        self.ended = True
        if unpacking_failed and self.packets == 0:
            raise CaptureFileError(f"it cannot be unpacked ({unpacking_failed})")
        self.warning = self._reader.finish()
        if unpacking_failed:
            self.warning = f"unpacking failed after {self.packets:,} packets ({unpacking_failed})"
        elif self._input.lost:
            self.warning = f"{self._input.lost}; {self.warning or f'all {self.packets:,} packets were read'}"

    def _open_pieces(self) -> Callable[[], bytes | memoryview]:
        """Look at the first bytes and choose how the pieces are got; an empty piece ends them."""
        start = self._input.peek(_MAGIC_BYTES)
        if start.startswith(_GZIP_MAGIC):
            self._packing = "gzip"
            return _Gunzip(self._input).next_piece
        codec = next((name for magic, name in _ARROW_CODECS.items() if start.startswith(magic)), None)
        if codec is not None:
            if self._input.followed:
                raise CaptureFileError(f"it is packed with {codec}, and such a file cannot be followed")
            self._packing = codec
            self._input.patient = True
            stream = pa.CompressedInputStream(pa.PythonFile(self._input, "r"), codec)
            return lambda: bytes(stream.read(_ARROW_PIECE_BYTES))
        if self._input.size:
            whole = mmap.mmap(self._input.fileno(), 0, access=mmap.ACCESS_READ)
            whole.madvise(mmap.MADV_SEQUENTIAL)
            self._mapped = True
            pieces = iter([memoryview(whole)])
            return lambda: next(pieces, b"")
        buffer = memoryview(bytearray(_PIECE_BYTES))
        return lambda: buffer[: self._input.readinto(buffer)]


class _NothingYetError(Exception):
    """Nothing arrived in time, or `wake` was called; reading may go on later, nothing is lost."""


class _Gunzip:
    """Unpacks gzip members one after the other (RFC 1952), and can go on after a _NothingYetError of its input.

    gzip.GzipFile cannot. A file that is cut gives all that can be unpacked of it.
    """

    def __init__(self, packed: "_Input") -> None:
        self._packed = packed
        self._zlib = zlib.decompressobj(_GZIP_FORMAT)
        self._rest = b""

    def next_piece(self) -> bytes:
        """At most _PIECE_BYTES; empty at the end. Raises zlib.error, or EOFError where a member is cut."""
        while True:
            packed = self._rest or self._packed.read(_PACKED_PIECE_BYTES)
            if not packed:
                if not self._zlib.eof:
                    raise EOFError("its end is missing")
                return b""
            if self._zlib.eof:
                self._zlib = zlib.decompressobj(_GZIP_FORMAT)
            piece = self._zlib.decompress(packed, _PIECE_BYTES)
            self._rest = self._zlib.unconsumed_tail or self._zlib.unused_data.lstrip(b"\0")  # padding may follow
            if piece:
                return piece


class _Input(io.RawIOBase):
    """Raw bytes of a file descriptor, with a timeout, a wake-up, and a look at the first bytes."""

    def __init__(self, fd: int, followed: str = "") -> None:
        """Take over a descriptor. `followed` is the file's path where its end is to be waited for."""
        self.timeout_s: float | None = None
        """longest wait of a read; None: without end"""
        self.patient = False
        """wait without end and without wake-up (for a decoder that cannot be interrupted)"""
        self.position = 0
        self.lost = ""
        """why a followed file has ended, in words"""
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            os.close(fd)
            raise IsADirectoryError(0, "it is a folder")
        is_file = stat.S_ISREG(status.st_mode)
        self.followed = followed if is_file else ""
        self.size = status.st_size if is_file and not followed else None
        self._last_sign_s = 0.0
        """when a followed file last grew or had its name, by the monotonic clock"""
        self._fd = fd
        self._start = b""
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._poll = select.poll()
        if not self.followed:
            self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def fileno(self) -> int:
        return self._fd

    def readable(self) -> bool:
        return True

    def length(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._fd).st_size

    def peek(self, count: int) -> bytes:
        """The first `count` bytes, fewer where the file ends before; only before the first read."""
        while len(self._start) < count:
            self._wait()
            more = os.read(self._fd, count - len(self._start))
            if not more:
                break
            self._start += more
        return self._start

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read what is there, waiting for at least a byte. 0: the end. Raises _NothingYetError."""
        if self._start:
            count = min(len(self._start), len(buffer))
            buffer[:count] = self._start[:count]
            self._start = self._start[count:]
        else:
            self._wait()
            count = os.readv(self._fd, [buffer])
        self.position += count
        return count

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # closed, or so many wake-ups wait that one more changes nothing
            self._waker.send(b"\0")

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._fd)
            self._woken.close()
            self._waker.close()

    def _wait(self) -> None:
        """Return when there is something to read, or the end; raise _NothingYetError before."""
        if self.followed:
            self._wait_for_growth()
            return
        while True:
            wait_ms = None if self.timeout_s is None or self.patient else self.timeout_s * 1000
            ready = [fd for fd, _ in self._poll.poll(wait_ms)]
            if self._fd in ready:
                return
            self._use_up_wake(ready)
            if not self.patient:
                raise _NothingYetError

    def _wait_for_growth(self) -> None:
        until = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        while not self.lost:
            now = time.monotonic()
            length, position = self.length(), os.lseek(self._fd, 0, os.SEEK_CUR)
            if length > position:
                self._last_sign_s = now
                return
            if length < position:
                self.lost = "it became shorter while it was followed"
                return
            if self._is_named():
                self._last_sign_s = now
            elif now >= self._last_sign_s + _LINGER_S:
                self.lost = "it was moved, replaced or deleted while it was followed"
                return
            if until is not None and now >= until:
                raise _NothingYetError
            wait_s = _FOLLOW_S if until is None else min(_FOLLOW_S, until - now)
            ready = [fd for fd, _ in self._poll.poll(wait_s * 1000)]
            if ready:
                self._use_up_wake(ready)
                raise _NothingYetError

    def _is_named(self) -> bool:
        """Whether the followed path still leads to the open file."""
        try:
            return os.path.samestat(os.stat(self.followed), os.fstat(self._fd))
        except OSError:
            return False

    def _use_up_wake(self, ready: list[int]) -> None:
        if self._woken.fileno() in ready:
            self._woken.recv(4096)
