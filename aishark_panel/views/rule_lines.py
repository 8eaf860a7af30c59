"""Rules, and what is silenced, as the Alerts tab lists them. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["rule_lines", "silence_lines"]

_SOURCES: Final = {"builtin": "built-in", "file": "from a file", "own": "yours"}
_TROUBLE: Final = {
    "missed_keys": "keys are not watched: there are too many",
    "missed_values": "different values were not counted: there are too many",
}

Rule = dict[str, Any]


def rule_lines(
    known: Sequence[Rule], watching: Sequence[Rule], alerts: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One line for each rule: those that watch the session (`watching`: how they fare there) and the others that the
    person has (`known`), what is wrong first, what is off last, by name among equals."""
    raised = Counter(alert["rule"] for alert in alerts if alert["fired_ns"])
    kept = {rule["name"]: rule for rule in known}
    faring = {rule["name"]: rule for rule in watching}
    lines = [_line(name, kept.get(name, {}), faring.get(name, {}), raised[name]) for name in {**kept, **faring}]
    return sorted(lines, key=lambda line: (not line["problem"], not line["on"], line["name"]))


def _line(name: str, kept: Rule, faring: Rule, raised: int) -> dict[str, Any]:
    content = kept.get("content", {})
    on = bool(content.get("enabled", True)) and faring.get("state") != "off"
    problem = faring.get("reason", "") or kept.get("problem", "")
    trouble = [f"{faring[count]:,} {text}" for count, text in _TROUBLE.items() if faring.get(count)]
    source = _SOURCES.get(kept.get("source", ""), "")
    return {
        "name": name,
        "description": content.get("description", faring.get("description", "")),
        "severity": content.get("severity", faring.get("severity", "warning")),
        "source": f"{source}, in place of another" if kept.get("replaces") else source,
        "own": kept.get("source") == "own",
        "replaces": bool(kept.get("replaces")),
        "kept": bool(kept),
        "on": on and not problem,
        "here": bool(faring),
        "problem": problem,
        "trouble": "; ".join(trouble),
        "keys": faring.get("keys", 0),
        "alerts": raised,
    }


def silence_lines(silences: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each silence, the one that ends first first."""
    return [
        {
            "id": silence["id"],
            "what": silence["rule"] or "every rule",
            "key": ", ".join(f"{name} {value}" for name, value in (silence["key"] or {}).items()),
            "until": f"{datetime.fromtimestamp(silence['until_ns'] // 10**9, UTC):%Y-%m-%d %H:%M} UTC",
            "reason": silence["reason"],
            "by": silence["by"],
        }
        for silence in sorted(silences, key=lambda silence: silence["until_ns"])
    ]
