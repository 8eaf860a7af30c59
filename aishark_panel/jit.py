"""Compile kernels with numba and keep the machine code between runs.

`kernel` is `numba.njit` with the three choices every hot loop here makes: `nogil` (the hub's event loop and other
sessions go on while it runs), `cache` (no process but the first pays for compilation), and no fast-math. Where
neither the package's folder nor the user's cache folder can be written, numba refuses `cache=True` while importing;
then the kernel is compiled anew in each process instead.

A cached kernel is used until a source file beside it or in `wire` changes, because it contains the parts and constants
it took from them.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config

__all__ = ["called_part", "kernel", "kernel_part", "lean_kernel"]

R = TypeVar("R")


def kernel(function: Callable[..., R]) -> Callable[..., R]:
    """Compile `function` on first call (nopython, nogil), cached on disk where a cache folder can be written."""
    return _compile(function)


def lean_kernel(function: Callable[..., R]) -> Callable[..., R]:
    """As `kernel`, without counting references: for one that makes no arrays and hands its own to others in a loop.

    numba counts references of array arguments with atomic instructions in every kernel that passes them on, which
    costs more than dissecting (github.com/numba/numba/issues/2345). The caller keeps the arrays alive. A kernel that
    would allocate an array does not compile.
    """
    return _compile(function, _nrt=False)


def kernel_part(function: Callable[..., R]) -> Callable[..., R]:
    """A piece of a `lean_kernel`: inlined where it is called, so it may be small and take many arguments for nothing.

    It gets no wrapper for calls from Python (which halves the compilation time): `part.py_func` is the plain function.
    """
    return _part(function, forceinline=True)


def called_part(function: Callable[..., R]) -> Callable[..., R]:
    """As `kernel_part`, but called: for long ones that few packets need, as inlining code costs time to compile it."""
    return _part(function)


def _part(function: Callable[..., R], **options: Any) -> Callable[..., R]:
    """Not cached: the kernel that it becomes a piece of is, and machine code for each piece costs time to make."""
    options |= {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast(Callable[..., R], numba.njit(nogil=True, **options)(function))


def _compile(function: Callable[..., R], **options: Any) -> Callable[..., R]:
    try:
        compiled = numba.njit(nogil=True, cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return cast(Callable[..., R], numba.njit(nogil=True, **options)(function))
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        # By itself numba looks only at the file of `function` to see whether cached machine code is still true.
        compiled._cache._cache_file._source_stamp = _sources(Path(function.__code__.co_filename).parent)
    return cast(Callable[..., R], compiled)


@lru_cache
def _sources(folder: Path) -> tuple[str, object]:
    """What machine code made from a folder depends on: its files, those of `wire`, and whether bounds are checked."""
    digest = hashlib.sha256()
    for path in sorted({*folder.glob("*.py"), *(Path(__file__).parent / "wire").glob("*.py"), Path(__file__)}):
        digest.update(path.read_bytes())
    return digest.hexdigest(), config.BOUNDSCHECK  # type: ignore[attr-defined]
