"""Logging in at a provider, which is a program by others and runs beside the hub."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.integration.conftest import ask, call
from tests.integration.providers import running_provider

PAGE = "http://127.0.0.1:5006/oidc"
PEOPLE = {
    "sub-1": {"email": "ann@example.org", "email_verified": True, "groups": ["ops"]},
    "sub-2": {"email": "bob@example.org", "email_verified": False, "groups": ["ops"]},
    "sub-3": {"email": "carl@elsewhere.org", "email_verified": True, "groups": ["ops"]},
    "sub-4": {"email": "dora@example.org", "email_verified": True, "groups": ["guests"]},
    "sub-5": {"email": "ann@example.org", "email_verified": True, "groups": ["ops"]},
}


class _Stay(urllib.request.HTTPRedirectHandler):
    """A browser that stops at the page it is sent back to."""

    def redirect_request(self, *_: Any) -> None:
        return None


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with running_provider(PEOPLE) as url:
        yield url


@pytest.fixture(scope="module")
def hub(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    folder = tmp_path_factory.mktemp("oidc")
    config = {
        "issuer": provider,
        "client_id": "aishark",
        "client_secret_file": "secret",
        "provider": "Mock & Co",
        "capabilities": ["view", "capture"],
        "domains": ["example.org"],
        "groups": ["ops"],
    }
    (folder / "oidc.yaml").write_text(yaml.safe_dump(config))
    (folder / "secret").write_text("s3cret\n")
    (folder / "secret").chmod(0o600)
    started = start_hub("--port", "0", "--ring-mib", "48", "--oidc", str(folder / "oidc.yaml"))
    yield started
    started.close()


def post(hub: EmbeddedHub, path: str, body: object) -> tuple[int, dict[str, Any]]:
    status, answer = call(hub, "POST", path, body, token="")
    return status, json.loads(answer)


def begin(hub: EmbeddedHub) -> tuple[str, dict[str, str]]:
    """The address at the provider that a login begins with, and its parameters."""
    status, begun = post(hub, "/api/oidc/start", {"redirect_uri": PAGE})
    assert status == 200, begun
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun["url"]).query).items()}
    assert asked["state"] == begun["state"]
    return begun["url"], asked


def back_from_provider(url: str, subject: str) -> dict[str, str]:
    """What somebody who says there who they are is sent back to the page with."""
    browser = urllib.request.build_opener(_Stay)
    try:
        browser.open(urllib.request.Request(url, data=urlencode({"sub": subject}).encode()), timeout=20).close()
        raise AssertionError("the provider did not send the browser back")
    except urllib.error.HTTPError as error:
        with error:
            where = error.headers["Location"]
    assert where.startswith(PAGE + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}


def log_in(hub: EmbeddedHub, subject: str) -> tuple[int, dict[str, Any]]:
    url, _ = begin(hub)
    back = back_from_provider(url, subject)
    return post(hub, "/api/oidc/finish", {"state": back["state"], "code": back["code"]})


def test_who_logs_in_at_the_provider_is_let_in(hub: EmbeddedHub) -> None:
    status, tokens = log_in(hub, "sub-1")
    assert status == 200, tokens
    assert (tokens["name"], tokens["capabilities"]) == ("ann@example.org", ["view", "capture"])
    ann = EmbeddedHub(hub.url, tokens["access_token"], hub.process)
    assert ask(ann, lambda c: c.me())["name"] == "ann@example.org"
    assert call(ann, "GET", "/api/users")[0] == 403
    status, renewed = post(hub, "/api/login/refresh", {"refresh_token": tokens["refresh_token"]})
    assert (status, renewed["name"]) == (200, "ann@example.org")
    users = ask(hub, lambda c: c.users())
    assert [(u["name"], u["disabled"]) for u in users] == [("ann@example.org", False)]
    # A password does not open such an account.
    assert post(hub, "/api/login", {"name": "ann@example.org", "password": ""})[0] == 401
    ask(hub, lambda c: c.user_change("ann@example.org", disabled=True))
    assert log_in(hub, "sub-1")[0] == 403
    ask(hub, lambda c: c.user_change("ann@example.org", disabled=False))
    assert log_in(hub, "sub-1")[0] == 200


def test_the_request_is_bound_to_this_login(hub: EmbeddedHub) -> None:
    first, second = begin(hub)[1], begin(hub)[1]
    assert first["code_challenge_method"] == "S256"
    assert first["scope"] == "openid email profile"
    for once in ("state", "nonce", "code_challenge"):
        assert len(first[once]) == 43
        assert first[once] != second[once]


def test_a_way_back_works_once_and_only_with_its_own_state(hub: EmbeddedHub) -> None:
    url, _ = begin(hub)
    other = begin(hub)[1]
    back = back_from_provider(url, "sub-1")
    # Another login's state: its nonce is not the one in the token.
    status, answer = post(hub, "/api/oidc/finish", {"state": other["state"], "code": back["code"]})
    assert (status, "it is of another login" in answer["error"]["message"]) == (401, True)
    for state, code in ((back["state"], back["code"]), ("made up", back["code"]), (begin(hub)[1]["state"], "made up")):
        assert post(hub, "/api/oidc/finish", {"state": state, "code": code})[0] == 401


@pytest.mark.parametrize(
    ("subject", "why"),
    [("sub-2", "verified"), ("sub-3", "domain"), ("sub-4", "groups"), ("sub-5", "belongs to somebody else")],
)
def test_whom_the_hub_does_not_want_stays_out(hub: EmbeddedHub, subject: str, why: str) -> None:
    log_in(hub, "sub-1")
    status, answer = log_in(hub, subject)
    assert (status, why in answer["error"]["message"]) == (403, True), answer


@pytest.mark.parametrize("uri", ["http://elsewhere.org/", "javascript:alert(1)", "", "https://", "https://a b/"])
def test_nobody_is_sent_back_to_where_others_can_read(hub: EmbeddedHub, uri: str) -> None:
    assert post(hub, "/api/oidc/start", {"redirect_uri": uri})[0] == 400


def test_who_is_not_let_in_is_told_where_to_log_in(hub: EmbeddedHub) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{hub.url}/api/me", timeout=20)
    with caught.value as answer:
        said = answer.headers["WWW-Authenticate"]
    assert said == 'Bearer realm="aishark", provider="Mock%20%26%20Co"'


def test_a_provider_that_is_gone_or_another_is_told(tmp_path: Path) -> None:
    config = tmp_path / "oidc.yaml"
    config.write_text("issuer: http://127.0.0.1:9\nclient_id: x\n")
    hub = start_hub("--port", "0", "--ring-mib", "48", "--oidc", str(config))
    try:
        status, answer = post(hub, "/api/oidc/start", {"redirect_uri": PAGE})
        assert (status, "cannot be asked" in answer["error"]["message"]) == (409, True)
    finally:
        hub.close()
