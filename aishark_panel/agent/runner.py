"""Runs one agent: a capture thread that reads the source and fills the outbox, an event loop that empties it.

The capture thread never waits for the network. When the outbox is full, packets that cannot be asked for again (live,
synthetic) are dropped and counted by reason; a file or pipe is simply not read until there is room.
"""

import asyncio
import logging
import platform
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aishark_panel import __version__
from aishark_panel.agent.connection import Connection
from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.agent.outbox import DEFAULT_OUTBOX_BYTES, Outbox
from aishark_panel.agent.source import Source
from aishark_panel.errors import AisharkError, CaptureError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PROTOCOL_VERSION, CodecName, End, Hello, InterfaceInfo, State

__all__ = ["Agent", "AgentConfig"]

log = logging.getLogger(__name__)

_LOSSY: Final = ("live", "synthetic")
_READ_S: Final = 0.2
_COMPRESS_FROM_ROWS: Final = 200
"""Smaller batches go uncompressed: they cost more time than they save (docs/design.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What an agent is told at its start."""

    hub: str
    """http(s) address of the hub"""
    token: str = field(repr=False)
    name: str = field(default_factory=platform.node)
    session: str = ""
    codec: CodecName = "none"
    limits: BatchLimits = BatchLimits()
    outbox_bytes: int = DEFAULT_OUTBOX_BYTES
    max_retries: int = 5
    """tries to reach a hub never reached before; -1 for ever"""


class Agent:
    """One agent run. `make_source` opens the source; it is called again when a stopped live capture starts again."""

    def __init__(self, config: AgentConfig, make_source: Callable[[], Source]) -> None:
        self._config = config
        self._make_source = make_source
        self._source = make_source()
        self._run_id = uuid.uuid4().hex
        self._outbox = Outbox(config.codec, limit_bytes=config.outbox_bytes, compress_from_rows=_COMPRESS_FROM_ROWS)
        self._encoder = Encoder(config.limits)
        self._wanted = threading.Event()
        self._stopping = False
        self._reason = ""
        self._captured = 0
        self._dropped = 0
        self._closed_counters: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._sent_interfaces = 0
        self._finished: asyncio.Future[None] | None = None
        self._connection = Connection(
            config.hub,
            config.token,
            self._outbox,
            make_hello=self._hello,
            counters=self.counters,
            on_wanted=self._set_wanted,
            max_retries=config.max_retries,
        )

    def counters(self) -> dict[str, int]:
        """Totals of this run: `matched`, `kernel_dropped` (live), `captured`, `dropped_outbox_full`, `outbox`."""
        return {**self._totals, "outbox": self._outbox.rows}

    def _count(self) -> None:
        # Only the capture thread asks the source: reading the kernel's counters zeroes them.
        totals = dict(self._closed_counters)
        for name, count in self._source.counters().items():
            totals[name] = totals.get(name, 0) + count
        totals["captured"] = self._captured
        totals["dropped_outbox_full"] = self._dropped
        self._totals = totals

    async def run(self) -> str:
        """Feed the hub until the source is exhausted and all is delivered, or until cancelled; returns why it ended.

        Raises what Connection.run raises, and CaptureError when the source fails.
        """
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        thread = threading.Thread(target=self._capture, args=(loop,), name="capture", daemon=True)
        link = asyncio.create_task(self._connection.run(), name="connection")
        thread.start()
        try:
            await self._first_of(link, self._finished)
            failure = self._finished.exception()
            await self._first_of(link, asyncio.create_task(self._connection.drained(), name="drain"))
            names = ", ".join(i.name for i in self._source.interfaces) or "no interface"
            reason = str(failure) if failure else f"{names}: all packets sent"
            self._connection.send(End(reason=reason, counters=self.counters()))
            await asyncio.sleep(0.2)  # let the end message leave before the socket closes
            if failure:
                raise failure
            return reason
        finally:
            self._stopping = True
            self._wanted.set()
            self._source.wake()
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)
            await asyncio.to_thread(thread.join, 5.0)
            self._source.close()

    async def _first_of(self, link: asyncio.Task[None], other: asyncio.Future[None]) -> None:
        """Wait for `other`; a connection that gave up comes first and raises its error."""
        await asyncio.wait([link, other], return_when=asyncio.FIRST_COMPLETED)
        if link.done():
            other.cancel()
            link.result()

    def _hello(self) -> Hello:
        self._sent_interfaces = len(self._source.interfaces)
        return Hello(
            protocol=PROTOCOL_VERSION,
            agent=self._config.name,
            run=self._run_id,
            version=__version__,
            host=platform.node(),
            os=f"{platform.system()} {platform.release()}",
            source=self._source.kind,
            session=self._config.session,
            interfaces=self._interfaces(),
            capturing=self._wanted.is_set(),
            first_sequence=self._outbox.first_sequence,
        )

    def _interfaces(self) -> tuple[InterfaceInfo, ...]:
        return tuple(
            InterfaceInfo(name=i.name, link_type=i.link_type, snaplen=i.snaplen, filter=i.filter)
            for i in self._source.interfaces
        )

    def _set_wanted(self, wanted: bool, reason: str) -> None:
        self._reason = reason
        if wanted:
            self._wanted.set()
        else:
            self._wanted.clear()
            self._source.wake()
        self._connection.send(State(capturing=wanted, reason=reason))

    # The capture thread from here on.

    def _capture(self, loop: asyncio.AbstractEventLoop) -> None:
        failure: AisharkError | None = None
        try:
            while not self._stopping and not self._source.exhausted:
                if self._wanted.is_set():
                    self._read_once(loop)
                else:
                    self._pause(loop)
            if not self._stopping and (rest := self._encoder.flush()):
                self._put(rest, loop)
        except AisharkError as error:
            failure = error
        except Exception as error:
            log.exception("the capture failed")
            failure = CaptureError(f"The capture failed: {error}")
        if not self._stopping:
            loop.call_soon_threadsafe(self._finish, failure)

    def _finish(self, failure: AisharkError | None) -> None:
        assert self._finished is not None
        if not self._finished.done():
            if failure:
                self._finished.set_exception(failure)
            else:
                self._finished.set_result(None)

    def _read_once(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._source.kind not in _LOSSY and self._outbox.is_full:
            self._outbox.wait_for_room(_READ_S)
            return
        waiting_s = self._encoder.due_s(time.monotonic()) if self._encoder.rows else _READ_S
        frames = self._source.read(waiting_s)
        now_s = time.monotonic()
        if frames is not None and len(frames):
            self._captured += len(frames)
            for batch in self._encoder.add(frames, now_s):
                self._put(batch, loop)
        if (aged := self._encoder.poll(now_s)) is not None:
            self._put(aged, loop)
        if frames is None:
            self._count()

    def _put(self, batch: Frames, loop: asyncio.AbstractEventLoop) -> None:
        if self._outbox.is_full and self._source.kind in _LOSSY:
            self._dropped += len(batch)
            return
        if len(self._source.interfaces) > self._sent_interfaces:
            self._sent_interfaces = len(self._source.interfaces)
            loop.call_soon_threadsafe(self._connection.send, State(capturing=True, interfaces=self._interfaces()))
        self._count()
        self._outbox.put(batch, self.counters())
        loop.call_soon_threadsafe(self._connection.batch_added)

    def _pause(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until packets are wanted again; a live ring is given up meanwhile, so that it does not overflow."""
        if (rest := self._encoder.flush()) is not None:
            self._put(rest, loop)
        if self._source.kind != "live":
            self._wanted.wait()
            return
        for name, count in self._source.counters().items():
            self._closed_counters[name] = self._closed_counters.get(name, 0) + count
        self._source.close()
        self._wanted.wait()
        if not self._stopping:
            self._source = self._make_source()
