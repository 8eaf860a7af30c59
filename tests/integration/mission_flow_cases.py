"""The whole mission in one story: two hosts watched by a hub over TLS, driven from the page in a browser, alerting a
webhook, recorded for tshark and DuckDB, and seen in a notebook. test_mission_flow.py runs this in a user and network
namespace of its own, which is the hub's host; the watched hosts have namespaces of their own."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import aishark_panel as ais
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.notebook.session import Hub, Session
from tests.browser.conftest import browser, complaints, opener
from tests.browser.test_tabs import TABS, choose_session, filter_box, show
from tests.integration.certificates import Certificate, make_ca, make_certificate
from tests.integration.conftest import told, wait_for, wait_until_ready
from tests.integration.hosts import Host, cable, host, ip
from tests.integration.test_recording import tshark_times
from tests.notebook.lab import cell, jupyterlab, open_notebook, run

__all__ = ["browser", "complaints", "told"]

pytestmark = pytest.mark.timeout(270)
HUB_HOST, WEST, EAST = "10.77.0.1", "10.77.0.2", "10.77.0.3"
SESSION = "office"
FETCH = """
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    with urllib.request.urlopen(f"http://{sys.argv[1]}/") as answer:
        assert len(answer.read()) == 5000
"""
SEND_DATAGRAMS = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(int(sys.argv[2])):
        sender.sendto(b"hello", (sys.argv[1], 7000))
"""
SCAN = """
import socket, sys
open_ports = []
for port in range(1, 301):
    with socket.socket() as knocking:
        if knocking.connect_ex((sys.argv[1], port)) == 0:
            open_ports.append(port)
print(open_ports)
"""
CELLS = (
    f"import aishark_panel as ais\nsession = ais.connect().session({SESSION!r})",
    "session.live()",
    "print(len(session.df(where='http')))",
)
CONNECT, LIVE, ROWS = range(len(CELLS))


class Hosts(NamedTuple):
    west: Host
    east: Host


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Two hosts and this one, joined by a switch."""
    with host(WEST) as west, host(EAST) as east:
        ip("link", "set", "lo", "up")
        ip("link", "add", "lan", "type", "bridge")
        ip("address", "add", f"{HUB_HOST}/24", "dev", "lan")
        ip("link", "set", "lan", "up")
        for there, port in ((west, "port1"), (east, "port2")):
            cable(there, port)
            ip("link", "set", port, "master", "lan")
        yield Hosts(west, east)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Iterator[Certificate]:
    """A CA that no system knows; this process, and what it starts, trusts it by AISHARK_CA."""
    made = make_ca(require_tool("openssl"), tmp_path_factory.mktemp("ca"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AISHARK_CA", str(made.cert))
        yield made


@pytest.fixture(scope="module")
def hub(
    hosts: Hosts,
    ca: Certificate,
    told: tuple[str, list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
    require_tool: Callable[[str], str],
) -> Iterator[EmbeddedHub]:
    """A hub with a certificate on the address by which the hosts reach it."""
    folder = tmp_path_factory.mktemp("hub")
    certificate = make_certificate(require_tool("openssl"), folder, HUB_HOST, ca)
    tls = ["--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key)]
    files = ["--state", str(folder / "state"), "--recordings", str(folder / "recordings")]
    started = start_hub("--host", HUB_HOST, "--port", "0", "--ring-mib", "48", "--webhook", told[0], *tls, *files)
    assert started.url.startswith(f"https://{HUB_HOST}:")
    wait_until_ready(started)
    yield started
    started.close()


def command(hub: EmbeddedHub, *words: str) -> tuple[list[str], dict[str, str]]:
    """An `aishark` command line for this hub, and the environment of the person who types it."""
    environment = {**os.environ, "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token}
    return [sys.executable, "-m", "aishark_panel", *words], environment


@contextlib.contextmanager
def agent(hub: EmbeddedHub, ca: Certificate, there: Host, name: str) -> Iterator[None]:
    """An agent on that host, with a key of its own, that captures whatever passes the host's interface."""
    words, person = command(hub, "agents", "register", name)
    key = subprocess.run(words, env=person, check=True, capture_output=True, text=True).stdout.strip()
    words, _ = command(hub, "agent", "-i", "eth0", "--hub", hub.url, "--ca", str(ca.cert), "--session", SESSION)
    process = subprocess.Popen([*there.inside, *words], env={**os.environ, "AISHARK_TOKEN": key, "AISHARK_CA": ""})
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def session(hosts: Hosts, ca: Certificate, hub: EmbeddedHub) -> Iterator[Session]:
    """The session that the agents of both hosts feed."""
    with (
        agent(hub, ca, hosts.west, "west"),
        agent(hub, ca, hosts.east, "east"),
        ais.connect(hub.url, hub.token) as mine,
    ):
        wait_for(lambda: [a["state"] for a in agents(mine)] == ["capturing"] * 2, "both agents' capture")
        yield mine.session(SESSION)


def agents(hub: Hub) -> list[dict[str, Any]]:
    return hub.ask(lambda client: client.agents())


@pytest.fixture(scope="module")
def address(hub: EmbeddedHub) -> Iterator[str]:
    """Address of a dashboard that has joined the hub."""
    words, person = command(hub, "serve", "--no-browser", "--port", "0")
    process = subprocess.Popen(words, env=person, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield next(m[0] for line in process.stdout if (m := re.search(r"http://\S+", line)))
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def lab(hub: EmbeddedHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a notebook whose kernel knows hub and token from its environment."""
    with jupyterlab(tmp_path_factory.mktemp("lab"), CELLS, AISHARK_HUB=hub.url, AISHARK_TOKEN=hub.token) as notebook:
        yield notebook


def order(page: Page, name: str, button: str, answer: str, profile: str = "") -> None:
    """Tell an agent something on the page's Agents tab."""
    line = page.locator("li.agent").filter(has_text=name)
    if profile:
        line.get_by_label(f"Profile for {name}").select_option(profile)
    line.get_by_role("button", name=f"{button} {name}").click()
    expect(line.locator(".answer")).to_contain_text(answer)


def recording(page: Page, file_format: str) -> Locator:
    return page.locator(".one.shown .recordings > li").filter(has_text=file_format)


def start_recording(page: Page, file_format: str) -> None:
    line = page.locator(".one.shown")
    line.get_by_label("Format of the recording").select_option(file_format)
    line.get_by_role("button", name="Record", exact=True).click()
    expect(recording(page, file_format).locator(".facts")).to_contain_text("recording: ")


def stop_recording(page: Page, file_format: str) -> list[Path]:
    """Its files."""
    page.get_by_role("button", name=f"Stop the {file_format} recording").click()
    expect(recording(page, file_format).locator(".facts")).to_contain_text("stopped: ")
    folder = Path(recording(page, file_format).locator(".folder").inner_text())
    return sorted(folder.rglob(f"*.{file_format}"))


def is_drained(session: Session) -> bool:
    """Whether the hub has all that the agents captured, and no packet is missing in the book."""
    book = session.hub.ask(lambda client: client.ledger(session.id))
    stages = [stage for line in book["agents"] for stage in line["stages"]]
    waiting = sum(stage["parts"].get(where, 0) for stage in stages for where in ("in_encoder", "outbox"))
    return not waiting and not any(stage["difference"] for stage in [*stages, book["ring"]])


def fetch_and_see(there: Host, server: str, session: Session) -> None:
    """Fetch a page from the server and wait until both agents' packets of it, to the last FIN, are in the session."""
    where = "tcp.flags.fin == 1 and tcp.port == 80"
    before = len(session.df(where=where))
    there.run(FETCH, server, "3")
    wait_for(lambda: len(session.df(where=where)) == before + 3 * 2 * 2, "the exchange, seen by both agents")


def pictures(page: Page, folder: Path, name: str) -> None:
    """The page as it is now, wide and narrow, light and dark."""
    for scheme in ("light", "dark"):
        for width, height in ((400, 800), (1440, 900)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": height})
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)


def test_two_hosts_are_watched_from_page_webhook_files_and_notebook(
    hosts: Hosts,
    session: Session,
    address: str,
    lab: str,
    told: tuple[str, list[dict[str, Any]]],
    browser: Browser,
    complaints: list[str],
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    session.hub.ask(lambda client: client.profile_save("no chatter", filter="tcp"))
    with opener(browser, address, complaints) as open_page:
        page = open_page(wait_for_packets=False)
        choose_session(page, SESSION)

        hosts.west.run(SEND_DATAGRAMS, EAST, "20")
        fetch_and_see(hosts.west, EAST, session)
        assert session.df(where="udp.dstport == 7000")["agent"].value_counts().to_dict() == {"west": 20, "east": 20}

        show(page, "Agents")
        for name in ("west", "east"):
            order(page, name, "Stop", "It has stopped.")
        expect(page.locator(".state")).to_have_text("waiting")
        hosts.west.run(FETCH, EAST, "3")  # nobody captures this
        wait_for(lambda: is_drained(session), "the last packets")
        before = session.packet_count
        show(page, "Sessions")
        page.get_by_role("button", name=f"More of {SESSION}").click()
        start_recording(page, "pcapng")
        start_recording(page, "parquet")
        show(page, "Agents")
        started_ns = time.time_ns()
        for name in ("west", "east"):
            order(page, name, "Start", "It captures with the filter 'tcp'.", profile="no chatter")
        hosts.east.run(SEND_DATAGRAMS, WEST, "20")
        fetch_and_see(hosts.east, WEST, session)

        assert hosts.west.run(SCAN, EAST) == "[80]"
        show(page, "Alerts")
        alert = page.locator(".alerts .alert").filter(has_text="port_scan")
        expect(alert).to_have_count(1)
        expect(alert).to_contain_text(re.compile(rf"port_scan.*{WEST} tried \d+ ports of {EAST}"))
        message = wait_for(lambda: told[1], "the webhook's message")[0]
        assert (message["rule"], message["state"], message["session"]["name"]) == ("port_scan", "firing", SESSION)
        assert message["key"] == {"src_ip": WEST, "dst_ip": EAST}
        for tab in TABS:
            show(page, tab)
            pictures(page, tmp_path, tab)
        show(page, "Alerts")
        alert.click()
        page.locator(".alerts .detail").get_by_role("button", name="Show packets").click()
        expect(filter_box(page)).to_have_value(re.compile(rf"src_ip == '{WEST}'"))
        expect(page.locator(".filter-bar .status")).to_have_text(re.compile(f"^{2 * (300 + 3)} of "))
        page.locator(".filter-bar .range").click()

        notebook = open_notebook(browser, lab, complaints)
        see_it_move_in_a_notebook(notebook, page, hosts, session)
        notebook.screenshot(path=tmp_path / "notebook.png")
        notebook.close()

        show(page, "Agents")
        for name in ("west", "east"):
            order(page, name, "Stop", "It has stopped.")
        wait_for(lambda: is_drained(session), "the last packets")
        show(page, "Sessions")
        pcapng, parquet = (stop_recording(page, file_format) for file_format in ("pcapng", "parquet"))
        pictures(page, tmp_path, "Recordings")

    new = session.df(where=f"number > {before}")
    assert set(new["ip_proto"]) == {6}
    assert set(new["agent"]) == {"west", "east"}
    assert new["ts"].min().value > started_ns
    times = [ts for file in pcapng for ts in tshark_times(require_tool("tshark"), file)]
    with duckdb.connect() as connection:
        query = "SELECT number, epoch_ns(ts) FROM read_parquet(?) ORDER BY number"
        rows = connection.execute(query, [[str(file) for file in parquet]]).fetchall()
    assert len(times) == len(rows) == len(new) == session.packet_count - before
    assert times == [ts for _, ts in rows]
    assert complaints == []


def see_it_move_in_a_notebook(notebook: Page, page: Page, hosts: Hosts, session: Session) -> None:
    """The session in a cell of JupyterLab: it follows the traffic and shows what the page shows."""
    page.get_by_label("Display filter", exact=True).press("Escape")
    for index in (CONNECT, LIVE):
        run(notebook, index)
    total = cell(notebook, LIVE).locator(".figure.total b")
    expect(total).to_have_text(f"{session.packet_count:,}", timeout=60_000)
    before = session.packet_count
    fetch_and_see(hosts.west, EAST, session)
    assert session.packet_count > before
    shown = f"{session.packet_count:,}"
    for place in (page, cell(notebook, LIVE)):
        expect(place.locator(".figure.total b")).to_have_text(shown)
    peaks = [place.locator(".bandwidth .value") for place in (page, cell(notebook, LIVE))]
    wait_for(lambda: len({peak.inner_text() for peak in peaks}) == 1, "the same peak on the page and in the cell")
    assert int(run(notebook, ROWS)) == len(session.df(where="http"))
