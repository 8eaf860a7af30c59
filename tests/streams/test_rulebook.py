"""Which rules watch whose sessions, and what may be kept."""

from typing import Any

import pytest
import yaml

from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.errors import ConfigError, ExpressionError, NotFoundError
from aishark_panel.streams.rulebook import Rulebook, check, checked, listing
from aishark_panel.streams.store import Store

FILE = "rules: [{name: house, where: tcp.port == 23}, {name: port_scan, where: udp}]"
TELNET = {"name": "telnet", "where": "tcp.port == 23", "by": ["src_ip"], "over": "10s", "labels": {"team": "net"}}


def rulebook(store: Store | None = None) -> Rulebook:
    """The built-in rules, one of them replaced by that of a file, and another one there."""
    rules = {rule.name: rule for rule in (*read_rules(BUILTIN), *parse_rules(FILE, "house.yaml"))}
    return Rulebook(list(rules.values()), store or Store())


def sources(book: Rulebook, owner: str) -> dict[str, tuple[str, bool]]:
    return {line["name"]: (line["source"], line["replaces"]) for line in listing(book.of(owner))}


def test_rules_are_those_of_the_hub_and_ones_own() -> None:
    book = rulebook()
    everybodys = sources(book, "ann")
    assert {name: everybodys[name] for name in ("port_scan", "house", "syn_flood")} == {
        "port_scan": ("file", False),
        "house": ("file", False),
        "syn_flood": ("builtin", False),
    }
    book.save("ann", "telnet", TELNET)
    book.save("ann", "house", checked("house", {"enabled": False}))
    assert sources(book, "ann") == {**everybodys, "telnet": ("own", False), "house": ("own", True)}
    assert sources(book, "bob") == everybodys
    watching = {rule.name: rule for rule in book.watching("ann")}
    assert watching.keys() == sources(book, "ann").keys()
    assert (watching["house"].enabled, watching["telnet"].over_ns) == (False, 10 * 10**9)
    assert {rule.name for rule in book.watching("bob")} == everybodys.keys()
    book.delete("ann", "house")
    assert sources(book, "ann")["house"] == ("file", False)
    for owner, name in (("ann", "house"), ("bob", "telnet")):
        with pytest.raises(NotFoundError, match="you keep no rule"):
            book.delete(owner, name)


def test_a_listed_rule_is_a_rules_file_that_says_the_same() -> None:
    book = rulebook()
    book.save("", "telnet", TELNET)
    for line in listing(book.of("")):
        assert check(line["yaml"]) == [line["content"]]
    (telnet,) = (line for line in listing(book.of("")) if line["name"] == "telnet")
    assert (telnet["content"], telnet["problem"]) == (TELNET, "")
    assert yaml.safe_load(telnet["yaml"]) == {"rules": [TELNET]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"name": "other"}, "calls itself 'other'"),
        ({"wher": "tcp"}, "no key 'wher'; did you mean where?"),
        ({"where": "tcp.prt == 5"}, "rule 'own', where: "),
        ({"over": 10}, "rule 'own', over: a duration"),
        ({"description": "x" * 2**16}, "a text of at most 4,000 characters"),
        ({"mute": [{"src_ip": "10.0.0.1"}]}, "'src_ip' is not in by"),
    ],
)
def test_a_rule_that_is_wrong_is_not_kept(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        checked("own", content)


def test_what_is_wrong_has_its_place() -> None:
    with pytest.raises(ConfigError, match=r"rule 'a', where: .* \(at character 8\)") as caught:
        check("rules: [{name: a, where: tcp or nonsense}]")
    assert isinstance(caught.value.__cause__, ExpressionError)
    assert caught.value.__cause__.position == 7
    with pytest.raises(ConfigError, match="not YAML at line 1"):
        check("rules: [")


def test_a_rule_that_is_not_understood_any_more_is_listed_and_the_others_watch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store()
    store.save_rule("", "old", {"name": "old", "gone": 1})
    book = rulebook(store)
    book.save("", "telnet", TELNET)
    names = {rule.name for rule in book.watching("")}
    assert "telnet" in names
    assert "old" not in names
    assert "no key 'gone'" in caplog.text
    (old,) = (line for line in listing(book.of("")) if line["name"] == "old")
    assert "no key 'gone'" in old["problem"]
    book.delete("", "old")
