"""Page, hub and agent behind a real nginx that has the site of packaging/nginx.conf, seen by a real browser."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from aishark_panel.embedded import start_hub
from aishark_panel.errors import ConfigError
from aishark_panel.privateca import make_hub_certificate
from tests.codebase.sources import ROOT
from tests.integration.conftest import call, wait_for, wait_until_ready

SITE = ROOT / "packaging" / "nginx.conf"
HOWTO = ROOT / "docs" / "howto" / "reverse-proxy.md"
AISHARK = [sys.executable, "-m", "aishark_panel"]
PASSWORD = "correct horse battery"


class Proxy(NamedTuple):
    url: str
    ca: Path
    log: Path
    page_log: Path
    hub: Any


@contextmanager
def running(command: list[str], **options: Any) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        if process.stdout:
            process.stdout.close()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def changed(site: str, what: str, by: str) -> str:
    """The site with what a reader changes too."""
    assert site.count(what) == 1, what
    return site.replace(what, by)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Iterator[Proxy]:
    nginx, folder = require_tool("nginx"), tmp_path_factory.mktemp("proxy")
    made = make_hub_certificate(folder / "tls", ["localhost"])
    page_port, port = free_port(), free_port()
    url = f"https://localhost:{port}"
    with ExitStack() as stack:
        hub = start_hub("--port", "0", "--ring-mib", "48")
        stack.callback(hub.close)
        wait_until_ready(hub)
        account = {"name": "ann", "password": PASSWORD, "capabilities": ["view", "capture", "export", "admin"]}
        assert call(hub, "POST", "/api/users", account)[0] == 201
        site = SITE.read_text()
        for what, by in (
            ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
            ("server_name hub.example;", "server_name localhost;"),
            ("/etc/nginx/aishark/hub.pem", str(made.cert)),
            ("/etc/nginx/aishark/hub-key.pem", str(made.key)),
            ("/var/log/nginx/aishark.log", str(folder / "access.log")),
            ("http://127.0.0.1:8765", hub.url),
            ("http://127.0.0.1:5006", f"http://127.0.0.1:{page_port}"),
        ):
            site = changed(site, what, by)
        # What Debian's nginx.conf has around a site, without its folders.
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
        configuration = folder / "nginx.conf"
        configuration.write_text(
            f"daemon off; master_process off; worker_processes 1; pid {folder / 'pid'};"
            f"events {{}} http {{ {temporary}\n{site} }}"
        )
        said = ["-e", str(folder / "error.log")]
        stack.enter_context(running([nginx, "-c", str(configuration), "-p", str(folder), *said]))
        page_log = folder / "page.log"
        serve = stack.enter_context(
            running(
                [*AISHARK, "serve", "--no-browser", "--port", str(page_port), "--public-url", url],
                env={**os.environ, "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token},
                stdout=subprocess.PIPE,
                stderr=stack.enter_context(page_log.open("w")),
            )
        )
        assert serve.stdout is not None
        assert any(f"{url}/login?token={hub.token}" in line for line in serve.stdout), (
            folder / "error.log"
        ).read_text()
        yield Proxy(url, made.ca, folder / "access.log", page_log, hub)


@pytest.fixture(scope="module")
def agent(proxy: Proxy) -> Iterator[None]:
    """An agent that knows the proxy only, and comes by wss."""
    command = [*AISHARK, "agent", "--synthetic", "--rate", "500", "--name", "far", "--hub", proxy.url]
    with running([*command, "--ca", str(proxy.ca)], env={**os.environ, "AISHARK_TOKEN": proxy.hub.token}):
        yield


@pytest.fixture(scope="module")
def page(proxy: Proxy, agent: None, chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(ignore_https_errors=True, viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_the_page_that_tells_of_it_shows_the_same_site() -> None:
    assert f"```nginx\n{SITE.read_text()}```\n" in HOWTO.read_text()


def test_by_https_people_log_in_and_see_an_agent_that_came_by_wss(proxy: Proxy, page: Page) -> None:
    page.goto(proxy.url)
    page.get_by_label("Name", exact=True).fill("ann")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    page.locator(".packet-list .layer .row .number").first.wait_for()
    assert [agent["name"] for agent in json.loads(call(proxy.hub, "GET", "/api/agents")[1])["agents"]] == ["far"]
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    assert [cookies[name]["secure"] for name in ("aishark_token", "aishark_login")] == [True, True]


def test_packets_are_exported_and_a_file_is_uploaded(proxy: Proxy, page: Page, capture_file: Path) -> None:
    page.get_by_role("button", name="Export packets to a file").click()
    page.get_by_role("radio", name=re.compile("^pcapng ")).check()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(r"^Download [\d,]+ packets$")).click()
    assert download.value.path().read_bytes().startswith(b"\x0a\x0d\x0d\x0a")
    page.get_by_label("Capture file").set_input_files(capture_file)
    expect(page.locator(".session")).to_contain_text("numbered.pcap", timeout=30_000)
    expect(page.locator(".figure.total b")).to_have_text("10,000", timeout=30_000)


def test_what_is_copied_for_others_names_the_proxy(proxy: Proxy, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".packet-list .layer .row .number").first.click(button="right")
    page.get_by_role("menuitem", name="Copy command for Wireshark").click()
    wait_for(lambda: f"AISHARK_HUB={proxy.url} " in page.evaluate("navigator.clipboard.readText()"), "the command")


def test_no_token_is_in_the_log_of_nginx(proxy: Proxy) -> None:
    address = f"{proxy.url}/login?token={proxy.hub.token}"
    with urllib.request.urlopen(address, context=ssl.create_default_context(cafile=proxy.ca)) as answer:
        assert answer.status == 200
    log = proxy.log.read_text()
    assert " GET /login 302 " in log
    assert proxy.hub.token not in log


def test_visitors_are_who_nginx_says_whatever_they_say(proxy: Proxy) -> None:
    """Logins are counted by where they come from, so nobody may choose that."""
    lies = {"X-Forwarded-For": "192.0.2.1", "X-Real-IP": "192.0.2.2", "X-Scheme": "http", "X-Forwarded-Proto": "http"}
    context = ssl.create_default_context(cafile=proxy.ca)
    wrong = urllib.request.Request(f"{proxy.url}/login/name", b'{"name": "ann", "password": "wrong wrong"}', lies)
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(wrong, context=context)
    refused.value.close()
    assert refused.value.code == 401
    assert "401 POST /login/name (127.0.0.1) " in proxy.page_log.read_text()
    login = urllib.request.Request(
        f"{proxy.url}/login/name", json.dumps({"name": "ann", "password": PASSWORD}).encode(), lies
    )
    with urllib.request.urlopen(login, context=context) as answer:
        cookies = answer.headers.get_all("Set-Cookie")
    assert [("Secure" in cookie, "HttpOnly" in cookie) for cookie in cookies] == [(True, True)] * 2


@pytest.mark.parametrize(
    ("public_url", "browsers_say"),
    [("https://Hub.example:443/", "https://hub.example"), ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443")],
)
def test_pages_at_the_public_address_and_at_no_other_open_the_websocket(
    proxy: Proxy, public_url: str, browsers_say: str
) -> None:
    port = free_port()
    command = [*AISHARK, "serve", "--no-browser", "--host", "::1", "--port", str(port), "--public-url", public_url]

    def status(origin: str) -> int:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        connection = HTTPConnection("::1", port, timeout=20)
        connection.request("GET", "/ws", headers={**upgrade, "Sec-WebSocket-Key": "A" * 22 + "==", "Origin": origin})
        with closing(connection):
            return connection.getresponse().status

    environment = {**os.environ, "AISHARK_HUB": proxy.hub.url, "AISHARK_TOKEN": proxy.hub.token}
    with running(command, env=environment, stdout=subprocess.PIPE) as serve:
        assert serve.stdout is not None
        assert any(f"{browsers_say}/login?token=" in line for line in serve.stdout)
        assert [status(origin) for origin in (browsers_say, f"http://[::1]:{port}")] == [101, 101]
        assert status(browsers_say.replace("hub", "other").replace("db8", "db9")) == 403


def test_what_cannot_be_behind_a_proxy_is_refused(proxy: Proxy) -> None:
    from aishark_panel.views.launch import run_dashboard  # takes seconds, and all of the page

    tls = {"tls_cert": proxy.ca.parent / "hub.pem", "tls_key": proxy.ca.parent / "hub-key.pem"}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("https://hub.example", {"host": "192.0.2.1", **tls}, "no --host then"),
        ("https://hub.example/aishark", {}, "more than a host"),
        ("hub.example", {}, "is no address"),
    ]
    for url, more, words in cases:
        with pytest.raises(ConfigError, match=words):
            run_dashboard(port=0, hub_port=0, hub_url=proxy.hub.url, ring_mib=48, browser=False, public_url=url, **more)
