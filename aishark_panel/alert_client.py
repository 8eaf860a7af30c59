"""Questions about alerts and rules: what fired, who has seen it, of what nobody is to be told, what is watched for."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from aishark_panel.errors import ConfigError
from aishark_panel.transport import Transport

__all__ = ["AlertClient"]

_POLL_S: Final = 0.2


class AlertClient(Transport):
    """The part of a HubClient that is about alerts."""

    async def alerts(self, session: str, since: int = 0, *, archived: bool = False) -> dict[str, Any]:
        """Alerts that changed since the cursor (an earlier answer's `next`), and how the rules fare: alerts, next,
        rules, firing, pending, raised, forgotten, deliveries (docs/protocol.md). From the first cursor on, 0, archived
        ones are left out unless they are asked for."""
        _, body = await self._ask("alerts", session=session, since=since, archived=archived)
        answer: dict[str, Any] = msgspec.json.decode(body)
        return answer

    async def set_alert(
        self, session: str, number: int, acknowledged: bool | None = None, archived: bool | None = None
    ) -> dict[str, Any]:
        """Acknowledge an alert or archive it, or take that back (None: as it is); the alert. NotFoundError if it is not
        kept any more."""
        body = {"acknowledged": acknowledged, "archived": archived}
        return await self._http("PATCH", f"/api/stream/{quote(session, '')}/alerts/{number}", body)

    async def evidence_ticket(self, session: str, number: int) -> str:
        """One-use ticket, as of `export_ticket`, for the packets that were saved when an alert fired; NotFoundError,
        with the reason, if there are none."""
        result, _ = await self._ask("evidence_ticket", session=session, number=number)
        return str(result["ticket"])

    async def silences(self, session: str) -> list[dict[str, Any]]:
        """The silences that are not over: id, rule, key, until_ns (Unix time), reason, by."""
        answer = await self._http("GET", f"/api/stream/{quote(session, '')}/silences")
        silences: list[dict[str, Any]] = answer["silences"]
        return silences

    async def silence(
        self,
        session: str,
        rule: str | None = None,
        key: Mapping[str, object] | None = None,
        for_s: float = 3_600,
        reason: str = "",
    ) -> dict[str, Any]:
        """Have nobody told of the alerts of a rule (None: of any) whose key has these values, for so many seconds; the
        silence."""
        body = {"rule": rule, "key": None if key is None else dict(key), "for_s": for_s, "reason": reason}
        return await self._http("POST", f"/api/stream/{quote(session, '')}/silences", body)

    async def unsilence(self, session: str, silence: str) -> None:
        """End a silence, by its id; NotFoundError if it is over."""
        await self._http("DELETE", f"/api/stream/{quote(session, '')}/silences/{quote(silence, '')}")

    async def rules(self) -> list[dict[str, Any]]:
        """The rules that watch this person's sessions: name, source (builtin, file, own), replaces, content (its keys),
        yaml (a rules file with it), problem."""
        rules: list[dict[str, Any]] = (await self._http("GET", "/api/rules"))["rules"]
        return rules

    async def save_rule(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a rule of one's own, which watches one's sessions at once; its line as of `rules`. ConfigError that says
        what is wrong with it."""
        return await self._http("PUT", f"/api/rules/{quote(str(content.get('name', '')), '')}", {"content": content})

    async def delete_rule(self, name: str) -> None:
        """Forget a rule of one's own; NotFoundError if there is none of that name."""
        await self._http("DELETE", f"/api/rules/{quote(name, '')}")

    async def check_rules(self, yaml: str) -> list[dict[str, Any]]:
        """The rules of a YAML text, each as its keys; ConfigError that says what is wrong, and where."""
        rules: list[dict[str, Any]] = (await self._http("POST", "/api/rules/check", {"yaml": yaml}))["rules"]
        return rules

    async def start_backtest(
        self, session: str, yaml: str | None = None, names: Sequence[str] | None = None, over: str = "ring"
    ) -> str:
        """Try rules on what a session has kept: those of a YAML text, or (None) this person's; of them those of these
        names, or all. `over` is "ring", "journal" or "recordings". The backtest's id; ConflictError while too many are
        under way."""
        body = {"session": session, "yaml": yaml, "names": names and list(names), "over": over}
        return str((await self._http("POST", "/api/backtests", body))["id"])

    async def backtest(self, backtest: str) -> dict[str, Any]:
        """How far a backtest is, and what it found (docs/rest.md)."""
        return await self._http("GET", f"/api/backtests/{quote(backtest, '')}")

    async def try_rules(
        self,
        session: str,
        yaml: str | None = None,
        over: str = "ring",
        progress: Callable[[int, int], object] = lambda done, total: None,
    ) -> dict[str, Any]:
        """A backtest from its begin to its end, as `start_backtest` and `backtest`; ConfigError where it failed.

        `progress` is called with how far it is, and of how much.
        """
        backtest = await self.start_backtest(session, yaml, over=over)
        try:
            answer = await self.backtest(backtest)
            while answer["state"] == "running":
                progress(answer["done"], answer["total"])
                await asyncio.sleep(_POLL_S)
                answer = await self.backtest(backtest)
        finally:
            await self.cancel_backtest(backtest)
        if answer["state"] != "done":
            raise ConfigError(f"the hub could not try the rules: {answer['reason'] or answer['state']}")
        return answer

    async def cancel_backtest(self, backtest: str) -> None:
        """Break a backtest off, or forget it."""
        await self._http("DELETE", f"/api/backtests/{quote(backtest, '')}")
