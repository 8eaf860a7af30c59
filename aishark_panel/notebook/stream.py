"""PacketStream: new packets of a session as they come, to a callback or a loop; it reconnects and goes on by itself.

A *batch* is a pyarrow.RecordBatch of packets. It waits in a buffer of bounded length until it is taken; who does not
take them in time loses the oldest, counted in `dropped`. What the hub evicted before it could be sent is counted in
`missed`. So a slow reader holds up neither the hub nor the capture.
"""

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

import pyarrow as pa

from aishark_panel.client import HubClient, Missed
from aishark_panel.errors import AisharkError, ConfigError, HubUnreachableError, NotFoundError
from aishark_panel.notebook.background import background_loop, wait_for

__all__ = ["PacketStream", "choose_session"]

log = logging.getLogger(__name__)

OnBatch = Callable[[pa.RecordBatch], object]

_RETRY_S: Final = 0.25
_RETRY_MAX_S: Final = 5.0
_END_CHECK_S: Final = 1.0


def choose_session(sessions: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """The session of that id, else the newest of that name; "" is the newest of all. Raises NotFoundError."""
    newest_first = list(reversed(sessions))
    for key in ("id", "name"):
        for session in newest_first:
            if wanted in ("", session[key]):
                return dict(session)
    there_are = ", ".join(str(s["name"]) for s in sessions) or "none"
    raise NotFoundError(f"The hub has no session {wanted!r:.60}; there are: {there_are}.")


class PacketStream:
    """New packets of one session of a hub.

    Iterate over it, with `for` or `async for`, or give `on_batch`, which is called with each batch in a thread of its
    own. As a context manager it connects and disconnects. It starts with what comes after `connect`; `start="oldest"`
    begins with what the hub holds. `columns` are all by default; `number` is always there.
    """

    def __init__(
        self,
        url: str,
        token: str,
        session: str | None = None,
        where: str = "",
        on_batch: OnBatch | None = None,
        max_batches: int = 1_000,
        *,
        columns: Sequence[str] = (),
        start: str = "now",
        until_end: bool = False,
    ) -> None:
        if max_batches < 1:
            raise ConfigError(f"max_batches is the length of the buffer, at least 1, not {max_batches}")
        self._client = HubClient(url, token)
        self._wanted = session or ""
        self._where = where
        self._columns = ["number", *(c for c in columns if c != "number")] if columns else []
        self._start = start
        self._until_end = until_end
        self._on_batch = on_batch
        self._buffer: deque[pa.RecordBatch] = deque()
        self._max_batches = max_batches
        self._connecting = threading.Lock()
        self._changed = threading.Condition()
        self._wakes: list[Callable[[], object]] = []
        """called once at the next change: what wakes those who wait on a loop of their own"""
        self._task: asyncio.Task[None] | None = None
        self._stopping: Future[None] | None = None
        """the end of the receiving that was before"""
        self._ended = True
        self._error: Exception | None = None
        self._session: dict[str, Any] = {}
        self.packet_count = 0
        """packets received since `connect` or `clear`"""
        self.dropped = 0
        """packets that left the full buffer before they were taken"""
        self.missed = 0
        """packets the hub evicted before they could be sent"""
        self.connected = False
        self.reason = "not connected yet"
        """why no packets come, in words; '' while connected"""

    def connect(self) -> "PacketStream":
        """Begin to receive. Raises the errors of `where`, token, session and hub; later ones are survived."""
        with self._connecting:
            if self._ended:
                wait_for(self._begin())
        return self

    def disconnect(self) -> None:
        """Stop receiving; what waits in the buffer can still be taken, then the loop over it ends."""
        self._leave()
        if self._stopping is not None:
            self._stopping.result()

    def _leave(self) -> None:
        """As `disconnect`, without waiting for it: also a garbage collector on the background loop may do this."""
        if not self._ended:
            self._end("disconnected")
        if self._task is not None:
            self._stopping = asyncio.run_coroutine_threadsafe(self._stop(self._task), background_loop())
            self._task = None

    def clear(self) -> None:
        """Forget what waits in the buffer, and count from zero."""
        with self._changed:
            self._buffer.clear()
            self.packet_count = self.dropped = self.missed = 0

    def __enter__(self) -> "PacketStream":
        return self.connect()

    def __exit__(self, *exc_info: object) -> None:
        self.disconnect()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches. A loop that connected the stream and is left, by `break` or by interrupting its cell, stops
        receiving: nobody else would. Another loop over the same stream goes on behind the last batch."""
        mine = self._ended
        self.connect()
        return self._batches(mine)

    def _batches(self, mine: bool) -> Iterator[pa.RecordBatch]:
        try:
            with contextlib.suppress(StopIteration):
                while True:
                    yield next(self)
        finally:
            if mine:
                self._leave()

    def __next__(self) -> pa.RecordBatch:
        """The next batch, waiting for it; the end once disconnected. Raises what ended the stream."""
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or self._ended)
            if self._buffer:
                return self._buffer.popleft()
            if self._error is not None:
                raise self._error
            raise StopIteration

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        """The batches for `async for`, as for a loop: who breaks off or is cancelled loses none in another one."""
        mine = self._ended
        await asyncio.to_thread(self.connect)
        try:
            while (batch := await self._coming()) is not None:
                yield batch
        finally:
            if mine:
                self._leave()

    async def _coming(self) -> pa.RecordBatch | None:
        """The next batch, waited for on the caller's loop; None at the end. Raises what ended the stream."""
        loop = asyncio.get_running_loop()
        while True:
            changed = asyncio.Event()
            with self._changed:
                if self._buffer:
                    return self._buffer.popleft()
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                self._wakes.append(partial(loop.call_soon_threadsafe, changed.set))
            await changed.wait()

    def _wake_all(self) -> None:
        """Something changed; called with `_changed` held."""
        self._changed.notify_all()
        for wake in self._wakes:
            with contextlib.suppress(RuntimeError):  # a loop that was closed waits for nothing
                wake()
        self._wakes.clear()

    def __repr__(self) -> str:
        state = self.reason or f"connected to session {self._session.get('name', '')}"
        counts = f"{self.packet_count:,} packets, {self.dropped:,} dropped, {self.missed:,} missed"
        return f"<PacketStream: {state}; {counts}>"

    # On the background loop from here on.

    async def _begin(self) -> None:
        """Learn of everything that is wrong with what was asked, while the caller waits; then receive."""
        if self._stopping is not None:
            await asyncio.wrap_future(self._stopping)
        if not self._client.connected:
            await self._client.connect()
        session = choose_session(await self._client.sessions(), self._wanted)
        columns = [c for c in self._columns if c != "frame"]  # a subscription has the bytes too, a table has not
        await self._client.table(session["id"], self._where, columns or None, limit=1)
        if not self._session:
            self._session = session
            self._start = str((await self._client.stats(session["id"]))["end"]) if self._start == "now" else self._start
        self._ended, self._error, self.reason = False, None, "connecting"
        self._task = asyncio.create_task(self._run())

    async def _stop(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._client.close()

    async def _run(self) -> None:
        delay_s = _RETRY_S
        try:
            while True:
                received = self.packet_count
                try:
                    await self._receive()
                    return
                except AisharkError as error:
                    self.connected, self.reason = False, str(error)
                delay_s = _RETRY_S if self.packet_count > received else min(2 * delay_s, _RETRY_MAX_S)
                await asyncio.sleep(delay_s)
        except Exception as error:
            log.exception("a packet stream ended")
            self._error = error
        finally:
            if not self._ended:
                self._end("ended" if self._error is None else str(self._error))

    async def _receive(self) -> None:
        """One subscription from the cursor on, until it breaks, or the capture is over and `until_end` was asked."""
        await self._follow_session()
        session, where = self._session["id"], self._where
        batches = self._client.subscribe(session, where, self._columns, self._start, slow="wait")
        self.connected, self.reason = True, ""
        coming: asyncio.Future[pa.RecordBatch | Missed] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(batches))
                await asyncio.wait([coming], timeout=_END_CHECK_S if self._until_end else None)
                if coming.done():
                    await self._take(coming.result())
                    coming = None
                elif await self._is_over():
                    return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            await batches.aclose()

    async def _follow_session(self) -> None:
        """After a restart of the hub the session has another id and begins anew: take it up by its name."""
        if not self._client.connected:
            raise HubUnreachableError(self._client.reason)
        known = self._session
        sessions = await self._client.sessions()
        if known["id"] not in (s["id"] for s in sessions):
            self._session = choose_session(sessions, known["name"])
            self._start = "oldest"

    async def _is_over(self) -> bool:
        stats = await self._client.stats(self._session["id"])
        return bool(stats["state"] == "ended")

    async def _take(self, message: pa.RecordBatch | Missed) -> None:
        if isinstance(message, Missed):
            self.missed += message.packets
            self._start = str(message.next)
            return
        self._start = str(message.column("number")[-1].as_py() + 1)
        with self._changed:
            self.packet_count += message.num_rows
            if self._on_batch is None:
                self._buffer.append(message)
                while len(self._buffer) > self._max_batches:
                    self.dropped += self._buffer.popleft().num_rows
                self._wake_all()
        if self._on_batch is not None:
            await asyncio.to_thread(self._on_batch, message)

    def _end(self, reason: str) -> None:
        with self._changed:
            self._ended, self.connected, self.reason = True, False, reason
            self._wake_all()
