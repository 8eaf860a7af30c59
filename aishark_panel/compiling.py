"""What people see while kernels are compiled: on a new machine that takes some 25 s, once.

It is told on standard error, as a line that moves where that is a terminal. A process with a better place takes it over
by `told`.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from numba.core import event

__all__ = ["told", "watch"]

_PATIENCE_S: Final = 1.0
"""what takes no longer is not worth a word"""
_COMPILING: Final = "compiling for this machine, which is done once and takes some 25 s"


class _StandardError:
    """A line that is written over and in the end removed on a terminal, and said once elsewhere."""

    def __init__(self) -> None:
        self._width = 0
        self._said = False

    def __call__(self, what: str) -> None:
        # There is no standard error under pythonw, and none that can be written when its reader has gone.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            with contextlib.suppress(io.UnsupportedOperation):  # a notebook's
                os.fstat(sys.stderr.fileno())  # else what a closed one did not take makes Python's exit status 120
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{what:<{self._width}}" + ("" if what else "\r"))
                self._width = len(what)
            elif what and not self._said:
                self._said = True
                sys.stderr.write(f"{_COMPILING}\n")
            sys.stderr.flush()


class _Compilation(event.Listener):
    """Follows what numba announces: before and after each function, nested where one function calls another."""

    def __init__(self) -> None:
        self.say: Callable[[str], None] = _StandardError()
        self._depth = 0
        self._functions = 0
        self._begin = 0.0
        self._told = False

    def on_start(self, event: Any) -> None:
        if self._depth == 0:
            self._functions, self._begin = 0, time.monotonic()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        self._functions += 1
        took_s = time.monotonic() - self._begin
        if self._depth > 0 and took_s > _PATIENCE_S:
            self._told = True
            self.say(f"{_COMPILING}: {self._functions} functions, {took_s:.0f} s so far")
        elif self._depth == 0 and self._told:
            self._told = False
            self.say("")


_compilation = _Compilation()


def watch() -> None:
    """Begin to follow numba. For the module that compiles."""
    event.register("numba:compile", _compilation)  # type: ignore[no-untyped-call]  # numba has no types


@contextlib.contextmanager
def told(say: Callable[[str], None]) -> Iterator[None]:
    """Within it, `say` is called while something is compiled, on the thread that compiles.

    It gets a sentence now and then, and '' at the end; nothing where machine code comes from the cache.
    """
    before, _compilation.say = _compilation.say, say
    try:
        yield
    finally:
        _compilation.say = before
