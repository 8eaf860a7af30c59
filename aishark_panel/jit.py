"""Compile kernels with numba and keep the machine code between runs.

`kernel` is `numba.njit` with the three choices every hot loop here makes: `nogil` (the hub's event loop and other
sessions go on while it runs), `cache` (no process but the first pays for compilation), and no fast-math. Where
neither the package's folder nor the user's cache folder can be written, numba refuses `cache=True` while importing;
then the kernel is compiled anew in each process instead.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba

__all__ = ["kernel", "lean_kernel"]

R = TypeVar("R")


def kernel(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` on first call (nopython, nogil), cached on disk where a cache folder can be written."""
    return _compile(function)


def lean_kernel(function: Callable[..., R]) -> Callable[..., R]:
    """As `kernel`, without counting references: for functions that make no arrays and run once a packet or more.

    numba counts references of array arguments with atomic instructions in every kernel that passes them on, which
    costs more than dissecting (github.com/numba/numba/issues/2345). The caller keeps the arrays alive. A kernel that
    would allocate an array does not compile.
    """
    return _compile(function, _nrt=False)


def _compile(function: Callable[..., R], **options: bool) -> Callable[..., R]:
    try:
        return cast(Callable[..., R], numba.njit(nogil=True, cache=True, **options)(function))
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return cast(Callable[..., R], numba.njit(nogil=True, **options)(function))
