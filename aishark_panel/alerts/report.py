"""Alerts and rules as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from aishark_panel.alerts.having import BASIC
from aishark_panel.alerts.rule import Rule
from aishark_panel.wire.printable import printable

__all__ = ["noise_table", "rule_table", "tried_table"]

_COLOURS = {"info": "blue", "warning": "yellow", "critical": "red"}
_NOISE = {"quiet": "green", "fair": "yellow", "noisy": "red"}


def tried_table(rules: Sequence[Rule], alerts: Iterable[Mapping[str, Any]]) -> Table:
    """One row for each alert that fired: when, which rule, for whom, with what numbers, until when; in which session,
    where the alerts tell that."""
    conditions = {rule.name: rule.having.text for rule in rules}
    listed = list(alerts)
    names = ["session"] if any("session" in alert for alert in listed) else []
    names += ["fired (UTC)", "resolved", "rule", "severity", "key", "values", "summary"]
    table = Table(*names, box=None, pad_edge=False)
    for alert in listed:
        having, values = conditions.get(alert["rule"], ""), alert["values"]
        shown = [name for name in values if name == "packets" or name not in BASIC or name in having]
        table.add_row(
            *([alert["session"]] if "session" in names else []),
            _time(alert["fired_ns"]),
            _time(alert["resolved_ns"]).partition(" ")[2] if alert["resolved_ns"] else "",
            alert["rule"],
            Text(alert["severity"], _COLOURS[alert["severity"]]),
            Text(printable(", ".join(f"{name} {value}" for name, value in alert["key"].items()))),
            Text(", ".join(f"{name} {values[name]:,.6g}" for name in shown)),
            Text(printable(alert["annotations"].get("summary", ""))),
        )
    return table


def noise_table(lines: Iterable[Mapping[str, Any]]) -> Table:
    """One row for each rule that fired: how often, for how many keys, for how long, and how noisy that is."""
    table = Table("rule", "alerts", "keys", "per hour", "firing", "share", "noise", box=None, pad_edge=False)
    for line in lines:
        per_hour = line["per_hour"]
        table.add_row(
            line["rule"],
            f"{line['alerts']:,}",
            f"{line['keys']:,}",
            f"{per_hour:,.0f}" if per_hour >= 10 else f"{per_hour:.2g}",
            f"{line['firing_s']:,.1f} s",
            f"{line['share_firing']:.1%}",
            Text(line["noise"], _NOISE[line["noise"]]),
        )
    return table


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
