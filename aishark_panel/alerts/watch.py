"""One rule at work: its windows, and the keys that meet its condition.

A key is *pending* when it meets the condition and *firing* once it has met it for the rule's `for`. It is *resolved*
when it no longer does: at once, or after `keep_firing_for`. A key that goes to and fro is damped: from its third time
within FLAPPING_WINDOWS window lengths on it stays firing until a whole window length has passed without the condition.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.clock import Times
from aishark_panel.alerts.having import Numbers
from aishark_panel.alerts.keys import present_in_all
from aishark_panel.alerts.measures import Measures
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.windows import BUCKETS, MAX_KEYS, Selected
from aishark_panel.errors import AisharkError
from aishark_panel.query.rows import Rows

__all__ = ["FLAPPING_WINDOWS", "AlertEvent", "AlertState", "RuleStatus", "Watch"]

FLAPPING_WINDOWS: Final = 10
_FLAPPING_TIMES: Final = 3
_BUCKETS_PER_WINDOW: Final = 10

AlertState = Literal["pending", "firing", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """An alert changed its state. Times are packet times, ns since 1970 UTC."""

    rule: Rule
    key: dict[str, Any]
    """value by column, as people read it"""
    state: AlertState
    at_ns: int
    """when it changed: the end of the window that was looked at"""
    window_start_ns: int
    """of the window in which the condition was met first"""
    fired_ns: int
    """when it began to fire; 0 while pending, and of one resolved that never fired"""
    values: dict[str, float]
    """the rule's aggregates at `at_ns`, without those that do not exist"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStatus:
    """How a rule fares."""

    rule: Rule
    state: Literal["on", "off", "broken"]
    reason: str
    """why it is broken"""
    keys: int
    """keys in its window now"""
    missed_keys: int
    """packets left out because there were MAX_KEYS keys already"""
    missed_values: int
    """packets whose value nunique could not keep; its counts are too low by some of these"""
    late: int
    """packets left out because they came more than LATENESS_NS after newer ones"""
    held_back: int = 0
    """times that a key met the condition and was not armed again yet"""
    muted: int = 0
    """times that a key met the condition and is muted"""

    @property
    def problem(self) -> str:
        """What keeps the rule from seeing everything, in words; '' if nothing does."""
        problems = [self.reason] if self.reason else []
        counts = (
            (self.missed_keys, "packets left out, because there were too many keys"),
            (self.missed_values, "packets whose values were too many to be counted"),
            (self.late, "packets left out, because they came too late"),
        )
        return "; ".join([*problems, *(f"{count:,} {what}" for count, what in counts if count)])

    def told(self) -> dict[str, Any]:
        """As JSON sees it; docs/protocol.md names the fields."""
        counts = ("keys", "missed_keys", "missed_values", "late", "held_back", "muted")
        return {
            "name": self.rule.name,
            "description": self.rule.description,
            "severity": self.rule.severity,
            "state": self.state,
            "reason": self.problem,
            **{name: getattr(self, name) for name in counts},
        }


@dataclass(slots=True)
class _Active:
    """A key that meets the condition, or did so too recently to be resolved."""

    key: dict[str, Any]
    window_start_ns: int
    since_ns: int
    met_ns: int
    """end of the last window in which it met the condition"""
    fired_ns: int = 0
    hold_ns: int = 0
    """how long it is kept firing without the condition"""


@dataclass(slots=True)
class _Past:
    """When a key fired before, for those that fire again and again."""

    fired_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_FLAPPING_TIMES))
    armed_ns: int = 0
    """it does not fire before then"""
    forget_ns: int = 0
    held_back: bool = False
    """it met the condition before it was armed, and is counted"""


class Watch:
    """One rule, and what it has seen."""

    def __init__(self, rule: Rule, max_keys: int = MAX_KEYS) -> None:
        self.rule = rule
        self._step_ns = rule.over_ns // _BUCKETS_PER_WINDOW
        self._measures = Measures(rule)
        self._windows = self._measures.windows(self._step_ns, max_keys)
        self._open = 0
        """the oldest bucket that is not closed"""
        self._active: dict[bytes, _Active] = {}
        self._past: dict[bytes, _Past] = {}
        self._muted: set[bytes] = set()
        """keys that meet the condition and are muted"""
        self._broken = ""
        self._held_back = 0
        self._mutes = 0

    def status(self) -> RuleStatus:
        return RuleStatus(
            rule=self.rule,
            state="broken" if self._broken else "on" if self.rule.enabled else "off",
            reason=self._broken,
            keys=len(self._windows),
            missed_keys=self._windows.missed_keys,
            missed_values=self._windows.missed_values,
            late=self._windows.late,
            held_back=self._held_back,
            muted=self._mutes,
        )

    def take(self, rows: Rows, marks: Times) -> list[AlertEvent]:
        """Rows came in; `marks` is the watermark as of each."""
        if self._broken or not self.rule.enabled:
            return []
        events: list[AlertEvent] = []
        try:
            mask = self.rule.where.test(rows)
            if mask.any():
                mask = present_in_all(self.rule.by, rows, mask)
                self._count(self._measures.select(rows, mask, marks), events)
                self._measures.keep_texts(self._windows.keys(), 2 * MAX_KEYS)
            self._close_until(int(marks[-1]), events)
        except Exception as error:
            self._break(error, int(marks[-1]), events)
        return events

    def close_until(self, watermark_ns: int) -> list[AlertEvent]:
        """Close the buckets that end by then."""
        events: list[AlertEvent] = []
        if not self._broken:
            try:
                self._close_until(watermark_ns, events)
            except Exception as error:
                self._break(error, watermark_ns, events)
        return events

    def forget_time(self) -> None:
        """Time starts anew; every window is closed."""
        self._open = 0
        self._past.clear()
        self._measures.forget_time()

    def end(self, at_ns: int) -> list[AlertEvent]:
        """Nobody watches by this rule any more: what is open is resolved."""
        events = [self._event(active, "resolved", at_ns, {}) for active in self._active.values()]
        self._active.clear()
        return events

    def _break(self, error: Exception, at_ns: int, events: list[AlertEvent]) -> None:
        """Whatever goes wrong in one rule must cost neither the others nor the packets."""
        what = str(error) if isinstance(error, AisharkError) else f"{type(error).__name__}: {error}"
        self._broken = f"switched off by an error: {what}"[:500]
        events += self.end(at_ns)

    def _count(self, packets: Selected, events: list[AlertEvent]) -> None:
        """Count packets, closing buckets where the watermark passes them on the way."""
        done = 0
        while done < len(packets.chosen):
            self._close_until(int(packets.marks[packets.chosen[done]]), events)
            done = self._windows.add(packets, done)

    def _close_until(self, watermark_ns: int, events: list[AlertEvent]) -> None:
        target = watermark_ns // self._step_ns
        while self._open < target:
            if not len(self._windows):
                # Nothing can happen but that what fires is resolved.
                self._muted.clear()
                ends = [each.met_ns + each.hold_ns for each in self._active.values()]
                self._open = max(self._open, min(ends) // self._step_ns) if ends else target
                if self._open >= target:
                    self._open = target
                    break
            self._close(self._open, events)
            self._open += 1

    def _close(self, bucket: int, events: list[AlertEvent]) -> None:
        """The window that ends with this bucket is complete: see who meets the condition."""
        end_ns = (bucket + 1) * self._step_ns
        first = bucket + 1 - _BUCKETS_PER_WINDOW
        numbers = self._measures.numbers(self._windows, np.arange(first, bucket + 1) % BUCKETS, end_ns)
        keys = self._windows.keys()
        met = {keys[slot].tobytes(): slot for slot in np.flatnonzero(self.rule.having.test(numbers)).tolist()}
        self._muted &= met.keys()
        for word, slot in met.items():
            active = self._active.get(word) or self._begin(word, keys[slot], end_ns)
            if active is None:
                continue
            if active.since_ns == end_ns and self.rule.for_ns:
                events.append(self._event(active, "pending", end_ns, _of_slot(numbers, slot)))
            active.met_ns = end_ns
            if not active.fired_ns and end_ns - active.since_ns >= self.rule.for_ns:
                self._fire(word, active, end_ns)
                events.append(self._event(active, "firing", end_ns, _of_slot(numbers, slot)))
        self._resolve(met, keys, numbers, end_ns, events)
        self._forget_past(end_ns)
        self._windows.forget(first % BUCKETS)

    def _begin(self, word: bytes, words: npt.NDArray[np.uint64], end_ns: int) -> _Active | None:
        """A key meets the condition; None if it is muted, or not armed again."""
        if word in self._muted:
            return None
        past = self._past.get(word)
        if past and end_ns < past.armed_ns:
            self._held_back += not past.held_back
            past.held_back = True
            return None
        key = self._measures.key(words)
        if self.rule.mutes(key):
            self._muted.add(word)
            self._mutes += 1
            return None
        self._active[word] = active = _Active(key, end_ns - self.rule.over_ns, end_ns, end_ns)
        return active

    def _fire(self, word: bytes, active: _Active, at_ns: int) -> None:
        active.fired_ns = at_ns
        active.hold_ns = self.rule.keep_firing_for_ns
        if word not in self._past and len(self._past) >= MAX_KEYS:
            return
        past = self._past.setdefault(word, _Past())
        past.fired_ns.append(at_ns)
        horizon_ns = FLAPPING_WINDOWS * self.rule.over_ns
        past.forget_ns = at_ns + horizon_ns
        if len(past.fired_ns) == _FLAPPING_TIMES and at_ns - past.fired_ns[0] <= horizon_ns:
            active.hold_ns = max(active.hold_ns, self.rule.over_ns)

    def _resolve(
        self,
        met: dict[bytes, int],
        keys: npt.NDArray[np.uint64],
        numbers: Numbers,
        end_ns: int,
        events: list[AlertEvent],
    ) -> None:
        gone = [
            word
            for word, active in self._active.items()
            if word not in met and end_ns - active.met_ns > (active.hold_ns if active.fired_ns else 0)
        ]
        slots = {key.tobytes(): slot for slot, key in enumerate(keys)} if gone else {}
        for word in gone:
            active = self._active.pop(word)
            values = _of_slot(numbers, slots[word]) if word in slots else {}
            events.append(self._event(active, "resolved", end_ns, values))
            past = self._past.get(word)
            if past and active.fired_ns:
                past.armed_ns, past.held_back = end_ns + self.rule.rearm_ns, False
                past.forget_ns = max(past.forget_ns, past.armed_ns)

    def _forget_past(self, end_ns: int) -> None:
        if self._past:
            for word in [w for w, past in self._past.items() if past.forget_ns < end_ns and w not in self._active]:
                del self._past[word]

    def _event(self, active: _Active, state: AlertState, at_ns: int, values: dict[str, float]) -> AlertEvent:
        return AlertEvent(
            rule=self.rule,
            key=active.key,
            state=state,
            at_ns=at_ns,
            window_start_ns=active.window_start_ns,
            fired_ns=active.fired_ns,
            values=values,
        )


def _of_slot(numbers: Numbers, slot: int) -> dict[str, float]:
    return {name: float(column[slot]) for name, column in numbers.items() if np.isfinite(column[slot])}
