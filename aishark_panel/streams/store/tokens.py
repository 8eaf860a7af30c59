"""What is kept of the tokens that the hub issued: which, to whom, and which were taken back; and what signs them."""

import contextlib
import secrets
from typing import Any, Final

import msgspec
from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database

__all__ = ["IssuedToken", "TokenRecords"]

MAX_TOKENS: Final = 10_000
"""Most tokens that are good at a time."""

_tokens: Final = schema.tokens.c
_COLUMNS: Final = (_tokens.id, _tokens.person, _tokens.capabilities, _tokens.created_s, _tokens.expires_s)


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token: not the token."""

    id: str
    person: str
    capabilities: tuple[str, ...]
    created_s: int
    expires_s: int
    """Unix time"""


class TokenRecords(Database):
    """Tokens by id, secrets by name."""

    def secret(self, name: str) -> bytes:
        """256 random bits that stay the same for as long as this state exists."""
        kept = select(schema.secrets.c.value).where(schema.secrets.c.name == name)
        value: bytes | None = self.execute(kept).scalar_one_or_none()
        if value is None:
            with contextlib.suppress(IntegrityError):  # another hub that shares this state was quicker
                self.execute(insert(schema.secrets).values(name=name, value=secrets.token_bytes(32)))
            value = self.execute(kept).scalar_one()
        return value

    def issue_token(self, person: str, capabilities: tuple[str, ...], now_s: int, expires_s: int) -> IssuedToken:
        """Write down a new token; tokens that ended are forgotten. ConfigError when too many are good."""
        self.execute(delete(schema.tokens).where(_tokens.expires_s <= now_s))
        if self.execute(select(func.count()).select_from(schema.tokens)).scalar_one() >= MAX_TOKENS:
            raise ConfigError(f"this hub has {MAX_TOKENS:,} tokens, its most; they go as they expire")
        issued = IssuedToken(
            id=secrets.token_hex(8), person=person, capabilities=capabilities, created_s=now_s, expires_s=expires_s
        )
        values = msgspec.structs.asdict(issued) | {"capabilities": " ".join(capabilities)}
        self.execute(insert(schema.tokens).values(values))
        return issued

    def tokens(self, now_s: int) -> list[IssuedToken]:
        """The tokens that are good at a moment, oldest first."""
        good = select(*_COLUMNS).where(_tokens.expires_s > now_s, _tokens.revoked_s.is_(None))
        return [_token(row) for row in self.execute(good.order_by(_tokens.created_s, _tokens.id))]

    def revoke_token(self, token_id: str, now_s: int) -> IssuedToken:
        """Take a token back. NotFoundError if no good one has that id."""
        good = (_tokens.id == token_id) & (_tokens.expires_s > now_s) & _tokens.revoked_s.is_(None)
        row = self.execute(update(schema.tokens).where(good).values(revoked_s=now_s).returning(*_COLUMNS)).first()
        if row is None:
            raise NotFoundError(f"no token {token_id!r:.60}")
        return _token(row)

    def revoked_tokens(self) -> set[str]:
        """Ids of the tokens that were taken back."""
        return set(self.execute(select(_tokens.id).where(_tokens.revoked_s.is_not(None))).scalars())


def _token(row: Row[Any]) -> IssuedToken:
    return IssuedToken(**row._asdict() | {"capabilities": tuple(row.capabilities.split())})
