"""Logging in on the page by name and password and at a provider by others, and out again."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from bokeh.core.types import ID
from bokeh.util.token import generate_jwt_token, get_token_payload
from playwright.sync_api import Browser, Page, expect

from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.browser.conftest import opener
from tests.integration.conftest import call
from tests.integration.providers import running_provider

AISHARK = [sys.executable, "-m", "aishark_panel"]
PASSWORD = "correct horse battery"
PEOPLE = {"sub-7": {"email": "bea@example.org", "email_verified": True}}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    """A hub with an account, and with a provider."""
    with running_provider(PEOPLE) as provider:
        path = tmp_path_factory.mktemp("login") / "oidc.yaml"
        path.write_text(yaml.safe_dump({"issuer": provider, "client_id": "aishark", "client_secret": "s3cret",
                                        "provider": "Example", "name_claim": "email"}))  # fmt: skip
        path.chmod(0o600)
        started = start_hub("--port", "0", "--ring-mib", "48", "--oidc", str(path))
        try:
            account = {"name": "ann", "password": PASSWORD, "capabilities": ["view", "capture", "export"]}
            assert call(started, "POST", "/api/users", account)[0] == 201
            yield started
        finally:
            started.close()


@pytest.fixture(scope="module")
def address(hub: EmbeddedHub) -> Iterator[str]:
    """Where the hub's dashboard is, without a token."""
    environment = {**os.environ, "AISHARK_HUB": hub.url}  # nothing that opens the hub
    serve = subprocess.Popen(
        [*AISHARK, "serve", "--no-browser", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert serve.stdout is not None
        found = next(filter(None, (re.search(r"http://\S+", line) for line in serve.stdout)))
        yield found[0].rstrip("/")
    finally:
        serve.terminate()
        serve.wait(20)
        if serve.stdout is not None:
            serve.stdout.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opener(browser, address, []) as open_page:
        yield open_page(log_in=False)


def is_in(page: Page, name: str) -> None:
    """The dashboard is there, and knows who looks at it."""
    page.get_by_label("Session", exact=True).click(timeout=30_000)
    expect(page.get_by_text(f"You are {name}.")).to_be_visible()


def test_by_name_and_password_in_again_after_the_token_is_over_and_out(page: Page, address: str) -> None:
    page.get_by_label("Name", exact=True).fill("ann")
    page.get_by_label("Password").fill("wrong wrong wrong")
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("password")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    is_in(page, "ann")
    cookies = {c.get("name", ""): c for c in page.context.cookies()}
    assert {"aishark_token", "aishark_login"} <= set(cookies)
    assert all(c.get("httpOnly") and c.get("sameSite") == "Strict" for c in cookies.values())
    # A quarter of an hour later the token is over, and the login is not.
    page.context.clear_cookies(name="aishark_token")
    page.reload()
    is_in(page, "ann")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible(timeout=30_000)
    assert not [c for c in page.context.cookies() if c.get("name") in ("aishark_token", "aishark_login")]


def test_at_the_provider(page: Page) -> None:
    page.get_by_role("link", name="Log in with Example").click()
    page.get_by_text("bea@example.org").or_(page.get_by_text("sub-7")).first.click()
    is_in(page, "bea@example.org")
    expect(page.get_by_role("button", name="Stop the capture")).to_be_hidden()  # may look and no more
    expect(page.get_by_role("button", name="Export packets to a file")).to_be_hidden()


def test_a_login_that_another_browser_began_is_refused(page: Page, address: str) -> None:
    page.goto(f"{address}/login/provider/back?state=stolen&code=stolen")
    expect(page.get_by_text("not begun in this browser")).to_be_visible()
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_label("Password")).to_be_visible(timeout=30_000)


def test_a_token_is_a_way_in_too(page: Page, hub: EmbeddedHub) -> None:
    page.get_by_role("button", name="Use a token instead").click()
    page.get_by_label("Start token").fill(hub.token)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_label("Session", exact=True)).to_be_visible(timeout=30_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1440])
def test_the_card_fits(browser: Browser, address: str, width: int, scheme: str, tmp_path: Path) -> None:
    with opener(browser, address, []) as open_page:
        page = open_page(width, 800, log_in=False, color_scheme=scheme)
        expect(page.get_by_label("Password")).to_be_visible(timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if folder := os.environ.get("SHOTS"):
            page.screenshot(path=f"{folder}/login-{width}-{scheme}.png")


def answer(address: str, query: str = "", **headers: str) -> tuple[int, str]:
    """Status and text of the page."""
    request = urllib.request.Request(f"{address}/{query}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_nobody_chooses_the_session_of_a_page(address: str) -> None:
    """Whoever did could join it by WebSocket, without a token."""
    assert answer(address, "?bokeh-session-id=mine")[0] == 400
    assert answer(address, "autoload.js?bokeh-autoload-element=1&bokeh-session-id=mine")[0] == 400
    token = generate_jwt_token(ID("mine"), signed=False)
    assert answer(address, f"?bokeh-token={token}")[0] == 400
    assert answer(address, **{"Bokeh-Session-Id": "mine"})[0] == 400
    assert answer(address)[0] == 200


def test_the_page_holds_no_cookie_of_its_visitor(address: str) -> None:
    status, page = answer(address, Cookie="aishark_token=of-the-hub; aishark_login=of-the-login")
    token = re.search(r'"token":"([^"]+)"', page)
    assert status == 200
    assert token
    told = str(get_token_payload(token[1]))
    assert "headers" in told
    assert "of-the" not in told
