"""Alerts: what the hub's rules found, firing first, and the rules themselves."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aishark_panel.views.alert_lines import alert_lines
from aishark_panel.views.base import Element, View
from aishark_panel.views.feed import Feed
from aishark_panel.views.theme import script

__all__ = ["MAX_SHOWN", "Alerts"]

MAX_SHOWN: Final = 100
"""Most alerts in the list."""

_RULE_FACTS: Final = ("name", "description", "severity", "state", "reason")

Add = Callable[[str, bool], Awaitable[None]]


class AlertsElement(Element):
    _esm = script("alerts.js")


class Alerts(View):
    """Alerts of the session and the rules that watch it. `on_filter(condition, exclude)` hears clicks."""

    root: AlertsElement

    def __init__(self, feed: Feed, on_filter: Add | None = None) -> None:
        super().__init__(feed)
        self._on_filter = on_filter
        self.root = AlertsElement(
            self._receive, "alerts.css", css_classes=["alerts"], sizing_mode="stretch_both", margin=0
        )

    def paint(self) -> None:
        feed = self.feed
        alerts = alert_lines(feed.alerts.values())
        counts = feed.stats.get("alerts", {})
        deliveries = counts.get("deliveries", {})
        self.root.draw(
            alerts=alerts[:MAX_SHOWN],
            hidden=max(0, len(alerts) - MAX_SHOWN) + counts.get("forgotten", 0),
            firing=counts.get("firing", 0),
            rules=[{key: rule[key] for key in _RULE_FACTS} for rule in feed.rules],
            undelivered=deliveries.get("failed", 0) + deliveries.get("dropped", 0),
            undelivered_reason=deliveries.get("reason", ""),
            empty="" if alerts else self._empty(),
        )

    def _empty(self) -> str:
        if self.feed.problem:
            return self.feed.problem
        if not self.feed.rules:
            return "No rule watches this session. Start the hub with --rules FILE."
        return "Nothing to report: no rule has found anything in this session."

    async def _receive(self, message: Any) -> None:
        match message:
            case {"filter": int(number), "exclude": bool(exclude)} if self._on_filter:
                alert = self.feed.alerts.get(number, {})
                if alert.get("filter"):
                    await self._on_filter(alert["filter"], exclude)
