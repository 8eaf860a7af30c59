"""Packet list, detail and followed conversations in a real browser, on the demo's traffic."""

import contextlib
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import apply_filter, counter, numbers

TICK_S = 0.4


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
    expect(detail.locator(".layer .name").first).to_contain_text("Ethernet")
    detail.locator(".layer").first.hover()
    expect(detail.locator(".hex .lit")).to_have_count(2 * 14)
    page.keyboard.press("End")
    expect(current).not_to_have_text("2")


def test_columns_are_chosen_moved_and_sized_and_stay_so(page: Page) -> None:
    columns = page.locator(".packet-list .head [data-name]")
    page.get_by_role("button", name="Columns and times").click()
    page.get_by_label("TCP flags").check()
    page.get_by_label("Time: since the first packet").check()
    page.keyboard.press("Escape")
    expect(columns).to_have_count(8)
    expect(
        page.locator(".packet-list .layer .row:not([hidden]) .tcp_flags").filter(has_text="ACK").first
    ).to_be_visible()
    expect(page.locator(".packet-list .layer .row .time").first).to_have_text(re.compile(r"^\d+\.\d{6}$"))
    heading = page.locator(".packet-list .head [data-name=protocol]")
    page.locator(".packet-list .head [data-name=protocol] > span").drag_to(page.locator(".packet-list .head .number"))
    expect(columns.first).to_have_text("Protocol")
    width = heading.evaluate("e => e.offsetWidth")
    heading.press("Shift+ArrowRight")
    assert heading.evaluate("e => e.offsetWidth") == width + 8
    page.reload()
    expect(columns.first).to_have_text("Protocol")
    expect(columns.last).to_have_text("TCP flags")
    page.get_by_role("button", name="Columns and times").click()
    page.get_by_role("button", name="As at first").click()
    page.keyboard.press("Escape")
    expect(columns).to_have_text(["No.", "Time (UTC)", "Source", "Destination", "Protocol", "Length", "Info"])


def go_to_the_first(page: Page) -> None:
    """Until it is there: a page that has just been loaded may get its first packets after the key."""
    cell = page.locator(".packet-list .row.current .dst")
    for _ in range(5):
        page.locator(".packet-list .body").press("Home")
        with contextlib.suppress(AssertionError):
            expect(cell).to_have_text(re.compile(r"\d"), timeout=4_000)
            return
    pytest.fail("the first packet is not shown")


def test_a_value_is_filtered_by_its_plus_and_its_menu(page: Page) -> None:
    go_to_the_first(page)
    cell = page.locator(".packet-list .row.current .dst")
    address = cell.inner_text()
    cell.hover()
    cell.locator(".plus").click()
    box = page.get_by_label("Display filter", exact=True)
    expect(box).to_have_value(f"dst_ip == {address}")
    page.locator(".packet-list .body").press("Home")
    page.locator(".packet-list .row.current .protocol").click(button="right")
    page.get_by_role("menuitem", name="Not Protocol").click()
    expect(box).to_have_value(re.compile(r"and not \(protocol == "))
    box.press("Escape")
    expect(page.locator(".filter-bar .status")).to_have_text("")


def test_one_goes_to_a_packet_and_from_problem_to_problem(page: Page) -> None:
    current = page.locator(".packet-list .row.current")
    page.locator(".packet-list .body").press("g")
    page.get_by_label("Packet number").fill("1234")
    page.keyboard.press("Enter")
    expect(current.locator(".number")).to_have_text("1,234")
    page.locator(".packet-list .body").press("n")
    expect(page.locator(".packet-list .row.current:is(.bad, .odd)")).to_be_visible()
    expect(current.locator(".number")).not_to_have_text("1,234")
    problem = current.locator(".number").inner_text()
    page.locator(".packet-list .body").press("n")
    expect(current.locator(".number")).not_to_have_text(problem)
    page.locator(".packet-list .body").press("p")
    expect(current.locator(".number")).to_have_text(problem)


def look_at_a_request(page: Page) -> None:
    """The oldest packet of HTTP over IPv4."""
    apply_filter(page, "http and ip_version == 4")
    protocols = page.locator(".packet-list .layer .row:not([hidden]) .protocol")
    expect(protocols.first).to_have_text("HTTP")
    expect(protocols.filter(has_not_text="HTTP")).to_have_count(0)
    page.locator(".packet-list .body").press("Home")
    number = page.locator(".packet-list .row.current .number")
    expect(number).not_to_have_text("")
    expect(page.locator(".packet-detail .heading b")).to_have_text(f"Packet {number.inner_text()}", timeout=20_000)


def test_bytes_and_fields_light_each_other_and_become_filters(page: Page) -> None:
    look_at_a_request(page)
    detail = page.locator(".packet-detail")
    byte = detail.locator('.hex .bytes i[data-k="26"]')
    byte.click()
    expect(detail.locator(".hex .bytes .lit")).to_have_count(4)
    expect(detail.locator(".foot")).to_contain_text("bytes 26 to 29")
    detail.locator(".hex").press("Enter")
    address = detail.locator(".node:focus .text").inner_text()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(detail.locator(".layer").first).to_have_attribute("aria-expanded", "true")
    detail.locator('.hex .bytes i[data-k="14"]').click()
    expect(detail.locator(".node.lit .bits")).to_have_text("0100 ....")
    byte.click()
    detail.locator(".node.lit").click(button="right")
    page.get_by_role("menuitem", name="Show only these").click()
    box = page.get_by_label("Display filter", exact=True)
    expect(box).to_have_value(re.compile(rf"src_ip == '{re.escape(address)}'"))


def test_a_conversation_is_followed_and_closed_by_escape(page: Page) -> None:
    look_at_a_request(page)
    number = page.locator(".packet-detail .heading b").inner_text().removeprefix("Packet ")
    page.get_by_role("button", name="Follow stream").click()
    sheet = page.get_by_role("dialog", name="Conversation")
    sheet.locator(".block").first.wait_for(timeout=30_000)
    expect(sheet.locator(".block .number").first).to_have_text(number)
    expect(sheet.locator(".numbers tr", has_text="Packets")).to_be_visible()
    text = sheet.locator(".block span").first.inner_text()
    sheet.get_by_label("Find in what was said").fill(text.strip()[:3] or text[:1])
    expect(sheet.locator(".found")).to_contain_text("found")
    sheet.get_by_label("How bytes are shown").select_option("hex")
    expect(sheet.locator(".block pre").first).to_contain_text("0000  ")
    with page.expect_download() as download:
        sheet.get_by_role("button", name="Save").click()
    assert download.value.path().stat().st_size > 0
    sheet.get_by_role("button", name="Show only this conversation").click()
    expect(page.get_by_label("Display filter", exact=True)).to_have_value(re.compile("conversation_id == "))
    sheet.press("Escape")
    expect(sheet).to_be_hidden()
