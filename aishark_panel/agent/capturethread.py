"""The capture of an agent, on a thread of its own: a source is read, and its packets go into the outbox.

The thread never waits for the network or the disk. When the outbox is full, packets that cannot be asked for again
(live, synthetic) are dropped and counted by reason; a file or pipe is simply not read until there is room. What the
hub orders (start with these settings, stop) is done between two reads and answered with the state that results.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.intake import Intake
from aishark_panel.agent.outbox import Outbox
from aishark_panel.agent.places import Places
from aishark_panel.agent.run import Run
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Adjustable, Source, SourceKind, Warns
from aishark_panel.agent.status import Refusal
from aishark_panel.agent.tally import SEEN
from aishark_panel.errors import AisharkError, CaptureError, ConfigError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import InterfaceInfo, StartCapture, State, StopCapture

__all__ = ["CaptureState", "CaptureThread"]

log = logging.getLogger(__name__)

_LOSSY: Final = ("live", "synthetic")
_READ_S: Final = 0.2
_MAX_REASON: Final = 1_000
"""characters that wire.messages.State allows"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureState:
    """How a capture is at a moment."""

    capturing: bool
    scope: CaptureScope
    """what is captured, or was last"""
    sampling: int
    """every how many-th packet, or conversation, is sent; more than the scope's while packets are thinned out"""
    interfaces: tuple[InterfaceInfo, ...] = ()
    """every interface that the run captured so far, by place"""
    condition: str = ""
    """the source's, as the hub knows it: why it does not capture somewhere, in words"""
    interrupted: bool = False
    """whether packets are missed for that reason"""
    paused: str = ""
    """why the hub wants no packets, in words; '' when it does, or has not said yet"""
    refused: Refusal | None = None
    """the last order that was refused"""

    def message(self, reason: str, answers: int = 0) -> State:
        """What the hub is told of it."""
        return State(
            capturing=self.capturing,
            reason=reason[:_MAX_REASON],
            answers=answers,
            interfaces=self.interfaces,
            sampling=self.sampling,
            sampling_by=self.scope.sampling_by,
            payload=self.scope.payload,
            max_packets_per_second=self.scope.max_packets_per_second,
        )


class CaptureThread:
    """Captures into a run's outbox; by `scope` as long as the hub orders nothing else, and within `bounds`.

    `make_source` opens the source at once, and again when a stopped live capture is started. `thins` says that packets
    are thinned out when the outbox has less and less room.

    What crosses threads: `order` and `stop` go in, by a queue and a flag, and wake the source. `state` and the totals
    in `counters` come out, each replaced as a whole by the capture thread, and `turns`. `on_batch` (one more waits in
    the outbox), `on_state` (the hub is to be told) and the future that `start` gives are called and set on the event
    loop. Run and outbox are safe from any thread. All else is the capture thread's, which alone reads the source.
    """

    def __init__(
        self,
        make_source: Callable[[CaptureScope], Source],
        run: Run,
        outbox: Outbox,
        *,
        scope: CaptureScope,
        bounds: Bounds,
        limits: BatchLimits,
        thins: bool,
        on_batch: Callable[[], None],
        on_state: Callable[[State], None],
    ) -> None:
        self._make_source = make_source
        self._run = run
        self._outbox = outbox
        self._own_scope = scope
        self._bounds = bounds
        self._thins = thins
        self._on_state = on_state
        self._asked = run.asked
        # Batches that wait name their interfaces by these places; without any there is no need to keep them.
        self._places = Places(run.interfaces if run.owes else ())
        self._closed_counters = {name: run.tally[name] for name in SEEN if run.tally[name]}
        """of the sources before this one"""
        self._totals = dict(self._closed_counters)
        self._intake = Intake(
            scope,
            limits,
            outbox,
            run.tally,
            self._places,
            counters=lambda: self._totals,
            on_batch=lambda: self._on_loop(on_batch),
        )
        self.state = CaptureState(capturing=run.capturing, scope=scope, sampling=self._intake.sampling)
        self.turns = 0
        """how often the thread went round: it never rests longer than _READ_S"""
        self._orders: queue.SimpleQueue[StartCapture | StopCapture | None] = queue.SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        # Last: what limits and payload policy need may have to be compiled first, and the source would overflow.
        self._open(scope)

    @property
    def kind(self) -> SourceKind:
        """Of the source, which is the same whenever it is opened again."""
        return self._source.kind

    def counters(self) -> dict[str, int]:
        """Totals of this run in packets; docs/protocol.md names them. Safe from any thread."""
        return self._totals | self._run.tally.counters()

    def start(self) -> "asyncio.Future[None]":
        """Begin (call on the event loop). The future is done once the source has nothing more, or has failed."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._thread.start()
        return self._ended

    def order(self, order: StartCapture | StopCapture) -> None:
        """The hub wants packets so, or no longer. Safe from any thread."""
        self._orders.put(order)
        self._source.wake()

    def stop(self) -> None:
        """Take what the source still holds, and end. Safe from any thread."""
        self._stopping = True
        self._orders.put(None)
        self._source.wake()

    def join(self, timeout_s: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)

    def what_ended(self) -> tuple[str, str]:
        """Names of the source's interfaces, and what is missing at its end, in words; '' where nothing is."""
        names = ", ".join(i.name for i in self._source.interfaces) or "no interface"
        return names, (self._source.warning or "") if isinstance(self._source, Warns) else ""

    def close(self) -> None:
        """Give back the source, at the end."""
        self._source.close()

    # On the capture thread, from here on, but for __init__'s first `_open`.

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *arguments)

    def _capture(self) -> None:
        failure = _failure_of(self._capture_until_told)
        rest = _failure_of(self._give_rest)
        if not self._stopping:
            self._on_loop(self._end, failure or rest)

    def _end(self, failure: AisharkError | None) -> None:
        """On the event loop."""
        assert self._ended is not None
        if not self._ended.done():
            if failure:
                self._ended.set_exception(failure)
            else:
                self._ended.set_result(None)

    def _capture_until_told(self) -> None:
        self._go_on()
        while not self._stopping and not self._source.exhausted:
            self.turns += 1
            if not self.state.capturing or not self._orders.empty():
                with contextlib.suppress(queue.Empty):
                    self._obey(self._orders.get(timeout=_READ_S))
            else:
                self._read_once()
        if self._stopping and self.state.capturing:
            self._pause()

    def _give_rest(self) -> None:
        """What came before the end, or a failure, is whole."""
        self._intake.flush()
        self._count()

    def _go_on(self) -> None:
        """Capture as an earlier life of this run did, whether or not the hub is there."""
        self._remember()
        if self._run.capturing:
            try:
                self._resume(StartCapture())
            except AisharkError as error:
                self.state = replace(self.state, capturing=False)
                log.warning("the capture does not go on before the hub is there: %s", error)

    def _remember(self) -> None:
        self._run.remember(self.state.interfaces, capturing=self.state.capturing, asked=self._asked)

    def _obey(self, order: StartCapture | StopCapture | None) -> None:
        """Do what the hub wants and answer with the state that results; what cannot be done changes nothing."""
        if order is None:
            return
        reason = ""
        if isinstance(order, StopCapture):
            self._pause()
            self.state = replace(self.state, paused=order.reason or "stopped by the hub")
            reason = order.reason
        else:
            try:
                self._resume(order)
            except AisharkError as error:
                reason = str(error)
                self.state = replace(self.state, refused=Refusal(reason=reason, at_ns=time.time_ns()))
                log.warning("the hub was refused: %s", reason)
        self._remember()
        self._say_state(reason, answers=order.number)
        self.state = replace(self.state, condition="")

    def _resume(self, order: StartCapture) -> None:
        """Capture as is ordered, or go on so."""
        asked = order.over(self._asked)
        scope, before = self._bounds.scope(self._own_scope, asked), self.state.scope
        payload = self._intake.prepare(scope)
        if not self._source_open:
            self._open(scope)
        elif scope.interfaces != before.interfaces:
            self._require_adjustable("interfaces")
            self._switch(scope)
        elif (scope.filter, scope.snaplen) != (before.filter, before.snaplen):
            self._require_adjustable("capture filter or snaplen").adjust(scope.filter, scope.snaplen)
            self._follow_interfaces()
        self._asked = asked
        self._intake.follow(scope, payload)
        self.state = replace(self.state, capturing=True, paused="", scope=scope, sampling=self._intake.sampling)

    def _require_adjustable(self, what: str) -> Adjustable:
        if self._adjustable is None:
            raise ConfigError(
                f"This agent's source ({self._source.kind}) cannot change its {what} while it runs; "
                "use a display filter."
            )
        return self._adjustable

    def _open(self, scope: CaptureScope) -> None:
        self._source = self._make_source(scope)
        self._source_open = True
        self._adjustable = self._source if isinstance(self._source, Adjustable) else None
        self._intake.drops = self._source.kind in _LOSSY
        self._follow_interfaces()

    def _follow_interfaces(self) -> None:
        self._places.follow(self._source.interfaces)
        self.state = replace(self.state, interfaces=self._places.infos())

    def _switch(self, scope: CaptureScope) -> None:
        """Capture on other interfaces. Those that cannot be opened are not, and the capture before goes on."""
        self._close_source()
        try:
            self._open(scope)
        except AisharkError:
            self.state = replace(self.state, capturing=False)
            self._open(self.state.scope)
            self.state = replace(self.state, capturing=True)
            raise

    def _pause(self) -> None:
        """Take nothing more; a live source of this host is given up meanwhile, so that it does not overflow."""
        self.state = replace(self.state, capturing=False)
        if self._adjustable and self._source_open:
            self._close_source()
        self._intake.flush()
        self._count()

    def _close_source(self) -> None:
        """Take what a live source still holds, and close it."""
        assert self._adjustable is not None
        self._adjustable.halt()
        while (frames := self._source.read(0)) is not None:
            self._take(frames)
        for name, count in self._source.counters().items():
            self._closed_counters[name] = self._closed_counters.get(name, 0) + count
        self._source.close()
        self._source_open = False

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
        if self._thins and self._intake.thin():
            self.state = replace(self.state, sampling=self._intake.sampling)
            self._say_state()
        if self._adjustable:
            self._look_at(self._adjustable)

    def _look_at(self, source: Adjustable) -> None:
        before, condition, interrupted = self.state, source.condition, source.interrupted
        if (condition, interrupted) != (before.condition, before.interrupted):
            self.state = replace(before, condition=condition, interrupted=interrupted)
            if condition != before.condition:
                self._say_state(condition)

    def _take(self, frames: Frames) -> None:
        if len(self._source.interfaces) > len(self._places):
            self._follow_interfaces()
            self._remember()
        self._count()
        self._intake.take(frames)

    def _count(self) -> None:
        # Reading the kernel's counters zeroes them.
        totals = dict(self._closed_counters)
        for name, count in self._source.counters().items() if self._source_open else ():
            totals[name] = totals.get(name, 0) + count
        self._run.tally.saw(totals)
        self._totals = totals

    def _say_state(self, reason: str = "", *, answers: int = 0) -> None:
        self._on_loop(self._on_state, self.state.message(reason, answers))


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
