"""Tells the world how an agent fares: the status file, the service manager, Prometheus.

Once a second it asks the agent for a report. The capture thread counts its turns; while they do not move it is hung,
the status says so, and the service manager's watchdog is not fed, so that it ends what no longer captures.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from aishark_panel import __version__
from aishark_panel.agent.manager import ServiceManager
from aishark_panel.agent.status import NOT_YET, LinkReport, Report, Status, StatusFile

__all__ = ["HUNG_S", "Reporter", "Reports"]

log = logging.getLogger(__name__)

BEAT_S: Final = 1.0
HUNG_S: Final = 5.0
"""The capture thread is hung when it has not moved for so long; it never sleeps longer than a fifth of a second."""
_RATE_SPAN_S: Final = 5.0
_COMPILING_S: Final = 60.0
"""How much longer a service manager is asked to wait each time that compiling is told of."""


class Reports(Protocol):
    """An agent, as far as it is needed here."""

    @property
    def turns(self) -> int:
        """How often the capture thread went round."""

    def report(self) -> Report:
        """How the agent is."""


class Reporter:
    """Reports one agent. `folder` None: no status file."""

    def __init__(
        self,
        name: str,
        hub: str,
        *,
        folder: Path | None,
        manager: ServiceManager,
        metrics_port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._metrics_port = metrics_port
        self._clock = clock
        self._samples: deque[tuple[float, int, int]] = deque()
        self._compiling = False
        self._turns = -1
        self._moved_s = clock()
        self.status = Status(
            name=name,
            pid=os.getpid(),
            version=__version__,
            started_ns=time.time_ns(),
            written_ns=0,
            agent=Report(
                state="waiting", reason="It is starting.", hub=LinkReport(url=hub, connected=False, reason=NOT_YET)
            ),
        )
        self._file: StatusFile | None = None
        self._writable = True
        if folder is not None:
            try:
                self._file = StatusFile(folder, name)
            except OSError as error:
                log.warning("no status file in %s: %s", folder, error.strerror)
        self._write()

    async def follow(self, agent: Reports) -> None:
        """Report until cancelled. ConfigError where the port of the metrics cannot be had."""
        beat_s = min(BEAT_S, self._manager.watchdog_s / 4) if self._manager.watchdog_s else BEAT_S
        server = None
        if self._metrics_port:
            # Loaded where it is wanted: a server takes memory that an agent seldom needs.
            from aishark_panel.agent.metrics import MetricsServer

            server = MetricsServer(self._metrics_port, lambda: self.status)
        try:
            self._manager.ready()
            while True:
                self.beat(agent)
                await asyncio.sleep(beat_s)
        finally:
            if server:
                server.close()

    def beat(self, agent: Reports) -> None:
        """Look at the agent now and tell of it."""
        now_s = self._clock()
        moved = agent.turns != self._turns
        if moved:
            self._turns, self._moved_s = agent.turns, now_s
            self._manager.alive()
        report = agent.report()
        if now_s - self._moved_s > HUNG_S:
            still_s = now_s - self._moved_s
            reason = f"The capture thread has not moved for {still_s:.0f} s."
            report = msgspec.structs.replace(report, state="hung", reason=reason)
        self._tell(report, now_s)

    def compiling(self, what: str) -> None:
        """The start takes longer, because machine code is made; '' once it is there."""
        self._manager.starting(_COMPILING_S)
        if what:
            self._manager.status(what)
            log.log(logging.DEBUG if self._compiling else logging.INFO, "%s", what)
        self._compiling = bool(what)

    def ended(self) -> None:
        """The agent ended as it was to; nothing is left of its status."""
        self._manager.stopping()
        if self._file:
            with contextlib.suppress(OSError):
                self._file.remove()

    def failed(self, reason: str) -> None:
        """The agent ended for a reason that somebody should know; that is what its status says from now on."""
        self._manager.stopping()
        self._manager.status(f"ended: {reason}")
        link = msgspec.structs.replace(self.status.agent.hub, connected=False)
        report = msgspec.structs.replace(self.status.agent, state="ended", reason=reason, hub=link)
        self.status = msgspec.structs.replace(self.status, agent=report)
        self._write()

    def _tell(self, report: Report, now_s: float) -> None:
        before = self.status.agent
        captured, delivered = self._rates(report, now_s)
        self.status = msgspec.structs.replace(
            self.status, agent=report, captured_per_s=captured, delivered_per_s=delivered
        )
        self._write()
        link = report.hub
        hub = f"connected to {link.url}" if link.connected else f"not connected to {link.url}: {link.reason}"
        on = ", ".join(each.name for each in report.interfaces) if report.state == "capturing" else ""
        state = ": ".join(filter(None, (f"{report.state} on {on}" if on else report.state, report.reason)))
        self._manager.status(f"{state}; {hub}")
        if (before.state, before.reason) != (report.state, report.reason):
            level = logging.INFO if link.connected or report.state != "waiting" else logging.DEBUG  # what for, see hub
            log.log(level, "%s", state, extra={"state": report.state, "reason": report.reason, "run": report.run})
        if (before.hub.connected, before.hub.reason) != (link.connected, link.reason):
            log.info("%s", hub, extra={"hub": link.url, "session": link.session})

    def _rates(self, report: Report, now_s: float) -> tuple[float, float]:
        """Packets captured and delivered per second lately."""
        counters = report.counters
        self._samples.append((now_s, counters.get("captured", 0), counters.get("delivered", 0)))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - _RATE_SPAN_S:
            self._samples.popleft()
        then_s, captured, delivered = self._samples[0]
        if now_s <= then_s:
            return 0.0, 0.0
        _, captured_now, delivered_now = self._samples[-1]
        span_s = now_s - then_s
        return (captured_now - captured) / span_s, (delivered_now - delivered) / span_s

    def _write(self) -> None:
        self.status = msgspec.structs.replace(self.status, written_ns=time.time_ns())
        if self._file is None:
            return
        try:
            self._file.write(self.status)
            self._writable = True
        except OSError as error:
            if self._writable:
                log.warning("the status cannot be written to %s: %s", self._file.path, error.strerror)
            self._writable = False
