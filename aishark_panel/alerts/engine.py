"""The engine: packets and time in, changes of alerts out.

A rule's *key* is one combination of values of the columns it groups by. Time runs in *buckets* of a tenth of the rule's
window. When a bucket closes, the window that ends with it is looked at (alerts/watch.py).

Buckets close by packet time (alerts/clock.py), so that packets of several agents may come out of order by LATENESS_NS;
later ones are counted and left out. So the same packets in the same order give the same alerts, live or from a file,
however they are cut into batches. `advance` moves the time when no packets come; `finish` is the end of all packets.

All rules look at the same rows together, so that what several ask for is worked out once; a rule that selects none of
them costs next to nothing.

A rule that breaks is switched off by itself, with the reason; the others go on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aishark_panel.alerts.clock import LATENESS_NS, MAX_TS, PacketClock
from aishark_panel.alerts.rule import MAX_OVER_NS, Rule
from aishark_panel.alerts.watch import AlertEvent, AlertState, RuleStatus, Watch
from aishark_panel.alerts.windows import MAX_KEYS
from aishark_panel.query.rows import CHUNK_ROWS, Rows
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["LATENESS_NS", "AlertEvent", "AlertState", "Engine", "RuleStatus"]


class Engine:
    """Watches packets by rules. Not thread-safe: one caller at a time."""

    def __init__(self, rules: Sequence[Rule] = (), *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._watches = [Watch(rule, max_keys) for rule in rules]
        self._clock = PacketClock()

    @property
    def newest_ns(self) -> int:
        """Time of the newest packet; 0 when there was none yet."""
        return self._clock.newest_ns

    def take(self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> list[AlertEvent]:
        """Rows [start, stop) of a block came in, in this order."""
        if not self._watches:
            return []
        events: list[AlertEvent] = []
        while start < stop:
            marks = self._clock.follow(packets.columns.ts[start : min(start + CHUNK_ROWS, stop)])
            if len(marks):
                rows = Rows(packets, start, start + len(marks), interfaces)
                events += self._in_order(watch.take(rows, marks) for watch in self._watches)
                start = rows.stop
            else:
                clock = self._clock
                events += self.finish()
                self._clock = clock.anew()
        return events

    def advance(self, now_ns: int) -> list[AlertEvent]:
        """It is this late in packet time, and all packets up to LATENESS_NS before have come."""
        if not self._clock.newest_ns:
            return []
        watermark_ns = self._clock.tell(now_ns)
        return self._in_order(watch.close_until(watermark_ns) for watch in self._watches)

    def finish(self) -> list[AlertEvent]:
        """No packets will follow: close every window, then forget the time, so that it may start anew anywhere."""
        # Behind the window that ends with a time forged to be the last there is.
        events = self._in_order(watch.close_until(MAX_TS + 2 * MAX_OVER_NS) for watch in self._watches)
        for watch in self._watches:
            watch.forget_time()
        self._clock = PacketClock()
        return events

    def replace(self, rules: Sequence[Rule]) -> list[AlertEvent]:
        """Watch by these rules from now on. Those that are the same as before keep their windows and alerts; the alerts
        of those that are gone are resolved."""
        wanted = {rule.name: rule.content for rule in rules}
        kept = {w.rule.name: w for w in self._watches if _is_same(wanted.get(w.rule.name), w.rule.content)}
        gone = [watch for watch in self._watches if watch.rule.name not in kept]
        self._watches = [kept.get(rule.name) or Watch(rule, self._max_keys) for rule in rules]
        return self._in_order(watch.end(self._clock.newest_ns) for watch in gone)

    def _in_order(self, each: Iterator[list[AlertEvent]]) -> list[AlertEvent]:
        """By time; of one moment, in the order of the rules."""
        return sorted((event for events in each for event in events), key=lambda event: event.at_ns)

    def status(self) -> list[RuleStatus]:
        """How each rule fares, in their order."""
        return [watch.status() for watch in self._watches]


def _is_same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Whether two rules are written alike; 0 is not false here, as it is to Python."""
    return one == other and json.dumps(one) == json.dumps(other)
