"""A backtest as the rule editor shows it: when the rule would have fired, for whom, how often. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aishark_panel.views.alert_lines import headline, lasting

__all__ = ["backtest_lines"]

MAX_LANES: Final = 6
"""Most keys with a lane of their own in the timeline; the others share one."""
MAX_LISTED: Final = 50
"""Most alerts in the list, the oldest."""

_CLOSE: Final = 0.3
"""Bars nearer than so many hundredths of the timeline are drawn as one."""
_NOISE: Final = {
    "quiet": "Quiet: worth looking at each time.",
    "fair": "Fair: some will be looked at, some not.",
    "noisy": "Noisy: people stop looking. Raise the number in 'having', let it hold 'for' longer, or narrow 'where'.",
}


def backtest_lines(answer: dict[str, Any]) -> dict[str, Any]:
    """What is shown of what HubClient.backtest tells: state, done (0 to 1), progress (in words), problem, verdict,
    noise, advice, lanes ([{key, alerts, bars: [{at, width, severity, title}]}], hundredths of the time), from, to,
    alerts, more."""
    rule = answer["rules"][0] if answer["rules"] else {}
    first, last = answer["first_ts"], answer["last_ts"]
    fired = [alert for alert in answer["alerts"] if alert["fired_ns"]]
    done = answer["state"] == "done"
    return {
        "state": answer["state"],
        "done": min(1.0, answer["done"] / answer["total"]) if answer["total"] else 0.0,
        "progress": f"{answer['packets']:,} packets looked at",
        "problem": answer["reason"] or rule.get("problem", ""),
        "verdict": _verdict(answer, rule, lasting(last - first)) if done else "",
        "noise": rule.get("noise", "") if done and rule.get("alerts") else "",
        "advice": _NOISE.get(rule.get("noise", ""), "") if done and rule.get("alerts") else "",
        "lanes": _lanes(fired, first, max(last, first + 1)),
        "from": _clock(first) if first else "",
        "to": f"{_clock(last)} UTC" if last else "",
        "alerts": [_line(alert, last) for alert in fired[:MAX_LISTED]],
        "more": max(0, len(fired) - MAX_LISTED) + answer["more"],
    }


def _verdict(answer: dict[str, Any], rule: dict[str, Any], time: str) -> str:
    looked = f"{answer['packets']:,} packets in {time}"
    alerts, keys = rule.get("alerts", 0), rule.get("keys", 0)
    if not answer["packets"]:
        return "There are no packets to try it on. Let some come, or open a capture file."
    if not alerts:
        return f"It would not have fired: {looked}."
    times = "once" if alerts == 1 else f"{alerts:,} times"
    whom = "" if keys <= 1 else f" for {keys:,} keys"
    per_hour = rule["per_hour"]
    rate = f"{per_hour:,.0f}" if per_hour >= 10 else f"{per_hour:.2g}"
    return (
        f"It would have fired {times}{whom}: {looked}. That is {rate} an hour,"
        f" and something was firing {100 * rule['share_firing']:.3g} % of the time."
    )


def _lanes(alerts: Sequence[dict[str, Any]], first: int, last: int) -> list[dict[str, Any]]:
    """The alerts of each key, those with most alerts on top."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        by_key.setdefault(_key(alert), []).append(alert)
    ranked = sorted(by_key.items(), key=lambda lane: -len(lane[1]))
    lanes = ranked[:MAX_LANES]
    if rest := ranked[MAX_LANES:]:
        lanes.append((f"{len(rest):,} other keys", [alert for _, lane in rest for alert in lane]))
    return [{"key": key or "all packets", "alerts": len(lane), "bars": _bars(lane, first, last)} for key, lane in lanes]


def _bars(alerts: Sequence[dict[str, Any]], first: int, last: int) -> list[dict[str, Any]]:
    bars: list[dict[str, Any]] = []
    for alert in sorted(alerts, key=lambda alert: alert["fired_ns"]):
        at = 100 * (alert["fired_ns"] - first) / (last - first)
        end = 100 * ((alert["resolved_ns"] or last) - first) / (last - first)
        at, end = (min(100.0, max(0.0, each)) for each in (at, end))
        if bars and at <= bars[-1]["at"] + bars[-1]["width"] + _CLOSE:
            before = bars[-1]
            before["width"] = max(before["width"], round(end - before["at"], 2))
            before["count"] += 1
            before["title"] = f"{before['count']:,} alerts from {before['since']} on"
        else:
            since = _clock(alert["fired_ns"])
            title = f"{since}: {headline(alert)}"
            bar = {"at": round(at, 2), "width": round(end - at, 2), "severity": alert["severity"]}
            bars.append({**bar, "title": title, "since": since, "count": 1})
    return [{name: bar[name] for name in ("at", "width", "severity", "title")} for bar in bars]


def _line(alert: dict[str, Any], last: int) -> dict[str, Any]:
    return {
        "at": _clock(alert["fired_ns"]),
        "key": _key(alert),
        "headline": headline(alert),
        "lasted": lasting((alert["resolved_ns"] or last) - alert["fired_ns"]),
    }


def _key(alert: dict[str, Any]) -> str:
    return ", ".join(str(value) for value in alert["key"].values())


def _clock(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%H:%M:%S}"
