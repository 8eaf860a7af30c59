"""Runs one agent: a capture thread (capturethread.py) fills the outbox, an event loop empties it.

An agent that is told to stop takes what the source still holds, and keeps it in its spool; without one it gives the hub
DRAIN_S to take it.
"""

import asyncio
import logging
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from aishark_panel import __version__
from aishark_panel.agent.answers import Answers
from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.capturethread import CaptureThread
from aishark_panel.agent.connection import Connection, LinkOptions
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.intime import in_time
from aishark_panel.agent.outbox import DEFAULT_OUTBOX_BYTES, Outbox
from aishark_panel.agent.run import Run, open_run
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Source
from aishark_panel.agent.spool import DEFAULT_SPOOL_BYTES
from aishark_panel.agent.status import Report
from aishark_panel.wire.messages import PROTOCOL_VERSION, CodecName, End, Hello

__all__ = ["Agent", "AgentConfig"]

log = logging.getLogger(__name__)

DRAIN_S: Final = 5.0
"""How long an agent that is told to stop goes on sending what it has no spool for."""
_JOIN_S: Final = 5.0
"""For the capture thread to take what the source still holds."""
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
        self._run = open_run(config.spool, config.hub, config.session, config.spool_bytes) if config.spool else Run()
        self._down_until_ns = time.time_ns() if self._run.goes_on else 0
        self._outbox = Outbox(
            config.codec, self._run, limit_bytes=config.outbox_bytes, compress_from_rows=_COMPRESS_FROM_ROWS
        )
        try:
            self._connection = Connection(
                config.hub,
                config.token,
                self._outbox,
                make_hello=self._hello,
                counters=self.counters,
                on_order=lambda order: self._capture.order(order),
                before_batch=self._announce,
                on_inquiry=lambda inquiry: self._answers.ask(inquiry),
                options=config.link,
                known=self._run.goes_on,
            )
            self._capture: CaptureThread = CaptureThread(
                make_source,
                self._run,
                self._outbox,
                scope=config.scope,
                bounds=config.bounds,
                limits=config.limits,
                thins=config.on_overload == "sample",
                on_batch=self._connection.batch_added,
                on_state=self._connection.send,
            )
        except BaseException:
            self._run.close()
            raise
        self._answers: Answers = Answers(
            config.scope, config.bounds, lambda: self._capture.state.scope, open_trial, send=self._connection.send
        )
        self._told_interfaces = 0
        """how many the hub knows"""
        self._said_end = False

    def counters(self) -> dict[str, int]:
        """Totals of this run in packets; docs/protocol.md names them."""
        return self._capture.counters()

    @property
    def turns(self) -> int:
        """How often the capture thread went round."""
        return self._capture.turns

    def report(self) -> Report:
        """How this agent is now. Safe from any thread."""
        now = self._capture.state
        if now.capturing:
            state, reason = "interrupted" if now.interrupted else "capturing", now.condition
        elif now.paused:
            state, reason = "paused", now.paused
        else:
            state, reason = "waiting", now.refused.reason if now.refused else "The hub has not asked for packets yet."
        return Report(
            state=state,
            reason=reason,
            run=self._run.id,
            source=self._capture.kind,
            interfaces=tuple(i for i in now.interfaces if i.captured),
            sampling=now.scope.sampling,
            max_packets_per_second=now.scope.max_packets_per_second,
            hub=self._connection.report(),
            refused=now.refused,
            counters=self.counters(),
            outbox_bytes=self._outbox.size_bytes,
        )

    async def run(self) -> str:
        """Feed the hub until the source is exhausted and all is delivered, or until cancelled; returns why it ended.

        Raises what Connection.run raises, and CaptureError when the source fails.
        """
        spooler = threading.Thread(target=self._outbox.keep_spooling, name="spool", daemon=True)
        link = asyncio.create_task(self._connection.run(), name="connection")
        if self._run.spool:
            spooler.start()
        captured = self._capture.start()
        try:
            await self._first_of(link, captured)
            failure = captured.exception()
            await self._first_of(link, asyncio.create_task(self._connection.drained(), name="drain"))
            names, warning = self._capture.what_ended()
            reason = str(failure) if failure else f"{names}: all packets sent" + (f"; {warning}" if warning else "")
            self._say_end(reason)
            if failure:
                raise failure
            return reason
        finally:
            self._capture.stop()
            await self._answers.close()
            await asyncio.to_thread(self._capture.join, _JOIN_S)
            if self._run.spool:
                self._outbox.stop_spooling()
                await in_time(spooler.join)
            await self._leave(link)
            self._capture.close()
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
                self._connection.send(self._capture.state.message(reason))
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
        now = self._capture.state
        self._told_interfaces = len(now.interfaces)
        return Hello(
            protocol=PROTOCOL_VERSION,
            agent=self._config.name,
            run=self._run.id,
            version=__version__,
            host=platform.node(),
            os=f"{platform.system()} {platform.release()}",
            source=self._capture.kind,
            session=self._config.session,
            interfaces=now.interfaces,
            capturing=now.capturing,
            first_sequence=self._outbox.first_sequence,
            sampling=now.sampling,
            sampling_by=now.scope.sampling_by,
            payload=now.scope.payload,
            max_packets_per_second=now.scope.max_packets_per_second,
            counters=self.counters(),
            down_since_ns=self._run.down_since_ns,
            down_until_ns=self._down_until_ns,
        )

    def _announce(self) -> None:
        """Before a batch is sent the hub must know of its interfaces; a source may have found more meanwhile."""
        now = self._capture.state
        if len(now.interfaces) > self._told_interfaces:
            self._told_interfaces = len(now.interfaces)
            self._connection.send(now.message(now.condition))
