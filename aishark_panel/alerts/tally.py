"""What rules would have raised over some packets: the alerts, and for each rule how often, for whom, and how noisy.

A rule is *quiet* with at most QUIET_PER_HOUR alerts an hour (or very few in all), *noisy* with more than
NOISY_PER_HOUR, or when something of it fires more than half of the time, and *fair* in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.engine import AlertEvent, Engine, RuleStatus
from aishark_panel.alerts.kept import Alert
from aishark_panel.alerts.log import describe
from aishark_panel.alerts.rule import Rule
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["MAX_LISTED", "Noise", "Tally", "about_rule"]

MAX_LISTED: Final = 500
"""Alerts that are listed one by one, the first ones."""
QUIET_PER_HOUR: Final = 1.0
NOISY_PER_HOUR: Final = 12.0
_FEW: Final = 3
_SHORTEST_S: Final = 60.0
"""A rate is of no shorter time than this."""
_MAX_KEYS: Final = 100_000

Noise = Literal["quiet", "fair", "noisy"]


@dataclass(slots=True)
class _Line:
    """What is counted of one rule."""

    alerts: int = 0
    keys: set[int] = field(default_factory=set)
    """hashes of the keys that fired, so many at most"""
    open: dict[tuple[Any, ...], Alert | None] = field(default_factory=dict)
    """keys that fire, and what is listed of each"""
    since_ns: int = 0
    """when the first of them began"""
    firing_ns: int = 0


class Tally:
    """Rules, and what they say of the packets that are taken."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._engine = Engine(rules)
        self._lines = {rule.name: _Line() for rule in rules}
        self.alerts: list[Alert] = []
        """the first MAX_LISTED, in the order in which they fired"""
        self.more = 0
        """alerts beyond these"""
        self.packets = 0
        self.first_ts = self.last_ts = 0
        """earliest and latest time of a packet, ns; 0 before the first"""

    def take(self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> list[AlertEvent]:
        """Rows [start, stop) of a block come next; what the rules say of them."""
        if start == stop:
            return []
        times = packets.columns.ts[start:stop]
        self.packets += stop - start
        self._span(times)
        return self._noted(self._engine.take(packets, start, stop, interfaces))

    def _span(self, times: npt.NDArray[np.int64]) -> None:
        first, last = int(times.min()), int(times.max())
        self.first_ts = min(self.first_ts, first) if self.first_ts else first
        self.last_ts = max(self.last_ts, last)

    def finish(self) -> list[AlertEvent]:
        """No packets will follow: what is open ends."""
        return self._noted(self._engine.finish())

    def _noted(self, events: list[AlertEvent]) -> list[AlertEvent]:
        for event in events:
            line, key = self._lines[event.rule.name], tuple(event.key.values())
            if event.state == "firing":
                self._begin(line, key, event)
            elif event.state == "resolved" and key in line.open:
                alert = line.open.pop(key)
                if alert is not None:
                    alert["state"], alert["resolved_ns"] = "resolved", event.at_ns
                if not line.open:
                    line.firing_ns += event.at_ns - line.since_ns
        return events

    def _begin(self, line: _Line, key: tuple[Any, ...], event: AlertEvent) -> None:
        alert = None
        if len(self.alerts) < MAX_LISTED:
            alert = describe(event)
            alert["number"] = len(self.alerts) + 1
            self.alerts.append(alert)
        else:
            self.more += 1
        line.alerts += 1
        if len(line.keys) < _MAX_KEYS:
            line.keys.add(hash(key))
        if not line.open:
            line.since_ns = event.at_ns
        line.open[key] = alert

    @property
    def span_ns(self) -> int:
        """From the first packet to the last."""
        return self.last_ts - self.first_ts

    def status(self) -> list[RuleStatus]:
        """How each rule fared."""
        return self._engine.status()

    def rules(self) -> list[dict[str, Any]]:
        """Of each rule: rule (its name), alerts, keys, firing_s (how long something of it fired), share_firing (of the
        time), per_hour, noise, problem (what keeps it from seeing everything)."""
        return [self._about(status) for status in self.status()]

    def _about(self, status: RuleStatus) -> dict[str, Any]:
        line = self._lines[status.rule.name]
        return about_rule(
            status.rule.name, line.alerts, len(line.keys), line.firing_ns / 1e9, self.span_ns / 1e9, status.problem
        )


def about_rule(name: str, alerts: int, keys: int, firing_s: float, span_s: float, problem: str) -> dict[str, Any]:
    """What `Tally.rules` tells of a rule that watched for a time."""
    per_hour = alerts * 3_600 / max(span_s, _SHORTEST_S)
    share = min(1.0, firing_s / max(span_s, _SHORTEST_S))
    return {
        "rule": name,
        "alerts": alerts,
        "keys": keys,
        "firing_s": firing_s,
        "share_firing": share,
        "per_hour": per_hour,
        "noise": _noise(alerts, per_hour, share),
        "problem": problem,
    }


def _noise(alerts: int, per_hour: float, share: float) -> Noise:
    if alerts <= _FEW or per_hour <= QUIET_PER_HOUR:
        return "quiet"
    return "noisy" if per_hour > NOISY_PER_HOUR or share > 0.5 else "fair"
