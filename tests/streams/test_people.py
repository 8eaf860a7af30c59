"""Tokens: whose they are, what they allow, and when they are nobody's."""

from pathlib import Path
from typing import Any

import jwt
import pytest

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.people import CAPABILITIES, OWNER, People
from aishark_panel.streams.store import Store

NOW_S = 1_800_000_000.0
START = "the start token"


@pytest.fixture
def people() -> People:
    return People(START, Store())


def test_the_start_token_may_everything(people: People) -> None:
    person = people.person(START, NOW_S)
    assert person is OWNER
    assert all(OWNER.may(capability) for capability in CAPABILITIES)
    assert OWNER.sees("ann")
    assert OWNER.sees("")


def test_a_token_is_its_persons_until_it_expires(people: People) -> None:
    issued, token = people.issue("ann@example.org", ["view", "export"], NOW_S, life_s=60)
    person = people.person(token, NOW_S + 59)
    assert person
    assert (person.name, person.token_id) == ("ann@example.org", issued.id)
    assert [c for c in CAPABILITIES if person.may(c)] == ["view", "export"]
    assert person.sees("ann@example.org")
    assert not person.sees("bob")
    assert not person.sees("")
    assert people.person(token, NOW_S + 60) is None
    assert not people.admits(person, NOW_S + 60)


def test_an_admin_sees_and_may_everything(people: People) -> None:
    _, token = people.issue("root", ["admin"], NOW_S)
    person = people.person(token, NOW_S)
    assert person
    assert person.may("export")
    assert person.sees("ann")


def test_a_revoked_token_is_nobodys_also_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    people = People(START, store)
    issued, token = people.issue("ann", ["view"], NOW_S)
    _, other = people.issue("ann", ["view"], NOW_S)
    person = people.person(token, NOW_S)
    assert person
    people.revoke(issued.id, NOW_S)
    assert people.person(token, NOW_S) is None
    assert not people.admits(person, NOW_S)
    assert [t.person for t in store.tokens(int(NOW_S))] == ["ann"]
    with pytest.raises(NotFoundError):
        people.revoke(issued.id, NOW_S)
    store.close()

    again = Store(tmp_path)
    people = People("another start token", again)
    assert people.person(token, NOW_S) is None
    assert people.person(other, NOW_S)
    again.close()


def forged(key: bytes, algorithm: str = "HS256", **changed: object) -> str:
    claims = {"iss": "aishark", "sub": "ann", "jti": "00", "exp": NOW_S + 9, "cap": ["admin"]} | changed
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm=algorithm)


def test_forged_tokens_are_nobodys(people: People) -> None:
    store = Store()
    key = store.secret("tokens")
    good = People(START, store)
    assert good.person(forged(key), NOW_S)  # so that only what is changed below makes the difference
    changes: list[dict[str, Any]] = [
        {"iss": "other"},
        {"sub": None},
        {"exp": None},
        {"jti": None},
        {"cap": None},
        {"sub": 5},
    ]
    for changed in changes:
        assert good.person(forged(key, **changed), NOW_S) is None
    assert good.person(forged(b"x" * 32), NOW_S) is None
    assert people.person(forged(key), NOW_S) is None  # another hub's
    assert good.person(jwt.encode({"sub": "ann", "exp": NOW_S + 9}, "", algorithm="none"), NOW_S) is None
    for junk in ("", "a", "a.b.c", "\udcff", START + "x", forged(key)[:-2], "e30.e30.", "." * 9_999):
        assert good.person(junk, NOW_S) is None
    store.close()


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"exp": [1]}, {"cap": 5}, {"cap": "admin"}, {"jti": {}}])
def test_signed_claims_of_the_wrong_kind_open_nothing(claims: dict[str, Any]) -> None:
    store = Store()
    person = People(START, store).person(forged(store.secret("tokens"), **claims), NOW_S)
    assert person is None or not any(person.may(c) for c in CAPABILITIES)
    store.close()


@pytest.mark.parametrize("name", ["", "token", "a b", "a/b", "x" * 65, "a\n", "ü" * 40, "<b>"])
def test_not_everything_is_a_name(people: People, name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        people.issue(name, ["view"], NOW_S)


def test_a_token_must_make_sense(people: People) -> None:
    with pytest.raises(ConfigError, match="'fly'"):
        people.issue("ann", ["view", "fly"], NOW_S)
    with pytest.raises(ConfigError, match="nothing opens"):
        people.issue("ann", [], NOW_S)
    for life_s in (0, -1, 1e12, float("nan")):
        with pytest.raises(ConfigError, match="lives"):
            people.issue("ann", ["view"], NOW_S, life_s)
