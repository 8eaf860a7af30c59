"""The packet list's JavaScript by itself, with a model that says what the test wants it to say."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from aishark_panel.views.packet_list import PacketListElement
from aishark_panel.views.theme import style

MAKE = """async ([source, css]) => {
  const { render } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const heard = {}, sent = [];
  const model = {
    state: {}, on: (name, call) => { heard[name] = call; },
    send_msg: (message) => {
      sent.push(message);
      if (message.rows && model.answers) setTimeout(() => heard["msg:custom"](answer(message)));
    },
    answers: true, kept: 0,
  };
  /** What a hub says that holds packets from `kept` on; each third one is bad. */
  const answer = ({ rows: [first, count], epoch, columns }) => {
    const from = Math.max(first, model.kept);
    const number = Array.from({ length: Math.max(0, first + count - from) }, (_, k) => from + k);
    const cells = Object.fromEntries(columns.map((name) => [name, number.map((n) => `${name} ${n}`)]));
    return { epoch, first: from, kept: model.kept, rows: { number, s: number, ns: number.map(() => 500),
      family: number.map(() => "tls"), problem: number.map((n) => n % 3 ? "" : "retransmission"),
      grade: number.map((n) => n % 3 ? "" : "bad"), cells } };
  };
  const host = document.body.appendChild(document.createElement("div"));
  host.className = "packet-list";
  Object.assign(host.style, { display: "block", height: "400px" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(css);
  host.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
  window.model = model;
  window.sent = sent;
  window.reply = (message) => heard["msg:custom"](answer(message));
  window.say = async (state) => {
    model.state = JSON.stringify({ ...JSON.parse(model.state), ...state });
    heard.state();
    for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
  };
  const some = { epoch: 1, first: 1, end: 1001, paused: false };
  model.state = JSON.stringify({ ...some, start_ns: "0", several: "", newest: null, go: null, empty: "" });
  host.shadowRoot.append(render({ model }));
}"""

Say = Callable[..., None]


@pytest.fixture(scope="module")
def a_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1000, "height": 600})
    yield context.new_page()
    context.close()


@pytest.fixture
def page(a_page: Page) -> Iterator[Page]:
    errors: list[str] = []

    def hear(error: Exception) -> None:
        errors.append(str(error))

    a_page.on("pageerror", hear)
    a_page.goto("about:blank")
    a_page.set_viewport_size({"width": 1000, "height": 600})
    a_page.evaluate(MAKE, [PacketListElement._esm, style("packet_list.css")])
    expect(row(a_page, 1000)).to_be_visible()
    yield a_page
    a_page.remove_listener("pageerror", hear)
    assert errors == []


@pytest.fixture
def say(page: Page) -> Say:
    return lambda **state: page.evaluate("(state) => window.say(state)", state)


def row(page: Page, number: int) -> Locator:
    return page.locator(f".layer .row:not([hidden])[data-index='{number}'] .number", has_text=f"{number:,}")


def places(page: Page) -> dict[str, float]:
    """Where rows with text stand, by number."""
    found: dict[str, float] = page.locator(".layer .row:not([hidden])").evaluate_all(
        "rows => Object.fromEntries(rows.filter(r => r.firstChild.textContent)"
        ".map(r => [r.firstChild.textContent, r.getBoundingClientRect().top]))"
    )
    return found


def sent(page: Page) -> list[Any]:
    found: list[Any] = page.evaluate("window.sent.splice(0)")
    return found


def test_rows_stay_where_they_are_while_others_come_and_go(page: Page, say: Say) -> None:
    page.locator(".body").evaluate("e => { e.scrollTop = 500 * 22; }")
    expect(row(page, 501)).to_be_visible()
    before = places(page)
    say(first=301, end=1501)
    expect(page.locator(".pill")).to_have_text("500 new packets ↓")
    assert places(page) == before
    expect(page.locator(".note")).to_be_hidden()
    page.evaluate("window.model.kept = 700")
    say(first=700, end=1900)
    expect(page.locator(".note")).to_contain_text("has left the ring")
    expect(row(page, 700)).to_be_visible()
    page.locator(".pill").click()
    expect(row(page, 1899)).to_be_visible()


def test_a_paused_list_stands_still_and_says_which_rows_it_cannot_have_any_more(page: Page, say: Say) -> None:
    before = places(page)
    sent(page)
    page.evaluate("window.model.answers = false")
    say(end=1100)
    say(paused=True)
    (asked,) = [message for message in sent(page) if "rows" in message]
    page.evaluate("(asked) => { window.model.answers = true; window.reply(asked); }", asked)
    say(paused=True)
    assert before.items() <= places(page).items()
    page.evaluate("window.model.kept = 900")
    page.locator(".body").evaluate("e => { e.scrollTop = 0; }")
    gone = page.locator(".layer .row.gone:not([hidden])")
    expect(gone.first).to_be_visible()
    assert gone.first.evaluate("e => getComputedStyle(e, '::after').content") == '"has left the ring"'
    sent(page)
    page.locator(".body").evaluate("e => { e.scrollTop = 44; }")
    say(paused=True)
    assert [message for message in sent(page) if "rows" in message] == []


def test_other_rows_replace_those_of_before_and_late_answers_are_nobodys(page: Page, say: Say) -> None:
    page.locator(".body").evaluate("e => { e.scrollTop = 0; }")
    expect(row(page, 1)).to_be_visible()
    page.evaluate("window.model.answers = false")
    say(epoch=2, first=0, end=3)
    expect(page.locator(".layer .row:not([hidden]) .number", has_text="1")).to_have_count(0)
    newest: dict[str, Any] = {
        "number": [7, 8, 9],
        "s": [1, 2, 3],
        "ns": [0, 0, 0],
        "family": ["dns"] * 3,
        "problem": [""] * 3,
    }
    newest |= {"grade": [""] * 3, "cells": {name: list("abc") for name in sent(page)[-1]["columns"]}}
    say(newest={"epoch": 1, "first": 0, "kept": 0, "rows": newest})
    assert places(page) == {}
    say(newest={"epoch": 2, "first": 0, "kept": 0, "rows": newest})
    expect(page.locator(".layer .row:not([hidden]) .number")).to_have_text(["7", "8", "9"])


def test_a_row_to_go_to_is_selected_once_and_what_is_wrong_with_it_is_told(page: Page, say: Say) -> None:
    say(go={"row": 300, "note": "this one is nearest", "turn": 1, "epoch": 1})
    current = page.locator(".row.current")
    expect(current.locator(".number")).to_have_text("300")
    expect(current).to_have_class("row p-tls bad current")
    expect(current).to_have_attribute("aria-description", "retransmission")
    expect(page.locator(".note")).to_have_text("this one is nearest")
    current.locator(".protocol").hover()
    expect(current.locator(".protocol")).to_have_attribute("title", re.compile("retransmission$"))
    expect(page.locator(".body")).to_have_attribute("aria-activedescendant", str(current.get_attribute("id")))
    page.locator(".body").press("ArrowDown")
    say(end=1100)
    expect(current.locator(".number")).to_have_text("301")
    say(go={"row": 5, "note": "", "turn": 2, "epoch": 0})
    expect(current.locator(".number")).to_have_text("301")


def test_where_no_page_has_the_keys_the_list_has_them(page: Page, say: Say) -> None:
    body = page.locator(".body")
    body.press("Home")
    sent(page)
    body.press("n")
    body.press("p")
    body.press("g")
    page.get_by_label("Go to packet number").fill("77")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Go to packet number")).to_have_count(0)
    expect(body).to_be_focused()
    assert [m for m in sent(page) if not m.keys() & {"select", "rows", "fits"}] == [
        {"problem": True},
        {"problem": False},
        {"go_to": 77},
    ]
    page.evaluate("addEventListener('keydown', (event) => event.preventDefault())")
    body.press("n")
    page.wait_for_timeout(50)
    assert not [m for m in sent(page) if "problem" in m]


def test_cells_and_their_menu_are_reached_by_keys(page: Page) -> None:
    body = page.locator(".body")
    body.press("Home")
    for _ in range(3):
        body.press("ArrowRight")
    expect(page.locator(".row.current .src")).to_have_class("src at")
    body.press("Shift+F10")
    expect(page.get_by_role("menuitem").first).to_have_text("Only Source source 1")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    sent(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert {"filter": "source", "packet": 1, "exclude": True} in sent(page)
    expect(body).to_be_focused()


def test_columns_are_sized_fitted_and_moved_without_asking_the_hub(page: Page) -> None:
    heading = page.locator(".head [data-name=protocol]")
    box = heading.locator(".grip").bounding_box()
    assert box is not None
    width = heading.evaluate("e => e.offsetWidth")
    sent(page)
    page.mouse.move(box["x"] + 3, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] - 17, box["y"] + 5, steps=3)
    page.mouse.up()
    assert heading.evaluate("e => e.offsetWidth") == width - 20
    heading.locator(".grip").dblclick()
    assert heading.evaluate("e => e.offsetWidth") > width
    heading.press("Control+ArrowLeft")
    expect(page.locator(".head [data-name]").nth(3)).to_have_text("Protocol")
    assert [message for message in sent(page) if "rows" in message] == []


def test_where_packets_come_from_is_told_if_that_differs(page: Page, say: Say) -> None:
    titles = page.locator(".head [data-name]")
    say(several="iface")
    expect(titles).to_have_count(8)
    expect(titles.nth(2)).to_have_text("Interface")
    expect(page.locator(".layer .row:not([hidden]) .iface").first).to_have_text(re.compile(r"^iface 9\d\d$"))
    page.set_viewport_size({"width": 400, "height": 600})
    expect(titles).to_have_text(["No.", "Time", "Source", "Destination", "Protocol"])
    cells = page.locator(".layer .row:not([hidden])").first.locator("> span")
    assert all(cell.is_visible() for cell in cells.all())
    page.evaluate("document.querySelector('.packet-list').style.width = '384px'")
    source = page.locator(".layer .row:not([hidden]) .src").first
    source.evaluate("e => { e.textContent = '192.168.100.138'; }")
    for cell in (cells.first, source):
        assert cell.evaluate("e => e.scrollWidth <= e.clientWidth")
