"""Which rules watch a session: those of the package and of the hub's files watch all, those that a person keeps here
watch the sessions of that person.

A rule of one's own takes the place of another with its name, so one can change a built-in rule, or switch it off, for
oneself. What is kept was checked before; a rule that a later version no longer understands is listed with the reason,
and watches nothing.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import yaml

from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import Rule, parse_rule, parse_rules
from aishark_panel.errors import ConfigError
from aishark_panel.streams.store import Store

__all__ = ["RuleSource", "Rulebook", "check", "checked"]

log = logging.getLogger(__name__)

RuleSource = Literal["builtin", "file", "own"]


class Rulebook:
    """The rules of a hub. Belongs to the store's thread."""

    def __init__(self, rules: Sequence[Rule], store: Store) -> None:
        """`rules` watch everybody's sessions."""
        self._rules = {rule.name: rule for rule in rules}
        self._store = store

    def watching(self, owner: str) -> tuple[Rule, ...]:
        """The rules that watch the sessions of a person."""
        rules = dict(self._rules)
        for name, content in self._store.rules(owner).items():
            try:
                rules[name] = _parsed(msgspec.json.encode(content))
            except ConfigError as error:
                log.warning("a rule kept for %s watches nothing: %s", owner or "the hub's owner", error)
        return tuple(rules.values())

    def listing(self, owner: str) -> list[dict[str, Any]]:
        """All rules that a person has, each with where it is from; docs/protocol.md names the fields."""
        own = self._store.rules(owner)
        builtin = {rule.name: rule.content for rule in read_rules(BUILTIN)}
        lines = [
            _line(rule.content, "builtin" if builtin.get(name) == rule.content else "file")
            for name, rule in self._rules.items()
            if name not in own
        ]
        return lines + [_line(content, "own", replaces=name in self._rules) for name, content in own.items()]

    def save(self, owner: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Keep a rule for a person, which `checked` has seen; its line in the listing. ConfigError where it has too
        many."""
        self._store.save_rule(owner, name, content)
        return _line(content, "own", replaces=name in self._rules)

    def delete(self, owner: str, name: str) -> None:
        """Forget a rule that a person keeps, so that one of the hub that it replaced is back; or NotFoundError."""
        self._store.delete_rule(owner, name)


def checked(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """A rule as it may be kept under a name. ConfigError that says what is wrong with it.

    To compile what somebody thought up may take a while, so it is not for the event loop; nor is `check`."""
    if content.get("name", name) != name:
        raise ConfigError(f"the rule calls itself {content['name']!r:.80}, but is to be kept as {name!r:.80}")
    content = {"name": name, **content}
    _parsed(msgspec.json.encode(content))
    return content


@functools.lru_cache(maxsize=1_000)
def _parsed(written: bytes) -> Rule:
    return parse_rule(msgspec.json.decode(written), "your rules")


def check(text: str) -> list[dict[str, Any]]:
    """The rules of a YAML text, as they are kept. ConfigError that says what is wrong with it, and where."""
    return [dict(rule.content) for rule in parse_rules(text, "these rules")]


def _line(content: Mapping[str, Any], source: RuleSource, *, replaces: bool = False) -> dict[str, Any]:
    document = yaml.safe_dump({"rules": [dict(content)]}, sort_keys=False, allow_unicode=True, width=100)
    problem = ""
    if source == "own":
        try:
            _parsed(msgspec.json.encode(content))
        except ConfigError as error:
            problem = str(error)
    return {
        "name": content["name"],
        "source": source,
        "replaces": replaces,
        "content": dict(content),
        "yaml": document,
        "problem": problem,
    }
