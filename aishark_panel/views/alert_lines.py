"""Alerts as the list and the timeline show them. Pure: what the hub says of alerts in, texts and numbers out.

An alert that was pending and never fired is nothing to a person once it is over; it is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aishark_panel.views.columns import Span

__all__ = ["PIN_COLOURS", "Pins", "alert_lines", "pins"]

PIN_COLOURS: Final = {"info": "#3d84f5", "warning": "#dd9f17", "critical": "#e5484d"}
"""By severity; each stands out from a white and from a black ground."""

_ORDER: Final = {"firing": 0, "pending": 1, "resolved": 2}

Alert = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pins:
    """Alerts that fired within a span, oldest first; lists of equal length."""

    number: list[int]
    at_ms: list[float]
    colour: list[str]
    text: list[str]


def alert_lines(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    """One line for each alert: firing ones first, then pending, then resolved, the newest first among equals."""
    shown = [alert for alert in alerts if alert["state"] != "resolved" or alert["fired_ns"]]
    shown.sort(key=lambda alert: (_ORDER[alert["state"]], -_began_ns(alert), -alert["number"]))
    return [_line(alert) for alert in shown]


def pins(alerts: Iterable[Alert], span: Span) -> Pins:
    """Where alerts fired."""
    found = [(alert["fired_ns"] / 1e6, alert) for alert in alerts if alert["fired_ns"]]
    found = [(at_ms, alert) for at_ms, alert in found if span.start_ms <= at_ms <= span.end_ms]
    found.sort(key=lambda pin: (pin[0], pin[1]["number"]))
    return Pins(
        [alert["number"] for _, alert in found],
        [at_ms for at_ms, _ in found],
        [PIN_COLOURS[alert["severity"]] for _, alert in found],
        [f"{alert['rule']}: {_headline(alert)}" for _, alert in found],
    )


def _began_ns(alert: Alert) -> int:
    """When an alert fired, or the start of its window while it is pending; ns since 1970 UTC."""
    return int(alert["fired_ns"] or alert["window_start_ns"])


def _headline(alert: Alert) -> str:
    """An alert in a sentence: its rule's summary, else its key."""
    return str(alert["annotations"].get("summary") or ", ".join(f"{k} {v}" for k, v in alert["key"].items()))


def _line(alert: Alert) -> dict[str, Any]:
    began = _time(_began_ns(alert))
    return {
        "number": alert["number"],
        "state": alert["state"],
        "severity": alert["severity"],
        "rule": alert["rule"],
        "headline": _headline(alert),
        "explanation": alert["annotations"].get("explanation", ""),
        "facts": [[name, str(value)] for name, value in alert["key"].items()]
        + [[name, f"{value:,.6g}"] for name, value in alert["values"].items()],
        "filter": alert["filter"],
        "date": f"{began:%Y-%m-%d}",
        "began": f"{began:%H:%M:%S}",
        "ended": f"{_time(alert['resolved_ns']):%H:%M:%S}" if alert["resolved_ns"] else "",
    }


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)
