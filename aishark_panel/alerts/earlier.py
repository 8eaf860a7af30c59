"""What an earlier log told of alerts, for the log that goes on where that one ended.

The rules begin with nothing: they come across an alert that goes on as if it were new, and agents may send packets
again that the earlier log had seen, a few at a time. Nobody is to be told twice for that, and nothing is to be left out
that is new.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aishark_panel.alerts.clock import LATENESS_NS
from aishark_panel.alerts.kept import Alert
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.watch import AlertEvent

__all__ = ["Earlier", "Place"]

Place = tuple[str, tuple[Any, ...]]
"""Rule and key."""


class Earlier:
    """Alerts of an earlier log. One caller at a time."""

    def __init__(self) -> None:
        self._open: dict[Place, Alert] = {}
        """those not resolved that the rules have not come across yet"""
        self._open_since_ns = 0
        """packet time at which the rules began to look for them"""
        self._met: set[Place] = set()
        """those of them whose condition the rules see met, at a time from before they fired"""
        self._over: dict[Place, int] = {}
        """until when (packet time) something is known of those that are resolved"""
        self._withheld: dict[Place, AlertEvent] = {}
        """what begins within that time: it is an alert if it goes on beyond"""

    def add(self, place: Place, alert: Alert) -> None:
        """The earlier log had this alert."""
        if alert["state"] == "resolved":
            self._over[place] = max(self._over.get(place, 0), alert["resolved_ns"])
        else:
            self._open[place] = alert

    def withholds(self, place: Place, event: AlertEvent) -> bool:
        """Whether what a key without an open alert does may be what the earlier log had until its end."""
        if event.state == "resolved":
            self._withheld.pop(place, None)
        elif event.at_ns <= self._over.get(place, 0):
            self._withheld[place] = event
            return True
        return False

    def precedes(self, place: Place, event: AlertEvent) -> bool:
        """Whether what a key with an open alert does is from before that; if not, the rules have come across it."""
        alert = self._open.get(place)
        if alert is None:
            return False
        if event.at_ns < _known_until(alert):
            (self._met.discard if event.state == "resolved" else self._met.add)(place)
            return True
        self._forget(place)
        return False

    def gone_on(self, newest_ns: int, *, is_anew: bool) -> list[tuple[Place, AlertEvent]]:
        """What was withheld and goes on behind what was known. `newest_ns`: of packets; their end would have been seen
        LATENESS_NS later. `is_anew`: packet time went back for good, so the earlier log knew nothing of it."""
        if not self._over:
            return []
        watermark_ns = newest_ns - LATENESS_NS
        gone_on = [(p, event) for p, event in self._withheld.items() if is_anew or watermark_ns > self._over[p]]
        for place, _ in gone_on:
            del self._withheld[place]
        if is_anew:
            self._over.clear()
        return gone_on

    def given_up(self, rules: Callable[[], Mapping[str, Rule]], newest_ns: int, quiet_ns: int) -> list[Place]:
        """Open alerts whose keys these rules would have come across by now. `quiet_ns`: how long no packets have come
        since the newest."""
        if not self._open:
            return []
        self._open_since_ns = self._open_since_ns or newest_ns
        is_anew = newest_ns < self._open_since_ns  # another capture, or a clock that was set
        by_name = rules()

        def is_gone(place: Place, alert: Alert) -> bool:
            rule = by_name.get(place[0])
            if rule is None or is_anew:
                return True
            # Agents may send packets again from long before the alert: then its time is still to come.
            since_ns = max(self._open_since_ns, _known_until(alert)) if newest_ns else 0
            return place not in self._met and newest_ns + quiet_ns - since_ns > _patience_ns(rule)

        return [place for place, alert in self._open.items() if is_gone(place, alert)]

    def end(self, place: Place, at_ns: int) -> int:
        """An open alert is resolved without that the rules came across it, at this packet time; or when something was
        known of it last, if that is later."""
        return max(at_ns, _known_until(self._forget(place)))

    def open(self) -> list[Place]:
        """Alerts that the rules have not come across yet."""
        return list(self._open)

    def finish(self) -> None:
        """No packets will come again."""
        self._over.clear()
        self._withheld.clear()

    def _forget(self, place: Place) -> Alert:
        self._met.discard(place)
        return self._open.pop(place)


def _known_until(alert: Alert) -> int:
    """The newest packet time at which something is known of an alert that is open."""
    return alert["fired_ns"] or alert["window_start_ns"]


def _patience_ns(rule: Rule) -> int:
    """How long a rule may take to come across a key that meets its condition, and then to give it up."""
    return rule.over_ns + rule.for_ns + rule.keep_firing_for_ns + 2 * LATENESS_NS
