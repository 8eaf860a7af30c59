"""Which rules watch a session: those of the package and of the hub's files watch all, those that a person keeps here
watch the sessions of that person.

A rule of one's own takes the place of another with its name, so one can change a built-in rule, or switch it off, for
oneself. What is kept was checked before; a rule that a later version no longer understands is listed with the reason,
and watches nothing.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import yaml

from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import Rule, parse_rule, parse_rules
from aishark_panel.errors import ConfigError
from aishark_panel.streams.store import Store

__all__ = ["OwnedRule", "RuleSource", "Rulebook", "check", "checked", "listing"]

log = logging.getLogger(__name__)

RuleSource = Literal["builtin", "file", "own"]

_MAX_RULE_BYTES: Final = 16_384
"""Of a rule that is kept: a person may have some hundreds."""
_Dumper: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class OwnedRule(NamedTuple):
    """A rule as it is written, and where it is from."""

    content: Mapping[str, Any]
    source: RuleSource
    replaces: bool = False
    """whether it takes the place of another of its name"""


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

    def of(self, owner: str) -> list[OwnedRule]:
        """All rules that a person has, for `listing`."""
        own = self._store.rules(owner)
        builtin = _builtin()
        rules = [
            OwnedRule(rule.content, "builtin" if builtin.get(name) == rule.content else "file")
            for name, rule in self._rules.items()
            if name not in own
        ]
        return rules + [OwnedRule(content, "own", name in self._rules) for name, content in own.items()]

    def save(self, owner: str, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Keep a rule for a person, which `checked` has seen; its line in the listing. ConfigError where it has too
        many."""
        self._store.save_rule(owner, name, content)
        return _line(OwnedRule(content, "own", name in self._rules))

    def delete(self, owner: str, name: str) -> None:
        """Forget a rule that a person keeps, so that one of the hub that it replaced is back; or NotFoundError."""
        self._store.delete_rule(owner, name)


def checked(name: str, content: dict[str, Any]) -> dict[str, Any]:
    """A rule as it may be kept under a name. ConfigError that says what is wrong with it.

    To compile what somebody thought up may take a while, so it is not for the event loop; nor is `check`."""
    if content.get("name", name) != name:
        raise ConfigError(f"the rule calls itself {content['name']!r:.80}, but is to be kept as {name!r:.80}")
    content = {"name": name, **content}
    written = msgspec.json.encode(content)
    _parsed(written)
    if len(written) > _MAX_RULE_BYTES:
        raise ConfigError(f"a rule that is kept has at most {_MAX_RULE_BYTES:,} bytes, this one {len(written):,}")
    return content


@functools.lru_cache(maxsize=1_000)
def _parsed(written: bytes) -> Rule:
    return parse_rule(msgspec.json.decode(written), "your rules")


def check(text: str) -> list[dict[str, Any]]:
    """The rules of a YAML text, as they are kept. ConfigError that says what is wrong with it, and where."""
    return [dict(rule.content) for rule in parse_rules(text, "these rules")]


def listing(rules: Sequence[OwnedRule]) -> list[dict[str, Any]]:
    """A line about each rule; docs/protocol.md names the fields. To write out what somebody thought up may take a
    while, so it is not for the event loop."""
    return [_line(rule) for rule in rules]


def _line(rule: OwnedRule) -> dict[str, Any]:
    document, problem = _written(msgspec.json.encode(rule.content))
    return {
        "name": rule.content["name"],
        "source": rule.source,
        "replaces": rule.replaces,
        "content": dict(rule.content),
        "yaml": document,
        "problem": problem if rule.source == "own" else "",
    }


@functools.lru_cache(maxsize=1_000)
def _written(content: bytes) -> tuple[str, str]:
    """A rules file with one rule, and what is wrong with it."""
    document = {"rules": [msgspec.json.decode(content)]}
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    try:
        _parsed(content)
    except ConfigError as error:
        return text, str(error)
    return text, ""


@functools.cache
def _builtin() -> dict[str, Mapping[str, Any]]:
    return {rule.name: rule.content for rule in read_rules(BUILTIN)}
