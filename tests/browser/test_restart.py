"""A page whose hub is killed and started again: it says so, and goes on by itself, with what it showed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.browser.conftest import opener
from tests.integration.conftest import call, wait_for

AISHARK = [sys.executable, "-m", "aishark_panel"]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Of a hub that keeps a journal, so that its sessions and packets are there again."""
    return ["--ring-mib", "48", "--journal", str(tmp_path / "journal")]


@pytest.fixture
def hub(options: list[str]) -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", *options)
    yield started
    started.close()


@pytest.fixture
def address(hub: EmbeddedHub) -> Iterator[str]:
    """Address of a dashboard that joined the hub, to which an agent sends into a session of its own."""
    environment = {**os.environ, "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token}
    agent = subprocess.Popen([*AISHARK, "agent", "--synthetic", "--session", "edge"], env=environment)
    serve = subprocess.Popen(
        [*AISHARK, "serve", "--no-browser", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert serve.stdout is not None
        found = next(filter(None, (re.search(r"http://\S+/login\S+", line) for line in serve.stdout)))
        yield found[0]
    finally:
        for process in (serve, agent):
            process.terminate()
            process.wait(20)
        if serve.stdout is not None:
            serve.stdout.close()


def choose_what_to_show(page: Page) -> None:
    """A display filter, a time from now until long after the test, and a packet."""
    start = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    page.goto(f"{page.url}&filter=ip&from={start}&to=2100-01-01T00:00:00Z")
    page.locator(".packet-list .layer .row .number").first.click(timeout=30_000)
    expect(page.locator(".packet-detail .heading b")).to_have_text(re.compile(r"Packet \d+"), timeout=20_000)
    expect(page).to_have_url(re.compile(r"session=\w+&filter=ip&from=.*&to=2100.*&packet=\d+$"))


def test_a_page_recovers_by_itself_when_its_hub_was_killed(
    browser: Browser, hub: EmbeddedHub, address: str, options: list[str]
) -> None:
    wait_for(lambda: b'"edge"' in call(hub, "GET", "/api/stream")[1], "the agent's session")
    with opener(browser, address, []) as open_page:
        page = open_page()
        state = page.locator(".header .state")
        expect(page.get_by_label("Session", exact=True)).to_contain_text("edge", timeout=20_000)
        expect(state).to_have_text("live", timeout=60_000)
        choose_what_to_show(page)
        shown = page.url
        hub.process.send_signal(signal.SIGKILL)
        hub.process.wait(10)
        expect(state).to_have_text("not connected", timeout=20_000)
        # "lost" at first, and the refusal of each later try to connect
        expect(page.locator(".header .sources")).to_contain_text(re.compile("connection .* lost|No hub answers"))
        again = start_hub("--port", hub.url.rpartition(":")[2], *options, token=hub.token)
        try:
            expect(state).to_have_text("history", timeout=60_000)
            expect(page.get_by_label("Session", exact=True)).to_contain_text("edge", timeout=60_000)
            expect(page.get_by_label("Display filter", exact=True)).to_have_value("ip")
            expect(page.locator(".packet-detail .heading b")).to_have_text(re.compile(r"Packet \d+"))
            expect(page).to_have_url(shown)
            total = page.locator(".figure.total b")
            before = total.inner_text()
            expect(total).not_to_have_text(before, timeout=20_000)
        finally:
            again.close()
