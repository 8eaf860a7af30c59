"""The Alerts tab and the rule editor in a real browser, on the demo's port scan."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenPage


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """The shared page on its Alerts tab, with the alert of the demo's first seconds in the list."""
    page.get_by_role("tab", name="Alerts").click()
    expect(scans(page).first).to_be_visible(timeout=30_000)
    yield page
    page.get_by_role("tab", name="Packets").click()


def filter_box(page: Page) -> Locator:
    return page.get_by_label("Display filter", exact=True)


def scans(page: Page) -> Locator:
    return page.locator(".alerts .alert").filter(has_text="port_scan")


def newest(page: Page) -> Locator:
    """The first scan in the list, wherever it goes."""
    return page.locator(f'[data-number="{scans(page).first.get_attribute("data-number")}"]')


def opened(page: Page) -> Locator:
    """What is below the first alert, which is open then."""
    alert = newest(page)
    if alert.get_attribute("aria-expanded") == "false":
        alert.click()
    detail = page.locator(".alerts .detail")
    expect(detail).to_contain_text("A TCP connection begins with a SYN packet")
    return detail


def test_an_alert_opens_and_shows_its_packets(page: Page) -> None:
    pins = page.evaluate(
        "Bokeh.documents.flatMap(d => [...d._all_models.values()]).map(m => m.data?.at_ms?.length ?? 0)"
    )
    assert max(pins) >= 1
    detail = opened(page)
    detail.get_by_role("button", name="Show packets").click()
    expect(page.get_by_role("tab", name="Packets", selected=True)).to_be_visible()
    expect(filter_box(page)).to_have_value(re.compile(r"tcp\.flags\.syn == 1 .* and src_ip == '"))
    expect(page.locator(".filter-bar .status")).to_have_text(re.compile(r"^[1-9][\d,]* of"))
    page.locator(".filter-bar .range").click()


def test_an_alert_is_acknowledged_silenced_and_archived_from_the_keyboard(page: Page) -> None:
    alert = newest(page)
    alert.focus()
    page.keyboard.press("Enter")
    expect(alert).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("a")
    expect(alert.locator(".tags")).to_contain_text("acknowledged")
    page.keyboard.press("s")
    page.get_by_role("dialog", name="Silence").get_by_label("Reason").fill("a scan of ours")
    page.get_by_role("dialog", name="Silence").get_by_role("button", name="15 min").click()
    silence = page.get_by_role("list", name="Silences").locator("li")
    expect(silence).to_contain_text("a scan of ours")
    silence.get_by_role("button", name="End the silence").click()
    expect(silence).to_have_count(0)
    alert.focus()
    page.keyboard.press("x")
    lists = page.get_by_role("group", name="Alerts to list")
    lists.get_by_role("button", name="Archived").click()
    expect(alert.locator(".tags")).to_contain_text("archived")
    alert.click()
    page.get_by_role("button", name="Back to the list").click()
    lists.get_by_role("button", name="All").click()
    expect(alert).to_contain_text("port_scan")


def test_the_packets_that_were_kept_with_an_alert_are_downloaded(page: Page) -> None:
    evidence = opened(page).get_by_role("button", name="Evidence")
    expect(evidence).to_be_enabled(timeout=30_000)  # they are kept a little after the moment
    with page.expect_download() as download:
        evidence.click()
    assert download.value.path().read_bytes().startswith(b"\x0a\x0d\x0d\x0a")


def test_a_rule_is_written_with_help_saved_switched_and_deleted(page: Page) -> None:
    page.get_by_role("button", name="New rule").first.click()
    editor = page.get_by_role("dialog", name="Rule", exact=True)
    save = editor.get_by_role("button", name="Save")
    editor.get_by_label("Name").fill("any_dns")
    where = editor.get_by_label("Where")
    where.press_sequentially("dns.flags.respon")
    choices = editor.get_by_role("listbox").locator("visible=true")
    expect(choices).to_contain_text("dns.flags.response")
    where.press("Tab")
    expect(where).to_have_value("dns.flags.response ")
    where.press_sequentially("== 1")
    editor.get_by_label("Having").fill("packet >= 1")
    editor.get_by_label("Summary").focus()
    expect(editor.locator("#rule-having-fault")).to_contain_text("no aggregate 'packet'")
    expect(editor.locator("#rule-having-fault mark")).to_have_text("p")
    expect(save).to_be_disabled()
    editor.get_by_label("Having").fill("packets >= 1")
    editor.get_by_role("button", name="YAML").click()
    text = editor.get_by_label("One rule, as in a rules file")
    expect(text).to_have_value(re.compile("having: packets >= 1"))
    text.fill(text.input_value().replace("over: 10s", "over: 1s"))
    editor.get_by_role("button", name="Form").click()
    expect(editor.get_by_label("Over")).to_have_value("1s")
    save.click()
    expect(editor).to_be_hidden()
    rule = page.get_by_role("list", name="Rules").locator("li").filter(has_text="any_dns")
    expect(rule).to_contain_text("yours")
    expect(page.locator(".alerts .alert").filter(has_text="any_dns").first).to_be_visible(timeout=30_000)
    switch = rule.get_by_role("switch")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    rule.get_by_role("button", name="Delete any_dns").click()
    rule.locator(".menu").get_by_role("button", name="Delete").click()
    expect(rule).to_have_count(0)


def test_what_was_typed_is_not_thrown_away_by_one_key(page: Page) -> None:
    page.get_by_role("button", name="Edit port_scan").click()
    editor = page.get_by_role("dialog", name="Rule", exact=True)
    expect(editor.get_by_label("Where")).to_have_value("tcp.flags.syn == 1 and tcp.flags.ack == 0")
    editor.get_by_label("Description").fill("Mine")
    page.keyboard.press("Escape")
    expect(editor.get_by_text("Throw away what you changed?")).to_be_visible()
    editor.get_by_role("button", name="Go on").click()
    expect(editor.get_by_label("Description")).to_have_value("Mine")
    page.keyboard.press("Escape")
    editor.get_by_role("button", name="Throw it away").click()
    expect(editor).to_be_hidden()


def test_a_rule_is_tried_on_what_the_session_has_kept(page: Page) -> None:
    page.get_by_role("button", name="Edit port_scan").click()
    editor = page.get_by_role("dialog", name="Rule", exact=True)
    editor.get_by_role("button", name="Try it on the past").click()
    preview = editor.get_by_role("region", name="Preview")
    expect(preview.locator(".verdict")).to_contain_text("It would have fired", timeout=30_000)
    expect(preview.get_by_role("list", name="Alerts it would have raised").locator("li").first).to_contain_text(
        "ports of"
    )
    assert preview.locator(".lane i").count() >= 1
    editor.get_by_label("Having").fill("nunique(dst_port) >= 2000")
    expect(preview).to_contain_text("The rule was changed since")
    editor.get_by_role("button", name="Try it on the past").click()
    expect(preview.locator(".verdict")).to_contain_text("It would not have fired", timeout=30_000)
    page.keyboard.press("Escape")
    editor.get_by_role("button", name="Throw it away").click()
    expect(editor).to_be_hidden()


def test_the_editor_fits_a_telephone(open_page: OpenPage) -> None:
    page = open_page(400, 800, color_scheme="dark", wait_for_packets=False)
    page.get_by_role("tab", name="Alerts").click()
    page.get_by_role("button", name="New rule").first.click()
    box = page.locator("dialog[open] #rule-where").bounding_box()
    assert box is not None
    assert (box["x"] >= 0, box["x"] + box["width"] <= 400) == (True, True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
