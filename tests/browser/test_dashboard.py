"""The page in a real browser, on the demo's traffic."""

import json
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
from tests.browser.conftest import OpenPage, apply_filter, numbers

TICK_S = 0.4


def counter(page: Page) -> int:
    return int(page.locator(".figure.total b").inner_text().replace(",", ""))


def test_the_token_leaves_the_address_for_a_cookie_scripts_cannot_read(page: Page) -> None:
    assert "token" not in page.url
    (cookie,) = [c for c in page.context.cookies() if c.get("name") == "aishark_token"]
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
    assert page.evaluate("document.cookie") == ""


def test_without_a_token_there_is_a_login_card_and_nothing_else(open_page: OpenPage, address: str) -> None:
    page = open_page(log_in=False)
    page.goto(f"{page.url}?filter=dns")
    token = page.get_by_label("Start token")
    token.wait_for()
    assert page.locator(".packet-list").count() == 0
    token.fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading")).to_have_text("That token was not accepted")
    token.fill(address.split("token=")[1])
    page.get_by_role("button", name="Open").click()
    page.locator(".packet-list .layer .row").first.wait_for()
    expect(page).to_have_url(re.compile(r"/\?session=\w+&filter=dns$"))  # what was asked for before the login
    expect(page.get_by_label("Display filter", exact=True)).to_have_value("dns")


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
    expect(page.locator(".bandwidth .legend")).to_contain_text(re.compile(r"\d+\.\d+\.\d+\.\d+"))
    page.get_by_label("Counted by").select_option("protocol")


def test_a_wrong_filter_is_explained_where_it_is_wrong(page: Page) -> None:
    apply_filter(page, "src_prt == 80")
    expect(page.locator(".filter-bar .problem")).to_contain_text("src_port")
    expect(page.locator(".filter-bar mark")).to_be_visible()
    page.get_by_role("button", name="use src_port == 80").click()
    expect(page.get_by_label("Display filter", exact=True)).to_have_value("src_port == 80")
    expect(page.locator(".filter-bar .problem")).to_be_hidden()


def test_a_filter_is_completed_by_keys_and_enter_applies_what_is_typed(page: Page) -> None:
    page.keyboard.press("/")
    box = page.get_by_role("combobox", name="Display filter")
    expect(box).to_be_focused()
    page.keyboard.type("tcp.srcp")
    options = page.locator(".filter-bar").get_by_role("option")
    expect(options).to_have_text([re.compile("^tcp.srcport")])
    expect(box).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", "where-choices-0")
    page.keyboard.press("Enter")
    expect(box).to_have_value("tcp.srcport ")
    page.keyboard.type("== 44")
    expect(options.first).to_have_text(re.compile("^443.* of the newest packets"))
    page.keyboard.press("Tab")
    expect(box).to_have_value("tcp.srcport == 443 ")
    page.keyboard.press("Enter")
    expect(page.locator(".filter-bar .status")).to_have_text(re.compile(r"^[1-9][\d,]* of"))
    expect(options.first).to_be_hidden()
    page.get_by_role("button", name="Saved and recent filters").click()
    expect(page.locator(".filters li").first).to_have_text("tcp.srcport == 443")
    page.get_by_label("Name of the filter").fill("from web servers")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Saved filters").get_by_role("listitem")).to_have_text(
        "from web serverstcp.srcport == 443"
    )


REDRAW = """() => {
  const models = Bokeh.documents.flatMap((each) => [...each._all_models.values()]);
  const bars = models.filter((each) => each.class_name === "FilterBarElement");
  for (const bar of bars) Bokeh.index.find_one_by_id(bar.id).render();
  return bars.length;
}"""
"""JavaScript that draws the filter bar anew, as happens while a page opens."""
ANOTHER_FILTER = (
    """() => { history.replaceState(null, "", "?filter=arp"); dispatchEvent(new PopStateEvent("popstate")); }"""
)


def test_text_that_is_being_typed_is_nobody_elses(page: Page) -> None:
    box = page.get_by_label("Display filter", exact=True)
    box.press_sequentially("dns and udp.po")
    assert page.evaluate(REDRAW) == 1
    expect(box).to_have_value("dns and udp.po")
    expect(box).to_be_focused()
    page.evaluate(ANOTHER_FILTER)
    expect(page).to_have_url(re.compile("filter=arp$"))
    expect(page.locator(".filter-bar .status")).to_contain_text("of")
    expect(box).to_have_value("dns and udp.po")
    box.fill("dns")
    box.press("Enter")
    expect(page).to_have_url(re.compile("filter=dns$"))


def test_a_link_shows_what_it_names_and_says_what_is_gone(page: Page, address: str) -> None:
    other = page.context.new_page()
    other.goto(page.url.split("?")[0] + f"?session=gone&filter=dns&tab=Alerts&{address.split('?')[1]}")
    expect(other.get_by_label("Display filter", exact=True)).to_have_value("dns")
    expect(other.get_by_role("tab", name="Alerts")).to_have_attribute("aria-selected", "true")
    expect(other.locator(".notice")).to_contain_text("The session 'gone' is gone, or not yours to see. Shown is live.")
    expect(other).to_have_url(re.compile(r"/\?session=\w+&filter=dns&tab=Alerts$"))
    other.get_by_role("button", name="Close: about this address").click()
    expect(other.locator(".notice")).to_be_hidden()
    other.close()


def test_a_wall_shows_its_views_and_no_controls(page: Page) -> None:
    wall = page.context.new_page()
    wall.goto(page.url.split("?")[0] + "?kiosk=1&views=bandwidth,protocols,moon")
    expect(wall.locator(".state")).to_have_text("live")
    expect(wall.locator(".kiosk")).to_contain_text("There is no view 'moon'")
    expect(wall.locator(".protocols .row").first).to_be_visible()
    for name in ("filter-bar", "tabs", "packet-list", "actions"):
        expect(wall.locator(f".{name}").locator("visible=true")).to_have_count(0)
    wall.close()


def test_keys_do_what_their_map_says(page: Page) -> None:
    page.locator(".packet-list .body").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("pause this page")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    page.keyboard.press("2")
    expect(page.get_by_role("tab", name="Conversations")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("g")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    expect(page.locator(".packet-detail .heading b")).to_have_text("Packet 7", timeout=20_000)
    expect(page.get_by_role("tab", name="Packets")).to_have_attribute("aria-selected", "true")
    page.keyboard.press(" ")
    expect(page.locator(".state")).to_have_text("paused by you")
    page.keyboard.press(" ")
    expect(page.locator(".state")).to_have_text("live")


def test_the_loss_indicator_opens_the_ledger(page: Page) -> None:
    page.get_by_role("button", name="where every packet is").click()
    ledger = page.locator(".ledger")
    expect(ledger).to_contain_text("No packet is known to be lost")
    expect(ledger.locator("h3")).to_contain_text(["Agent ", "This session"])
    kept = ledger.locator(".part").last.locator(".mono")
    before = kept.inner_text()
    expect(kept).not_to_have_text(before)  # it goes on while it is looked at


def test_colours_are_chosen_and_remembered(page: Page) -> None:
    ground = "getComputedStyle(document.querySelector('html')).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name="Colours:")
    for _ in range(2):
        button.click()
    expect(button).to_have_accessible_name("Colours: dark. Click for others.")
    dark = page.evaluate(ground)
    assert page.evaluate("localStorage.getItem('aishark.theme')") == "dark"
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    button.click()
    assert (page.evaluate(ground) == light, dark == light) == (True, False)


def test_a_click_on_a_protocol_filters_to_it(page: Page) -> None:
    name = page.locator(".protocols .row .name").first.inner_text()
    page.locator(".protocols .row").first.click()
    expect(page.get_by_label("Display filter", exact=True)).to_have_value(f"protocol == '{name}'")


@pytest.mark.parametrize(
    ("name", "magic"), [("pcapng", b"\x0a\x0d\x0d\x0a"), ("pcap", b""), ("parquet", b"PAR1"), ("csv", b"number,")]
)
def test_packets_can_be_taken_home(page: Page, tmp_path: Path, name: str, magic: bytes) -> None:
    page.get_by_role("button", name="Export packets to a file").click()
    page.get_by_role("radio", name=re.compile(f"^{name} ")).check()
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(r"^Download [\d,]+ packets$")).click()
    file = tmp_path / "file"
    download.value.save_as(file)
    assert download.value.suggested_filename.endswith(f".{name}")
    assert file.read_bytes().startswith(magic)
    assert file.stat().st_size > 1000
    begun = page.locator(".exports li").first
    expect(begun).to_contain_text(f".{name}")
    expect(begun.locator(".facts")).to_have_text(re.compile(r"^[1-9][\d,]+ packets, [\d.]+ [kM]?B$"))
    begun.get_by_role("button", name="Take it off the list").click()
    expect(page.locator(".exports li").filter(has_text=f".{name}")).to_have_count(0)


def test_wireshark_gets_a_command_to_paste(page: Page) -> None:
    page.get_by_role("button", name="Open in Wireshark").click()
    expect(page.locator(".menu .copied")).to_have_text(re.compile(r"^curl -s 'http://\S+' \| wireshark -k -i -$"))


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


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "light"), (400, 800, "dark")])
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
            if "Login" not in found or json.loads(found["Login"].data.state).get("ask"):
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
    # Each tick sends one patch, in which the newest rows are.
    assert 1 <= len(patches) <= 1.5 * seconds / TICK_S + 2
