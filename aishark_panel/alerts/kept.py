"""What of a session's alerts is to be kept, so that another log may go on where this one ends."""

from typing import Any, Literal, TypedDict

import msgspec

from aishark_panel.alerts.silences import Silence

__all__ = ["Alert", "Facts", "KeptAlerts"]


class Facts(TypedDict):
    """What the rules say of an alert, as JSON has it; docs/protocol.md says what is what."""

    rule: str
    description: str
    severity: str
    state: Literal["pending", "firing", "resolved"]
    key: dict[str, Any]
    values: dict[str, Any]
    window_start_ns: int
    fired_ns: int
    resolved_ns: int
    annotations: dict[str, str]
    labels: dict[str, str]
    runbook: str
    notify: list[str] | None
    filter: str


class Alert(Facts):
    """An alert, with what became of it."""

    number: int
    changed: int
    acknowledged: dict[str, Any] | None
    archived: bool
    silenced: bool
    evidence: dict[str, Any] | None


class KeptAlerts(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Alerts as they are, or what of them changed."""

    changes: int
    raised: int
    forgotten: int
    numbers: list[int]
    """of the alerts that are kept"""
    alerts: list[Alert]
    silences: tuple[Silence, ...]

    def add(self, later: "KeptAlerts") -> None:
        """Go on to what is so later."""
        alerts = {alert["number"]: alert for alert in (*self.alerts, *later.alerts)}
        self.alerts = [alerts[number] for number in later.numbers if number in alerts]
        self.changes, self.raised, self.forgotten = later.changes, later.raised, later.forgotten
        self.numbers, self.silences = later.numbers, later.silences
