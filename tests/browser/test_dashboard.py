"""The page in a real browser, on the demo's traffic."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bokeh.client import pull_session
from bokeh.events import DocumentReady
from panel.models.esm import ReactiveESM
from playwright.sync_api import Page, WebSocket, expect

import aishark_panel.views.page  # noqa: F401  (so that this process knows the models a page is made of)
from tests.browser.conftest import OpenPage

TICK_S = 0.4


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


def test_the_token_leaves_the_address_for_a_cookie_scripts_cannot_read(page: Page) -> None:
    assert "token" not in page.url
    (cookie,) = [c for c in page.context.cookies() if c.get("name") == "aishark_token"]
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
    assert page.evaluate("document.cookie") == ""


def test_without_a_token_there_is_a_login_card_and_nothing_else(open_page: OpenPage, address: str) -> None:
    page = open_page(log_in=False)
    token = page.get_by_label("Start token")
    token.wait_for()
    assert page.locator(".packet-list").count() == 0
    token.fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading")).to_have_text("That token was not accepted")
    token.fill(address.split("token=")[1])
    page.get_by_role("button", name="Open").click()
    page.locator(".packet-list .layer .row").first.wait_for()


def test_packets_move_by_themselves(page: Page) -> None:
    expect(page.locator(".state")).to_have_text("live")
    expect(page.locator(".badge")).to_have_text("synthetic traffic")
    before, rows = counter(page), numbers(page)
    expect(page.locator(".figure.total b")).not_to_have_text(f"{before:,}")
    page.wait_for_timeout(2 * TICK_S * 1000)
    after = numbers(page)
    assert after[-1] > rows[-1]
    assert after == list(range(after[0], after[0] + len(after)))
    assert page.locator(".protocols .row").count() > 2


def test_scrolling_up_stops_the_list_and_the_pill_brings_it_back(page: Page) -> None:
    page.locator(".packet-list .body").hover()
    page.mouse.wheel(0, -600)
    pill = page.locator(".packet-list .pill")
    expect(pill).to_contain_text("new packets")
    page.wait_for_timeout(2 * TICK_S * 1000)  # the wheel runs on for a moment
    held = numbers(page)
    page.wait_for_timeout(3 * TICK_S * 1000)
    assert numbers(page) == held
    pill.click()
    expect(pill).to_be_hidden()
    page.wait_for_timeout(2 * TICK_S * 1000)
    assert numbers(page)[-1] > held[-1]


def test_the_list_obeys_the_keyboard_and_shows_the_packet(page: Page) -> None:
    page.locator(".packet-list .body").focus()
    current = page.locator(".packet-list .row.current .number")
    for key, number in (("Home", "1"), ("ArrowDown", "2"), ("ArrowDown", "3"), ("ArrowUp", "2")):
        page.keyboard.press(key)
        expect(current).to_have_text(number)
    detail = page.locator(".packet-detail")
    expect(detail.locator(".heading b")).to_have_text("Packet 2", timeout=20_000)
    expect(detail.locator("summary b").first).to_have_text("Ethernet")
    detail.locator("summary").first.hover()
    assert detail.locator(".hex .lit").count() == 2 * 14
    page.keyboard.press("End")
    expect(current).not_to_have_text("2")


def test_a_display_filter_narrows_the_list(page: Page) -> None:
    apply_filter(page, "dns")
    expect(page.locator(".filter-bar .status")).to_contain_text(re.compile(r"[\d,]+ of [\d,]+"))
    protocols = page.locator(".packet-list .layer .row:not([hidden]) .protocol")
    expect(protocols.first).to_have_text(re.compile("DNS"))
    expect(protocols.filter(has_text=re.compile("^(?!DNS|MDNS|LLMNR).+"))).to_have_count(0)


def test_a_time_is_chosen_moved_and_left_and_the_window_goes_back(page: Page) -> None:
    chip = page.locator(".filter-bar .range")
    box = page.locator(".timeline .bk-Figure").bounding_box()
    assert box is not None
    left, width, down = box["x"], box["width"], box["y"] + box["height"] / 2
    for start, end in ((0.5, 0.7), (0.6, 0.45)):
        before = chip.inner_text() if chip.is_visible() else ""
        page.mouse.move(left + start * width, down)
        page.mouse.down()
        page.mouse.move(left + end * width, down, steps=4)
        page.mouse.up()
        expect(chip).to_be_visible()
        expect(chip).not_to_have_text(before)
        expect(page.locator(".protocols .heading")).to_contain_text("time chosen")
    page.mouse.dblclick(left + 0.15 * width, down)
    expect(chip).to_be_hidden()
    page.get_by_role("button", name="Go back in time").click()
    page.get_by_role("button", name="Show what happens now").click()
    expect(page.get_by_role("button", name="Show what happens now")).to_have_count(0)
    page.get_by_label("Counted by").select_option("host")
    expect(page.locator(".bandwidth .unit")).to_contain_text("by host")
    page.get_by_label("Counted by").select_option("protocol")


def test_a_wrong_filter_is_explained_where_it_is_wrong(page: Page) -> None:
    apply_filter(page, "src_prt == 80")
    expect(page.locator(".filter-bar .problem")).to_contain_text("src_port")
    expect(page.locator(".filter-bar mark")).to_be_visible()
    page.get_by_role("button", name="Clear the display filter").click()
    expect(page.locator(".filter-bar .problem")).to_be_hidden()


def test_a_click_on_a_protocol_filters_to_it(page: Page) -> None:
    name = page.locator(".protocols .row .name").first.inner_text()
    page.locator(".protocols .row").first.click()
    expect(page.get_by_label("Display filter", exact=True)).to_have_value(f'protocol == "{name}"')


@pytest.mark.parametrize(
    ("name", "magic"), [("pcapng", b"\x0a\x0d\x0d\x0a"), ("pcap", b""), ("parquet", b"PAR1"), ("csv", b"number,")]
)
def test_packets_can_be_taken_home(page: Page, tmp_path: Path, name: str, magic: bytes) -> None:
    page.get_by_role("button", name="Export packets to a file").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    file = tmp_path / "file"
    download.value.save_as(file)
    assert download.value.suggested_filename.endswith(f".{name}")
    assert file.read_bytes().startswith(magic)
    assert file.stat().st_size > 1000


def test_wireshark_gets_a_command_to_paste(page: Page) -> None:
    page.get_by_role("button", name="Open in Wireshark").click()
    expect(page.locator(".command")).to_have_text(re.compile(r"^curl -s 'http://\S+' \| wireshark -k -i -$"))


def test_pause_holds_this_page_and_stop_the_capture(page: Page) -> None:
    page.get_by_role("button", name="Pause this page").click()
    expect(page.locator(".state")).to_have_text("paused by you")
    held = numbers(page)
    page.wait_for_timeout(3 * TICK_S * 1000)
    assert numbers(page) == held
    page.get_by_role("button", name="Show what is new again").click()
    page.get_by_role("button", name="Stop the capture").click()
    expect(page.locator(".state")).to_have_text("stopped")
    expect(page.locator(".reason")).to_contain_text("Stopped")
    page.get_by_role("button", name="Start the capture").click()
    expect(page.locator(".state")).to_have_text("live")


PLACE_OF_ITS_MENU = """(button) => {
  button.click();
  return button.getRootNode().querySelector(".menu:popover-open").getBoundingClientRect().toJSON();
}"""
"""JavaScript that clicks a button and tells where its menu is at once: one that is put in its place later jumps."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (400, 800)])
def test_the_page_fits_its_screen_in_both_schemes(open_page: OpenPage, scheme: str, width: int, height: int) -> None:
    page = open_page(width, height, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128) == (scheme == "light")
    for name in ("header", "filter-bar", "timeline", "bandwidth", "protocols", "packet-list"):
        box = page.locator(f".{name}").first.bounding_box()
        assert box is not None
        assert box["height"] >= 30
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    for name in ("Session", "Export packets to a file"):
        box = page.get_by_role("button", name=name, exact=True).evaluate(PLACE_OF_ITS_MENU)
        assert (box["x"] >= 8, box["x"] + box["width"] <= width - 8) == (True, True)
        page.keyboard.press("Escape")


def elements_for_a_bare_socket(origin: str) -> set[str]:
    """What a visitor without browser or token gets who says, as browsers do, that the page is loaded."""
    session = pull_session(url=origin)
    try:
        assert session.document is not None
        session.document.callbacks.send_event(DocumentReady())
        deadline_s = time.monotonic() + 20
        while time.monotonic() < deadline_s:
            session.force_roundtrip()
            # A second connection looks: pulling into a document that is in use sends the server back what it was.
            look = pull_session(url=origin, session_id=session.id)
            assert look.document is not None
            found: dict[str, Any] = {
                str(model.class_name): model for model in look.document.models if isinstance(model, ReactiveESM)
            }
            look.close()
            if "Login" not in found or found["Login"].data.state.get("ask"):
                return set(found)
            time.sleep(0.05)
        pytest.fail("the page neither asked for the token nor opened")
    finally:
        session.close()


def test_a_bare_socket_gets_no_more_than_the_login_card(address: str) -> None:
    with ThreadPoolExecutor(1) as pool:  # Playwright keeps this thread's event loop running
        elements = pool.submit(elements_for_a_bare_socket, address.split("/login")[0]).result(60)
    assert elements - {"NotificationArea"} == {"Login"}


def test_a_page_costs_little_and_one_message_a_tick(open_page: OpenPage) -> None:
    received: list[int] = []
    patches: list[float] = []

    def listen(socket: WebSocket) -> None:
        def frame(data: str | bytes) -> None:
            received.append(len(data))
            if '"PATCH-DOC"' in str(data)[:200]:
                patches.append(time.monotonic())

        socket.on("framereceived", frame)

    page = open_page()
    page.on("websocket", listen)
    page.reload()
    page.locator(".packet-list .layer .row .number").first.wait_for()
    page.wait_for_timeout(2000)
    received.clear()
    patches.clear()
    seconds = 4
    page.wait_for_timeout(seconds * 1000)
    assert sum(received) / seconds < 200_000
    # Each tick sends one patch of the views and one answer to the list.
    assert 1 <= len(patches) <= 2 * seconds / TICK_S + 2
