"""Alerts: what the hub's rules found, firing first, what one does about it, and the rules themselves."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from aishark_panel.errors import AisharkError, NotFoundError
from aishark_panel.query.literals import quote
from aishark_panel.views.alert_lines import STATES, Alert, alert_detail, alert_lines, counts, shown_in
from aishark_panel.views.base import Element, View
from aishark_panel.views.exports import file_address
from aishark_panel.views.feed import Feed
from aishark_panel.views.rule_lines import rule_lines, silence_lines
from aishark_panel.views.theme import script

__all__ = ["MAX_SHOWN", "Alerts"]

MAX_SHOWN: Final = 100
"""Most alerts in the list."""

_SLOW_PULLS: Final = 10
"""Rules and silences, which change by hand, are asked for each so many pulls."""
_MAX_REASON: Final = 200

Add = Callable[[str, bool], Awaitable[None]]


class AlertsElement(Element):
    _esm = script("menu.js", "alert_detail.js", "silencing.js", "rule_list.js", "alerts.js")


class Alerts(View):
    """Alerts of the session and the rules that watch it.

    `on_filter(condition, exclude)` hears clicks on values; `on_show(condition, range)` is to show an alert's packets;
    `on_edit(rule, where)` to open a rule as the hub tells it, or a new one for `where` (None: there is no rule).
    """

    root: AlertsElement
    every: ClassVar[int] = 1

    def __init__(
        self,
        feed: Feed,
        on_filter: Add | None = None,
        on_show: Callable[[str, tuple[int, int]], Awaitable[None]] | None = None,
        on_edit: Callable[[dict[str, Any] | None], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(feed)
        self._on_filter, self._on_show, self._on_edit = on_filter, on_show, on_edit
        self._state, self._rule = "all", ""
        self._open = 0
        """number of the alert that is open"""
        self._archived: dict[int, Alert] = {}
        self._rules: list[dict[str, Any]] = []
        self._silences: list[dict[str, Any]] = []
        self._pulls = 0
        self._of = ""
        """session that the archived alerts and silences are of"""
        self._answer: dict[str, str] = {}
        """what came of the last order: kind, text"""
        self.root = AlertsElement(
            self._receive, "alerts.css", css_classes=["alerts"], sizing_mode="stretch_both", margin=0
        )

    @property
    def _acts(self) -> bool:
        """Whether the person may change what becomes of the session's alerts."""
        return "capture" in self.feed.may or "admin" in self.feed.may

    async def pull(self) -> None:
        if self._of != self.feed.session:
            self._of, self._archived, self._silences, self._open, self._pulls = self.feed.session, {}, [], 0, 0
            self._answer = {}
        if self._pulls % _SLOW_PULLS == 0:
            await self._pull_slow()
        self._pulls += 1

    async def _pull_slow(self) -> None:
        """What changes by hand only; a hub that has none of it is no reason not to show alerts."""
        client, session = self.feed.client, self.feed.session
        try:
            self._rules = await client.rules()
            if session:
                self._silences = await client.silences(session)
            if session and self._state == "archived":
                told = (await client.alerts(session, 0, archived=True))["alerts"]
                self._archived = {alert["number"]: alert for alert in told if alert["archived"]}
        except AisharkError:
            return  # the page says that the hub is away

    @property
    def _known(self) -> dict[int, Alert]:
        return {**self._archived, **self.feed.alerts} if self._state == "archived" else self.feed.alerts

    def paint(self) -> None:
        feed = self.feed
        known = self._known
        chosen = shown_in(self._state, known.values(), self._rule)
        told = feed.stats.get("alerts", {})
        deliveries = told.get("deliveries", {})
        rules = rule_lines(self._rules, feed.rules, feed.alerts.values())
        self.root.draw(
            alerts=alert_lines(chosen[:MAX_SHOWN], feed.stats.get("last_ts", 0)),
            hidden=max(0, len(chosen) - MAX_SHOWN),
            forgotten=told.get("forgotten", 0),
            state=self._state,
            counts=counts(feed.alerts.values()),
            rule=self._rule,
            open=self._open,
            detail=self._detail(known),
            rules=rules,
            silences=silence_lines(self._silences),
            acts=self._acts,
            shows=self._on_show is not None,
            edits=self._edits,
            exports="export" in feed.may or "admin" in feed.may,
            undelivered=deliveries.get("failed", 0) + deliveries.get("dropped", 0),
            undelivered_reason=deliveries.get("reason", ""),
            answer=self._answer,
            empty=None if chosen else self._empty(rules),
        )

    @property
    def _edits(self) -> bool:
        """Whether the person may change rules, here."""
        return self._on_edit is not None and ("capture" in self.feed.rights or "admin" in self.feed.rights)

    def _detail(self, known: dict[int, Alert]) -> dict[str, Any] | None:
        alert = known.get(self._open)
        if alert is None:
            return None
        rule = next((rule for rule in self.feed.rules if rule["name"] == alert["rule"]), {})
        return alert_detail(alert, rule, self.feed.stats.get("first_ts", 0))

    def _empty(self, rules: list[dict[str, Any]]) -> dict[str, str]:
        """Why the list is empty, and what to do next: text, and do ('new': a rule, 'all': show all alerts, '')."""
        feed = self.feed
        if feed.problem:
            return {"text": feed.problem, "do": ""}
        if self._state != "all" or self._rule:
            of = f" of {self._rule}" if self._rule else ""
            state = "" if self._state == "all" else f" {self._state}"
            return {"text": f"No{state} alert{of} in this session.", "do": "all"}
        new = "new" if self._edits else ""
        watching = sum(rule["on"] for rule in rules)
        if not watching:
            return {"text": "No rule watches this session. Switch one on, or write one of your own.", "do": new}
        if not feed.stats.get("packets"):
            return {"text": str(feed.stats.get("reason") or "No packets have come yet."), "do": ""}
        text = f"Nothing to report: {watching} rule{'s' if watching > 1 else ''} watch and have found nothing."
        if watching == 1:
            text = "Nothing to report: 1 rule watches and has found nothing."
        return {"text": f"{text} A new rule can be tried on the packets that are kept.", "do": new}

    async def _receive(self, message: Any) -> None:
        match message:
            case {"open": int(number)}:
                self._open = number
            case {"states": str(state)} if state in STATES:
                self._state, self._open = state, 0
                await self._pull_slow()
            case {"of_rule": str(rule)}:
                self._rule, self._open = rule, 0
            case {"filter": int(number), "column": str(column), "exclude": bool(exclude)}:
                await self._add_to_filter(self._alert(number), column, exclude)
            case {"show": int(number)}:
                await self._show(self._alert(number))
            case {"evidence": int(number)}:
                ticket = await self.feed.client.evidence_ticket(self.feed.session, number)
                self.root.send({"download": file_address(self.feed, ticket)})
            case {"edit": str(name)} if self._on_edit:
                await self._on_edit(self._kept(name))
            case {"new": True} if self._on_edit:
                await self._on_edit(None)
            case _:
                await self._change(message)
        self.repaint()

    def _alert(self, number: int) -> Alert:
        if number not in self._known:
            raise NotFoundError("That alert is gone: the hub keeps the newest ones.")
        return self._known[number]

    async def _add_to_filter(self, alert: Alert, column: str, exclude: bool) -> None:
        if self._on_filter and column in alert["key"]:
            value = alert["key"][column]
            literal = quote(value) if isinstance(value, str) else str(value)
            await self._on_filter(f"{column} == {literal}", exclude)

    async def _show(self, alert: Alert) -> None:
        if self._on_show:
            until = alert["resolved_ns"] or max(self.feed.stats.get("last_ts", 0), alert["fired_ns"])
            await self._on_show(alert["filter"], (alert["window_start_ns"], until + 1))

    async def _change(self, message: Any) -> None:
        """What is done to alerts, silences and rules; what came of it is shown."""
        client, session = self.feed.client, self.feed.session
        match message:
            case {"acknowledge": int(number), "on": bool(on)}:
                await self._order(self._set(number, acknowledged=on))
            case {"archive": int(number), "on": bool(on)}:
                await self._order(self._set(number, archived=on))
            case {
                "silence": int(number),
                "key": bool(of_key),
                "for_s": int() | float() as for_s,
                "reason": str(reason),
            }:
                alert = self._alert(number)
                key = alert["key"] if of_key else None
                await self._order(client.silence(session, alert["rule"], key, for_s, reason[:_MAX_REASON].strip()))
            case {"unsilence": str(silence)}:
                await self._order(client.unsilence(session, silence))
            case {"rule": str(name), "on": bool(on)} if self._edits:
                await self._order(self._switch(name, on))
            case {"delete": str(name)} if self._edits:
                await self._order(client.delete_rule(name))

    async def _set(self, number: int, **changes: bool) -> None:
        alert = await self.feed.client.set_alert(self.feed.session, number, **changes)
        for known in (self.feed.alerts, self._archived):
            if number in known:
                known[number] = alert
        if "archived" in changes and self._open == number:
            self._open = 0

    def _kept(self, name: str) -> dict[str, Any]:
        """The rule of that name as HubClient.rules tells it."""
        rule = next((rule for rule in self._rules if rule["name"] == name), None)
        if rule is None:
            raise NotFoundError(f"The hub keeps no rule {name!r:.80} that you may change.")
        return rule

    async def _switch(self, name: str, on: bool) -> None:
        rule = self._kept(name)
        changed = {key: value for key, value in rule["content"].items() if key != "enabled"}
        if on and rule["replaces"] and changed.keys() <= {"name"}:
            await self.feed.client.delete_rule(name)  # it said nothing but that the other one is off
        else:
            await self.feed.client.save_rule(changed if on else {**changed, "enabled": False})

    async def _order(self, order: Awaitable[object]) -> None:
        self._answer = {}
        try:
            await order
        except AisharkError as error:
            self._answer = {"kind": "bad", "text": str(error)}
        await self._pull_slow()
        await self.feed.pull()
