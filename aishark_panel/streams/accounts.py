"""Accounts: people whom the hub knows by name and password, or by a provider's word (OIDC).

Passwords are kept as argon2id hashes (RFC 9106, its second recommended setting). Guesses are limited by name and by
address, before any hash is made, and a name that nobody has takes as long as a wrong password.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from aishark_panel.errors import ConfigError, ConflictError, ForbiddenError, NotAuthorizedError, TooManyRequestsError
from aishark_panel.streams.logins import Logins, Tokens
from aishark_panel.streams.people import People, check_name, known_capabilities
from aishark_panel.streams.ratelimit import RateLimit
from aishark_panel.streams.store import Account, Store

__all__ = ["MIN_PASSWORD", "Accounts"]

T = TypeVar("T")

MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 1_000
"""Characters."""
_GUESSES_PER_S: Final = 1 / 12
_MAX_GUESSES: Final = 10
"""Passwords tried for one name: ten at once, then five a minute."""
_TRIES_PER_S: Final = 1.0
_MAX_TRIES: Final = 50
"""Logins tried from one address."""
_MAX_WAITING: Final = 20
"""Most passwords that wait to be hashed, one after the other: each takes 64 MiB for a moment."""


class Accounts:
    """All accounts of a hub. Its methods run on the event loop; hashing has a thread of its own."""

    def __init__(self, store: Store, people: People) -> None:
        self._store = store
        self._people = people
        self.logins = Logins(store, people)
        self._hasher = PasswordHasher()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._waiting = 0
        self._guesses = RateLimit(_GUESSES_PER_S, _MAX_GUESSES)
        self._tries = RateLimit(_TRIES_PER_S, _MAX_TRIES)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def add(self, name: str, password: str | None, capabilities: Iterable[str]) -> Account:
        """A new account; without a password only a token of the hub or a provider opens it. ConfigError where it makes
        no sense, ConflictError if there is one of that name."""
        check_name(name)
        wanted = known_capabilities(capabilities)
        hashed = None if password is None else await self._hash(password)
        account = Account(name=name, capabilities=wanted, created_s=int(time.time()), password=hashed)
        self._store.add_account(account)
        return account

    def let_try(self, address: str) -> None:
        """TooManyRequestsError if too many logins were tried from an address lately."""
        if wait_s := self._tries.wait_s(address, time.monotonic()):
            raise TooManyRequestsError(f"Too many logins are tried from here; wait {wait_s:.0f} s.", wait_s)

    async def login(self, name: str, password: str) -> Tokens:
        """What a name and its password give. NotAuthorizedError if they do not go together, in the same words and after
        the same time whatever is wrong."""
        account = await self._verified(name, password)
        return self.logins.begin(account, time.time())

    async def change_own_password(self, name: str, password: str, new: str, login_id: str) -> None:
        """A person changes the password, knowing the old one; their other logins end."""
        await self._verified(name, password)
        self._store.change_account(name, password=await self._hash(new))
        self.logins.end_all(name, time.time(), but=login_id)

    async def set_password(self, name: str, new: str) -> None:
        """Another password for a local account; its logins end. NotFoundError if there is none of that name."""
        account = self._store.account(name)
        if account is not None and account.issuer is not None:
            raise ConflictError(f"{name} logs in at {account.issuer}; a password would be a second way in")
        self._store.change_account(name, password=await self._hash(new))
        self.logins.end_all(name, time.time())

    def set_capabilities(self, name: str, capabilities: Iterable[str]) -> None:
        """What a person may do from the next login on; this one ends. NotFoundError if there is no such account."""
        self._store.change_account(name, capabilities=" ".join(known_capabilities(capabilities)))
        self.logins.end_all(name, time.time())

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Let nothing of a person's in (any more, or again): logins, tokens, agents, links. NotFoundError as above."""
        self._store.change_account(name, disabled_s=int(time.time()) if disabled else None)
        self._people.set_disabled(name, disabled)
        if disabled:
            self.logins.end_all(name, time.time())

    def login_as(self, issuer: str, subject: str, name: str, capabilities: tuple[str, ...]) -> Tokens:
        """A provider vouches for a person: the account of that identity, or a new one. ForbiddenError if it is
        disabled, or the name is somebody else's here: a provider's names may change hands, its subjects do not."""
        account = self._store.account_of(issuer, subject)
        if account is None:
            check_name(name)
            account = Account(
                name=name, capabilities=capabilities, created_s=int(time.time()), issuer=issuer, subject=subject
            )
            try:
                self._store.add_account(account)
            except ConflictError as error:
                raise ForbiddenError(f"The account {name} of this hub belongs to somebody else.") from error
        if account.disabled_s is not None:
            raise ForbiddenError(f"The account {account.name} is disabled.")
        return self.logins.begin(account, time.time())

    async def _verified(self, name: str, password: str) -> Account:
        if wait_s := self._guesses.wait_s(name, time.monotonic()):
            raise TooManyRequestsError(f"Too many passwords were tried for this name; wait {wait_s:.0f} s.", wait_s)
        account = self._store.account(name)
        hashed = account.password if account and account.disabled_s is None else None
        good = await self._in_turn(self._is_password, hashed, password)
        # It may have been disabled, or got another password, while its turn came.
        account = self._store.account(name)
        if not good or account is None or account.password != hashed or account.disabled_s is not None:
            raise NotAuthorizedError("Name and password do not go together.")
        if self._hasher.check_needs_rehash(hashed or ""):
            self._store.change_account(name, password=await self._hash(password))
        return account

    def _is_password(self, hashed: str | None, password: str) -> bool:
        nobodys = self._nobodys_hash  # made first, so that not even the first answer tells
        with contextlib.suppress(VerificationError, InvalidHashError):
            self._hasher.verify(hashed or nobodys, password)
            return hashed is not None
        return False

    @cached_property
    def _nobodys_hash(self) -> str:
        return self._hasher.hash(secrets.token_urlsafe(32))

    async def _hash(self, password: str) -> str:
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise ConfigError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD:,} characters")
        return str(await self._in_turn(self._hasher.hash, password))

    async def _in_turn(self, work: Callable[..., T], *arguments: object) -> T:
        """Hash on the thread of this; TooManyRequestsError when too many wait for it."""
        if self._waiting >= _MAX_WAITING:
            raise TooManyRequestsError("Too many people log in at once; try again.", 1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._waiting -= 1
