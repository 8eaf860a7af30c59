"""The part of the hub in memory that is about backtests: it answers what a test tells it to."""

from collections.abc import Sequence
from typing import Any

from aishark_panel.alerts.rule import parse_rules
from aishark_panel.errors import ConfigError

__all__ = ["MemoryBacktests", "backtest_answer"]


def backtest_answer(**changes: Any) -> dict[str, Any]:
    """A backtest that is done, as the hub tells it (docs/protocol.md)."""
    answer = {
        "id": "b0", "state": "done", "done": 10, "total": 10, "packets": 10, "reason": "", "rules": [], "alerts": [],
        "more": 0, "first_ts": 0, "last_ts": 0,
    }  # fmt: skip
    return {**answer, **changes}


class MemoryBacktests:
    """What HubClient offers of it."""

    def __init__(self) -> None:
        super().__init__()
        self.backtests: list[dict[str, Any]] = []
        """how the backtest goes on: one answer for each question, the last one again and again"""
        self.tried: list[tuple[str | None, str]] = []
        """yaml and place of each backtest"""
        self.cancelled: list[str] = []

    async def start_backtest(
        self, session: str, yaml: str | None = None, names: Sequence[str] | None = None, over: str = "ring"
    ) -> str:
        if yaml is not None:
            parse_rules(yaml, "rule")
        if over != "ring":
            raise ConfigError("this hub keeps no journal")
        self.tried.append((yaml, over))
        return f"b{len(self.tried) - 1}"

    async def backtest(self, backtest: str) -> dict[str, Any]:
        answer = self.backtests.pop(0) if len(self.backtests) > 1 else self.backtests[0]
        return {**answer, "id": backtest}

    async def cancel_backtest(self, backtest: str) -> None:
        self.cancelled.append(backtest)
