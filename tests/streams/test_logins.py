"""Logins: tokens that follow each other, and what ends them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aishark_panel.errors import NotAuthorizedError
from aishark_panel.streams.logins import LOGIN_LIFE_S, Logins
from aishark_panel.streams.people import ACCESS_LIFE_S, People
from aishark_panel.streams.store import Account, Store
from aishark_panel.streams.store.accounts import MAX_LOGINS_EACH

NOW_S = 1_800_000_000.0
ANN = Account(name="ann", capabilities=("view", "capture"), created_s=0)


@dataclass
class Hub:
    """As much of a hub as this takes."""

    store: Store
    people: People
    logins: Logins

    def admits(self, access: str, now_s: float) -> bool:
        return self.people.person(access, now_s) is not None


def open_hub(folder: Path | None = None) -> Hub:
    store = Store(folder)
    people = People("start", store)
    return Hub(store, people, Logins(store, people))


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = open_hub()
    made.store.add_account(ANN)
    yield made
    made.store.close()


def test_an_access_token_is_the_persons_for_a_quarter_of_an_hour(hub: Hub) -> None:
    tokens = hub.logins.begin(ANN, NOW_S)
    person = hub.people.person(tokens.access_token, NOW_S + ACCESS_LIFE_S - 1)
    assert person
    assert (person.name, sorted(person.capabilities)) == ("ann", ["capture", "view"])
    assert ACCESS_LIFE_S == 900
    assert not hub.admits(tokens.access_token, NOW_S + ACCESS_LIFE_S)
    # What was opened with it goes on as long as the login does.
    assert hub.people.admits(person, NOW_S + ACCESS_LIFE_S)
    assert not hub.people.admits(person, NOW_S + LOGIN_LIFE_S)


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(hub: Hub) -> None:
    tokens = hub.logins.begin(ANN, NOW_S)
    assert not hub.admits(tokens.refresh_token, NOW_S)
    _, issued = hub.people.issue("ann", ["view"], NOW_S)
    for wrong in (tokens.access_token, issued, "start", "", "a.b.c", "\udcff"):
        with pytest.raises(NotAuthorizedError):
            hub.logins.renew(wrong, NOW_S)


def test_tokens_follow_each_other(hub: Hub) -> None:
    first = hub.logins.begin(ANN, NOW_S)
    second = hub.logins.renew(first.refresh_token, NOW_S + 800)
    third = hub.logins.renew(second.refresh_token, NOW_S + 1_600)
    assert hub.admits(third.access_token, NOW_S + 2_400)
    assert third.login_expires_s == first.login_expires_s == NOW_S + LOGIN_LIFE_S
    assert len({t.refresh_token for t in (first, second, third)}) == 3


def test_a_refresh_token_that_comes_twice_ends_the_whole_login(hub: Hub) -> None:
    other = hub.logins.begin(ANN, NOW_S)
    first = hub.logins.begin(ANN, NOW_S)
    second = hub.logins.renew(first.refresh_token, NOW_S + 1)
    third = hub.logins.renew(second.refresh_token, NOW_S + 2)
    with pytest.raises(NotAuthorizedError, match="used before"):
        hub.logins.renew(first.refresh_token, NOW_S + 3)
    assert not hub.admits(third.access_token, NOW_S + 3)
    with pytest.raises(NotAuthorizedError, match="over"):
        hub.logins.renew(third.refresh_token, NOW_S + 3)
    assert hub.admits(other.access_token, NOW_S + 3)  # another login of the same person


def test_a_login_ends_by_itself(hub: Hub) -> None:
    tokens = hub.logins.begin(ANN, NOW_S)
    late = hub.logins.renew(tokens.refresh_token, NOW_S + LOGIN_LIFE_S - 10)
    assert late.expires_s == NOW_S + LOGIN_LIFE_S
    with pytest.raises(NotAuthorizedError, match="over"):
        hub.logins.renew(late.refresh_token, NOW_S + LOGIN_LIFE_S)


def test_all_logins_of_a_person_end_but_one(hub: Hub) -> None:
    hub.store.add_account(Account(name="bob", capabilities=("view",), created_s=0))
    bobs = hub.logins.begin(Account(name="bob", capabilities=("view",), created_s=0), NOW_S)
    one, two, three = (hub.logins.begin(ANN, NOW_S) for _ in range(3))
    person = hub.people.person(two.access_token, NOW_S)
    assert person
    hub.logins.end_all("ann", NOW_S, but=person.token_id)
    admitted = [hub.admits(t.access_token, NOW_S) for t in (one, two, three, bobs)]
    assert admitted == [False, True, False, True]


def test_what_ended_stays_ended_after_a_restart(tmp_path: Path) -> None:
    hub = open_hub(tmp_path)
    hub.store.add_account(ANN)
    ended, good = hub.logins.begin(ANN, NOW_S), hub.logins.begin(ANN, NOW_S)
    person = hub.people.person(ended.access_token, NOW_S)
    assert person
    hub.logins.end(person.token_id, NOW_S)
    hub.store.close()
    assert all(good.refresh_token.encode() not in file.read_bytes() for file in tmp_path.iterdir())

    again = open_hub(tmp_path)
    assert not again.admits(ended.access_token, NOW_S)
    assert again.admits(good.access_token, NOW_S)
    assert again.logins.renew(good.refresh_token, NOW_S).name == "ann"
    again.store.close()


def test_a_person_who_is_disabled_or_changed_gets_no_more_tokens(hub: Hub) -> None:
    tokens = hub.logins.begin(ANN, NOW_S)
    hub.store.change_account("ann", disabled_s=1)
    with pytest.raises(NotAuthorizedError, match="over"):
        hub.logins.renew(tokens.refresh_token, NOW_S)
    hub.people.set_disabled("ann", True)
    assert not hub.admits(tokens.access_token, NOW_S)
    _, issued = hub.people.issue("ann", ["view"], NOW_S)
    assert not hub.admits(issued, NOW_S)


def test_the_oldest_login_makes_room(hub: Hub) -> None:
    first = hub.logins.begin(ANN, NOW_S)
    later = [hub.logins.begin(ANN, NOW_S + n) for n in range(1, MAX_LOGINS_EACH)]
    assert hub.admits(first.access_token, NOW_S + 60)
    hub.logins.begin(ANN, NOW_S + MAX_LOGINS_EACH)
    assert not hub.admits(first.access_token, NOW_S + 60)
    assert all(hub.admits(t.access_token, NOW_S + 60) for t in later)
