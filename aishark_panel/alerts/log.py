"""The alerts of a session: what the engine says, kept for those who ask and handed to those who are to be told.

An *alert* is one key of one rule from the moment it meets the condition until it no longer does. The newest are kept;
how many were let go is counted. Readers ask for what changed since their cursor. Packets come in by one thread at a
time; all else may be called from others meanwhile.

To look at a handful of packets costs the rules as much as to look at thousands. So packets wait for company, until
there are enough or somebody calls `settle`, which is to happen a few times a second.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from aishark_panel.alerts.engine import AlertEvent, Engine, RuleStatus
from aishark_panel.alerts.rule import Rule, fill_template
from aishark_panel.query.names import Field
from aishark_panel.query.rows import CHUNK_ROWS
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.schema import Kind

__all__ = ["MAX_ALERTS", "AlertLog", "Deliveries", "describe"]

MAX_ALERTS: Final = 1_000
_MAX_WAITING: Final = 1_000
_ENOUGH_ROWS: Final = CHUNK_ROWS
_QUIET_NS: Final = 2 * 10**9
"""How long nothing must come before time goes on without packets: longer than a batch may be on its way."""


@dataclass(slots=True)
class Deliveries:
    """What became of the messages to a webhook."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0
    """not tried, because too many waited"""
    reason: str = ""
    """why the last one failed"""


class AlertLog:
    """Alerts of one session, newest MAX_ALERTS."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self._engine = Engine(rules)
        self._waiting: tuple[Packets, int, int, Sequence[Interface]] | None = None
        """rows of one block that the rules have not seen yet"""
        self._lock = threading.Lock()
        self._alerts: dict[int, dict[str, Any]] = {}
        """by number, oldest first"""
        self._open: dict[tuple[str, tuple[Any, ...]], dict[str, Any]] = {}
        """those not resolved, by rule and key"""
        self._raised = 0
        self._changes = 0
        self._forgotten = 0
        self._told: deque[dict[str, Any]] = deque()
        self._quiet_since_s: float | None = None
        self._taken = 0
        self._taken_before = 0
        self.deliveries = Deliveries()

    def take(self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> None:
        """Rows [start, stop) of a block came in. The block must keep them until they are settled."""
        self._taken += stop - start
        if self._waiting:
            block, first, end, _ = self._waiting
            if block is packets and end == start:
                start = first
            else:
                self.settle()
        self._waiting = (packets, start, stop, interfaces)
        if stop - start >= _ENOUGH_ROWS:
            self.settle()

    def settle(self) -> None:
        """Let the rules see what came in."""
        if self._waiting:
            waiting, self._waiting = self._waiting, None
            self._note(self._engine.take(*waiting))

    def tick(self, now_s: float) -> None:
        """Called a few times a second of wall time, while packets come as they are captured: when they pause, packet
        time goes on without them."""
        self.settle()
        if self._taken != self._taken_before or self._quiet_since_s is None:
            self._taken_before, self._quiet_since_s = self._taken, now_s
            return
        quiet_ns = round((now_s - self._quiet_since_s) * 1e9) - _QUIET_NS
        if quiet_ns > 0:
            self._note(self._engine.advance(self._engine.newest_ns + quiet_ns))

    def finish(self) -> None:
        """No more packets of this capture will come; what is open is resolved."""
        self.settle()
        self._note(self._engine.finish())

    def clear(self) -> None:
        """Forget all alerts; the numbering goes on."""
        self.finish()
        with self._lock:
            self._alerts.clear()

    def _note(self, events: Sequence[AlertEvent]) -> None:
        if not events:
            return
        with self._lock:
            for event in events:
                alert = self._update(event)
                if event.fired_ns:
                    if len(self._told) == _MAX_WAITING:
                        self._told.popleft()
                        self.deliveries.dropped += 1
                    self._told.append(dict(alert))

    def _update(self, event: AlertEvent) -> dict[str, Any]:
        self._changes += 1
        place = (event.rule.name, tuple(event.key.values()))
        alert = self._open.get(place)
        if alert is None:
            self._raised += 1
            alert = self._open[place] = {"number": self._raised, **describe(event)}
            self._alerts[self._raised] = alert
            if len(self._alerts) > MAX_ALERTS:
                del self._alerts[next(iter(self._alerts))]
                self._forgotten += 1
        alert["changed"] = self._changes
        if event.state == "resolved":
            del self._open[place]
            alert["state"], alert["resolved_ns"] = event.state, event.at_ns
        else:
            alert.update(describe(event))
        return alert

    def since(self, cursor: int) -> dict[str, Any]:
        """What docs/protocol.md says of `alerts`: those that changed after the cursor, in the order they began."""
        with self._lock:
            return {
                "alerts": [dict(alert) for alert in self._alerts.values() if alert["changed"] > cursor],
                "next": self._changes,
                "rules": [_status(status) for status in self._engine.status()],
                **self._counts(),
            }

    def counts(self) -> dict[str, Any]:
        """How many alerts there are and were, and what became of the messages about them."""
        with self._lock:
            return self._counts()

    def _counts(self) -> dict[str, Any]:
        states = [alert["state"] for alert in self._open.values()]
        return {
            "firing": states.count("firing"),
            "pending": states.count("pending"),
            "raised": self._raised,
            "forgotten": self._forgotten,
            "deliveries": asdict(self.deliveries),
        }

    def take_news(self) -> list[dict[str, Any]]:
        """Alerts as they were when they began to fire or were resolved, each once; the newest of them if nobody asked
        for long."""
        with self._lock:
            news, self._told = list(self._told), deque()
            return news


def describe(event: AlertEvent) -> dict[str, Any]:
    """An alert as JSON sees it; times in ns since 1970 UTC, 0 where there is none yet."""
    rule = event.rule
    words = {**event.key, **event.values}
    return {
        "rule": rule.name,
        "severity": rule.severity,
        "state": event.state,
        "key": event.key,
        "values": event.values,
        "window_start_ns": event.window_start_ns,
        "fired_ns": event.fired_ns,
        "resolved_ns": event.at_ns if event.state == "resolved" else 0,
        "annotations": {name: fill_template(template, words) for name, template in rule.annotations.items()},
        "labels": dict(rule.labels),
        "filter": _filter(rule, event.key),
    }


def _filter(rule: Rule, key: dict[str, Any]) -> str:
    """The display filter that selects the alert's packets."""
    conditions = [f"({rule.where.text})"] if rule.where.text.strip() else []
    conditions += [f"{field.name} == {_literal(field, key[field.name])}" for field in rule.by]
    return " and ".join(conditions)


def _literal(field: Field, value: Any) -> str:
    if field.kind in (Kind.INTEGER, Kind.FLAGS, Kind.BOOLEAN):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _status(status: RuleStatus) -> dict[str, Any]:
    rule = status.rule
    return {
        "name": rule.name,
        "description": rule.description,
        "severity": rule.severity,
        "state": status.state,
        "reason": status.problem,
        "keys": status.keys,
        "missed_keys": status.missed_keys,
        "missed_values": status.missed_values,
        "late": status.late,
    }
