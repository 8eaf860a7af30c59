"""Runs one agent: a capture thread that reads the source and fills the outbox, an event loop that empties it.

The capture thread never waits for the network or the disk. When the outbox is full, packets that cannot be asked for
again (live, synthetic) are dropped and counted by reason; a file or pipe is simply not read until there is room. What
the hub orders (start with these settings, stop) is done by the capture thread between two reads and answered with the
agent's state. An agent that is told to stop takes what the source still holds, and keeps it in its spool; without one
it gives the hub DRAIN_S to take it.
"""

import asyncio
import contextlib
import logging
import platform
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from aishark_panel import __version__
from aishark_panel.agent.answers import Answers
from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.connection import Connection, LinkOptions
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.intake import Intake
from aishark_panel.agent.intime import in_time
from aishark_panel.agent.outbox import DEFAULT_OUTBOX_BYTES, Outbox
from aishark_panel.agent.places import Places
from aishark_panel.agent.run import Run, open_run
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Adjustable, Source, Warns
from aishark_panel.agent.spool import DEFAULT_SPOOL_BYTES
from aishark_panel.agent.status import Refusal, Report
from aishark_panel.agent.tally import SEEN
from aishark_panel.errors import AisharkError, CaptureError, ConfigError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import (
    PROTOCOL_VERSION,
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
DRAIN_S: Final = 5.0
"""How long an agent that is told to stop goes on sending what it has no spool for."""
_MAX_REASON: Final = 1_000
"""characters that wire.messages.State allows"""
_PARTING_S: Final = 0.2
"""For the last message to leave before the socket closes."""
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
    spool: Path | None = None
    """folder of the spool; None: none"""
    spool_bytes: int = DEFAULT_SPOOL_BYTES
    on_overload: Literal["spool", "sample", "drop"] = "drop"
    """sample: packets are thinned out when there is less and less room; else they are dropped when there is none"""
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
        self._run = open_run(config.spool, config.hub, config.session, config.spool_bytes) if config.spool else Run()
        self._tally = self._run.tally
        self._asked = self._run.asked
        # Batches that wait name their interfaces by these places; without any there is no need to keep them.
        self._places = Places(self._run.interfaces if self._run.owes else ())
        self._down_until_ns = time.time_ns() if self._run.goes_on else 0
        self._outbox = Outbox(
            config.codec, self._run, limit_bytes=config.outbox_bytes, compress_from_rows=_COMPRESS_FROM_ROWS
        )
        self._totals: dict[str, int] = {}
        self._intake = Intake(
            self._scope,
            config.limits,
            self._outbox,
            self._tally,
            self._places,
            counters=lambda: self._totals,
            on_batch=lambda: self._on_loop(self._connection.batch_added),
        )
        # Last: what limits and payload policy need may have to be compiled first, and the source would overflow.
        try:
            self._open(self._scope)
        except BaseException:
            self._run.close()
            raise
        self._orders: queue.SimpleQueue[StartCapture | StopCapture | None] = queue.SimpleQueue()
        self._capturing = self._run.capturing
        self._stopping = False
        self._sent_interfaces = 0
        self._said = ""
        """the source's condition, as the hub knows it"""
        self.turns = 0
        """how often the capture thread went round: it never rests longer than _READ_S"""
        self._paused = ""
        """why the hub wants no packets, in words; '' when it does, or has not said yet"""
        self._refused: Refusal | None = None
        self._said_end = False
        self._closed_counters = {name: self._tally[name] for name in SEEN if self._tally[name]}
        self._totals = dict(self._closed_counters)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished: asyncio.Future[None] | None = None
        self._connection: Connection = Connection(
            config.hub,
            config.token,
            self._outbox,
            make_hello=self._hello,
            counters=self.counters,
            on_order=self._take_order,
            before_batch=self._announce,
            on_inquiry=lambda inquiry: self._answers.ask(inquiry),
            options=config.link,
            known=self._run.goes_on,
        )
        self._answers: Answers = Answers(
            config.scope, config.bounds, lambda: self._scope, open_trial, send=self._connection.send
        )

    def counters(self) -> dict[str, int]:
        """Totals of this run in packets; docs/protocol.md names them."""
        return self._totals | self._tally.counters()

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
            run=self._run.id,
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
        self._tally.saw(totals)
        self._totals = totals

    async def run(self) -> str:
        """Feed the hub until the source is exhausted and all is delivered, or until cancelled; returns why it ended.

        Raises what Connection.run raises, and CaptureError when the source fails.
        """
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        capture = threading.Thread(target=self._capture, name="capture", daemon=True)
        spooler = threading.Thread(target=self._outbox.keep_spooling, name="spool", daemon=True)
        link = asyncio.create_task(self._connection.run(), name="connection")
        if self._run.spool:
            spooler.start()
        capture.start()
        try:
            await self._first_of(link, self._finished)
            failure = self._finished.exception()
            await self._first_of(link, asyncio.create_task(self._connection.drained(), name="drain"))
            names = ", ".join(i.name for i in self._source.interfaces) or "no interface"
            warning = self._source.warning if isinstance(self._source, Warns) else None
            reason = str(failure) if failure else f"{names}: all packets sent" + (f"; {warning}" if warning else "")
            self._say_end(reason)
            if failure:
                raise failure
            return reason
        finally:
            self._stopping = True
            self._orders.put(None)
            self._source.wake()
            await self._answers.close()
            await asyncio.to_thread(capture.join, 5.0)
            if self._run.spool:
                self._outbox.stop_spooling()
                await in_time(spooler.join)
            await self._leave(link)
            self._source.close()
            if await in_time(self._run.close) is None:
                log.error("the disk of the spool hangs: the agent ends without it")

    async def _leave(self, link: asyncio.Task[None]) -> None:
        """Bring what the hub has not acknowledged into safety, or count it, tell the hub, and end the connection."""
        if self._run.spool:
            unsafe = await in_time(self._outbox.spool_all)
            if unsafe is None:
                log.error("the disk of the spool hangs: what is not there yet is lost")
            elif unsafe.result:
                log.warning(
                    "%d packets found no room in the spool; they are lost unless the hub got them", unsafe.result
                )
            if self._outbox.rows:
                reason = f"The agent was stopped; {self._outbox.rows:,} packets wait in its spool."
                self._connection.send(self._state(reason))
            self._connection.send_heartbeat()
        elif not self._said_end:
            drained = asyncio.create_task(self._connection.drained(), name="drain")
            await asyncio.wait([link, drained], timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            self._outbox.release(self._connection.taken)  # in the hub's memory, if not on its disk
            if dropped := self._outbox.drop_all():
                log.warning("%d packets that the hub did not take in time are lost", dropped)
            self._say_end("The agent was stopped.")
        if self._connection.connected:
            await asyncio.sleep(_PARTING_S)
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)

    async def _first_of(self, link: asyncio.Task[None], other: asyncio.Future[None]) -> None:
        """Wait for `other`; a connection that gave up comes first and raises its error."""
        await asyncio.wait([link, other], return_when=asyncio.FIRST_COMPLETED)
        if link.done():
            other.cancel()
            link.result()

    def _say_end(self, reason: str) -> None:
        self._said_end = True
        self._connection.send(End(reason=reason, counters=self.counters()))

    def _hello(self) -> Hello:
        interfaces = self._places.infos()
        self._sent_interfaces = len(interfaces)
        return Hello(
            protocol=PROTOCOL_VERSION,
            agent=self._config.name,
            run=self._run.id,
            version=__version__,
            host=platform.node(),
            os=f"{platform.system()} {platform.release()}",
            source=self._source.kind,
            session=self._config.session,
            interfaces=interfaces,
            capturing=self._capturing,
            first_sequence=self._outbox.first_sequence,
            sampling=self._intake.sampling,
            sampling_by=self._scope.sampling_by,
            payload=self._scope.payload,
            max_packets_per_second=self._scope.max_packets_per_second,
            counters=self.counters(),
            down_since_ns=self._run.down_since_ns,
            down_until_ns=self._down_until_ns,
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

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *arguments)

    def _capture(self) -> None:
        failure = _failure_of(self._capture_until_told)
        rest = _failure_of(self._give_rest)
        if not self._stopping:
            self._on_loop(self._finish, failure or rest)

    def _capture_until_told(self) -> None:
        self._go_on()
        while not self._stopping and not self._source.exhausted:
            self.turns += 1
            if not self._capturing or not self._orders.empty():
                with contextlib.suppress(queue.Empty):
                    self._obey(self._orders.get(timeout=_READ_S))
            else:
                self._read_once()
        if self._stopping and self._capturing:
            self._stop()

    def _give_rest(self) -> None:
        """What came before the end, or a failure, is whole."""
        self._intake.flush()
        self._count()

    def _go_on(self) -> None:
        """Capture as an earlier life of this run did, whether or not the hub is there."""
        self._remember()
        if self._run.capturing:
            try:
                self._start(StartCapture())
            except AisharkError as error:
                self._capturing = False
                log.warning("the capture does not go on before the hub is there: %s", error)

    def _remember(self) -> None:
        self._run.remember(self._places.infos(), capturing=self._capturing, asked=self._asked)

    def _obey(self, order: StartCapture | StopCapture | None) -> None:
        """Do what the hub wants and answer with the state that results; what cannot be done changes nothing."""
        if order is None:
            return
        reason = ""
        if isinstance(order, StopCapture):
            self._stop()
            self._paused = order.reason or "stopped by the hub"
            reason = order.reason
        else:
            try:
                self._start(order)
            except AisharkError as error:
                reason = str(error)
                self._refused = Refusal(reason=reason, at_ns=time.time_ns())
                log.warning("the hub was refused: %s", reason)
        self._remember()
        self._say_state(reason, answers=order.number)
        self._said = ""

    def _start(self, order: StartCapture) -> None:
        asked = order.over(self._asked)
        scope = self._config.bounds.scope(self._config.scope, asked)
        payload = self._intake.prepare(scope)
        if not self._source_open:
            self._open(scope)
        elif scope.interfaces != self._scope.interfaces:
            self._require_adjustable("interfaces")
            self._switch(scope)
        elif (scope.filter, scope.snaplen) != (self._scope.filter, self._scope.snaplen):
            source = self._require_adjustable("capture filter or snaplen")
            source.adjust(scope.filter, scope.snaplen)
            self._places.follow(self._source.interfaces)
        self._asked = asked
        self._intake.follow(scope, payload)
        self._scope = scope
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
        self._intake.drops = self._source.kind in _LOSSY
        self._places.follow(self._source.interfaces)

    def _switch(self, scope: CaptureScope) -> None:
        """Capture on other interfaces. Those that cannot be opened are not, and the capture before goes on."""
        self._close_source()
        try:
            self._open(scope)
        except AisharkError:
            self._capturing = False
            self._open(self._scope)
            self._capturing = True
            raise

    def _stop(self) -> None:
        """Pause; a live source of this host is given up meanwhile, so that it does not overflow."""
        self._capturing = False
        if isinstance(self._source, Adjustable) and self._source_open:
            self._close_source()
        self._intake.flush()
        self._count()

    def _close_source(self) -> None:
        """Take what a live source still holds, and close it."""
        assert isinstance(self._source, Adjustable)
        self._source.halt()
        while (frames := self._source.read(0)) is not None:
            self._take(frames)
        for name, count in self._source.counters().items():
            self._closed_counters[name] = self._closed_counters.get(name, 0) + count
        self._source.close()
        self._source_open = False

    def _say_state(self, reason: str = "", *, answers: int = 0) -> None:
        self._on_loop(self._connection.send, self._state(reason, answers))

    def _state(self, reason: str, answers: int = 0) -> State:
        return State(
            capturing=self._capturing,
            reason=reason[:_MAX_REASON],
            answers=answers,
            interfaces=self._places.infos(),
            sampling=self._intake.sampling,
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

    def _read_once(self) -> None:
        if not self._intake.drops and self._outbox.is_full:
            self._outbox.wait_for_room(_READ_S)
            return
        frames = self._source.read(self._intake.due_s(_READ_S))
        if frames is not None and len(frames):
            self._take(frames)
        self._intake.poll()
        if frames is None:
            self._count()
        if self._config.on_overload == "sample" and self._intake.thin():
            self._say_state()
        if isinstance(self._source, Adjustable) and (condition := self._source.condition) != self._said:
            self._said = condition
            self._say_state(condition)

    def _take(self, frames: Frames) -> None:
        if len(self._source.interfaces) > len(self._places):
            self._places.follow(self._source.interfaces)
            self._remember()
        self._count()
        self._intake.take(frames)


def _failure_of(work: Callable[[], None]) -> AisharkError | None:
    """Do some work of the capture thread; what went wrong, if anything."""
    try:
        work()
    except AisharkError as error:
        return error
    except Exception as error:
        log.exception("the capture failed")
        return CaptureError(f"The capture failed: {error}")
    return None
