"""The alerts of a session: what the engine says, kept for those who ask and handed to those who are to be told.

An *alert* is one key of one rule from the moment it meets the condition until it no longer does. Those that are open
and the newest are kept; how many were let go is counted. Readers ask for what changed since their cursor. Packets come
in by one thread at a time; all else may be called from others meanwhile.

To look at a handful of packets costs the rules as much as to look at thousands. So packets wait for company, until
there are enough or somebody calls `settle`, which is to happen a few times a second.

The log may begin with what an earlier one had (alerts/kept.py). Of an alert that was open then the rules know nothing
any more: where they come across its key it goes on, and nobody is told again; where they do not for as long as that
takes them, it is resolved (alerts/earlier.py).
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from aishark_panel.alerts.earlier import Earlier, Place
from aishark_panel.alerts.engine import AlertEvent, Engine, RuleStatus
from aishark_panel.alerts.kept import Alert, Facts, KeptAlerts
from aishark_panel.alerts.rule import Rule, fill_template
from aishark_panel.alerts.silences import Silences
from aishark_panel.errors import NotFoundError
from aishark_panel.query.literals import quote
from aishark_panel.query.names import Field
from aishark_panel.query.rows import CHUNK_ROWS
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.printable import printable
from aishark_panel.wire.schema import Kind

__all__ = ["MAX_ALERTS", "MAX_EVIDENCE_WAITING", "AlertLog", "Deliveries", "describe", "evidence_state"]

MAX_ALERTS: Final = 1_000
MAX_EVIDENCE_WAITING: Final = 64
"""Alerts of which evidence is still to be made; of those that fire beyond, none is."""
_MAX_WAITING: Final = 10_000
"""News that nobody took yet, as many as a rule has keys."""
_ENOUGH_ROWS: Final = CHUNK_ROWS
_QUIET_NS: Final = 2 * 10**9
"""How long nothing must come before time goes on without packets: longer than a batch may be on its way."""
_UNSEEN_CHANGES: Final = 2**20
"""More changes than an earlier log can have told of without that they were kept."""


@dataclass(slots=True)
class Deliveries:
    """What became of the alerts that channels were told of, each counted for each channel."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0
    """not tried, because too many waited"""
    reason: str = ""
    """why the last one failed"""


class AlertLog:
    """Alerts of one session: MAX_ALERTS, those that are open before the newest. `now_ns` is the clock (Unix time) that
    silences go by."""

    def __init__(self, rules: Sequence[Rule] = (), *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._engine = Engine(rules)
        self._now_ns = now_ns
        self._waiting: tuple[Packets, int, int, Sequence[Interface]] | None = None
        """rows of one block that the rules have not seen yet"""
        self._lock = threading.Lock()
        self._alerts: dict[int, Alert] = {}
        """by number, oldest first; what is in an alert is replaced, never changed"""
        self._resolved: dict[int, None] = {}
        """numbers of those that are resolved, in that order: they make room for new ones"""
        self._open: dict[Place, Alert] = {}
        """those not resolved"""
        self._earlier = Earlier()
        self._raised = 0
        self._changes = 0
        self._forgotten = 0
        self._told: deque[Alert] = deque()
        self._evidence_wanted: deque[tuple[int, int]] = deque()
        """number of each alert, and since when (Unix time)"""
        self._quiet_since_s: float | None = None
        self._taken = 0
        self._taken_before = 0
        self.silences = Silences()
        self.deliveries = Deliveries()
        self.fired: Counter[tuple[str, str]] = Counter()
        """alerts that began to fire, by rule and severity, since this log began; of the rules that there are"""
        self.evidence_skipped = 0
        """alerts of which no evidence was made because too many fired at once"""
        self.evaluation_s = 0.0
        """how long the rules have looked at packets"""

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
            before_ns = self._engine.newest_ns
            self._evaluate(lambda: self._engine.take(*waiting))
            newest_ns = self._engine.newest_ns
            with self._lock:
                for place, event in self._earlier.gone_on(newest_ns, is_anew=newest_ns < before_ns):
                    self._begin(place, event)
            self._give_up_earlier(0)

    def tick(self, now_s: float) -> None:
        """Called a few times a second of wall time, while packets come as they are captured: when they pause, packet
        time goes on without them."""
        self.settle()
        if self._taken != self._taken_before or self._quiet_since_s is None:
            self._taken_before, self._quiet_since_s = self._taken, now_s
            return
        quiet_ns = round((now_s - self._quiet_since_s) * 1e9) - _QUIET_NS
        if quiet_ns > 0:
            self._evaluate(lambda: self._engine.advance(self._engine.newest_ns + quiet_ns))
            self._give_up_earlier(quiet_ns)

    def finish(self) -> None:
        """No more packets of this capture will come; what is open is resolved."""
        self.settle()
        newest_ns = self._engine.newest_ns
        self._evaluate(self._engine.finish)
        with self._lock:
            self._earlier.finish()
            for place in self._earlier.open():
                self._resolve_earlier(place, newest_ns)

    def clear(self) -> None:
        """Forget all alerts; the numbering goes on."""
        self.finish()
        with self._lock:
            self._alerts.clear()
            self._resolved.clear()
            self._changes += 1

    def replace(self, rules: Sequence[Rule]) -> None:
        """Watch by these rules from now on; those that are the same as before go on as they are. Called by the thread
        that packets come in by."""
        self.settle()
        self._evaluate(lambda: self._engine.replace(rules))
        names = {rule.name for rule in rules}
        with self._lock:
            self.fired = Counter({place: count for place, count in self.fired.items() if place[0] in names})
            for place in self._earlier.open():
                if place[0] not in names:
                    self._resolve_earlier(place, self._engine.newest_ns)
            self._changes += 1

    def _evaluate(self, step: Callable[[], list[AlertEvent]]) -> None:
        began_s = time.perf_counter()
        events = step()
        self.evaluation_s += time.perf_counter() - began_s
        for event in events:
            with self._lock:  # for each by itself: in a storm others have their turn in between
                self._note(event)

    def _note(self, event: AlertEvent) -> None:
        place = (event.rule.name, tuple(event.key.values()))
        alert = self._open.get(place)
        if alert is None:
            if not self._earlier.withholds(place, event) and event.state != "resolved":
                self._begin(place, event)
        elif self._earlier.precedes(place, event):
            return
        elif event.state == "resolved":
            self._resolve(place, alert, event.at_ns)
        elif not alert["fired_ns"]:
            alert |= _facts(event)  # type: ignore[typeddict-item]  # of what an alert has, all that the rules say
            self._go_on(alert)

    def _begin(self, place: Place, event: AlertEvent) -> None:
        self._raised += 1
        alert = describe(event)
        alert["number"] = self._raised
        self._open[place] = self._alerts[self._raised] = alert
        self._forget_oldest()
        self._go_on(alert)

    def _go_on(self, alert: Alert) -> None:
        """It is pending, or begins to fire."""
        alert["changed"] = self._changed()
        if alert["state"] == "firing":
            self._fire(alert)

    def _forget_oldest(self) -> None:
        while len(self._alerts) > MAX_ALERTS:
            number = next(iter(self._resolved or self._alerts))
            self._resolved.pop(number, None)
            del self._alerts[number]
            self._forgotten += 1

    def _fire(self, alert: Alert) -> None:
        self.fired[alert["rule"], alert["severity"]] += 1
        alert["silenced"] = self.silences.cover(alert, self._now_ns())
        if len(self._evidence_wanted) < MAX_EVIDENCE_WAITING:
            self._evidence_wanted.append((alert["number"], self._now_ns()))
            alert["evidence"] = evidence_state("waiting")
        else:
            self.evidence_skipped += 1
            reason = f"More than {MAX_EVIDENCE_WAITING} alerts fired at once; this one's packets were not saved."
            alert["evidence"] = evidence_state("none", reason)
        self._tell(alert)

    def _resolve(self, place: Place, alert: Alert, at_ns: int) -> None:
        del self._open[place]
        alert["state"], alert["resolved_ns"], alert["changed"] = "resolved", at_ns, self._changed()
        if alert["number"] in self._alerts:
            self._resolved[alert["number"]] = None
        if alert["fired_ns"]:
            self._tell(alert)

    def _tell(self, alert: Alert) -> None:
        if alert["silenced"]:
            return
        if len(self._told) == _MAX_WAITING:
            self._told.popleft()
            self.deliveries.dropped += 1
        self._told.append(alert.copy())

    def _changed(self) -> int:
        self._changes += 1
        return self._changes

    def _give_up_earlier(self, quiet_ns: int) -> None:
        newest_ns = self._engine.newest_ns
        with self._lock:
            for place in self._earlier.given_up(self._rules_by_name, newest_ns, quiet_ns):
                self._resolve_earlier(place, newest_ns and newest_ns + quiet_ns)

    def _rules_by_name(self) -> dict[str, Rule]:
        return {status.rule.name: status.rule for status in self._engine.status()}

    def _resolve_earlier(self, place: Place, at_ns: int) -> None:
        self._resolve(place, self._open[place], self._earlier.end(place, at_ns))

    def since(self, cursor: int, *, archived: bool = False) -> dict[str, Any]:
        """What docs/protocol.md says of `alerts`: those that changed after the cursor, in the order they began.

        Archived ones are left out unless asked for; but who has been told of an alert before (the cursor is not 0) is
        told that it was archived."""
        with self._lock:
            return {
                "alerts": [
                    alert.copy()
                    for alert in self._alerts.values()
                    if alert["changed"] > cursor and (archived or cursor or not alert["archived"])
                ],
                "next": self._changes,
                "rules": [status.told() for status in self._engine.status()],
                **self._counts(),
            }

    def alert(self, number: int) -> Alert:
        """The alert of that number; NotFoundError if there is none, or no more."""
        with self._lock:
            return self._get(number).copy()

    def _get(self, number: int) -> Alert:
        try:
            return self._alerts[number]
        except KeyError:
            raise NotFoundError(f"no alert {number}; {MAX_ALERTS:,} of a session are kept") from None

    def mark(self, number: int, by: str, *, acknowledged: bool | None = None, archived: bool | None = None) -> Alert:
        """Somebody acknowledges an alert or archives it, or takes that back (None: as it is); the alert, or
        NotFoundError."""
        with self._lock:
            alert = self._get(number)
            if acknowledged is not None and acknowledged != (alert["acknowledged"] is not None):
                alert["acknowledged"] = {"by": by, "at_ns": self._now_ns()} if acknowledged else None
                alert["changed"] = self._changed()
            if archived is not None and archived != alert["archived"]:
                alert["archived"], alert["changed"] = archived, self._changed()
            return alert.copy()

    def next_evidence(self) -> tuple[Alert, int] | None:
        """The alert whose evidence is to be made next, until `note_evidence`, and when it fired (Unix time)."""
        with self._lock:
            while self._evidence_wanted:
                number, since_ns = self._evidence_wanted[0]
                if alert := self._alerts.get(number):
                    return alert.copy(), since_ns
                self._evidence_wanted.popleft()  # it was forgotten, or cleared
            return None

    def note_evidence(self, number: int, evidence: dict[str, Any]) -> None:
        """What became of an alert's evidence (`evidence_state`); nothing if the alert is not kept any more."""
        with self._lock:
            if self._evidence_wanted and self._evidence_wanted[0][0] == number:
                self._evidence_wanted.popleft()
            if alert := self._alerts.get(number):
                alert["evidence"], alert["changed"] = evidence, self._changed()

    @property
    def changes(self) -> int:
        """How many changes there were: what `since` calls next."""
        return self._changes

    def has(self, number: int) -> bool:
        """Whether the alert of that number is kept."""
        return number in self._alerts

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

    def firing(self) -> Counter[tuple[str, str]]:
        """How many alerts fire, by rule and severity."""
        with self._lock:
            return Counter((a["rule"], a["severity"]) for a in self._open.values() if a["state"] == "firing")

    def rules(self) -> list[RuleStatus]:
        """How each rule fares."""
        return self._engine.status()

    def take_news(self) -> list[Alert]:
        """Alerts as they were when they began to fire or were resolved, each once; the newest of them if nobody asked
        for long."""
        with self._lock:
            news, self._told = list(self._told), deque()
            return news

    def to_keep(self, cursor: int) -> KeptAlerts:
        """What changed after the cursor, for a log that is to go on where this one ends."""
        with self._lock:
            return KeptAlerts(
                changes=self._changes,
                raised=self._raised,
                forgotten=self._forgotten,
                numbers=list(self._alerts),
                alerts=[alert.copy() for alert in self._alerts.values() if alert["changed"] > cursor],
                silences=self.silences.kept,
            )

    def restore(self, kept: KeptAlerts) -> None:
        """Begin with what an earlier log had. All of it counts as changed: who followed that one may have been told
        more of it than was kept."""
        with self._lock:
            self._changes = kept.changes + _UNSEEN_CHANGES
            self._raised, self._forgotten = kept.raised, kept.forgotten
            self.silences.kept = kept.silences
            for alert in kept.alerts:
                alert["changed"] = self._changes
                self._alerts[alert["number"]] = alert
                place = (alert["rule"], tuple(alert["key"].values()))
                self._earlier.add(place, alert)
                if alert["state"] == "resolved":
                    self._resolved[alert["number"]] = None
                else:
                    self._open[place] = alert
                if alert["evidence"] and alert["evidence"]["state"] == "waiting":
                    self._evidence_wanted.append((alert["number"], 0))
            self._forget_oldest()


def describe(event: AlertEvent) -> Alert:
    """An alert as JSON sees it, which nobody has touched yet; times in ns since 1970 UTC, 0 where there is none."""
    return {
        **_facts(event),
        "number": 0,
        "changed": 0,
        "acknowledged": None,
        "archived": False,
        "silenced": False,
        "evidence": None,
    }


def _facts(event: AlertEvent) -> Facts:
    """What the rules say of an alert."""
    rule = event.rule
    key = {name: printable(value) if isinstance(value, str) else value for name, value in event.key.items()}
    words = {**key, **event.values}
    return {
        "rule": rule.name,
        "description": rule.description,
        "severity": rule.severity,
        "state": event.state,
        "key": event.key,
        "values": event.values,
        "window_start_ns": event.window_start_ns,
        "fired_ns": event.fired_ns,
        "resolved_ns": event.at_ns if event.state == "resolved" else 0,
        "annotations": {name: fill_template(template, words) for name, template in rule.annotations.items()},
        "labels": dict(rule.labels),
        "runbook": rule.runbook,
        "notify": None if rule.notify is None else list(rule.notify),
        "filter": _filter(rule, event.key),
    }


def evidence_state(
    state: str, reason: str = "", *, packets: int = 0, size_bytes: int = 0, complete: bool = False
) -> dict[str, Any]:
    """What an alert tells of its evidence: waiting, saved, failed, or none."""
    return {"state": state, "packets": packets, "bytes": size_bytes, "complete": complete, "reason": reason}


def _filter(rule: Rule, key: dict[str, Any]) -> str:
    """The display filter that selects the alert's packets."""
    conditions = [f"({rule.where.text})"] if rule.where.text.strip() else []
    conditions += [f"{field.name} == {_literal(field, key[field.name])}" for field in rule.by]
    return " and ".join(conditions)


def _literal(field: Field, value: Any) -> str:
    if field.kind in (Kind.INTEGER, Kind.FLAGS, Kind.BOOLEAN):
        return str(value)
    return quote(str(value))
