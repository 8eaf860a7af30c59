"""Shares and links: what they open, and that nothing opens after they are taken back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CursorResult, Executable

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.admission import Admission
from aishark_panel.streams.people import CAPABILITIES, OWNER, People, Person
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.sharing import Sharing
from aishark_panel.streams.store import Account, KeptSession, Store
from aishark_panel.streams.store.database import hash_of

NOW_S = 1_800_000_000.0
BOB = Person(name="bob", capabilities=frozenset(CAPABILITIES) - {"admin"})


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture
def session() -> Session:
    return Session("5e", "anns", owner="ann", ring_bytes=MIN_LIMIT_BYTES)


def test_a_share_bounds_what_a_person_may(store: Store, session: Session) -> None:
    sharing = Sharing(store, NOW_S)
    admission = Admission(People("start", store), sharing, None, store)
    assert admission.rights(BOB, session) == ()
    sharing.share("5e", "bob", ["view"], NOW_S)
    assert admission.rights(BOB, session) == ("view",)
    sharing.share("5e", "bob", ["export", "view"], NOW_S)
    assert admission.rights(BOB, session) == ("view", "export")
    assert [(s.person, s.capabilities) for s in sharing.shares("5e")] == [("bob", ("view", "export"))]
    assert admission.rights(OWNER, session) == CAPABILITIES
    sharing.unshare("5e", "bob")
    assert admission.rights(BOB, session) == ()
    with pytest.raises(NotFoundError):
        sharing.unshare("5e", "bob")


@pytest.mark.parametrize("wrong", [["export"], ["view", "capture"], ["view", "admin"], ["view", "fly"], []])
def test_only_views_and_exports_are_shared(store: Store, wrong: list[str]) -> None:
    with pytest.raises(ConfigError):
        Sharing(store, NOW_S).share("5e", "bob", wrong, NOW_S)


def test_a_link_shows_one_session_until_it_ends(store: Store, session: Session) -> None:
    sharing = Sharing(store, NOW_S)
    admission = Admission(People("start", store), sharing, None, store)
    link, secret = sharing.make_link("5e", "ann", 60, NOW_S)
    guest = admission.identify(secret, NOW_S + 59)
    assert guest is not None
    assert admission.rights(guest, session) == ("view",)
    assert [c for c in CAPABILITIES if guest.may(c)] == ["view"]
    other = Session("5f", "anns other", owner="ann", ring_bytes=MIN_LIMIT_BYTES)
    assert admission.rights(guest, other) == ()
    assert not guest.sees("ann")
    assert not guest.sees("")
    assert admission.identify(secret, NOW_S + 60) is None
    forged = (f"link.{link.id}.", f"link.{link.id}.x", secret + "x", secret[:-1], secret.upper(), "link.", "link..", "")
    assert [token for token in forged if admission.identify(token, NOW_S)] == []
    assert sharing.links("5e", NOW_S) == [link]
    assert sharing.links("5f", NOW_S) == []
    with pytest.raises(NotFoundError):
        sharing.take_back("5f", link.id)
    sharing.take_back("5e", link.id)
    assert admission.identify(secret, NOW_S) is None
    assert not admission.admits(guest, NOW_S)


def test_a_link_ends_with_the_account_that_made_it(store: Store) -> None:
    sharing, people = Sharing(store, NOW_S), People("start", store)
    admission = Admission(people, sharing, None, store)
    _, secret = sharing.make_link("5e", "ann", 60, NOW_S)
    people.set_disabled("ann", True)
    assert admission.identify(secret, NOW_S) is None


@pytest.mark.parametrize("life_s", [0, -1, 1e12, float("nan")])
def test_a_link_must_end(store: Store, life_s: float) -> None:
    with pytest.raises(ConfigError, match="lives"):
        Sharing(store, NOW_S).make_link("5e", "ann", life_s, NOW_S)


def test_they_outlive_a_restart_and_end_with_their_session(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for session_id in ("5e", "5f"):
        store.save_session("j", KeptSession(id=session_id, name="a", owner="ann", wanted=True))
    sharing = Sharing(store, NOW_S)
    secrets = []
    for session_id in ("5e", "5f", "in memory"):
        sharing.share(session_id, "bob", ["view"], NOW_S)
        secrets.append(sharing.make_link(session_id, "ann", 60, NOW_S)[1])
    store.close()
    assert all(secrets[0].encode() not in file.read_bytes() for file in tmp_path.iterdir())

    store = Store(tmp_path)
    sharing = Sharing(store, NOW_S)
    store.delete_session("5f")
    sharing.forget("5f")
    assert [sharing.allows(BOB, s) for s in ("5e", "5f", "in memory")] == [("view",), (), ()]
    assert [sharing.guest(secret) is not None for secret in secrets] == [True, False, False]
    assert [(s.session, s.person) for s in store.shares()] == [("5e", "bob")]
    store.close()


class _Socket:
    def __init__(self, key_hash: bytes) -> None:
        self.key_hash = key_hash
        self.checked = 0

    def check(self) -> None:
        self.checked += 1


def test_all_agents_that_are_connected_cost_one_question(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission(People("start", store), Sharing(store, NOW_S), None, store)
    keys = [store.register(f"agent {number}")[1] for number in range(50)]
    sockets = [_Socket(hash_of(key)) for key in keys] + [_Socket(b"")]
    admission.open_sockets.update(sockets)
    real, asked = store.execute, []

    def counted(statement: Executable) -> CursorResult[Any]:
        asked.append(statement)
        return real(statement)

    monkeypatch.setattr(store, "execute", counted)
    admission.check()
    assert len(asked) == 1
    assert [socket.checked for socket in sockets] == [1] * 51
    assert admission.good_keys == {hash_of(key) for key in keys}


def test_links_end_with_the_rights_of_who_made_them(store: Store) -> None:
    sharing = Sharing(store, NOW_S)
    links = {s: sharing.make_link(s, maker, 60, NOW_S) for s, maker in (("5e", "ann"), ("5f", "ann"), ("60", "bob"))}
    sharing.end_links_of("ann", lambda session: session == "5f")
    assert [sharing.guest(secret) is not None for _, secret in links.values()] == [False, True, True]
    assert {link.id for link, _ in store.links(int(NOW_S))} == {links["5f"][0].id, links["60"][0].id}


def test_what_a_person_may_do_is_what_accounts_and_tokens_say(store: Store) -> None:
    people = People("start", store)
    assert people.rights_of("", NOW_S) == frozenset(CAPABILITIES)
    assert people.rights_of("ann", NOW_S) == frozenset()
    store.add_account(Account(name="ann", capabilities=("view",), created_s=0))
    issued, _ = people.issue("ann", ["capture"], NOW_S, 60)
    assert people.rights_of("ann", NOW_S) == {"view", "capture"}
    assert people.rights_of("ann", NOW_S + 60) == {"view"}
    people.revoke(issued.id, NOW_S)
    assert people.rights_of("ann", NOW_S) == {"view"}
    people.set_disabled("ann", True)
    assert people.rights_of("ann", NOW_S) == frozenset()
