"""Silences: for a while, nobody is told of certain alerts. They are listed all the same."""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from aishark_panel.errors import ConfigError, NotFoundError

__all__ = ["MAX_SILENCES", "MAX_SILENCE_S", "Silence", "Silences"]

MAX_SILENCES: Final = 200
"""Most of one session at a time."""
MAX_SILENCE_S: Final = 366 * 86_400.0


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of which nobody is told until a time."""

    id: str
    rule: str | None
    """name of the rule they are of; null: of any"""
    key: dict[str, str | int | float | bool | None] | None
    """what their key has, by column; null: any key"""
    until_ns: int
    """Unix time"""
    reason: str
    by: str
    """who wanted it"""

    def covers(self, alert: Mapping[str, Any], now_ns: int) -> bool:
        """Whether nobody is to be told of this alert now."""
        if now_ns >= self.until_ns or self.rule not in (None, alert["rule"]):
            return False
        key = alert["key"]
        return all(column in key and key[column] == value for column, value in (self.key or {}).items())


class Silences:
    """The silences of one session. Readers may be on other threads than the one that changes them."""

    def __init__(self) -> None:
        self.kept: tuple[Silence, ...] = ()
        """those that are over may be among them"""

    def good(self, now_ns: int) -> tuple[Silence, ...]:
        """Those that are not over, oldest first."""
        return tuple(silence for silence in self.kept if silence.until_ns > now_ns)

    def add(
        self, rule: str | None, key: dict[str, Any] | None, for_s: float, reason: str, by: str, now_ns: int
    ) -> Silence:
        """Tell nobody of these alerts for so many seconds; ConfigError where that makes no sense."""
        if not 1 <= for_s <= MAX_SILENCE_S:
            raise ConfigError(f"a silence lasts from 1 second to {MAX_SILENCE_S / 86_400:.0f} days, not {for_s:g} s")
        good = self.good(now_ns)
        if len(good) >= MAX_SILENCES:
            raise ConfigError(f"a session has {MAX_SILENCES} silences at most; end one first")
        until_ns = now_ns + round(for_s * 1e9)
        silence = Silence(id=secrets.token_hex(6), rule=rule, key=key, until_ns=until_ns, reason=reason, by=by)
        self.kept = (*good, silence)
        return silence

    def remove(self, silence_id: str) -> None:
        """End a silence; NotFoundError if there is none of that id."""
        rest = tuple(silence for silence in self.kept if silence.id != silence_id)
        if len(rest) == len(self.kept):
            raise NotFoundError(f"no silence {silence_id!r:.60}; it may be over")
        self.kept = rest

    def cover(self, alert: Mapping[str, Any], now_ns: int) -> bool:
        """Whether nobody is to be told of this alert now."""
        return any(silence.covers(alert, now_ns) for silence in self.kept)
