"""Notification: channels are told of alerts that begin to fire or are resolved.

Alerts of one rule in one session are a group: a channel waits a little for more of them, says all in one message, and
says nothing more about that group for a while. So a storm is a message, however many keys it has. What fails is tried
again; what waits is bounded; what becomes of each alert is counted; and nobody waits for any of it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aishark_panel.alerts.channels import Channel
from aishark_panel.alerts.letters import MAX_NAMED, Letter
from aishark_panel.alerts.log import Deliveries
from aishark_panel.alerts.senders import Sender, sender_of

__all__ = ["MAX_GROUPS", "Notifier"]

log = logging.getLogger(__name__)

MAX_GROUPS: Final = 1_000
"""Groups that a channel has in hand; those beyond are dropped."""
RETRY_DELAYS_S: Final = (0.5, 2.0, 8.0, 30.0)
_BURST: Final = 10
"""Messages that a channel may send at once, however few an hour it takes."""


@dataclass(slots=True)
class _Group:
    """Alerts of one rule and session."""

    due_s: float
    alerts: list[Mapping[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"firing": 0, "resolved": 0})
    deliveries: Deliveries = field(default_factory=Deliveries)
    again_s: float = 0.0
    """when the next message may go"""

    @property
    def waiting(self) -> int:
        return sum(self.counts.values())

    def add(self, alert: Mapping[str, Any], deliveries: Deliveries) -> None:
        if len(self.alerts) < MAX_NAMED:
            self.alerts.append(alert)
        self.counts["resolved" if alert["state"] == "resolved" else "firing"] += 1
        self.deliveries = deliveries

    def take(self) -> Letter:
        letter = Letter(tuple(self.alerts), self.counts["firing"], self.counts["resolved"])
        self.alerts, self.counts = [], {"firing": 0, "resolved": 0}
        return letter


class Notifier:
    """Tells channels; made and used on one event loop."""

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError where the address of a channel is none."""
        self._desks = [_Desk(channel, sender_of(channel), retry_delays_s, clock) for channel in channels]

    def put(self, alert: Mapping[str, Any], deliveries: Deliveries) -> None:
        """An alert, with its `session`, began to fire or was resolved; `deliveries` counts what becomes of that."""
        for desk in self._desks:
            if desk.channel.takes(alert):
                desk.put(alert, deliveries)

    def status(self) -> list[dict[str, Any]]:
        """How each channel fares: docs/rest.md names the fields. Nothing in it is secret."""
        return [desk.status() for desk in self._desks]

    async def close(self) -> None:
        """Stop; what waits is not sent."""
        for desk in self._desks:
            await desk.close()


class _Desk:
    """One channel at work."""

    def __init__(
        self, channel: Channel, sender: Sender, retry_delays_s: Sequence[float], clock: Callable[[], float]
    ) -> None:
        self.channel = channel
        self._sender = sender
        self._retry_delays_s = retry_delays_s
        self._clock = clock
        self._groups: dict[tuple[str, str], _Group] = {}
        self._counts = Deliveries()
        self._wake = asyncio.Event()
        self._budget = float(_BURST)
        self._budget_s = clock()
        self._task = asyncio.create_task(self._work(), name=f"channel {channel.name}")

    def put(self, alert: Mapping[str, Any], deliveries: Deliveries) -> None:
        place = alert["session"]["id"], alert["rule"]
        group = self._groups.get(place)
        if group is None:
            self._forget_told()
            if len(self._groups) >= MAX_GROUPS:
                self._counts.dropped += 1
                deliveries.dropped += 1
                return
            group = self._groups[place] = _Group(self._clock() + self.channel.group_wait_s)
        elif not group.waiting:
            group.due_s = max(self._clock() + self.channel.group_wait_s, group.again_s)
        group.add(alert, deliveries)
        self._wake.set()

    def _forget_told(self) -> None:
        """Drop the groups of which nothing is left to say."""
        now_s = self._clock()
        over = [place for place, group in self._groups.items() if not group.waiting and now_s >= group.again_s]
        for place in over:
            del self._groups[place]

    def status(self) -> dict[str, Any]:
        counts = self._counts
        return {
            "name": self.channel.name,
            "kind": self._sender.kind,
            "severity": list(self.channel.severities),
            "sent": counts.sent,
            "failed": counts.failed,
            "dropped": counts.dropped,
            "waiting": sum(group.waiting for group in self._groups.values()),
            "reason": counts.reason,
        }

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._sender.close()

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            waiting = [group for group in self._groups.values() if group.waiting]
            first = min(waiting, key=lambda group: group.due_s, default=None)
            wait_s = None if first is None else max(first.due_s - self._clock(), self._pace_s())
            if first is None or wait_s is None or wait_s > 0:
                try:
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            self._budget -= 1
            letter = first.take()
            # Programs take alerts as they come, unless these are too many to be told one by one.
            is_over = self.channel.is_webhook and not letter.more
            first.again_s = self._clock() + (0 if is_over else self.channel.group_interval_s)
            await self._tell(letter, first.deliveries)

    def _pace_s(self) -> float:
        """How long until the channel may be told something."""
        now_s = self._clock()
        self._budget = min(_BURST, self._budget + (now_s - self._budget_s) * self.channel.max_per_hour / 3_600)
        self._budget_s = now_s
        return 0.0 if self._budget >= 1 else (1 - self._budget) * 3_600 / self.channel.max_per_hour

    async def _tell(self, letter: Letter, deliveries: Deliveries) -> None:
        reason = ""
        for delay_s in (0.0, *self._retry_delays_s):
            await asyncio.sleep(delay_s)
            try:
                reason, again = await self._sender.send(letter)
            except Exception as error:  # whatever a service's module does
                reason, again = f"it failed ({type(error).__name__})", True
                log.debug("channel %s", self.channel.name, exc_info=True)
            if not again or not reason:
                break
        count = letter.firing + letter.resolved
        for counts in (self._counts, deliveries):
            if reason:
                counts.failed += count
                counts.reason = reason
            else:
                counts.sent += count
        if reason:
            log.warning("channel %s: %s", self.channel.name, reason)
