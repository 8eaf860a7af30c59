"""The engine: packets and time in, changes of alerts out.

A rule's *key* is one combination of values of the columns it groups by. Time runs in *buckets* of a tenth of the rule's
window. When a bucket closes, the window that ends with it is looked at: keys that meet the condition are *pending*,
and *firing* once they have met it for the rule's `for`; those that no longer do are *resolved*.

Buckets close by packet time (alerts/clock.py), so that packets of several agents may come out of order by LATENESS_NS;
later ones are counted and left out. So the same packets in the same order give the same alerts, live or from a file,
however they are cut into batches. `advance` moves the time when no packets come; `finish` is the end of all packets.

All rules look at the same rows together, so that what several ask for is worked out once; a rule that selects none of
them costs next to nothing.

A rule that breaks is switched off by itself, with the reason; the others go on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.clock import LATENESS_NS, MAX_TS, PacketClock, Times
from aishark_panel.alerts.having import Numbers
from aishark_panel.alerts.keys import KeyColumn, Words, key_words, present_in_all, value_words
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.windows import BUCKETS, MAX_KEYS, Selected, Windows
from aishark_panel.query.arithmetic import quantity
from aishark_panel.query.names import Field
from aishark_panel.query.rows import CHUNK_ROWS, Mask, Rows
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["LATENESS_NS", "AlertEvent", "AlertState", "Engine", "RuleStatus"]

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


class Engine:
    """Watches packets by rules. Not thread-safe: one caller at a time."""

    def __init__(self, rules: Sequence[Rule] = (), *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._watches = [_Watch(rule, max_keys) for rule in rules]
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
                events += self.finish()
        return events

    def advance(self, now_ns: int) -> list[AlertEvent]:
        """It is this late in packet time, and all packets up to LATENESS_NS before have come."""
        if not self._clock.newest_ns:
            return []
        watermark_ns = self._clock.tell(now_ns)
        return self._in_order(watch.close_until(watermark_ns) for watch in self._watches)

    def finish(self) -> list[AlertEvent]:
        """No packets will follow: close every window, then forget the time, so that it may start anew anywhere."""
        events = self._in_order(watch.close_until(MAX_TS) for watch in self._watches)
        for watch in self._watches:
            watch.forget_time()
        self._clock = PacketClock()
        return events

    def replace(self, rules: Sequence[Rule]) -> list[AlertEvent]:
        """Watch by these rules from now on. Those that are the same as before keep their windows and alerts; the alerts
        of those that are gone are resolved."""
        wanted = {rule.name: rule.content for rule in rules}
        kept = {w.rule.name: w for w in self._watches if wanted.get(w.rule.name) == w.rule.content}
        gone = [watch for watch in self._watches if watch.rule.name not in kept]
        self._watches = [kept.get(rule.name) or _Watch(rule, self._max_keys) for rule in rules]
        return self._in_order(watch.end(self._clock.newest_ns) for watch in gone)

    def _in_order(self, each: Iterator[list[AlertEvent]]) -> list[AlertEvent]:
        """By time; of one moment, in the order of the rules."""
        return sorted((event for events in each for event in events), key=lambda event: event.at_ns)

    def status(self) -> list[RuleStatus]:
        """How each rule fares, in their order."""
        return [watch.status() for watch in self._watches]


@dataclass(slots=True)
class _Active:
    """A key that meets the condition."""

    key: dict[str, Any]
    window_start_ns: int
    since_ns: int
    fired_ns: int = 0


class _Watch:
    """One rule at work."""

    def __init__(self, rule: Rule, max_keys: int) -> None:
        self.rule = rule
        self._step_ns = rule.over_ns // _BUCKETS_PER_WINDOW
        self._by = [KeyColumn(field) for field in rule.by]
        aggregates = rule.having.aggregates
        self._counted = [a for a in aggregates if a.function == "count"]
        self._mean = [a for a in aggregates if a.function == "mean"]
        self._max = [a for a in aggregates if a.function == "max"]
        self._unique = [
            (a, KeyColumn(a.field, is_read_back=False)) for a in aggregates if a.function == "nunique" and a.field
        ]
        self._windows = Windows(
            self._step_ns,
            sum(column.width for column in self._by),
            len(self._counted) + 2 * len(self._mean),
            len(self._max),
            len(self._unique),
            max_keys=max_keys,
        )
        self._open = 0
        """the oldest bucket that is not closed"""
        self._active: dict[bytes, _Active] = {}
        self._interfaces: Sequence[Interface] = ()
        self._broken = ""

    def status(self) -> RuleStatus:
        return RuleStatus(
            rule=self.rule,
            state="broken" if self._broken else "on" if self.rule.enabled else "off",
            reason=self._broken,
            keys=len(self._windows),
            missed_keys=self._windows.missed_keys,
            missed_values=self._windows.missed_values,
            late=self._windows.late,
        )

    def take(self, rows: Rows, marks: Times) -> list[AlertEvent]:
        """Rows came in; `marks` is the watermark as of each."""
        if self._broken or not self.rule.enabled:
            return []
        self._interfaces = rows.interfaces
        events: list[AlertEvent] = []
        try:
            mask = self.rule.where.test(rows)
            if mask.any():
                self._count(self._select(rows, present_in_all(self.rule.by, rows, mask), marks), events)
                self._forget_texts()
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
        self._open = 0

    def _break(self, error: Exception, at_ns: int, events: list[AlertEvent]) -> None:
        """Whatever goes wrong in one rule must cost neither the others nor the packets."""
        self._broken = f"switched off by an error: {type(error).__name__}: {error}"[:500]
        events += self.end(at_ns)

    def end(self, at_ns: int) -> list[AlertEvent]:
        """Nobody watches by this rule any more: what is open is resolved."""
        events = [self._event(active, "resolved", at_ns, {}) for active in self._active.values()]
        self._active.clear()
        return events

    def _select(self, rows: Rows, mask: Mask, marks: Times) -> Selected:
        """What the rule needs to know of the rows it selects."""
        chosen = np.flatnonzero(mask)
        return Selected(
            chosen,
            rows.values("ts"),
            marks,
            rows.values("orig_len"),
            key_words(self._by, rows, chosen),
            self._sums(rows, chosen),
            self._maxima(rows, chosen),
            [value_words(column, rows, chosen) for _, column in self._unique],
        )

    def _count(self, packets: Selected, events: list[AlertEvent]) -> None:
        """Count packets, closing buckets where the watermark passes them on the way."""
        done = 0
        while done < len(packets.chosen):
            self._close_until(int(packets.marks[packets.chosen[done]]), events)
            done = self._windows.add(packets, done)

    def _sums(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Matches of each count, and of each mean the sum and how many (exact up to 2**53)."""
        columns: list[Any] = []
        for aggregate in self._counted:
            assert aggregate.predicate is not None
            columns.append(aggregate.predicate.test(rows).take(chosen))
        for aggregate in self._mean:
            numbers, present = _numbers(aggregate.field, rows, chosen)
            columns += [np.where(present, numbers, 0), present]
        return _columns(columns, len(chosen))

    def _maxima(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        columns = [_numbers(aggregate.field, rows, chosen) for aggregate in self._max]
        return _columns([np.where(present, numbers, -np.inf) for numbers, present in columns], len(chosen))

    def _close_until(self, watermark_ns: int, events: list[AlertEvent]) -> None:
        target = watermark_ns // self._step_ns
        while self._open < target:
            if not len(self._windows) and not self._active:
                self._open = target
                break
            self._close(self._open, events)
            self._open += 1

    def _close(self, bucket: int, events: list[AlertEvent]) -> None:
        """The window that ends with this bucket is complete: see who meets the condition."""
        end_ns = (bucket + 1) * self._step_ns
        first = bucket + 1 - _BUCKETS_PER_WINDOW
        numbers = self._numbers(np.arange(first, bucket + 1) % BUCKETS)
        keys = self._windows.keys()
        met = {keys[slot].tobytes(): slot for slot in np.flatnonzero(self.rule.having.test(numbers)).tolist()}
        for word, slot in met.items():
            active = self._active.get(word)
            if active is None:
                active = self._active[word] = _Active(self._key(keys[slot]), end_ns - self.rule.over_ns, end_ns)
                if self.rule.for_ns:
                    events.append(self._event(active, "pending", end_ns, _of_slot(numbers, slot)))
            if not active.fired_ns and end_ns - active.since_ns >= self.rule.for_ns:
                active.fired_ns = end_ns
                events.append(self._event(active, "firing", end_ns, _of_slot(numbers, slot)))
        gone = [word for word in self._active if word not in met]
        slots = {key.tobytes(): slot for slot, key in enumerate(keys)} if gone else {}
        for word in gone:
            values = _of_slot(numbers, slots[word]) if word in slots else {}
            events.append(self._event(self._active.pop(word), "resolved", end_ns, values))
        self._windows.forget(first % BUCKETS)

    def _numbers(self, positions: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
        """Every aggregate of the window, for each key."""
        totals = self._windows.totals(positions)
        sums, over_s = totals.sums.T, self.rule.over_ns / 1e9
        numbers = {
            "packets": sums[0],
            "bytes": sums[1],
            "packets_per_s": sums[0] / over_s,
            "bits_per_s": 8 * sums[1] / over_s,
        }
        numbers |= {a.name: column for a, column in zip(self._counted, sums[2:], strict=False)}
        means = sums[2 + len(self._counted) :]
        with np.errstate(invalid="ignore"):
            numbers |= {a.name: means[2 * i] / means[2 * i + 1] for i, a in enumerate(self._mean)}
        numbers |= {a.name: column for a, column in zip(self._max, totals.maxima.T, strict=True)}
        unique = zip(self._unique, totals.distinct.T.astype(np.float64), strict=True)
        return numbers | {a.name: column for (a, _), column in unique}

    def _key(self, words: Words) -> dict[str, Any]:
        key, rest = {}, words.tolist()
        for column in self._by:
            key[column.field.name] = column.value(rest[: column.width], self._interfaces)
            rest = rest[column.width :]
        return key

    def _forget_texts(self) -> None:
        """Keep the texts of keys only, once there are many others."""
        at = 0
        for column in self._by:
            if len(column.texts) > 2 * MAX_KEYS:
                column.keep_texts(set(self._windows.keys()[:, at].tolist()))
            at += column.width

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


def _columns(columns: list[Any], rows: int) -> npt.NDArray[np.float64]:
    table = np.empty((rows, len(columns)))
    for i, column in enumerate(columns):
        table[:, i] = column
    return table


def _numbers(field: Field | None, rows: Rows, chosen: npt.NDArray[np.intp]) -> tuple[npt.NDArray[Any], Mask]:
    """The field as numbers, and where there is one."""
    assert field is not None
    present = present_in_all([field], rows, rows.everything())
    return quantity(field).values(rows).take(chosen), present.take(chosen)
