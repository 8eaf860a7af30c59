"""The one event loop of the notebook's side: it runs in a background thread, and callers wait for its answers.

A notebook's own loop stands still while a cell computes; this one does not.
"""

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

__all__ = ["background_loop", "wait_for"]

T = TypeVar("T")

_STOP_S: Final = 5.0
_lock: Final = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started on first use; it ends with the process."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_loop.run_forever, name="aishark", daemon=True)
            thread.start()
            atexit.register(_stop, _loop, thread)
        return _loop


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and return its result; interrupting the caller cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, background_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """End what still runs, so that sockets are closed and not just dropped."""

    async def cancel_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(cancel_all(), loop).result(_STOP_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_STOP_S)
    loop.close()
