"""Alerts and rules as tables for a terminal."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from aishark_panel.alerts.engine import AlertEvent
from aishark_panel.alerts.having import BASIC
from aishark_panel.alerts.rule import Rule, fill_template

__all__ = ["alert_table", "rule_table"]

_COLOURS = {"info": "blue", "warning": "yellow", "critical": "red"}


def alert_table(events: Iterable[AlertEvent]) -> Table:
    """One row for each alert that fired: when, which rule, for whom, with what numbers, until when."""
    table = Table("fired (UTC)", "resolved", "rule", "severity", "key", "values", "summary", box=None, pad_edge=False)
    for fired, resolved in _paired(events):
        rule = fired.rule
        key = ", ".join(f"{name} {value}" for name, value in fired.key.items())
        shown = [name for name in fired.values if name == "packets" or name not in BASIC or name in rule.having.text]
        values = ", ".join(f"{name} {fired.values[name]:,.6g}" for name in shown)
        summary = fill_template(rule.annotations.get("summary", ""), {**fired.key, **fired.values})
        table.add_row(
            _time(fired.at_ns),
            _time(resolved.at_ns).partition(" ")[2] if resolved else "",
            rule.name,
            Text(rule.severity, _COLOURS[rule.severity]),
            *(Text(text) for text in (key, values, summary)),
        )
    return table


def _paired(events: Iterable[AlertEvent]) -> list[tuple[AlertEvent, AlertEvent | None]]:
    """Each event that an alert fired, with the one that resolved it."""
    pairs: dict[tuple[str, tuple[object, ...], int], tuple[AlertEvent, AlertEvent | None]] = {}
    for event in events:
        place = (event.rule.name, tuple(event.key.values()), event.fired_ns)
        if event.state == "firing":
            pairs[place] = (event, None)
        elif event.state == "resolved" and place in pairs:
            pairs[place] = (pairs[place][0], event)
    return list(pairs.values())


def rule_table(rules: Sequence[Rule]) -> Table:
    """One row for each rule."""
    table = Table("rule", "severity", "by", "over", "having", "for", "enabled", box=None, pad_edge=False)
    for rule in rules:
        by = ", ".join(field.name for field in rule.by)
        table.add_row(
            rule.name,
            Text(rule.severity, _COLOURS[rule.severity]),
            by,
            f"{rule.over_ns / 1e9:g} s",
            Text(rule.having.text),
            f"{rule.for_ns / 1e9:g} s" if rule.for_ns else "",
            "yes" if rule.enabled else "no",
        )
    return table


def _time(at_ns: int) -> str:
    seconds, rest_ns = divmod(at_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest_ns // 10**6:03d}"
