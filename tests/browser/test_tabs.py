"""What lies behind the tabs and menus, in a real browser: conversations, alerts, agents, sessions, recordings."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from aishark_panel.wire.pcapwrite import PcapWriter
from tests.browser.conftest import OpenPage
from tests.traffic import frames

TABS = ("Packets", "Conversations", "Alerts", "Agents", "Sessions")


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """The shared page, on its first tab again after each test."""
    yield page
    show(page, "Packets")


@pytest.fixture
def capture_file(tmp_path: Path) -> Path:
    """A pcap file of 2,000 packets."""
    path = tmp_path / "numbered.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(2_000)))
    return path


def show(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")


def filter_box(page: Page) -> Locator:
    return page.get_by_label("Display filter", exact=True)


def choose_session(page: Page, name: str) -> None:
    page.get_by_role("button", name="Session", exact=True).click()
    page.locator(".sessions").get_by_role("button", name=name).first.click()
    expect(page.locator(".session")).to_contain_text(name)


def test_one_tab_is_in_sight_and_arrow_keys_move_along_them(page: Page) -> None:
    expect(page.locator(".packet-list")).to_be_visible()
    expect(page.get_by_role("textbox", name="Capture filter of")).to_be_hidden()
    page.get_by_role("tab", name="Packets").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Sessions", selected=True)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("textbox", name="Capture filter of")).to_be_visible()
    expect(page.locator(".packet-list")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Sessions", selected=True)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".packet-list .layer .row .number").first).to_be_visible()


def test_the_list_stays_where_it_was_while_another_tab_is_open(page: Page) -> None:
    page.locator(".packet-list .body").focus()
    page.keyboard.press("Home")
    expect(page.locator(".packet-list .row.current .number")).to_have_text("1")
    show(page, "Alerts")
    page.wait_for_timeout(900)
    show(page, "Packets")
    page.wait_for_timeout(900)
    expect(page.locator(".packet-list .row.current .number")).to_have_text("1")
    expect(page.locator(".packet-list .row.current")).to_be_in_viewport()


def test_conversations_are_sorted_by_a_click_and_filter_by_another(page: Page) -> None:
    show(page, "Conversations")
    rows = page.locator(".conversations .row:not(.head)")
    expect(rows.nth(10)).to_be_visible()
    heading = page.get_by_role("columnheader", name="Packets", exact=True)
    page.get_by_role("columnheader", name="Bytes", exact=True).click()
    heading.click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    # In one look: packets go on arriving.
    texts = page.locator(".conversations .row > span.packets").evaluate_all("all => all.map(one => one.innerText)")
    packets = [int(text.replace(",", "")) for text in texts]
    assert packets == sorted(packets, reverse=True)
    rows.first.click()
    expect(filter_box(page)).to_have_value(re.compile(r"^conversation_id == \d+$"))
    expect(page.locator(".filter-bar .status")).to_contain_text("of")


def test_endpoints_and_the_hierarchy_follow_the_filter(page: Page) -> None:
    show(page, "Protocols")
    layers = page.locator(".hierarchy .row .layer")
    expect(layers.first).to_have_text("Ethernet")
    expect(page.locator(".tcp-health dd").first).to_have_text(re.compile(r"[\d.]+ ms"))
    page.locator(".hierarchy .row", has_text="DNS").first.click()
    expect(filter_box(page)).to_have_value(re.compile("protocol == .DNS."))
    expect(layers.filter(has_text="TLS")).to_have_count(0)
    show(page, "Endpoints")
    addresses = page.locator(".endpoints .row:not(.head)")
    expect(addresses.first).to_be_visible()
    expect(page.locator(".talkers .row").first).to_be_visible()
    addresses.first.click(modifiers=["Alt"])
    expect(filter_box(page)).to_have_value(re.compile(r"not .*ip\.addr =="))


def test_an_agent_stops_starts_and_says_what_it_cannot_do(page: Page) -> None:
    show(page, "Agents")
    agent = page.locator(".agent").first
    box = agent.get_by_role("textbox", name="Capture filter of")
    answer = agent.locator(".answer")
    box.fill("tcp port 443")
    agent.get_by_role("button", name="Go on with this filter").click()
    expect(answer).to_contain_text("cannot change its capture filter")
    expect(box).to_have_value("tcp port 443")
    box.fill("")
    agent.get_by_role("button", name="Stop").click()
    expect(answer).to_have_text("It has stopped.")
    expect(agent.locator(".doing")).to_have_text("stopped")
    agent.get_by_role("button", name="Start").click()
    expect(answer).to_have_text("It captures, without a filter.")
    expect(agent.locator(".doing")).to_have_text("capturing")
    expect(agent.locator(".rate b")).not_to_have_text("0")


def test_a_recording_goes_on_until_it_is_stopped(page: Page) -> None:
    show(page, "Sessions")
    page.get_by_role("button", name="More of live").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator(".recording")).to_be_visible()
    recording = page.locator(".recordings > li")
    expect(recording.locator(".facts")).to_have_text(re.compile(r"^recording: [1-9][\d,]* packets, "))
    page.get_by_role("button", name="Stop the pcapng recording").click()
    expect(recording.locator(".facts")).to_have_text(re.compile("^stopped: "))
    expect(page.locator(".recording")).to_be_hidden()
    with page.expect_download() as download:
        recording.get_by_role("button", name="Download live-").click()
    written = Path(recording.locator(".folder").inner_text()) / download.value.suggested_filename
    assert download.value.path().read_bytes() == written.read_bytes()
    assert written.read_bytes().startswith(b"\x0a\x0d\x0d\x0a")
    page.get_by_role("button", name="More of live").click()


def test_a_link_lets_a_guest_look_at_one_session_and_do_no_more(page: Page, open_page: OpenPage) -> None:
    show(page, "Sessions")
    page.get_by_role("button", name="More of live").click()
    page.get_by_role("button", name="Make a link").click()
    box = page.locator(".made .copied")
    expect(box).to_have_text(re.compile("^http://.*/login[?]token=."))
    link = box.inner_text()
    guest = open_page(log_in=False)
    guest.goto(link)
    guest.get_by_role("button", name="Go on as").click()
    expect(guest.locator(".packet-list .layer .row .number").first).to_be_visible(timeout=30_000)
    for name in ("Export packets to a file", "Open in Wireshark", "Stop the capture", "Forget all packets"):
        expect(guest.get_by_role("button", name=name)).to_be_hidden()
    show(guest, "Sessions")
    expect(guest.locator(".session-list .one")).to_have_count(1)
    for name in ("New session", "Open a capture file", "Stop live"):
        expect(guest.get_by_role("button", name=name)).to_be_hidden()
    page.get_by_role("button", name="Revoke this link").click()
    expect(page.get_by_role("list", name="Links").locator("li")).to_have_count(0)
    page.get_by_role("button", name="More of live").click()


def test_the_wizard_waits_until_a_real_agent_says_hello(page: Page) -> None:
    show(page, "Agents")
    page.get_by_role("button", name="Add an agent").click()
    page.get_by_label("Name of the agent").fill("edge-7")
    page.get_by_role("button", name="Register").click()
    status = page.locator(".wizard .status")
    expect(status).to_have_text("Waiting for edge-7 to say hello …")
    key = page.locator(".wizard .key .copied").inner_text()
    configuration = page.locator(".wizard .steps li").nth(2).inner_text()
    url = re.search(r'url: "(\S+)"', configuration)
    assert url is not None
    command = [sys.executable, "-m", "aishark_panel", "agent", "--hub", url[1], "--synthetic", "--rate", "50"]
    process = subprocess.Popen(command, env={**os.environ, "AISHARK_TOKEN": key}, stderr=subprocess.DEVNULL)
    try:
        expect(status).to_contain_text("edge-7 said hello from", timeout=20_000)
        page.get_by_role("button", name="Done").click()
        agent = page.locator(".agent").filter(has_text="edge-7")
        expect(agent.locator(".doing")).to_have_text("capturing")
    finally:
        process.terminate()
        process.wait(20)
    expect(agent.locator(".advice")).to_contain_text("Last seen", timeout=10_000)
    agent.get_by_role("button", name="Remove").click()
    agent.locator(".menu").get_by_role("button", name="Remove").click()
    expect(agent).to_have_count(0)


def test_a_new_session_is_shown_and_the_old_one_is_a_click_away(page: Page) -> None:
    expect(page.locator(".session")).to_have_text(re.compile("Session"))
    live = re.compile(re.escape(page.url.partition("&packet=")[0]) + "$")  # a packet of it is selected no more then
    page.get_by_role("button", name="Session", exact=True).click()
    page.get_by_label("Name of the new session").fill("night shift")
    page.get_by_role("button", name="New session").click()
    expect(page.locator(".session")).to_contain_text("night shift")
    expect(page.locator(".state")).to_have_text("waiting")
    expect(page).to_have_url(re.compile("session="))
    expect(page).not_to_have_url(re.compile(live.pattern.removesuffix("$")))
    choose_session(page, "live")
    expect(page.locator(".state")).to_have_text("live")
    expect(page).to_have_url(live)
    page.go_back()
    expect(page.locator(".session")).to_contain_text("night shift")
    page.go_forward()
    expect(page.locator(".session")).to_contain_text("live")


def test_a_capture_file_becomes_a_session(page: Page, capture_file: Path) -> None:
    page.get_by_label("Capture file").set_input_files(capture_file)
    expect(page.locator(".session")).to_contain_text("numbered.pcap")
    expect(page.locator(".figure.total b")).to_have_text("2,000")
    expect(page.locator(".upload")).to_be_hidden()
    choose_session(page, "live")


def test_a_file_can_be_dropped_and_what_is_no_capture_is_refused_in_words(page: Page) -> None:
    dropped = page.evaluate_handle(
        """() => { const data = new DataTransfer();
        data.items.add(new File(["no packets in here, only words"], "letter.txt")); return data; }"""
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": dropped})
    expect(page.locator(".veil")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})
    expect(page.locator(".veil")).to_be_hidden()
    expect(page.locator(".upload")).to_contain_text("letter.txt was not opened: ")
    expect(page.locator(".upload")).to_contain_text("neither pcap nor pcapng")
    page.get_by_role("button", name="Close: upload").click()
    expect(page.locator(".upload")).to_be_hidden()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "dark"), (400, 800, "light")])
def test_every_tab_fits_its_screen(open_page: OpenPage, scheme: str, width: int, height: int) -> None:
    page = open_page(width, height, color_scheme=scheme, wait_for_packets=False)
    for tab in TABS:
        show(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        panel = page.get_by_label(tab, exact=True).locator("visible=true").last
        box = panel.bounding_box()
        assert box is not None
        assert (box["x"] >= 0, box["x"] + box["width"] <= width) == (True, True)
