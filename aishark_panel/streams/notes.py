"""Notes: what a hub has written down in its journal by and by, while nobody waits for it."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from aishark_panel.errors import NotFoundError

__all__ = ["Notes"]


class Notes:
    """Notes that are being written. All methods run on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something written down."""

        async def write() -> None:
            with contextlib.suppress(NotFoundError):  # the session was deleted meanwhile
                await work

        task = asyncio.create_task(write(), name="note")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """What is not written yet is not written any more."""
        for task in list(self._tasks):
            task.cancel()
