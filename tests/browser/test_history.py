"""A time that the hub's ring has let go, chosen on the page: list, detail and conversations are of that time."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.browser.conftest import opener
from tests.integration.conftest import run_agent, session_of, stats_when, wait_until_ready
from tests.traffic import frames

PACKETS = 300_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    """A hub whose ring has let go the first half of five minutes, which its journal has."""
    tmp_path = tmp_path_factory.mktemp("long")
    writer = PcapWriter(link_type=1)
    with (tmp_path / "long.pcap").open("wb") as out:
        out.write(writer.header())
        for first in range(0, PACKETS, 20_000):
            out.write(writer.frames(frames(20_000, first=first)))
    started = start_hub("--port", "0", "--ring-mib", "48", "--journal", str(tmp_path / "journal"))
    wait_until_ready(started)
    played = run_agent(started, "-r", str(tmp_path / "long.pcap"), "--speed", "max", "--session", "long")
    assert played.returncode == 0
    stats = stats_when(started, session_of(started, "long"), lambda s: s["packets"] == PACKETS, "all packets")
    assert stats["first"] > 100_000
    yield started
    started.close()


@pytest.fixture(scope="module")
def address(hub: EmbeddedHub) -> Iterator[str]:
    """Address of a dashboard that joined the hub."""
    serve = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "serve", "--no-browser", "--port", "0"],
        env={**os.environ, "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serve.stdout is not None
        yield next(filter(None, (re.search(r"http://\S+/login\S+", line) for line in serve.stdout)))[0]
    finally:
        serve.terminate()
        serve.wait(20)
        if serve.stdout is not None:
            serve.stdout.close()


def test_a_time_that_the_ring_has_let_go_is_shown(address: str, browser: Browser) -> None:
    complaints: list[str] = []
    with opener(browser, address, complaints) as open_page:
        page = open_page()
        page.goto(f"{page.url}&session=long&from=2023-11-14T22:13:25Z&to=2023-11-14T22:13:30Z")
        numbers = page.locator(".packet-list .layer .row .number")
        expect(page.get_by_text("5,000 of 300,000 (1.7 %)")).to_be_visible(timeout=30_000)
        page.locator(".packet-list .body").focus()
        page.keyboard.press("Home")
        expect(numbers.first).to_have_text("5,001", timeout=20_000)
        numbers.first.click()
        detail = page.locator(".packet-detail")
        expect(detail.locator(".heading b")).to_have_text("Packet 5,001", timeout=20_000)
        expect(detail.locator(".layer .name").first).to_contain_text("Ethernet")
        page.get_by_role("tab", name="Conversations").click()
        expect(page.locator("div.conversations")).to_contain_text("10.1.0.1", timeout=20_000)
    assert complaints == []
