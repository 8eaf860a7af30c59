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
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
from llvmlite import binding as llvm
from numba import _dynfunc  # type: ignore[attr-defined]  # compiled, without types
from numba.core import config
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.runtime import _nrt_python  # type: ignore[attr-defined]  # compiled, without types
from numba.core.typed_passes import NativeLowering

from aishark_panel import compiling

__all__ = ["called_part", "kernel", "kernel_part", "lean_kernel"]

compiling.watch()

R = TypeVar("R")

_TRIED_NUMBA: Final = "0.68."
"""_PartCompiler and _load reach into numba; another version compiles pieces and loads kernels its own, slower way"""


def _nothing() -> None:
    """In place of a step that is left out."""


@register_pass(mutates_CFG=True, analysis_only=False)  # type: ignore[no-untyped-call]  # as all of numba
class _PartLowering(NativeLowering):
    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        """As numba's, but the library is only good for being linked into others."""
        library = state.targetctx.codegen().create_library(state.func_id.func_qualname)
        library.enable_object_caching()

        def finalized() -> None:
            library._finalized = True

        library._optimize_final_module = _nothing
        library._finalize_final_module = finalized
        state.library = library
        state.flags.no_compile = True
        super().run_pass(state)  # type: ignore[no-untyped-call]
        lowered = state["cr"]
        # What numba looks the piece up by; it must be a function, and nobody calls it.
        name = lowered.fndesc.qualname.rpartition(".")[2]
        stand_in = _dynfunc.make_function(lowered.fndesc.lookup_module(), name, "", 0, lowered.env, (library,))
        state.targetctx.insert_user_function(stand_in, lowered.fndesc, [library])
        state.reload_init.extend(library._reload_init)
        state["cr"] = lowered._replace(cfunc=stand_in)
        return True


class _PartCompiler(CompilerBase):
    """Compiles pieces of kernels to LLVM's language only, because machine code is made of the whole kernel.

    By itself numba optimises each function that a compiled one calls, and makes machine code of it, before it does both
    again for the caller that took it in. For the dissector, two hundred pieces that nobody calls from Python, that was
    a third of the time to compile.
    """

    def define_pipelines(self) -> list[Any]:
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)  # type: ignore[no-untyped-call]
        pipeline.passes = [
            (_PartLowering, text) if stage is NativeLowering else (stage, text) for stage, text in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]


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
    if numba.__version__.startswith(_TRIED_NUMBA):
        options["pipeline_class"] = _PartCompiler
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
        if numba.__version__.startswith(_TRIED_NUMBA):
            compiled._cache.load_overload = partial(_load, compiled._cache)
    return cast(Callable[..., R], compiled)


def _load(cache: Any, signature: Any, target: Any) -> Any:
    """Machine code from the cache, or None, without preparing to compile where it is there: half a second less.

    By itself numba first imports all that it can compile, a hundred modules, and registers it in both its contexts.
    What is loaded needs the addresses of the runtime only.
    """
    _add_runtime()
    loaded = cache._load_overload(signature, target)
    if loaded is None:
        target.refresh()
    return loaded


@lru_cache
def _add_runtime() -> None:
    """Tell the linker where the functions are by which kernels count references and take arrays from Python."""
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


@lru_cache
def _sources(folder: Path) -> tuple[str, object]:
    """What machine code made from a folder depends on: its files, those of `wire`, and whether bounds are checked."""
    digest = hashlib.sha256()
    for path in sorted({*folder.glob("*.py"), *(Path(__file__).parent / "wire").glob("*.py"), Path(__file__)}):
        digest.update(path.read_bytes())
    return digest.hexdigest(), config.BOUNDSCHECK  # type: ignore[attr-defined]
