"""`aishark demo` as a person starts it, and a real browser that may reach nothing but it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]

expect.set_options(timeout=15_000)  # a page shares two processors with other tests

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address with the start token, as the demo prints it. Its hub records into a folder of the tests.

    Whatever is done in the browser, tabs that are closed among it, nothing may be reported as an error at the terminal.
    """
    said = tmp_path_factory.mktemp("demo") / "stderr"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "demo", "--no-browser", "--port", "0", "--rate", "1000"],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path_factory.mktemp("data"))},
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://\S+", line):
                yield found[0]
                break
        else:
            pytest.fail("the demo ended before it printed its address")
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()
    text = said.read_text()
    assert not re.search("^(WARNING Failed|ERROR|Traceback)", text, re.MULTILINE), text


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_ARGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    """What pages asked of another host, and what their consoles called an error."""
    return []


@contextmanager
def opener(browser: Browser, address: str, complaints: list[str]) -> Iterator[OpenPage]:
    """`open_page(width=, height=, **context options)` logs in and waits for packets; all pages close at the end."""
    origin = address.split("/login")[0]
    contexts = []

    def start(
        width: int = 1440, height: int = 900, log_in: bool = True, wait_for_packets: bool = True, **options: Any
    ) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        local = (origin, "data:", "blob:", origin.replace("http", "ws"))
        page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(local) else None)
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address if log_in else origin)
        if log_in and wait_for_packets:
            page.locator(".packet-list .layer .row .number").first.wait_for(timeout=30_000)
        return page

    yield start
    for context in contexts:
        context.close()


@pytest.fixture
def open_page(browser: Browser, address: str, complaints: list[str]) -> Iterator[OpenPage]:
    """For tests that need a page of their own."""
    with opener(browser, address, complaints) as open_one:
        yield open_one
    assert complaints == []


@pytest.fixture(scope="module")
def shared_page(browser: Browser, address: str, complaints: list[str]) -> Iterator[Page]:
    with opener(browser, address, complaints) as open_one:
        yield open_one()


@pytest.fixture
def page(request: pytest.FixtureRequest, shared_page: Page, complaints: list[str]) -> Iterator[Page]:
    """A page on a desk, without filter and with the newest packets in sight; loading one for each test takes long. A
    test that is tried again finds it as new, whatever it left open."""
    if getattr(request.node, "execution_count", 1) > 1:
        shared_page.goto(shared_page.url.partition("?")[0])
        shared_page.locator(".packet-list .layer .row .number").first.wait_for(timeout=30_000)
    yield shared_page
    if shared_page.get_by_label("Display filter", exact=True).input_value():
        shared_page.get_by_label("Display filter", exact=True).press("Escape")
    shared_page.keyboard.press("Escape")
    sheet = shared_page.get_by_role("dialog", name="Conversation")
    if sheet.is_visible():  # a test failed before it closed it
        sheet.get_by_role("button", name="Close").click()
    pill = shared_page.locator(".packet-list .pill")
    if pill.is_visible():
        pill.evaluate("button => button.click()")  # it may be gone by now, and then need not be clicked
    assert complaints == []


def counter(page: Page) -> int:
    return int(page.locator(".figure.total b").inner_text().replace(",", ""))


def numbers(page: Page) -> list[int]:
    """Packet numbers of the rows in sight, top first."""
    script = """rows => rows.filter(r => !r.hidden && r.children[0].textContent)
        .map(r => [r.getBoundingClientRect().top, Number(r.children[0].textContent.replaceAll(",", ""))])
        .sort((a, b) => a[0] - b[0]).map(([_, number]) => number)"""
    found: list[int] = page.locator(".packet-list .layer .row").evaluate_all(script)
    return found


def apply_filter(page: Page, text: str) -> None:
    box = page.get_by_label("Display filter", exact=True)
    box.fill(text)
    box.press("Enter")
