"""ID tokens: who a provider says somebody is, believed only if every mark of it is right (OpenID Connect Core 3.1.3.7).

Pure: keys, nonce and time are arguments.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import jwt
import msgspec

from aishark_panel.errors import ForbiddenError, NotAuthorizedError
from aishark_panel.streams.oidc_config import OidcConfig

__all__ = ["ALGORITHMS", "Identity", "identity_of", "keys_of", "verified_claims"]

ALGORITHMS: Final = ("RS256", "ES256")
LEEWAY_S: Final = 60
"""How far the provider's clock may be off."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, as a provider knows them."""

    issuer: str
    subject: str
    """never given to another"""
    name: str


def keys_of(key_set: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """The keys of a JSON Web Key Set (RFC 7517) that can sign ID tokens, by their id ("" where they have none)."""
    keys = {}
    for key in key_set.get("keys", ()):
        if isinstance(key, dict) and key.get("use", "sig") == "sig" and key.get("kty") in ("RSA", "EC"):
            try:
                keys[str(key.get("kid", ""))] = jwt.PyJWK(key)
            except jwt.PyJWTError:  # of a kind that we do not know, so nothing we believe is signed with it
                continue
    return keys


def verified_claims(
    token: str, keys: Mapping[str, jwt.PyJWK], config: OidcConfig, nonce: str, now_s: float
) -> dict[str, Any]:
    """What an ID token says; NotAuthorizedError unless it is the provider's, for this hub, of this login, and of now.

    KeyError if no key has the id that it names.
    """
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError(f"signed with {header.get('alg')!r:.20}, not one of {ALGORITHMS}")
        # A provider with one key need not name it (OpenID Connect Core 10.1).
        only = next(iter(keys.values())) if "kid" not in header and len(keys) == 1 else None
        key = only or keys[str(header.get("kid", ""))]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=config.client_id,
            issuer=config.issuer,
            # The time is an argument here, PyJWT would ask the clock.
            options={
                "require": ["exp", "iat", "sub", "iss", "aud", "nonce"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
        times = {name: claims.get(name, default) for name, default in (("exp", 0), ("iat", 0), ("nbf", 0))}
        if not all(isinstance(value, int | float) for value in times.values()):
            raise jwt.InvalidTokenError("its times are no numbers")
        if now_s >= times["exp"] + LEEWAY_S:
            raise jwt.ExpiredSignatureError("it has expired")
        if max(times["iat"], times["nbf"]) > now_s + LEEWAY_S:
            raise jwt.ImmatureSignatureError("it is of the future")
        if not secrets.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
            raise jwt.InvalidTokenError("it is of another login")
        others = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", "" if others else config.client_id) != config.client_id:
            raise jwt.InvalidAudienceError("it was given to another")
    except (jwt.PyJWTError, ValueError) as error:
        raise NotAuthorizedError(f"The ID token of {config.called} is not good: {error}.") from error
    return claims


def identity_of(claims: Mapping[str, Any], config: OidcConfig) -> Identity:
    """Who these claims are of; ForbiddenError if the hub does not let them in."""
    email, name = claims.get("email"), claims.get(config.name_claim)
    verified = claims.get("email_verified") is True
    if not isinstance(name, str) or not name:
        raise ForbiddenError(f"{config.called} tells no '{config.name_claim}' of you, which is your name here.")
    if (config.name_claim == "email" or config.domains) and not (verified and isinstance(email, str)):
        raise ForbiddenError(f"{config.called} does not say that your mail address is verified.")
    if config.domains and str(email).rpartition("@")[2].lower() not in {d.lower() for d in config.domains}:
        raise ForbiddenError("Your mail address is of a domain that this hub does not let in.")
    groups = claims.get(config.groups_claim)
    if config.groups and not (isinstance(groups, list) and set(config.groups) & {str(group) for group in groups}):
        raise ForbiddenError("You are in none of the groups that this hub lets in.")
    return Identity(issuer=config.issuer, subject=str(claims["sub"]), name=name)
