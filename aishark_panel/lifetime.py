"""How long a process of ours runs: until a signal, or until the parent that started it is gone."""

import asyncio
import signal
import sys

__all__ = ["until_told_to_stop"]


async def until_told_to_stop(*, with_parent: bool) -> str:
    """Wait for SIGINT or SIGTERM, or, with `with_parent`, for the end of standard input; returns which it was.

    A parent that holds the other end of our standard input ends us by dying, whatever kills it.
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[str] = loop.create_future()

    def stop(why: str) -> None:
        if not stopped.done():
            stopped.set_result(why)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, signal.Signals(number).name)
    if with_parent:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

        async def watch() -> None:
            while await reader.read(1024):
                pass
            stop("parent ended")

        watcher = asyncio.create_task(watch(), name="watch parent")
        stopped.add_done_callback(lambda _: watcher.cancel())
    return await stopped
