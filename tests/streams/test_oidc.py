"""What is sent to a provider: the verifier of PKCE and the client's secret; and when its keys are asked for again.

This provider is a double that writes down what it is asked: those by others accept a login without a verifier.
"""

import asyncio
import base64
import hashlib
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from aishark_panel.errors import ConflictError, NotAuthorizedError
from aishark_panel.streams.oidc import Provider
from aishark_panel.streams.oidc_config import OidcConfig

KEYS = [rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2)]


class Double(RequestHandler):
    """A provider with one key, which may change."""

    def initialize(self, state: dict[str, Any]) -> None:
        self.state = state

    def get(self) -> None:
        self.state["asked"].append(self.request.path)
        if self.request.path == "/jwks":
            number = self.state["key"]
            public = RSAAlgorithm.to_jwk(KEYS[number].public_key(), as_dict=True)
            self.finish({"keys": [{**public, "kid": str(number)}]})
            return
        url = self.state["issuer"]
        said = {
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/jwks",
        }
        self.finish({"issuer": self.state.get("says", url), **said})

    def post(self) -> None:
        self.state["form"] = {name: values[0] for name, values in parse_qs(self.request.body.decode()).items()}
        self.state["authorization"] = self.request.headers["Authorization"]
        now_s = int(time.time())
        claims = {"iss": self.state["issuer"], "aud": "a:b", "sub": "1", "iat": now_s, "exp": now_s + 60}
        claims |= {"nonce": self.state["nonce"], "email": "ann@example.org", "email_verified": True}
        number = self.state["key"]
        self.finish({"id_token": jwt.encode(claims, KEYS[number], "RS256", {"kid": str(number)})})


def with_provider(story: Any) -> None:
    async def run() -> None:
        listening, port = bind_unused_port()
        state: dict[str, Any] = {"issuer": f"http://127.0.0.1:{port}", "key": 0, "asked": []}
        server = HTTPServer(Application([(r".*", Double, {"state": state})]))
        server.add_socket(listening)
        provider = Provider(OidcConfig(issuer=state["issuer"], client_id="a:b", client_secret="c%"))
        try:
            await story(provider, state)
        finally:
            provider.close()
            server.stop()
            await server.close_all_connections()

    asyncio.run(run())


async def begun(provider: Provider, state: dict[str, Any]) -> dict[str, str]:
    begun = await provider.begin("https://page/oidc")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun["url"]).query).items()}
    state["nonce"] = asked["nonce"]
    return asked


def test_the_code_is_changed_with_the_verifier_and_the_secret() -> None:
    async def story(provider: Provider, state: dict[str, Any]) -> None:
        asked = await begun(provider, state)
        who = await provider.finish(asked["state"], "the code")
        assert (who.subject, who.name) == ("1", "ann@example.org")
        form = state["form"]
        hashed = hashlib.sha256(form.pop("code_verifier").encode()).digest()
        assert base64.urlsafe_b64encode(hashed).decode().rstrip("=") == asked["code_challenge"]
        assert form == {
            "grant_type": "authorization_code",
            "code": "the code",
            "redirect_uri": "https://page/oidc",
        }
        assert base64.b64decode(state["authorization"].removeprefix("Basic ")) == b"a%3Ab:c%25"
        with pytest.raises(NotAuthorizedError):
            await provider.finish(asked["state"], "the code")

    with_provider(story)


def test_new_keys_are_asked_for_once_a_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(provider: Provider, state: dict[str, Any]) -> None:
        await provider.finish((await begun(provider, state))["state"], "x")
        state["key"] = 1
        with pytest.raises(NotAuthorizedError, match="not the provider's"):
            await provider.finish((await begun(provider, state))["state"], "x")
        assert state["asked"].count("/jwks") == 1
        monkeypatch.setattr("aishark_panel.streams.oidc._MIN_KEYS_AGE_S", 0.0)
        assert (await provider.finish((await begun(provider, state))["state"], "x")).subject == "1"
        assert state["asked"].count("/jwks") == 2

    with_provider(story)


def test_what_says_that_it_is_another_is_not_believed() -> None:
    async def story(provider: Provider, state: dict[str, Any]) -> None:
        state["says"] = "https://idp.evil"
        with pytest.raises(ConflictError, match="another"):
            await provider.begin("https://page/oidc")

    with_provider(story)
