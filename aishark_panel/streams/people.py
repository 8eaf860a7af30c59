"""People: who acts on a hub, what each of them may do, and the tokens that prove it.

A *person* is a name with capabilities. Whoever holds the hub's start token is the hub's *owner*, who may do everything
and sees everything; all others come with a JSON Web Token (RFC 7519) that the hub issued, and see what is theirs or was
shared with them. A token says what it allows and how long; it is signed, so the hub keeps no copy, only which ones it
issued and took back. A *guest* came by a link to one session (streams/sharing.py) and is nobody by name.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import jwt
import msgspec

from aishark_panel.errors import ConfigError
from aishark_panel.streams.store import Account, IssuedToken, Link, Login, Store

__all__ = [
    "CAPABILITIES",
    "DEFAULT_TOKEN_LIFE_S",
    "OWNER",
    "Capability",
    "People",
    "Person",
    "check_name",
    "known_capabilities",
]

Capability = Literal["view", "capture", "export", "admin"]
"""view: look at sessions; capture: start, stop, clear, record and upload; export: take packets away; admin: see what is
everybody's, and give tokens."""

CAPABILITIES: Final[tuple[Capability, ...]] = get_args(Capability)
DEFAULT_TOKEN_LIFE_S: Final = 12 * 3_600
MAX_TOKEN_LIFE_S: Final = 366 * 86_400
ACCESS_LIFE_S: Final = 15 * 60
"""How long the token of a login is good for new requests; the login itself goes on."""
_REFRESH: Final = "refresh"
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
    """end of that token, or of the login it belongs to, Unix time"""
    guest: Link | None = None
    """the link by which a guest came"""
    asks: Capability = "admin"
    """what the request needs that this person makes now: it decides what of others' sessions is there"""

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
    end: float | None = None
    """end of the login, in tokens that belong to one; their id is that of the login"""


class People:
    """Tells who a token belongs to, issues tokens and takes them back. Time is Unix time in seconds."""

    def __init__(self, start_token: str, store: Store) -> None:
        self._start_token = start_token.encode()
        self._store = store
        self._key = store.secret("tokens")
        self._revoked = store.revoked_tokens() | store.revoked_logins()
        self._disabled = store.disabled_people()

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
            expires_s=claims.exp if claims.end is None else claims.end,
        )
        return person if now_s < claims.exp and self.admits(person, now_s) else None

    def admits(self, person: Person, now_s: float) -> bool:
        """Whether what proved a person is still good: what asks once and then stays asks this again.

        A login outlives its access tokens, and so does what was opened with one.
        """
        name = person.guest.person if person.guest else person.name
        return now_s < person.expires_s and person.token_id not in self._revoked and name not in self._disabled

    def issue(
        self, name: str, capabilities: Iterable[str], now_s: float, life_s: float = DEFAULT_TOKEN_LIFE_S
    ) -> tuple[IssuedToken, str]:
        """A token for a person, which is told this once. Raises ConfigError where it makes no sense."""
        check_name(name)
        wanted = known_capabilities(capabilities)
        if not 1 <= life_s <= MAX_TOKEN_LIFE_S:
            raise ConfigError(f"a token lives from 1 second to {MAX_TOKEN_LIFE_S // 86_400} days")
        issued = self._store.issue_token(name, wanted, int(now_s), int(now_s + life_s))
        claims = _Claims(sub=name, jti=issued.id, exp=issued.expires_s, cap=issued.capabilities)
        signed = {"iss": _ISSUER, "iat": issued.created_s, **msgspec.to_builtins(claims)}
        return issued, jwt.encode(signed, self._key, algorithm=_ALGORITHM)

    def have_accounts(self) -> bool:
        """Whether anybody can log in with a name and a password."""
        return any(account.issuer is None and account.disabled_s is None for account in self._store.accounts())

    def revoke(self, token_id: str, now_s: float) -> IssuedToken:
        """Take a token back, whatever is open with it. NotFoundError if there is none of that id."""
        issued = self._store.revoke_token(token_id, int(now_s))
        self._revoked.add(token_id)
        return issued

    def rights_of(self, name: str, now_s: float) -> frozenset[str]:
        """What a person may do by an account or a token that is good; nothing, if neither is."""
        if name == OWNER.name:
            return OWNER.capabilities
        account = self._store.account(name)
        if name in self._disabled:
            return frozenset()
        tokens = [token.capabilities for token in self._store.tokens(int(now_s)) if token.person == name]
        return frozenset(c for each in [*tokens, account.capabilities if account else ()] for c in each)

    def access_token(self, login: Login, account: Account, now_s: float) -> tuple[str, int]:
        """A token for the requests of a login, and when that ends (Unix time)."""
        expires_s = min(int(now_s) + ACCESS_LIFE_S, login.expires_s)
        claims = _Claims(sub=login.person, jti=login.id, exp=expires_s, cap=account.capabilities, end=login.expires_s)
        signed = {"iss": _ISSUER, "iat": int(now_s), **msgspec.to_builtins(claims)}
        return jwt.encode(signed, self._key, algorithm=_ALGORITHM), expires_s

    def refresh_token(self, login: Login) -> str:
        """A token that is good for one thing: to ask for new tokens of its login, once."""
        signed = {"iss": _ISSUER, "aud": _REFRESH, "jti": login.id, "once": secrets.token_urlsafe(32)}
        return jwt.encode(signed, self._key, algorithm=_ALGORITHM)

    def login_of(self, refresh_token: str) -> str | None:
        """The id of the login that a refresh token is of; None if the hub never gave it."""
        try:
            signed = jwt.decode(refresh_token, self._key, algorithms=[_ALGORITHM], issuer=_ISSUER, audience=_REFRESH)
        except (jwt.PyJWTError, ValueError):
            return None
        return str(signed.get("jti"))

    def end(self, login_ids: Iterable[str]) -> None:
        """Logins are over: what is open with them ends."""
        self._revoked.update(login_ids)

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Whether anything of that person's is let in."""
        (self._disabled.add if disabled else self._disabled.discard)(name)


def known_capabilities(names: Iterable[str]) -> tuple[Capability, ...]:
    """These capabilities, each once and in their order; ConfigError if there is none, or one nobody knows."""
    wanted = set(names)
    if unknown := sorted(wanted.difference(CAPABILITIES)):
        raise ConfigError(f"no capability {unknown[0]!r:.40}; there are {', '.join(CAPABILITIES)}")
    if not wanted:
        raise ConfigError(f"without a capability nothing opens; name some of {', '.join(CAPABILITIES)}")
    return tuple(c for c in CAPABILITIES if c in wanted)


def check_name(name: str) -> None:
    """ConfigError unless this can be a person's name: letters, digits and a few marks."""
    usable = name and len(name.encode()) <= _NAME_BYTES and all(c.isalnum() or c in _MARKS for c in name)
    if not usable or name == OWNER.who:
        raise ConfigError(
            f"{name!r:.80} cannot be a person's name: it has 1 to {_NAME_BYTES} letters, digits and "
            f"{' '.join(_MARKS)}, and is not {OWNER.who!r}"
        )
