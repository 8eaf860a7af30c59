"""Alerts and rules as frames: what rules found, what they would have found, and rules that a cell put there."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

if TYPE_CHECKING:
    from aishark_panel.notebook.session import Session

__all__ = ["TriedRules", "WatchedRule", "alerts_frame"]

_COLUMNS: Final = ("rule", "severity", "state", "fired", "resolved", "key", "summary", "number")
_UTC: Final = "datetime64[ns, UTC]"
_SHOWN: Final = 20


def alerts_frame(alerts: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row an alert: rule, severity, state, when it fired and was resolved (UTC), the key's values, what is said of
    it, and its number."""
    lines = [
        {
            "rule": alert["rule"],
            "severity": alert["severity"],
            "state": alert["state"],
            "fired": _time(alert["fired_ns"]),
            "resolved": _time(alert["resolved_ns"]),
            "key": ", ".join(f"{name} {value}" for name, value in alert["key"].items()),
            "summary": alert["annotations"].get("summary") or alert["description"],
            "number": alert["number"],
        }
        for alert in alerts
    ]
    return pd.DataFrame(lines, columns=list(_COLUMNS)).astype({"fired": _UTC, "resolved": _UTC})


def _time(ns: int) -> pd.Timestamp | None:
    return pd.Timestamp(ns, tz="UTC") if ns else None


class WatchedRule:
    """A rule that `Session.alert` put there, and what it found in that session."""

    def __init__(self, session: "Session", name: str) -> None:
        self.session = session
        self.name = name

    @property
    def alerts(self) -> pd.DataFrame:
        """The rule's alerts, as `Session.alerts`."""
        found = self.session.alerts()
        return found[found["rule"] == self.name].reset_index(drop=True)

    def delete(self) -> None:
        """Watch no longer; what it found stays."""
        self.session.hub.ask(lambda client: client.delete_rule(self.name))

    def __repr__(self) -> str:
        return f"<WatchedRule {self.name!r}: {len(self.alerts):,} alerts in session {self.session.name!r}>"

    def _repr_html_(self) -> str:
        found = self.alerts
        heading = f"<b>{html.escape(self.name)}</b>: {len(found):,} alerts"
        return heading + (str(found.head(_SHOWN).to_html(escape=True)) if len(found) else "")


class TriedRules:
    """What rules would have said; showing it in a cell gives how noisy each of them is."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.packets: int = answer["packets"]
        """packets that were looked at"""
        self.alerts = alerts_frame(answer["alerts"])
        """the first 500, in the order in which they would have fired"""
        self.rules = pd.DataFrame(answer["rules"])
        """of each rule: alerts, keys, firing_s, share_firing, per_hour, noise (quiet, fair, noisy), problem"""
        self.more: int = answer["more"]
        """alerts beyond the first 500"""

    def __repr__(self) -> str:
        return f"{len(self.alerts) + self.more:,} alerts in {self.packets:,} packets\n{self.rules}"

    def _repr_html_(self) -> str:
        heading = f"{len(self.alerts) + self.more:,} alerts in {self.packets:,} packets"
        return heading + str(self.rules.to_html(escape=True, index=False))
