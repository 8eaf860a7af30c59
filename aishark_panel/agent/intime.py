"""Work with a disk that may hang, at the end of an agent: it is waited for, but not for ever."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["EXIT_S", "Done", "in_time"]

T = TypeVar("T")

EXIT_S: Final = 10.0
"""How long an agent that is told to stop waits for its disk, each time that it needs it."""


class Done(NamedTuple, Generic[T]):
    """The work was done, with this result."""

    result: T


async def in_time(work: Callable[[], T]) -> Done[T] | None:
    """What `work` gives; None if that takes longer than EXIT_S: its thread then ends with the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(act: Callable[[], None]) -> None:
        if not done.done():
            act()

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            failure = error
            answer: Callable[[], None] = lambda: done.set_exception(failure)  # noqa: E731
        else:
            answer = lambda: done.set_result(result)  # noqa: E731
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, answer)

    threading.Thread(target=run, name="disk at exit", daemon=True).start()
    try:
        return Done(await asyncio.wait_for(done, EXIT_S))
    except TimeoutError:
        return None
