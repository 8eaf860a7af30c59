"""People: who acts on a hub, what each of them may do, and the tokens that prove it.

A *person* is a name with capabilities. Whoever holds the hub's start token is the hub's *owner*, who may do everything
and sees everything; all others come with a JSON Web Token (RFC 7519) that the hub issued, and see what is theirs. A
token says what it allows and how long; it is signed, so the hub keeps no copy, only which ones it issued and took back.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import jwt
import msgspec

from aishark_panel.errors import ConfigError
from aishark_panel.streams.store import IssuedToken, Store

__all__ = ["CAPABILITIES", "DEFAULT_TOKEN_LIFE_S", "OWNER", "Capability", "People", "Person"]

Capability = Literal["view", "capture", "export", "admin"]
"""view: look at sessions; capture: start, stop, clear, record and upload; export: take packets away; admin: see what is
everybody's, and give tokens."""

CAPABILITIES: Final[tuple[Capability, ...]] = get_args(Capability)
DEFAULT_TOKEN_LIFE_S: Final = 12 * 3_600
MAX_TOKEN_LIFE_S: Final = 366 * 86_400
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "aishark"
_NAME_BYTES: Final = 64
_MARKS: Final = "._@+-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody, as far as the hub cares."""

    name: str
    """"" for the hub's owner"""
    capabilities: frozenset[Capability]
    token_id: str = ""
    """of the token that proved it"""
    expires_s: float = float("inf")
    """end of that token, Unix time"""

    def may(self, capability: Capability) -> bool:
        """Whether this person may do that; an admin may do everything."""
        return capability in self.capabilities or "admin" in self.capabilities

    def sees(self, owner: str) -> bool:
        """Whether what belongs to `owner` is there for this person."""
        return owner == self.name or "admin" in self.capabilities

    @property
    def who(self) -> str:
        """The name for the audit."""
        return self.name or "token"


OWNER: Final = Person(name="", capabilities=frozenset(CAPABILITIES))
"""Whoever holds the start token."""


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token of ours says (RFC 7519 section 4.1), beside who signed it and when."""

    sub: str
    """the person's name"""
    jti: str
    """the token's id"""
    exp: float
    cap: tuple[str, ...]
    """capabilities"""


class People:
    """Tells who a token belongs to, issues tokens and takes them back. Time is Unix time in seconds."""

    def __init__(self, start_token: str, store: Store) -> None:
        self._start_token = start_token.encode()
        self._store = store
        self._key = store.secret("tokens")
        self._revoked = store.revoked_tokens()

    def person(self, token: str, now_s: float) -> Person | None:
        """Who holds a token; None if it is nobody's: forged, expired, revoked, or of another hub."""
        if secrets.compare_digest(token.encode("utf-8", "surrogatepass"), self._start_token):
            return OWNER
        try:
            signed = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                # The time is an argument here, PyJWT would ask the clock.
                options={"verify_exp": False, "verify_iat": False},
            )
            claims = msgspec.convert(signed, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError):
            return None
        person = Person(
            name=claims.sub,
            capabilities=frozenset(c for c in CAPABILITIES if c in claims.cap),
            token_id=claims.jti,
            expires_s=claims.exp,
        )
        return person if self.admits(person, now_s) else None

    def admits(self, person: Person, now_s: float) -> bool:
        """Whether the token that proved a person is still good: what asks once and then stays asks this again."""
        return now_s < person.expires_s and person.token_id not in self._revoked

    def issue(
        self, name: str, capabilities: Iterable[str], now_s: float, life_s: float = DEFAULT_TOKEN_LIFE_S
    ) -> tuple[IssuedToken, str]:
        """A token for a person, which is told this once. Raises ConfigError where it makes no sense."""
        check_name(name)
        wanted = set(capabilities)
        if unknown := sorted(wanted.difference(CAPABILITIES)):
            raise ConfigError(f"no capability {unknown[0]!r:.40}; there are {', '.join(CAPABILITIES)}")
        if not wanted:
            raise ConfigError(f"a token without a capability opens nothing; name some of {', '.join(CAPABILITIES)}")
        if not 1 <= life_s <= MAX_TOKEN_LIFE_S:
            raise ConfigError(f"a token lives from 1 second to {MAX_TOKEN_LIFE_S // 86_400} days")
        issued = self._store.issue_token(
            name, tuple(c for c in CAPABILITIES if c in wanted), int(now_s), int(now_s + life_s)
        )
        claims = _Claims(sub=name, jti=issued.id, exp=issued.expires_s, cap=issued.capabilities)
        signed = {"iss": _ISSUER, "iat": issued.created_s, **msgspec.to_builtins(claims)}
        return issued, jwt.encode(signed, self._key, algorithm=_ALGORITHM)

    def revoke(self, token_id: str, now_s: float) -> IssuedToken:
        """Take a token back, whatever is open with it. NotFoundError if there is none of that id."""
        issued = self._store.revoke_token(token_id, int(now_s))
        self._revoked.add(token_id)
        return issued


def check_name(name: str) -> None:
    """ConfigError unless this can be a person's name: letters, digits and a few marks."""
    usable = name and len(name.encode()) <= _NAME_BYTES and all(c.isalnum() or c in _MARKS for c in name)
    if not usable or name == OWNER.who:
        raise ConfigError(
            f"{name!r:.80} cannot be a person's name: it has 1 to {_NAME_BYTES} letters, digits and "
            f"{' '.join(_MARKS)}, and is not {OWNER.who!r}"
        )
