"""Logins: what begins with a password or a provider's word, and is over when it expires or is revoked.

A login gives two tokens. The access token goes with each request and is good for a quarter of an hour; the refresh
token brings two new ones, once. One that comes a second time was copied by somebody: the login ends.
"""

import logging
import secrets
from typing import Final

import msgspec

from aishark_panel.errors import NotAuthorizedError
from aishark_panel.streams.people import People
from aishark_panel.streams.store import Account, Login, Store
from aishark_panel.streams.store.database import hash_of

__all__ = ["LOGIN_LIFE_S", "Logins", "Tokens"]

log = logging.getLogger(__name__)

LOGIN_LIFE_S: Final = 7 * 86_400


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody who logged in is given."""

    name: str
    capabilities: tuple[str, ...]
    access_token: str
    expires_s: int
    """end of the access token, Unix time"""
    refresh_token: str
    login_expires_s: int
    """end of the login, Unix time"""


class Logins:
    """Begins, renews and ends logins. Time is Unix time in seconds."""

    def __init__(self, store: Store, people: People) -> None:
        self._store = store
        self._people = people

    def begin(self, account: Account, now_s: float) -> Tokens:
        """Somebody proved to be the person of that account."""
        login, ended = self._store.add_login(account.name, int(now_s), int(now_s) + LOGIN_LIFE_S)
        self._people.end(ended)
        return self._give(login, account, now_s)

    def renew(self, refresh_token: str, now_s: float) -> Tokens:
        """New tokens for a refresh token, which is good no longer; NotAuthorizedError if it is not (any more)."""
        login_id = self._people.login_of(refresh_token)
        kept = self._store.login(login_id, int(now_s)) if login_id else None
        if kept is None:
            raise NotAuthorizedError("This login is over; log in again.")
        login, newest_hash = kept
        if not secrets.compare_digest(hash_of(refresh_token), newest_hash):
            log.warning("a refresh token of %s came twice; the login ends", login.person)
            self.end(login.id, now_s)
            raise NotAuthorizedError("This refresh token was used before, so the login ends; log in again.")
        account = self._store.account(login.person)
        if account is None or account.disabled_s is not None:
            raise NotAuthorizedError("This login is over; log in again.")
        return self._give(login, account, now_s)

    def end(self, login_id: str, now_s: float) -> None:
        """A login is over, and with it what is open."""
        self._store.revoke_login(login_id, int(now_s))
        self._people.end([login_id])

    def end_all(self, person: str, now_s: float, *, but: str = "") -> None:
        """All of a person's logins are over, but one of that id."""
        self._people.end(self._store.revoke_logins(person, int(now_s), but=but))

    def _give(self, login: Login, account: Account, now_s: float) -> Tokens:
        access, expires_s = self._people.access_token(login, account, now_s)
        refresh = self._people.refresh_token(login)
        self._store.set_refresh(login.id, refresh)
        return Tokens(
            name=account.name,
            capabilities=account.capabilities,
            access_token=access,
            expires_s=expires_s,
            refresh_token=refresh,
            login_expires_s=login.expires_s,
        )
