"""What is kept of accounts: passwords as argon2 hashes, identities at a provider (OIDC), and their logins.

A *login* is what begins with a password or a provider's word, and ends when it expires or is revoked. Its refresh token
changes with each use; only the hash of the newest is kept.
"""

import secrets
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from aishark_panel.errors import ConfigError, ConflictError, NotFoundError
from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database, hash_of

__all__ = ["Account", "AccountRecords", "Login"]

MAX_ACCOUNTS: Final = 10_000
MAX_LOGINS_EACH: Final = 50
"""Most logins of one person that are good; the oldest ends when one more begins."""

_accounts: Final = schema.accounts.c
_logins: Final = schema.logins.c
_LOGIN_COLUMNS: Final = (_logins.id, _logins.person, _logins.created_s, _logins.expires_s)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A person whom the hub knows by name and password, or by a provider's word."""

    name: str
    capabilities: tuple[str, ...]
    created_s: int
    disabled_s: int | None = None
    password: str | None = None
    """argon2 hash; None: no password opens this account"""
    issuer: str | None = None
    subject: str | None = None
    """who this is at which provider; None: a local account"""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a login: not its tokens."""

    id: str
    person: str
    created_s: int
    expires_s: int


class AccountRecords(Database):
    """Accounts by name, logins by id."""

    def accounts(self) -> list[Account]:
        """All accounts, by name."""
        return [_account(row) for row in self.execute(select(schema.accounts).order_by(_accounts.name))]

    def account(self, name: str) -> Account | None:
        """The account of that name; None if there is none."""
        row = self.execute(select(schema.accounts).where(_accounts.name == name)).first()
        return _account(row) if row else None

    def account_of(self, issuer: str, subject: str) -> Account | None:
        """The account of a provider's subject; None if there is none."""
        known = select(schema.accounts).where(_accounts.issuer == issuer, _accounts.subject == subject)
        row = self.execute(known).first()
        return _account(row) if row else None

    def add_account(self, account: Account) -> None:
        """Keep a new account; ConflictError if there is one of that name, ConfigError when there are too many."""
        if self.execute(select(func.count()).select_from(schema.accounts)).scalar_one() >= MAX_ACCOUNTS:
            raise ConfigError(f"this hub has {MAX_ACCOUNTS:,} accounts, its most")
        values = msgspec.structs.asdict(account) | {"capabilities": " ".join(account.capabilities)}
        try:
            self.execute(insert(schema.accounts).values(values))
        except IntegrityError as error:
            raise ConflictError(f"there is an account {account.name!r:.80} already") from error

    def change_account(self, name: str, **values: object) -> None:
        """Set capabilities, password or disabled_s; NotFoundError if there is no such account."""
        if not self.execute(update(schema.accounts).where(_accounts.name == name).values(values)).rowcount:
            raise NotFoundError(f"no account {name!r:.80}")

    def disabled_people(self) -> set[str]:
        """Names of the accounts that are disabled."""
        return set(self.execute(select(_accounts.name).where(_accounts.disabled_s.is_not(None))).scalars())

    def add_login(self, person: str, now_s: int, expires_s: int) -> tuple[Login, list[str]]:
        """A login that begins, and the ids of those that end for it. `set_refresh` has to follow."""
        login = Login(id=secrets.token_hex(8), person=person, created_s=now_s, expires_s=expires_s)
        with self.transaction():
            self.execute(delete(schema.logins).where(_logins.expires_s <= now_s))
            good = select(_logins.id).where(_logins.person == person, _logins.revoked_s.is_(None))
            newest_first = good.order_by(_logins.created_s.desc(), _logins.id)
            ended = list(self.execute(newest_first.offset(MAX_LOGINS_EACH - 1)).scalars())
            self.execute(update(schema.logins).where(_logins.id.in_(ended)).values(revoked_s=now_s))
            values = msgspec.structs.asdict(login)
            self.execute(insert(schema.logins).values(**values, refresh_hash=b""))
        return login, ended

    def set_refresh(self, login_id: str, token: str) -> None:
        """The newest refresh token of a login; the one before is good no longer."""
        self.execute(update(schema.logins).where(_logins.id == login_id).values(refresh_hash=hash_of(token)))

    def login(self, login_id: str, now_s: int) -> tuple[Login, bytes] | None:
        """A login that is good, and the hash of its refresh token; None if there is none of that id."""
        good = select(*_LOGIN_COLUMNS, _logins.refresh_hash).where(
            _logins.id == login_id, _logins.revoked_s.is_(None), _logins.expires_s > now_s
        )
        row = self.execute(good).first()
        if row is None:
            return None
        values = row._asdict()
        refresh_hash: bytes = values.pop("refresh_hash")
        return Login(**values), refresh_hash

    def revoke_login(self, login_id: str, now_s: int) -> None:
        """A login ends; nothing, if there is none of that id."""
        self.execute(update(schema.logins).where(_logins.id == login_id).values(revoked_s=now_s))

    def revoke_logins(self, person: str, now_s: int, *, but: str = "") -> list[str]:
        """All of a person's logins end, but one of that id; their ids."""
        good = (_logins.person == person) & _logins.revoked_s.is_(None) & (_logins.id != but)
        ended = update(schema.logins).where(good).values(revoked_s=now_s).returning(_logins.id)
        return list(self.execute(ended).scalars())

    def revoked_logins(self) -> set[str]:
        """Ids of the logins that were revoked before they expired."""
        return set(self.execute(select(_logins.id).where(_logins.revoked_s.is_not(None))).scalars())


def _account(row: Row[Any]) -> Account:
    return Account(**row._asdict() | {"capabilities": tuple(row.capabilities.split())})
