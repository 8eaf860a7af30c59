"""A live view in somebody's own Panel app, served by `panel serve`."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

import aishark_panel as ais
from aishark_panel.notebook.capture import Capture
from tests.integration.conftest import wait_for

APP = """
import aishark_panel as ais
session = ais.connect().session("served")
session.live("protocols").servable()
session.live("bandwidth").servable()
"""


@pytest.fixture(scope="module")
def live_session() -> Iterator[Capture]:
    with ais.capture(synthetic=True, rate=2_000, name="served") as session:
        wait_for(lambda: session.packet_count > 0, "packets")
        yield session


@pytest.fixture(scope="module")
def address(live_session: Capture, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    app = tmp_path_factory.mktemp("app") / "mine.py"
    app.write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "AISHARK_HUB": live_session.hub.url,
        "AISHARK_TOKEN": live_session.hub.token,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "panel", "serve", str(app), "--address", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.DEVNULL)
    wait_for(lambda: _listens(port), "the start of the server")
    yield f"http://127.0.0.1:{port}/mine"
    process.terminate()
    process.wait(20)


def test_served_views_move(address: str, chromium: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(address)
        middle = page.locator(".protocols .middle b")
        expect(middle).not_to_have_text("0", timeout=30_000)
        shown = middle.inner_text()
        expect(middle).not_to_have_text(shown, timeout=10_000)
        expect(page.locator(".bandwidth .value")).to_contain_text("peak")
        assert page.locator("canvas").count() >= 1
        browser.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
