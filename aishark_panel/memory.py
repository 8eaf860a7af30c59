"""Make the C heap keep what a process of ours frees, because it will ask for the same again at once.

glibc gives memory of 128 kB and more straight back to the kernel when it is freed. Agent and hub move megabyte
messages, so each one then costs a page fault per 4 kB: measured 3 to 5 times the whole cost of sending or receiving
it (docs/design.md). With these settings freed messages are reused; memory above what is to be kept still goes back.

What that heap hands out again counts as used, though. `sparse_zeros` are for tables with room for much that is rarely
there. And let go of program code that only the start needed.
"""

import contextlib
import ctypes
import math
import mmap
import platform
import re
import sys
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)

__all__ = ["let_go_of_code", "reuse_freed_memory", "sparse_zeros"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MMAP_FROM_BYTES: Final = 16 * 2**20
_MADV_DONTNEED: Final = 4
_SPARSE_FROM_BYTES: Final = 64 * 2**10
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-.p \S+ \S+ \S+ +/")
"""in /proc/self/smaps: part of a file that cannot be written"""


def reuse_freed_memory(kept_bytes: int = 128 * 2**20) -> None:
    """Call once at the start of a process that moves large messages; does nothing where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, kept_bytes)


def sparse_zeros(shape: int | tuple[int, ...], dtype: type[Number]) -> npt.NDArray[Number]:
    """As `numpy.zeros`, of pages that take memory only once something is written to them.

    `numpy.zeros` promises that for pages fresh from the kernel only: what the heap reuses it writes over, all of it.
    """
    size = math.prod(shape) if isinstance(shape, tuple) else shape
    size_bytes = size * np.dtype(dtype).itemsize
    if size_bytes < _SPARSE_FROM_BYTES:
        return np.zeros(shape, dtype)
    if sys.platform == "win32":
        pages = mmap.mmap(-1, size_bytes)
    else:
        pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel that has no pages of 2 MB, which a byte written would take whole
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.ndarray(shape, dtype, buffer=pages)


def let_go_of_code() -> None:
    """Take the pages of program files out of this process' memory that are as they are on disk (Linux).

    Most of them served the start alone: of LLVM, which loads compiled kernels, they are 70 MB. What is used again comes
    back by itself, a page at a time, from the page cache or the disk.
    """
    try:
        text = Path("/proc/self/smaps").read_text("utf-8", "replace")
    except OSError:
        return
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for part in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", text, flags=re.MULTILINE):
        # A part with pages of our own (relocated addresses, say) would lose them.
        if (found := _MAPPING.match(part)) and re.search(r"^Anonymous: +0 kB$", part, re.MULTILINE):
            start, end = int(found[1], 16), int(found[2], 16)
            libc.madvise(start, end - start, _MADV_DONTNEED)
