"""Logging in at a provider (OpenID Connect): the authorization code flow with PKCE (RFC 7636).

Whoever wants to log in is sent to the provider with a *state* that the hub gave, and comes back with a code. The hub
itself changes the code into an ID token and checks that; a dashboard between only carries state and code.
"""

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import jwt
import msgspec
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from aishark_panel.errors import ConfigError, ConflictError, NotAuthorizedError
from aishark_panel.streams.idtoken import Identity, identity_of, keys_of, verified_claims
from aishark_panel.streams.oidc_config import OidcConfig, is_safe_url
from aishark_panel.transport import trusted

__all__ = ["Provider"]

MAX_PENDING: Final = 1_000
"""Most people who are at the provider at a time; the first to go is forgotten first."""
PENDING_LIFE_S: Final = 600.0
_METADATA_LIFE_S: Final = 3_600.0
_MIN_KEYS_AGE_S: Final = 60.0
"""A key that is not known is asked for this often, not more."""
_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 2**20


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


@dataclass(frozen=True, slots=True)
class _Pending:
    """Somebody who was sent to the provider."""

    nonce: str
    verifier: str = field(repr=False)
    redirect_uri: str
    until_s: float


class Provider:
    """A provider, and who is there to log in."""

    def __init__(self, config: OidcConfig) -> None:
        self.config = config
        self._http = SimpleAsyncHTTPClient(force_instance=True, max_body_size=_MAX_ANSWER_BYTES)
        self._tls = trusted() if config.issuer.startswith("https:") else None
        self._pending: dict[str, _Pending] = {}
        self._metadata: _Metadata | None = None
        self._metadata_s = 0.0
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_s = float("-inf")

    def close(self) -> None:
        """Give up what is under way."""
        self._http.close()

    async def begin(self, redirect_uri: str) -> dict[str, str]:
        """Where to send somebody who is to come back to `redirect_uri`: url, and the state to wait for."""
        if not is_safe_url(redirect_uri) or len(redirect_uri) > 1_000:
            raise ConfigError("redirect_uri must be an https address (or http on this host).")
        metadata = await self._discovered()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        now_s = time.monotonic()
        self._pending = {s: p for s, p in self._pending.items() if p.until_s > now_s}
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[state] = _Pending(nonce, verifier, redirect_uri, now_s + PENDING_LIFE_S)
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.config.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _unpadded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in metadata.authorization_endpoint else "?"
        return {"url": f"{metadata.authorization_endpoint}{mark}{urlencode(query)}", "state": state}

    async def finish(self, state: str, code: str) -> Identity:
        """Who came back with that code. NotAuthorizedError if it or the state is not good, ForbiddenError if the hub
        does not let such people in, ConflictError if the provider does not answer as it should."""
        pending = self._pending.pop(state, None)
        if pending is None or pending.until_s <= time.monotonic():
            raise NotAuthorizedError("This login took too long, or is none of this hub's; begin again.")
        token = await self._id_token(code, pending)
        try:
            claims = verified_claims(token, await self._known_keys(), self.config, pending.nonce, time.time())
        except KeyError:
            try:
                keys = await self._known_keys(anew=True)
                claims = verified_claims(token, keys, self.config, pending.nonce, time.time())
            except KeyError as error:
                raise NotAuthorizedError(
                    f"The ID token of {self.config.called} is signed with a key that is not the provider's."
                ) from error
        return identity_of(claims, self.config)

    async def _id_token(self, code: str, pending: _Pending) -> str:
        metadata = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": pending.redirect_uri,
            "code_verifier": pending.verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        client_id, client_secret = self.config.client_id, self.config.client_secret
        if not client_secret:
            form["client_id"] = client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(client_id, '')}:{quote(client_secret, '')}"  # RFC 6749, section 2.3.1
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form |= {"client_id": client_id, "client_secret": client_secret}
        answer = await self._fetch(metadata.token_endpoint, method="POST", headers=headers, body=urlencode(form))
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise ConflictError(f"{self.config.called} gave no ID token.")
        return token

    async def _discovered(self) -> _Metadata:
        now_s = time.monotonic()
        if self._metadata is None or now_s > self._metadata_s + _METADATA_LIFE_S:
            answer = await self._fetch(f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                metadata = msgspec.convert(answer, _Metadata)
            except msgspec.ValidationError as error:
                raise ConflictError(
                    f"{self.config.called} describes itself in a way not understood: {error}"
                ) from error
            endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
            if metadata.issuer != self.config.issuer or not all(map(is_safe_url, endpoints)):
                raise ConflictError(f"What answers at {self.config.issuer} says that it is another, or is not safe.")
            self._metadata, self._metadata_s = metadata, now_s
        return self._metadata

    async def _known_keys(self, *, anew: bool = False) -> dict[str, jwt.PyJWK]:
        """The provider's keys; those that are known, unless they are too old or not enough."""
        age_s = time.monotonic() - self._keys_s
        if age_s > (_MIN_KEYS_AGE_S if anew else _METADATA_LIFE_S):
            metadata = await self._discovered()
            self._keys = keys_of(await self._fetch(metadata.jwks_uri))
            self._keys_s = time.monotonic()
        return self._keys

    async def _fetch(self, url: str, **options: Any) -> dict[str, Any]:
        """A provider's answer; ConflictError if it is none, NotAuthorizedError if it refuses a code."""
        request = HTTPRequest(
            url,
            connect_timeout=_TIMEOUT_S,
            request_timeout=_TIMEOUT_S,
            follow_redirects=False,
            ssl_options=self._tls if url.startswith("https:") else None,
            **options,
        )
        try:
            answer = await self._http.fetch(request)
            decoded = msgspec.json.decode(answer.body)
        except HTTPClientError as error:
            if error.code in (400, 401) and "body" in options:
                raise NotAuthorizedError(f"{self.config.called} does not accept this login; begin again.") from error
            raise ConflictError(f"{self.config.called} does not answer as it should: {error}.") from error
        except (OSError, StreamClosedError, ValueError, msgspec.DecodeError) as error:
            raise ConflictError(f"{self.config.called} cannot be asked: {error}.") from error
        if not isinstance(decoded, dict):
            raise ConflictError(f"{self.config.called} does not answer as it should.")
        return decoded


def _unpadded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
