"""Runs one agent: a capture thread that reads the source and fills the outbox, an event loop that empties it.

The capture thread never waits for the network. When the outbox is full, packets that cannot be asked for again (live,
synthetic) are dropped and counted by reason; a file or pipe is simply not read until there is room. What the hub orders
(start with these settings, stop) is done by the capture thread between two reads and answered with the agent's state.
"""

import asyncio
import logging
import platform
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from aishark_panel import __version__
from aishark_panel.agent.connection import Connection, LinkOptions
from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.agent.limits import Limiter
from aishark_panel.agent.outbox import DEFAULT_OUTBOX_BYTES, Outbox
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Adjustable, Source, Warns
from aishark_panel.errors import AisharkError, CaptureError, ConfigError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import (
    PROTOCOL_VERSION,
    CaptureSettings,
    CodecName,
    End,
    Hello,
    InterfaceInfo,
    StartCapture,
    State,
    StopCapture,
)

__all__ = ["Agent", "AgentConfig"]

log = logging.getLogger(__name__)

_LOSSY: Final = ("live", "synthetic")
_READ_S: Final = 0.2
_MAX_REASON: Final = 1_000
"""characters that wire.messages.State allows"""
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
    scope: CaptureScope = CaptureScope()
    """what is captured; the hub may ask for less, not for more"""
    codec: CodecName = "none"
    limits: BatchLimits = BatchLimits()
    outbox_bytes: int = DEFAULT_OUTBOX_BYTES
    link: LinkOptions = LinkOptions()


class Agent:
    """One agent run. `make_source` opens the source, and opens it again when a stopped live capture is started."""

    def __init__(self, config: AgentConfig, make_source: Callable[[CaptureScope], Source]) -> None:
        self._config = config
        self._make_source = make_source
        self._scope = config.scope
        self._asked = CaptureSettings()
        self._source = make_source(self._scope)
        self._source_open = True
        self._run_id = uuid.uuid4().hex
        self._outbox = Outbox(config.codec, limit_bytes=config.outbox_bytes, compress_from_rows=_COMPRESS_FROM_ROWS)
        self._encoder = Encoder(config.limits)
        self._limiter = Limiter()
        self._limit()
        self._orders: queue.SimpleQueue[StartCapture | StopCapture | None] = queue.SimpleQueue()
        self._capturing = False
        self._stopping = False
        self._captured = 0
        self._dropped = 0
        self._in_encoder = 0
        self._closed_counters: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._sent_interfaces = 0
        self._said = ""
        """the source's condition, as the hub knows it"""
        self._finished: asyncio.Future[None] | None = None
        self._connection = Connection(
            config.hub,
            config.token,
            self._outbox,
            make_hello=self._hello,
            counters=self.counters,
            on_order=self._take_order,
            before_batch=self._announce,
            options=config.link,
        )

    def counters(self) -> dict[str, int]:
        """Totals of this run in packets; docs/protocol.md names them."""
        return {**self._totals, "outbox": self._outbox.rows, "delivered": self._outbox.delivered}

    def _count(self) -> None:
        # Only the capture thread asks the source: reading the kernel's counters zeroes them.
        totals = dict(self._closed_counters)
        for name, count in self._source.counters().items() if self._source_open else ():
            totals[name] = totals.get(name, 0) + count
        totals["captured"] = self._captured
        totals["sampled_out"] = self._limiter.sampled_out
        totals["throttled"] = self._limiter.throttled
        totals["dropped_outbox_full"] = self._dropped
        totals["in_encoder"] = self._in_encoder
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
            warning = self._source.warning if isinstance(self._source, Warns) else None
            reason = str(failure) if failure else f"{names}: all packets sent" + (f"; {warning}" if warning else "")
            self._connection.send(End(reason=reason, counters=self.counters()))
            await asyncio.sleep(0.2)  # let the end message leave before the socket closes
            if failure:
                raise failure
            return reason
        finally:
            self._stopping = True
            self._orders.put(None)
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
            capturing=self._capturing,
            first_sequence=self._outbox.first_sequence,
            sampling=self._scope.sampling,
            max_packets_per_second=self._scope.max_packets_per_second,
        )

    def _interfaces(self) -> tuple[InterfaceInfo, ...]:
        return tuple(
            InterfaceInfo(name=i.name, link_type=i.link_type, snaplen=i.snaplen, filter=i.filter)
            for i in self._source.interfaces
        )

    def _announce(self) -> None:
        """Before a batch is sent the hub must know of its interfaces; a source may have found more meanwhile."""
        if len(self._source.interfaces) > self._sent_interfaces:
            self._sent_interfaces = len(self._source.interfaces)
            self._connection.send(self._state(self._said))

    def _take_order(self, order: StartCapture | StopCapture) -> None:
        self._orders.put(order)
        self._source.wake()

    # The capture thread from here on.

    def _capture(self, loop: asyncio.AbstractEventLoop) -> None:
        failure: AisharkError | None = None
        try:
            while not self._stopping and not self._source.exhausted:
                if not self._capturing or not self._orders.empty():
                    self._obey(self._orders.get(), loop)
                else:
                    self._read_once(loop)
            if not self._stopping:
                self._flush(loop)
                self._count()
        except AisharkError as error:
            failure = error
        except Exception as error:
            log.exception("the capture failed")
            failure = CaptureError(f"The capture failed: {error}")
        if not self._stopping:
            loop.call_soon_threadsafe(self._finish, failure)

    def _obey(self, order: StartCapture | StopCapture | None, loop: asyncio.AbstractEventLoop) -> None:
        """Do what the hub wants and answer with the state that results; what cannot be done changes nothing."""
        if order is None:
            return
        reason = ""
        if isinstance(order, StopCapture):
            self._stop(loop)
            reason = order.reason
        else:
            try:
                self._start(order)
            except AisharkError as error:
                reason = str(error)
        self._say_state(loop, reason, answers=order.number)
        self._said = ""

    def _start(self, order: StartCapture) -> None:
        asked = order.over(self._asked)
        scope = self._config.scope.narrowed(asked)
        if not self._source_open:
            self._source = self._make_source(scope)
            self._source_open = True
        elif (scope.filter, scope.snaplen) != (self._scope.filter, self._scope.snaplen):
            if not isinstance(self._source, Adjustable):
                raise ConfigError(
                    f"This agent's source ({self._source.kind}) cannot change its capture filter or snaplen while it "
                    "runs; use a display filter."
                )
            self._source.adjust(scope.filter, scope.snaplen)
        self._asked = asked
        if scope != self._scope:
            self._scope = scope
            self._limit()
        self._capturing = True

    def _limit(self) -> None:
        self._limiter.set(
            sampling=self._scope.sampling,
            packets_per_s=self._scope.max_packets_per_second,
            bits_per_s=self._scope.max_bits_per_s,
        )

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pause; a live source of this host is given up meanwhile, so that it does not overflow."""
        self._capturing = False
        if isinstance(self._source, Adjustable) and self._source_open:
            self._source.halt()
            while (frames := self._source.read(0)) is not None:
                self._take(frames, loop)
            for name, count in self._source.counters().items():
                self._closed_counters[name] = self._closed_counters.get(name, 0) + count
            self._source.close()
            self._source_open = False
        self._flush(loop)
        self._count()

    def _say_state(self, loop: asyncio.AbstractEventLoop, reason: str = "", *, answers: int = 0) -> None:
        loop.call_soon_threadsafe(self._connection.send, self._state(reason, answers))

    def _state(self, reason: str, answers: int = 0) -> State:
        return State(
            capturing=self._capturing,
            reason=reason[:_MAX_REASON],
            answers=answers,
            interfaces=self._interfaces(),
            sampling=self._scope.sampling,
            max_packets_per_second=self._scope.max_packets_per_second,
        )

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
        if frames is not None and len(frames):
            self._take(frames, loop)
        if (aged := self._encoder.poll(time.monotonic())) is not None:
            self._put(aged, loop)
        if frames is None:
            self._count()
        if isinstance(self._source, Adjustable) and (condition := self._source.condition) != self._said:
            self._said = condition
            self._say_state(loop, condition)

    def _take(self, frames: Frames, loop: asyncio.AbstractEventLoop) -> None:
        self._captured += len(frames)
        passed = self._limiter.take(frames)
        self._in_encoder += len(passed)
        for batch in self._encoder.add(passed, time.monotonic()):
            self._put(batch, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if (rest := self._encoder.flush()) is not None:
            self._put(rest, loop)

    def _put(self, batch: Frames, loop: asyncio.AbstractEventLoop) -> None:
        self._in_encoder -= len(batch)
        if self._outbox.is_full and self._source.kind in _LOSSY:
            self._dropped += len(batch)
            return
        self._count()
        self._outbox.put(batch, self.counters())
        loop.call_soon_threadsafe(self._connection.batch_added)
