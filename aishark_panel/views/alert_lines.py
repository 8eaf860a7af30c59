"""Alerts as the list and the timeline show them. Pure: what the hub says of alerts in, texts and numbers out.

An alert that was pending and never fired is nothing to a person once it is over; it is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aishark_panel.alerts.having import BASIC
from aishark_panel.views.columns import Span

__all__ = [
    "PIN_COLOURS",
    "STATES",
    "Alert",
    "Pins",
    "alert_detail",
    "alert_lines",
    "counts",
    "lasting",
    "pins",
    "shown_in",
]

PIN_COLOURS: Final = {"info": "#3d84f5", "warning": "#dd9f17", "critical": "#e5484d"}
"""By severity; each stands out from a white and from a black ground."""
STATES: Final = ("all", "firing", "pending", "resolved", "archived")
"""What the list can be narrowed to."""

_PIN_SHAPES: Final = {"info": "circle", "warning": "inverted_triangle", "critical": "diamond"}
_DIM: Final = 0.35
_ORDER: Final = {"firing": 0, "pending": 1, "resolved": 2}
_EVIDENCE: Final = {
    "waiting": "The packets around the moment are being kept.",
    "failed": "Its packets could not be kept.",
    "none": "No packets were kept.",
}

Alert = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pins:
    """Alerts that fired within a span, oldest first; lists of equal length."""

    number: list[int]
    at_ms: list[float]
    colour: list[str]
    shape: list[str]
    alpha: list[float]
    """dimmer where somebody has seen to it"""
    text: list[str]


def shown_in(state: str, alerts: Iterable[Alert], rule: str = "") -> list[Alert]:
    """Those in that state (one of STATES), of that rule if one is named: firing ones first, then pending, then
    resolved; what nobody has acknowledged before the rest, the newest first among equals."""
    found = [
        alert
        for alert in alerts
        if (alert["archived"] if state == "archived" else not alert["archived"] and state in ("all", alert["state"]))
        and (alert["state"] != "resolved" or alert["fired_ns"])
        and rule in ("", alert["rule"])
    ]
    found.sort(key=lambda a: (_ORDER[a["state"]], a["state"] == "firing" and _is_seen(a), -_began_ns(a), -a["number"]))
    return found


def counts(alerts: Iterable[Alert]) -> dict[str, int]:
    """How many alerts there are in each of STATES but the archived ones, which the page does not always know."""
    known = shown_in("all", alerts)
    return {state: sum(state in ("all", alert["state"]) for alert in known) for state in STATES if state != "archived"}


def alert_lines(alerts: Iterable[Alert], now_ns: int) -> list[dict[str, Any]]:
    """One line for each alert; `now_ns`: packet time, for how long those that are open have lasted."""
    return [_line(alert, now_ns) for alert in alerts]


def alert_detail(alert: Alert, rule: dict[str, Any], first_ts: int) -> dict[str, Any]:
    """What an opened alert shows; `rule`: what the hub says of its rule, {} if nothing; `first_ts`: time of the oldest
    packet that is kept, ns."""
    evidence = alert["evidence"] or {"state": "none", "reason": ""}
    over = alert["resolved_ns"]
    moments = [["window began", _moment(alert["window_start_ns"])]]
    moments += [["fired", _moment(alert["fired_ns"])]] if alert["fired_ns"] else []
    moments += [["resolved", _moment(over)]] if over else []
    seen = alert["acknowledged"]
    return {
        "number": alert["number"],
        "explanation": alert["annotations"].get("explanation", "")
        or alert["description"]
        or rule.get("description", ""),
        "runbook": alert["runbook"],
        "key": [[name, str(value)] for name, value in alert["key"].items()],
        "values": [[name, f"{value:,.6g}"] for name, value in alert["values"].items()],
        "moments": moments,
        "labels": [[name, str(value)] for name, value in alert["labels"].items()],
        "notes": [
            [name, text] for name, text in alert["annotations"].items() if name not in ("summary", "explanation")
        ],
        "filter": alert["filter"],
        "gone": bool(over and first_ts and over < first_ts),
        "seen": f"{seen['by'] or 'the owner'}, {_moment(seen['at_ns'])}" if seen else "",
        "evidence": evidence["state"],
        "evidence_text": _evidence_text(evidence),
    }


def pins(alerts: Iterable[Alert], span: Span) -> Pins:
    """Where alerts fired, but for those that were archived."""
    found = [(alert["fired_ns"] / 1e6, alert) for alert in alerts if alert["fired_ns"] and not alert["archived"]]
    found = [(at_ms, alert) for at_ms, alert in found if span.start_ms <= at_ms <= span.end_ms]
    found.sort(key=lambda pin: (pin[0], pin[1]["number"]))
    return Pins(
        [alert["number"] for _, alert in found],
        [at_ms for at_ms, _ in found],
        [PIN_COLOURS[alert["severity"]] for _, alert in found],
        [_PIN_SHAPES[alert["severity"]] for _, alert in found],
        [_DIM if _is_seen(alert) else 1.0 for _, alert in found],
        [f"{alert['rule']}: {headline(alert)}{_pin_note(alert)}" for _, alert in found],
    )


def lasting(ns: int) -> str:
    """'0.4 s', '12 s', '3 min 20 s', '2 h 5 min', '3 d 2 h'."""
    seconds = max(0, ns) / 1e9
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0", "")
    for size, unit, part, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = int(seconds % size) // part
            return f"{int(seconds) // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{int(seconds)} s"


def headline(alert: Alert) -> str:
    """An alert in a sentence: its rule's summary, else its key."""
    return str(alert["annotations"].get("summary") or ", ".join(f"{k} {v}" for k, v in alert["key"].items()))


def _is_seen(alert: Alert) -> bool:
    return bool(alert["acknowledged"] or alert["silenced"])


def _pin_note(alert: Alert) -> str:
    return " (acknowledged)" if alert["acknowledged"] else " (silenced)" if alert["silenced"] else ""


def _began_ns(alert: Alert) -> int:
    """When an alert fired, or the start of its window while it is pending; ns since 1970 UTC."""
    return int(alert["fired_ns"] or alert["window_start_ns"])


def _line(alert: Alert, now_ns: int) -> dict[str, Any]:
    began_ns = _began_ns(alert)
    began, over = _time(began_ns), alert["resolved_ns"]
    values = {name: value for name, value in alert["values"].items() if name == "packets" or name not in BASIC}
    return {
        "number": alert["number"],
        "state": alert["state"],
        "severity": alert["severity"],
        "rule": alert["rule"],
        "headline": headline(alert),
        "facts": [[name, str(value)] for name, value in alert["key"].items()]
        + [[name, f"{value:,.6g}"] for name, value in values.items()],
        "keys": len(alert["key"]),
        "date": f"{began:%Y-%m-%d}",
        "began": f"{began:%H:%M:%S}",
        "lasted": lasting((over or max(now_ns, began_ns)) - began_ns),
        "acknowledged": bool(alert["acknowledged"]),
        "silenced": alert["silenced"],
        "archived": alert["archived"],
        "evidence": (alert["evidence"] or {}).get("state", "none"),
    }


def _evidence_text(evidence: dict[str, Any]) -> str:
    if evidence["state"] != "saved":
        return f"{_EVIDENCE[evidence['state']]} {evidence['reason']}".strip()
    packets = f"{evidence['packets']:,} packet{'' if evidence['packets'] == 1 else 's'}, {evidence['bytes']:,} bytes"
    return packets if evidence["complete"] else f"{packets}; not all of them. {evidence['reason']}".strip()


def _moment(ns: int) -> str:
    return f"{_time(ns):%Y-%m-%d %H:%M:%S}.{ns // 10**6 % 1000:03d} UTC"


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC)
