"""Make the C heap keep what a process of ours frees, because it will ask for the same again at once.

glibc gives memory of 128 kB and more straight back to the kernel when it is freed. Agent and hub move megabyte
messages, so each one then costs a page fault per 4 kB: measured 3 to 5 times the whole cost of sending or receiving
it (docs/design.md). With these settings freed messages are reused; memory above `_KEPT_BYTES` still goes back.
"""

import ctypes
import platform
from typing import Final

__all__ = ["reuse_freed_memory"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MMAP_FROM_BYTES: Final = 16 * 2**20
_KEPT_BYTES: Final = 128 * 2**20


def reuse_freed_memory() -> None:
    """Call once at the start of a process that moves large messages; does nothing where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
