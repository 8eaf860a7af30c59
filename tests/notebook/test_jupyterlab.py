"""A real JupyterLab in a real browser: the live view moves inside its cell, also while the kernel computes; a cell
captures what it causes; and a restarted kernel begins anew."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.integration.conftest import wait_for
from tests.notebook.conftest import is_running
from tests.notebook.lab import cell, jupyterlab, open_notebook, run

CELLS = (
    "import aishark_panel as ais\nsession = ais.capture(synthetic=True, rate=2_000)",
    "live = session.live()\nlive",
    "print('rows', len(session.df()))",
    "from aishark_panel.embedded import embedded_hub\n"
    "print(session.agent.process.pid, embedded_hub().process.pid, [s.name for s in session.hub.sessions()])",
    "import os\nprint('busy')\nwhile not os.path.exists('enough'): sum(range(2_000_000))\nprint('done')",
    "first = live\nprint('kept')",
    "print('running', first.running, live.running)",
    "%load_ext aishark_panel\n"
    "import functools, http.server, threading, urllib.request\n"
    "handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory='.')\n"
    "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)\n"
    "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
    "port = server.server_port",
    "%%capture_packets -i lo -f 'tcp port {port}' --into pkts\n"
    "urllib.request.urlopen(f'http://127.0.0.1:{port}/?own=request').read()\n"
    "print('asked')",
    "print(pkts.df[['http_path', 'http_status']].dropna(how='all').to_json())",
)
CAPTURE, LIVE, ROWS, CHILDREN, BUSY, KEEP, RUNNING, SERVE, REQUEST, FOUND = range(len(CELLS))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that JupyterLab runs in."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def notebook(lab: Path, chromium: str) -> Iterator[Page]:
    """The notebook, opened and run up to the live view."""
    complaints: list[str] = []
    with jupyterlab(lab, CELLS) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = open_notebook(browser, address, complaints)
        for index in (CAPTURE, LIVE):
            run(page, index)
        packets(page).wait_for(timeout=60_000)
        yield page
        browser.close()
    assert complaints == []


def packets(page: Page) -> Locator:
    return cell(page, LIVE).locator(".figure.total b")


def count(page: Page) -> int:
    return int(packets(page).inner_text().replace(",", ""))


def test_the_live_view_moves_inside_its_cell(notebook: Page) -> None:
    before = count(notebook)
    expect(packets(notebook)).not_to_have_text(f"{before:,}")
    wait_for(lambda: count(notebook) > before, "more packets")
    assert cell(notebook, LIVE).locator("canvas").count() >= 2
    cell(notebook, LIVE).locator(".packet-list .layer .row .number").first.wait_for()


def test_the_frame_of_a_second_cell_grows(notebook: Page) -> None:
    before = int(run(notebook, ROWS).split()[1])
    after = int(run(notebook, ROWS).split()[1])
    assert after > before > 0


def test_the_view_answers_clicks(notebook: Page) -> None:
    box = cell(notebook, LIVE).get_by_label("Display filter", exact=True)
    box.fill("dns")
    box.press("Enter")
    expect(cell(notebook, LIVE).locator(".filter-bar .status")).to_contain_text(" of ")
    cell(notebook, LIVE).locator(".packet-list .layer .row .number").first.click()
    expect(cell(notebook, LIVE).locator(".packet-detail .heading b")).to_contain_text("Packet", timeout=20_000)


def test_the_view_follows_the_theme_of_jupyterlab(notebook: Page) -> None:
    """What JupyterLab does when its user takes another theme; the browser's own scheme stays light."""
    total = packets(notebook)
    expect(total).to_have_css("color", "rgb(22, 32, 43)")
    notebook.evaluate("document.body.dataset.jpThemeLight = 'false'")
    expect(total).to_have_css("color", "rgb(228, 234, 241)")
    notebook.evaluate("document.body.dataset.jpThemeLight = 'true'")
    expect(total).to_have_css("color", "rgb(22, 32, 43)")


def test_the_view_moves_while_the_kernel_computes(notebook: Page, lab: Path) -> None:
    """The cell computes until its view has moved, however long a busy machine takes."""
    cell(notebook, BUSY).locator(".cm-content").click()
    notebook.keyboard.press("Control+Enter")
    output = cell(notebook, BUSY).locator(".jp-OutputArea-output pre")
    expect(output).to_have_text(re.compile("busy"))
    before = count(notebook)
    try:
        expect(packets(notebook)).not_to_have_text(f"{before:,}", timeout=45_000)
        assert "done" not in output.inner_text()
    finally:
        (lab / "work" / "enough").touch()
    expect(output).to_have_text(re.compile("done"), timeout=20_000)


def test_running_its_cell_again_replaces_the_view(notebook: Page) -> None:
    assert run(notebook, KEEP) == "kept"
    run(notebook, LIVE)
    wait_for(lambda: packets(notebook).count() == 1, "the new view")
    assert run(notebook, RUNNING) == "running False True"
    before = count(notebook)
    wait_for(lambda: count(notebook) > before, "more packets")


def test_a_cell_captures_its_own_request(notebook: Page) -> None:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        pytest.skip(f"this user may not capture: {error}")
    run(notebook, SERVE)
    assert run(notebook, REQUEST) == "asked"
    shown = cell(notebook, REQUEST).locator(".jp-OutputArea-output")
    expect(shown.get_by_role("row", name="packets")).to_have_text(re.compile(r"packets\s*\d\d"))
    expect(shown.get_by_role("row", name="protocols")).to_contain_text("HTTP")
    bars = shown.get_by_role("img", name="packets over time").locator("rect")
    expect(bars.first).to_be_visible()
    assert bars.count() > 1
    found = json.loads(run(notebook, FOUND))
    assert list(found["http_path"].values()) == ["/?own=request", None]
    assert list(found["http_status"].values()) == [None, 200]


def children(page: Page) -> tuple[list[int], str]:
    """The processes of agent and hub, and the names of the hub's sessions."""
    agent, hub, sessions = run(page, CHILDREN).split(maxsplit=2)
    return [int(agent), int(hub)], sessions


def test_a_restarted_kernel_begins_anew(notebook: Page) -> None:
    before, sessions = children(notebook)
    assert sessions == "['live', 'synthetic']"
    assert all(is_running(pid) for pid in before)
    notebook.get_by_role("menuitem", name="Kernel", exact=True).click()
    notebook.locator(".lm-Menu-itemLabel").get_by_text("Restart Kernel…", exact=True).click()
    notebook.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    wait_for(lambda: not any(is_running(pid) for pid in before), "the end of agent and hub")
    expect(notebook.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)
    run(notebook, CAPTURE)
    after, sessions = children(notebook)
    assert sessions == "['live', 'synthetic']"
    assert set(after).isdisjoint(before)
    assert int(run(notebook, ROWS).split()[1]) > 0
