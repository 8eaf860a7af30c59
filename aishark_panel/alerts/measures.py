"""What a rule measures: from packets to what is added up in its windows, and from the windows to its aggregates."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.clock import Times
from aishark_panel.alerts.having import Aggregate, Numbers
from aishark_panel.alerts.history import History
from aishark_panel.alerts.keys import KeyColumn, Words, key_words, present_in_all, value_words
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.windows import Selected, Windows
from aishark_panel.query.arithmetic import quantity
from aishark_panel.query.names import Field
from aishark_panel.query.rows import Mask, Rows

__all__ = ["Measures"]

_SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_ZERO_WITHOUT_PACKETS: Final = ("nunique", "sum", "count")


class Measures:
    """The aggregates of one rule."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.by = [KeyColumn(field) for field in rule.by]

        def of(*functions: str) -> list[Aggregate]:
            return [each for each in rule.having.aggregates if each.function in functions]

        self._counted, self._added = of("count"), of("sum", "mean")
        self._topped = of("max", "min")
        self._unique = [(each, KeyColumn(each.field, is_read_back=False)) for each in of("nunique") if each.field]
        self._spread = list(dict.fromkeys(each.field for each in of(*_SHARES) if each.field))
        self._shares = {field: [each for each in of(*_SHARES) if each.field == field] for field in self._spread}
        self._before = of("before")
        by_name = {each.name: each for each in rule.having.aggregates}
        fill = [
            0.0 if each.of not in by_name or by_name[each.of].function in _ZERO_WITHOUT_PACKETS else np.nan
            for each in self._before
        ]
        self._history = History(np.array(fill))

    def windows(self, step_ns: int, max_keys: int) -> Windows:
        """Windows that hold what these aggregates need."""
        return Windows(
            step_ns,
            sum(column.width for column in self.by),
            len(self._counted) + 2 * len(self._added),
            len(self._topped),
            len(self._unique),
            len(self._spread),
            max_keys=max_keys,
        )

    def select(self, rows: Rows, mask: Mask, marks: Times) -> Selected:
        """What the windows need to know of the rows that the mask selects."""
        chosen = np.flatnonzero(mask)
        return Selected(
            chosen,
            rows.values("ts"),
            marks,
            rows.values("orig_len"),
            key_words(self.by, rows, chosen),
            self._sums(rows, chosen),
            self._tops(rows, chosen),
            [value_words(column, rows, chosen) for _, column in self._unique],
            [np.where(present, numbers, np.nan) for numbers, present in self._read(self._spread, rows, chosen)],
        )

    def _sums(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Matches of each count, and of each sum and mean the sum and how many (exact up to 2**53)."""
        columns: list[Any] = []
        for aggregate in self._counted:
            assert aggregate.predicate is not None
            columns.append(aggregate.predicate.test(rows).take(chosen))
        for numbers, present in self._read([each.field for each in self._added], rows, chosen):
            columns += [np.where(present, numbers, 0), present]
        return _columns(columns, len(chosen))

    def _tops(self, rows: Rows, chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """What may be a maximum; a minimum is the maximum of what is negative."""
        columns = []
        read = self._read([each.field for each in self._topped], rows, chosen)
        for each, (numbers, present) in zip(self._topped, read, strict=True):
            signed = -numbers.astype(np.float64) if each.function == "min" else numbers
            columns.append(np.where(present, signed, -np.inf))
        return _columns(columns, len(chosen))

    def _read(
        self, fields: "list[Field] | list[Field | None]", rows: Rows, chosen: npt.NDArray[np.intp]
    ) -> list[tuple[npt.NDArray[Any], Mask]]:
        """Each field as numbers, and where there is one."""
        read = []
        for field in fields:
            assert field is not None
            present = present_in_all([field], rows, rows.everything())
            read.append((quantity(field).values(rows).take(chosen), present.take(chosen)))
        return read

    def numbers(self, windows: Windows, positions: npt.NDArray[np.int64], end_ns: int) -> dict[str, Any]:
        """Every aggregate of the window that ends then and is in these buckets, for each key: see `Numbers`."""
        totals = windows.totals(positions)
        sums, over_ns = totals.sums.T, self._rule.over_ns
        numbers = {
            "packets": sums[0],
            "bytes": sums[1],
            "packets_per_s": sums[0] / (over_ns / 1e9),
            "bits_per_s": 8 * sums[1] / (over_ns / 1e9),
        }
        numbers |= {each.name: column for each, column in zip(self._counted, sums[2:], strict=False)}
        added = sums[2 + len(self._counted) :]
        with np.errstate(invalid="ignore"):
            for i, each in enumerate(self._added):
                numbers[each.name] = added[2 * i] / added[2 * i + 1] if each.function == "mean" else added[2 * i]
        for each, top in zip(self._topped, totals.maxima.T, strict=True):
            numbers[each.name] = -top if each.function == "min" else top
        for (each, _), distinct in zip(self._unique, totals.distinct.T, strict=True):
            numbers[each.name] = distinct.astype(np.float64)
        for i, field in enumerate(self._spread):
            wanted = self._shares[field]
            found = windows.percentiles(i, tuple(_SHARES[each.function] for each in wanted), positions)
            numbers |= {each.name: column for each, column in zip(wanted, found.T, strict=True)}
        if self._before:
            numbers |= self._compare(windows.keys(), numbers, end_ns)
        return numbers

    def _compare(self, keys: Words, numbers: Numbers, end_ns: int) -> dict[str, npt.NDArray[np.float64]]:
        number, into_ns = divmod(end_ns - self._rule.over_ns, self._rule.over_ns)
        before = self._history.before(number, keys)
        if not into_ns:
            some = np.flatnonzero(numbers["packets"])  # others have packets in later buckets only
            values = np.stack([numbers[each.of] for each in self._before], axis=1)
            self._history.note(number, keys[some], values[some])
        return {each.name: column for each, column in zip(self._before, before.T, strict=True)}

    def key(self, words: Words) -> dict[str, Any]:
        """A key as people read it: value by column."""
        key, rest = {}, words.tolist()
        for column in self.by:
            key[column.field.name] = column.value(rest[: column.width])
            rest = rest[column.width :]
        return key

    def keep_texts(self, keys: Words, most: int) -> None:
        """Keep the texts of these keys only, once there are many others."""
        at = 0
        for column in self.by:
            if len(column.texts) > most:
                column.keep_texts(set(keys[:, at].tolist()))
            at += column.width

    def forget_time(self) -> None:
        """Time starts anew."""
        self._history.forget()


def _columns(columns: list[Any], rows: int) -> npt.NDArray[np.float64]:
    table = np.empty((rows, len(columns)))
    for i, column in enumerate(columns):
        table[:, i] = column
    return table
