"""The engine: packets and time in, changes of alerts out.

A rule's *key* is one combination of values of the columns it groups by. Time runs in *buckets* of a tenth of the rule's
window. When a bucket closes, the window that ends with it is looked at: keys that meet the condition are *pending*,
and *firing* once they have met it for the rule's `for`; those that no longer do are *resolved*.

Buckets close by packet time: the *watermark* follows the newest packet at a distance of LATENESS_NS, so that packets
of several agents may come out of order by that much; later ones are counted and left out. So the same packets in the
same order give the same alerts, live or from a file, however they are cut into batches. `advance` moves the watermark
when no packets come; `finish` is the end of all packets.

A rule that breaks is switched off by itself, with the reason; the others go on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.having import Numbers
from aishark_panel.alerts.keys import KeyColumn, Words, present_in_all
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.windows import BUCKETS, MAX_KEYS, Windows
from aishark_panel.query.arithmetic import quantity
from aishark_panel.query.names import Field
from aishark_panel.query.rows import Mask, Rows
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["LATENESS_NS", "AlertEvent", "AlertState", "Engine", "RuleStatus"]

LATENESS_NS: Final = 10**9
_BUCKETS_PER_WINDOW: Final = 10
_RESTART_NS: Final = 60 * 10**9
"""Time that goes back by more than this starts anew: another capture is being played, or a clock was set."""
_RESTART_PACKETS: Final = 1_000
"""... but not more often than every so many packets, or a forger could make it cost a lot."""
_MAX_TS: Final = 2**62
"""in the year 2116; forged times beyond are taken for this one"""

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
        self._watches = [_Watch(rule, max_keys) for rule in rules]
        self._newest = 0
        """time of the newest packet, ns; 0 before the first"""
        self._told = 0
        """watermark by `advance`"""
        self._since_restart = 0
        """packets since the time went back"""

    @property
    def newest_ns(self) -> int:
        """Time of the newest packet; 0 when there was none yet."""
        return self._newest

    def take(self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface]) -> list[AlertEvent]:
        """Rows [start, stop) of a block came in, in this order."""
        if not self._watches:
            return []
        events: list[AlertEvent] = []
        while start < stop:
            watermarks, end = self._watermarks(packets.columns.ts[start:stop])
            end += start
            if end == start:
                events += self.finish()
                continue
            self._since_restart += end - start
            events += self._in_order(watch.take(packets, start, end, interfaces, watermarks) for watch in self._watches)
            self._watermark = int(watermarks[-1])
            start = end
        return events

    def _watermarks(self, times: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
        """The watermark as of each packet, and how many packets come before time goes back for good."""
        newest = np.clip(times, 0, _MAX_TS)
        times = newest.copy()
        newest[0] = max(newest[0], self._newest)
        np.maximum.accumulate(newest, out=newest)
        end = len(times)
        far_back = np.flatnonzero(times < newest - _RESTART_NS)
        far_back = far_back[far_back + self._since_restart >= _RESTART_PACKETS]
        if len(far_back):
            end = int(far_back[0])
        if end:
            self._newest = int(newest[end - 1])
        return np.maximum(newest[:end] - LATENESS_NS, self._told), end

    def advance(self, now_ns: int) -> list[AlertEvent]:
        """It is this late in packet time, and all packets up to LATENESS_NS before have come."""
        if not self._newest:
            return []
        self._told = max(self._told, now_ns - LATENESS_NS)
        return self._in_order(watch.close_until(self._told) for watch in self._watches)

    def finish(self) -> list[AlertEvent]:
        """No packets will follow: close every window, then forget the time, so that it may start anew anywhere."""
        events = self._in_order(watch.close_until(_MAX_TS) for watch in self._watches)
        for watch in self._watches:
            watch.forget_time()
        self._newest = self._told = self._since_restart = 0
        return events

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
            sum(column.width for column in self._by),
            2 + len(self._counted) + 2 * len(self._mean),
            len(self._max),
            len(self._unique),
            max_keys=max_keys,
        )
        self._open = 0
        """the oldest bucket that is not closed"""
        self._active: dict[bytes, _Active] = {}
        self._interfaces: Sequence[Interface] = ()
        self._late = 0
        self._broken = ""

    def status(self) -> RuleStatus:
        return RuleStatus(
            rule=self.rule,
            state="broken" if self._broken else "on" if self.rule.enabled else "off",
            reason=self._broken,
            keys=len(self._windows),
            missed_keys=self._windows.missed_keys,
            missed_values=self._windows.missed_values,
            late=self._late,
        )

    def take(
        self,
        packets: Packets,
        start: int,
        stop: int,
        interfaces: Sequence[Interface],
        watermarks: npt.NDArray[np.int64],
    ) -> list[AlertEvent]:
        if self._broken or not self.rule.enabled:
            return []
        self._interfaces = interfaces
        events: list[AlertEvent] = []
        try:
            rows = Rows(packets, start, stop, interfaces)
            mask = present_in_all(self.rule.by, rows, self.rule.where.mask(packets, start, stop, interfaces))
            if mask.any():
                self._count(rows, np.flatnonzero(mask), watermarks, events)
            self._close_until(int(watermarks[-1]), events)
        except Exception as error:
            self._break(error, int(watermarks[-1]), events)
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
        events += [self._event(active, "resolved", at_ns, {}) for active in self._active.values()]
        self._active.clear()

    def _count(
        self,
        rows: Rows,
        chosen: npt.NDArray[np.intp],
        watermarks: npt.NDArray[np.int64],
        events: list[AlertEvent],
    ) -> None:
        """Count the chosen rows, closing buckets where the watermark passes them on the way."""
        buckets = np.clip(rows.values("ts")[chosen], 0, _MAX_TS) // self._step_ns
        oldest = watermarks[chosen] // self._step_ns
        on_time = buckets >= oldest
        if not on_time.all():
            self._late += len(chosen) - int(np.count_nonzero(on_time))
            chosen, buckets, oldest = chosen[on_time], buckets[on_time], oldest[on_time]
        keys = _side_by_side([column.words(rows, chosen) for column in self._by], len(chosen))
        added, topped = self._sums(rows, chosen), self._maxima(rows, chosen)
        values = [
            _side_by_side([_present(column.field, rows, chosen), column.words(rows, chosen)], len(chosen))
            for _, column in self._unique
        ]
        positions = buckets % BUCKETS
        edges = [0, *(np.flatnonzero(np.diff(oldest)) + 1).tolist(), len(chosen)]
        for first, end in pairwise(edges):
            if first < end:
                self._close_until(int(oldest[first]) * self._step_ns, events)
                part = slice(first, end)
                self._windows.add(keys[part], positions[part], added[part], topped[part], [v[part] for v in values])
        self._forget_texts()

    def _sums(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Packets, bytes, matches of each count, and of each mean the sum and how many (exact up to 2**53)."""
        columns: list[Any] = [1, rows.values("orig_len")[chosen]]
        for aggregate in self._counted:
            assert aggregate.predicate is not None
            columns.append(aggregate.predicate.mask(rows.packets, rows.start, rows.stop, rows.interfaces)[chosen])
        for aggregate in self._mean:
            numbers = _numbers(aggregate.field, rows, chosen)
            columns += [np.nan_to_num(numbers), ~np.isnan(numbers)]
        return _columns(columns, len(chosen))

    def _maxima(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        columns = [_numbers(aggregate.field, rows, chosen) for aggregate in self._max]
        return _columns([np.nan_to_num(numbers, nan=-np.inf) for numbers in columns], len(chosen))

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


def _side_by_side(parts: list[Words], rows: int) -> Words:
    return np.concatenate(parts, axis=1) if parts else np.empty((rows, 0), np.uint64)


def _columns(columns: list[Any], rows: int) -> npt.NDArray[np.float64]:
    table = np.empty((rows, len(columns)))
    for i, column in enumerate(columns):
        table[:, i] = column
    return table


def _present(field: Field, rows: Rows, chosen: npt.NDArray[np.intp]) -> Words:
    """1 where the field has a value, else 0; (chosen, 1)."""
    mask: Mask = present_in_all([field], rows, np.ones(len(rows), np.bool_))
    return mask[chosen].astype(np.uint64)[:, np.newaxis]


def _numbers(field: Field | None, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """The field as numbers, NaN where it is null."""
    assert field is not None
    numbers = np.asarray(quantity(field).values(rows)[chosen], np.float64)
    numbers[_present(field, rows, chosen)[:, 0] == 0] = np.nan
    return numbers
