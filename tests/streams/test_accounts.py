"""Accounts: passwords that are right, wrong, guessed and changed; and people whom a provider vouches for."""

import asyncio
import functools
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import argon2
import pytest

from aishark_panel.errors import (
    ConfigError,
    ConflictError,
    ForbiddenError,
    NotAuthorizedError,
    NotFoundError,
    TooManyRequestsError,
)
from aishark_panel.streams import accounts as accounts_module
from aishark_panel.streams.accounts import Accounts
from aishark_panel.streams.people import People
from aishark_panel.streams.ratelimit import RateLimit
from aishark_panel.streams.store import Store

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here does not depend on how dear a hash is, but for how long things take."""
    if "time" not in request.node.name:
        cheap = functools.partial(argon2.PasswordHasher, time_cost=1, memory_cost=1_024, parallelism=1)
        monkeypatch.setattr("aishark_panel.streams.accounts.PasswordHasher", cheap)


def with_accounts(story: Callable[[Accounts, Store, People], Awaitable[None]], folder: Path | None = None) -> None:
    async def run() -> None:
        store = Store(folder)
        people = People("start", store)
        accounts = Accounts(store, people)
        try:
            await accounts.add("ann", PASSWORD, ["view"])
            await story(accounts, store, people)
        finally:
            accounts.close()
            store.close()

    asyncio.run(run())


def test_name_and_password_go_together(tmp_path: Path) -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        tokens = await accounts.login("ann", PASSWORD)
        person = people.person(tokens.access_token, time.time())
        assert person
        assert (person.name, sorted(person.capabilities)) == ("ann", ["view"])
        said = set()
        for name, password in (("ann", "wrong password"), ("bob", PASSWORD), ("", ""), ("ann", "x" * 4_000)):
            with pytest.raises(NotAuthorizedError) as caught:
                await accounts.login(name, password)
            said.add(str(caught.value))
        assert len(said) == 1
        account = store.account("ann")
        assert account is not None
        assert (account.password or "").startswith("$argon2id$")
        with pytest.raises(ConflictError, match="'ann' already"):
            await accounts.add("ann", PASSWORD, ["view"])

    with_accounts(story, tmp_path)
    assert all(PASSWORD.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_time_does_not_tell_whether_a_name_exists() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        accounts._guesses = RateLimit(1e6, 1e6)
        times: dict[str, list[float]] = {"ann": [], "nobody": []}
        for name in [*times] * 8:
            began_s = time.perf_counter()
            with pytest.raises(NotAuthorizedError):
                await accounts.login(name, "wrong password")
            times[name].append(time.perf_counter() - began_s)
        exists, nobody = (min(taken) for taken in times.values())
        assert statistics.median(times["nobody"]) > 0.005  # a hash was made: without one it takes microseconds
        assert 1 / 3 < exists / nobody < 3

    with_accounts(story)


def test_guesses_are_limited_by_name_before_any_hash_is_made() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        for name in ("ann", "nobody"):
            refused = []
            for _ in range(15):
                try:
                    await accounts.login(name, "wrong password")
                except (NotAuthorizedError, TooManyRequestsError) as error:
                    refused.append(type(error))
            assert refused == [NotAuthorizedError] * 10 + [TooManyRequestsError] * 5
        with pytest.raises(TooManyRequestsError) as caught:  # the right one does not pass either, or it would tell
            await accounts.login("ann", PASSWORD)
        assert 1 < caught.value.retry_s <= 12

    with_accounts(story)


def test_logins_are_limited_by_address() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        for _ in range(50):
            accounts.let_try("192.0.2.1")
        with pytest.raises(TooManyRequestsError):
            accounts.let_try("192.0.2.1")
        accounts.let_try("192.0.2.2")

    with_accounts(story)


def test_not_more_passwords_wait_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts_module, "_MAX_WAITING", 2)

    async def story(accounts: Accounts, store: Store, people: People) -> None:
        tried = [accounts.login(f"n{n}", "wrong password") for n in range(5)]
        answers = await asyncio.gather(*tried, return_exceptions=True)
        assert [type(a) for a in answers] == [NotAuthorizedError] * 2 + [TooManyRequestsError] * 3

    with_accounts(story)


def test_a_password_is_changed_by_who_knows_it() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        here, there = await accounts.login("ann", PASSWORD), await accounts.login("ann", PASSWORD)
        person = people.person(here.access_token, time.time())
        assert person
        with pytest.raises(NotAuthorizedError):
            await accounts.change_own_password("ann", "wrong password", "another password", person.token_id)
        with pytest.raises(ConfigError, match="10 to"):
            await accounts.change_own_password("ann", PASSWORD, "short", person.token_id)
        await accounts.change_own_password("ann", PASSWORD, "another password", person.token_id)
        assert people.person(here.access_token, time.time())
        assert people.person(there.access_token, time.time()) is None
        with pytest.raises(NotAuthorizedError):
            await accounts.login("ann", PASSWORD)
        assert (await accounts.login("ann", "another password")).name == "ann"

    with_accounts(story)


def test_an_admins_changes_end_logins() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        tokens = await accounts.login("ann", PASSWORD)
        accounts.set_capabilities("ann", ["export", "view"])
        assert people.person(tokens.access_token, time.time()) is None
        tokens = await accounts.login("ann", PASSWORD)
        assert tokens.capabilities == ("view", "export")
        await accounts.set_password("ann", "another password")
        assert people.person(tokens.access_token, time.time()) is None
        with pytest.raises(NotFoundError):
            accounts.set_capabilities("nobody", ["view"])
        with pytest.raises(NotFoundError):
            accounts.set_disabled("nobody", True)

    with_accounts(story)


def test_who_is_disabled_is_let_in_again_by_undoing_it() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        tokens = await accounts.login("ann", PASSWORD)
        _, issued = people.issue("ann", ["view"], time.time())
        accounts.set_disabled("ann", True)
        for token in (tokens.access_token, issued):
            assert people.person(token, time.time()) is None
        with pytest.raises(NotAuthorizedError):
            await accounts.login("ann", PASSWORD)
        accounts.set_disabled("ann", False)
        assert people.person(tokens.access_token, time.time()) is None
        assert people.person(issued, time.time())
        assert (await accounts.login("ann", PASSWORD)).name == "ann"

    with_accounts(story)


@pytest.mark.parametrize(("name", "password"), [("a b", PASSWORD), ("token", PASSWORD), ("bob", "short"), ("bob", "")])
def test_not_everything_makes_an_account(name: str, password: str) -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        with pytest.raises(ConfigError):
            await accounts.add(name, password, ["view"])

    with_accounts(story)


def test_a_provider_cannot_open_what_is_anothers() -> None:
    async def story(accounts: Accounts, store: Store, people: People) -> None:
        with pytest.raises(ForbiddenError, match="somebody else"):  # the local account of that name
            accounts.login_as("https://idp", "1", "ann", ("view",))
        first = accounts.login_as("https://idp", "1", "bob", ("view",))
        assert accounts.login_as("https://idp", "1", "bob-renamed", ("admin",)).name == "bob"
        assert accounts.login_as("https://idp", "1", "bob", ("admin",)).capabilities == ("view",)
        for issuer, subject in (("https://idp", "2"), ("https://other", "1")):
            with pytest.raises(ForbiddenError, match="somebody else"):
                accounts.login_as(issuer, subject, "bob", ("view",))
        with pytest.raises(NotAuthorizedError):  # there is no password that opens it
            await accounts.login("bob", "")
        with pytest.raises(ConflictError, match="second way in"):
            await accounts.set_password("bob", PASSWORD)
        accounts.set_disabled("bob", True)
        with pytest.raises(ForbiddenError, match="disabled"):
            accounts.login_as("https://idp", "1", "bob", ("view",))
        assert people.person(first.access_token, time.time()) is None

    with_accounts(story)
