"""Runs one agent: a capture thread that reads the source and fills the outbox, an event loop that empties it.

The capture thread never waits for the network. When the outbox is full, packets that cannot be asked for again (live,
synthetic) are dropped and counted by reason; a file or pipe is simply not read until there is room. What the hub orders
(start with these settings, stop) is done by the capture thread between two reads and answered with the agent's state.
"""

import asyncio
import contextlib
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
from aishark_panel.agent.answers import Answers
from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.connection import Connection, LinkOptions
from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.agent.limits import Limiter
from aishark_panel.agent.outbox import DEFAULT_OUTBOX_BYTES, Outbox
from aishark_panel.agent.payload import Payload
from aishark_panel.agent.places import Places
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Adjustable, Source, Warns
from aishark_panel.agent.status import Refusal, Report
from aishark_panel.errors import AisharkError, CaptureError, ConfigError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import (
    PROTOCOL_VERSION,
    CaptureSettings,
    CodecName,
    End,
    Hello,
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
    """what is captured as long as the hub asks for nothing else"""
    bounds: Bounds = Bounds()
    """what the hub may ask for"""
    codec: CodecName = "none"
    limits: BatchLimits = BatchLimits()
    outbox_bytes: int = DEFAULT_OUTBOX_BYTES
    link: LinkOptions = LinkOptions()


class Agent:
    """One agent run. `make_source` opens the source, and opens it again when a stopped live capture is started.

    `open_trial` opens a second one for a short while, where that can be done.
    """

    def __init__(
        self,
        config: AgentConfig,
        make_source: Callable[[CaptureScope], Source],
        open_trial: Callable[[CaptureScope], Source] | None = None,
    ) -> None:
        self._config = config
        self._make_source = make_source
        self._scope = config.scope
        self._asked = CaptureSettings()
        self._places = Places()
        self._run_id = uuid.uuid4().hex
        self._outbox = Outbox(config.codec, limit_bytes=config.outbox_bytes, compress_from_rows=_COMPRESS_FROM_ROWS)
        self._encoder = Encoder(config.limits)
        self._limiter = Limiter()
        self._limit()
        self._payload = self._make_payload(self._scope)
        # Last: what limits and payload policy need may have to be compiled first, and the source would overflow.
        self._open(self._scope)
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
        self.turns = 0
        """how often the capture thread went round: it never rests longer than _READ_S"""
        self._paused = ""
        """why the hub wants no packets, in words; '' when it does, or has not said yet"""
        self._refused: Refusal | None = None
        self._finished: asyncio.Future[None] | None = None
        self._connection = Connection(
            config.hub,
            config.token,
            self._outbox,
            make_hello=self._hello,
            counters=self.counters,
            on_order=self._take_order,
            before_batch=self._announce,
            on_inquiry=lambda inquiry: self._answers.ask(inquiry),
            options=config.link,
        )
        self._answers = Answers(
            config.scope, config.bounds, lambda: self._scope, open_trial, send=self._connection.send
        )

    def counters(self) -> dict[str, int]:
        """Totals of this run in packets; docs/protocol.md names them."""
        return {**self._totals, "outbox": self._outbox.rows, "delivered": self._outbox.delivered}

    def report(self) -> Report:
        """How this agent is now. Safe from any thread."""
        refused = self._refused.reason if self._refused else "The hub has not asked for packets yet."
        if self._capturing:
            interrupted = isinstance(self._source, Adjustable) and self._source.interrupted
            state, reason = "interrupted" if interrupted else "capturing", self._said
        else:
            state, reason = "paused" if self._paused else "waiting", self._paused or refused
        return Report(
            state=state,
            reason=reason,
            run=self._run_id,
            source=self._source.kind,
            interfaces=tuple(i for i in self._places.infos() if i.captured),
            sampling=self._scope.sampling,
            max_packets_per_second=self._scope.max_packets_per_second,
            hub=self._connection.report(),
            refused=self._refused,
            counters=self.counters(),
            outbox_bytes=self._outbox.size_bytes,
        )

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
            await self._answers.close()
            await asyncio.to_thread(thread.join, 5.0)
            self._source.close()

    async def _first_of(self, link: asyncio.Task[None], other: asyncio.Future[None]) -> None:
        """Wait for `other`; a connection that gave up comes first and raises its error."""
        await asyncio.wait([link, other], return_when=asyncio.FIRST_COMPLETED)
        if link.done():
            other.cancel()
            link.result()

    def _hello(self) -> Hello:
        interfaces = self._places.infos()
        self._sent_interfaces = len(interfaces)
        return Hello(
            protocol=PROTOCOL_VERSION,
            agent=self._config.name,
            run=self._run_id,
            version=__version__,
            host=platform.node(),
            os=f"{platform.system()} {platform.release()}",
            source=self._source.kind,
            session=self._config.session,
            interfaces=interfaces,
            capturing=self._capturing,
            first_sequence=self._outbox.first_sequence,
            sampling=self._scope.sampling,
            sampling_by=self._scope.sampling_by,
            payload=self._scope.payload,
            max_packets_per_second=self._scope.max_packets_per_second,
            counters=self.counters(),
        )

    def _announce(self) -> None:
        """Before a batch is sent the hub must know of its interfaces; a source may have found more meanwhile."""
        state = self._state(self._said)
        if state.interfaces is not None and len(state.interfaces) > self._sent_interfaces:
            self._sent_interfaces = len(state.interfaces)
            self._connection.send(state)

    def _take_order(self, order: StartCapture | StopCapture) -> None:
        self._orders.put(order)
        self._source.wake()

    # The capture thread from here on.

    def _capture(self, loop: asyncio.AbstractEventLoop) -> None:
        failure: AisharkError | None = None
        try:
            while not self._stopping and not self._source.exhausted:
                self.turns += 1
                if not self._capturing or not self._orders.empty():
                    with contextlib.suppress(queue.Empty):
                        self._obey(self._orders.get(timeout=_READ_S), loop)
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
            self._paused = order.reason or "stopped by the hub"
            reason = order.reason
        else:
            try:
                self._start(order, loop)
            except AisharkError as error:
                reason = str(error)
                self._refused = Refusal(reason=reason, at_ns=time.time_ns())
                log.warning("the hub was refused: %s", reason)
        self._say_state(loop, reason, answers=order.number)
        self._said = ""

    def _start(self, order: StartCapture, loop: asyncio.AbstractEventLoop) -> None:
        asked = order.over(self._asked)
        scope = self._config.bounds.scope(self._config.scope, asked)
        payload = self._payload if scope.payload == self._payload.policy else self._make_payload(scope)
        if not self._source_open:
            self._open(scope)
        elif scope.interfaces != self._scope.interfaces:
            self._require_adjustable("interfaces")
            self._switch(scope, loop)
        elif (scope.filter, scope.snaplen) != (self._scope.filter, self._scope.snaplen):
            source = self._require_adjustable("capture filter or snaplen")
            source.adjust(scope.filter, scope.snaplen)
            self._places.follow(self._source.interfaces)
        self._asked = asked
        if payload is not self._payload:
            self._flush(loop)  # what waits for company came under the policy before
            self._payload = payload
        if scope != self._scope:
            self._scope = scope
            self._limit()
        self._capturing = True
        self._paused = ""

    def _require_adjustable(self, what: str) -> Adjustable:
        if not isinstance(self._source, Adjustable):
            raise ConfigError(
                f"This agent's source ({self._source.kind}) cannot change its {what} while it runs; "
                "use a display filter."
            )
        return self._source

    def _open(self, scope: CaptureScope) -> None:
        self._source = self._make_source(scope)
        self._source_open = True
        self._places.follow(self._source.interfaces)

    def _switch(self, scope: CaptureScope, loop: asyncio.AbstractEventLoop) -> None:
        """Capture on other interfaces. Those that cannot be opened are not, and the capture before goes on."""
        self._close_source(loop)
        try:
            self._open(scope)
        except AisharkError:
            self._capturing = False
            self._open(self._scope)
            self._capturing = True
            raise

    def _make_payload(self, scope: CaptureScope) -> Payload:
        return Payload(scope.payload, batch_rows=self._config.limits.max_rows)

    def _limit(self) -> None:
        self._limiter.set(
            sampling=self._scope.sampling,
            by_conversation=self._scope.sampling_by == "conversation",
            packets_per_s=self._scope.max_packets_per_second,
            bits_per_s=self._scope.max_bits_per_s,
        )

    def _stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pause; a live source of this host is given up meanwhile, so that it does not overflow."""
        self._capturing = False
        if isinstance(self._source, Adjustable) and self._source_open:
            self._close_source(loop)
        self._flush(loop)
        self._count()

    def _close_source(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take what a live source still holds, and close it."""
        assert isinstance(self._source, Adjustable)
        self._source.halt()
        while (frames := self._source.read(0)) is not None:
            self._take(frames, loop)
        for name, count in self._source.counters().items():
            self._closed_counters[name] = self._closed_counters.get(name, 0) + count
        self._source.close()
        self._source_open = False

    def _say_state(self, loop: asyncio.AbstractEventLoop, reason: str = "", *, answers: int = 0) -> None:
        loop.call_soon_threadsafe(self._connection.send, self._state(reason, answers))

    def _state(self, reason: str, answers: int = 0) -> State:
        return State(
            capturing=self._capturing,
            reason=reason[:_MAX_REASON],
            answers=answers,
            interfaces=self._places.infos(),
            sampling=self._scope.sampling,
            sampling_by=self._scope.sampling_by,
            payload=self._scope.payload,
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
        if len(self._source.interfaces) > len(self._places):
            self._places.follow(self._source.interfaces)
        self._captured += len(frames)
        link_types = self._places.link_types
        passed = self._limiter.take(self._places.renumber(frames), link_types)
        self._in_encoder += len(passed)
        for batch in self._encoder.add(self._payload.cut(passed, link_types), time.monotonic()):
            self._put(batch, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if (rest := self._encoder.flush()) is not None:
            self._put(rest, loop)

    def _put(self, batch: Frames, loop: asyncio.AbstractEventLoop) -> None:
        if self._outbox.is_full and self._source.kind in _LOSSY:
            self._in_encoder -= len(batch)
            self._dropped += len(batch)
            return
        for content in self._payload.contents(batch, self._places.link_types):
            self._in_encoder -= len(content)
            self._count()
            self._outbox.put(content, self.counters())
        loop.call_soon_threadsafe(self._connection.batch_added)
