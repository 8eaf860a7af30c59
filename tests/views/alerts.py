"""The part of the hub in memory that is about alerts: a real log and real silences, without routes and disks."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aishark_panel.alerts.log import AlertLog
from aishark_panel.alerts.rule import Rule
from aishark_panel.errors import HubUnreachableError
from aishark_panel.streams.rulebook import Rulebook, check, checked, listing
from aishark_panel.streams.session import Session
from aishark_panel.streams.store import Store

__all__ = ["MemoryAlerts"]


class MemoryAlerts:
    """What HubClient offers of it."""

    session: Session
    builtin: Sequence[Rule]
    connected: bool
    reason: str
    asked: list[str]

    @functools.cached_property
    def rulebook(self) -> Rulebook:
        return Rulebook(self.builtin, Store())

    def _alerts(self) -> AlertLog:
        if not self.connected:
            raise HubUnreachableError(self.reason)
        return self.session.alerts

    async def alerts(self, session: str, since: int = 0, *, archived: bool = False) -> dict[str, Any]:
        self.asked.append("alerts")
        return dict(self._alerts().since(since, archived=archived))

    async def set_alert(
        self, session: str, number: int, acknowledged: bool | None = None, archived: bool | None = None
    ) -> dict[str, Any]:
        return dict(self._alerts().mark(number, "ann", acknowledged=acknowledged, archived=archived))

    async def evidence_ticket(self, session: str, number: int) -> str:
        return f"evidence-{self._alerts().alert(number)['number']}"

    async def silences(self, session: str) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(silence) for silence in self._alerts().silences.good(time.time_ns())]

    async def silence(
        self,
        session: str,
        rule: str | None = None,
        key: Mapping[str, object] | None = None,
        for_s: float = 3_600,
        reason: str = "",
    ) -> dict[str, Any]:
        values = None if key is None else dict(key)
        silence = self._alerts().silences.add(rule, values, for_s, reason, "ann", time.time_ns())
        return dict(msgspec.to_builtins(silence))

    async def unsilence(self, session: str, silence: str) -> None:
        self._alerts().silences.remove(silence)

    async def rules(self) -> list[dict[str, Any]]:
        return listing(self.rulebook.of(""))

    async def save_rule(self, content: Mapping[str, Any]) -> dict[str, Any]:
        name = str(content.get("name", ""))
        line = self.rulebook.save("", name, checked(name, dict(content)))
        self._alerts().replace(self.rulebook.watching(""))
        return line

    async def delete_rule(self, name: str) -> None:
        self.rulebook.delete("", name)
        self._alerts().replace(self.rulebook.watching(""))

    async def check_rules(self, yaml: str) -> list[dict[str, Any]]:
        return check(yaml)
