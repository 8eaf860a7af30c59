"""How soon does the packet list show what was asked for, with ten million packets in the ring?

    python benchmarks/packet_list.py [--packets 10000000] [--jumps 100]

Hub, agent, dashboard and Chromium are real processes. The agent makes packets up and sends columns only until the ring
holds them all; then it is stopped. Everything is timed by the page itself, up to the frame after which the rows are on
the screen:

*jump*: the scrollbar is set to a place at random, until every row in sight has its text; without a filter, and with
filters that leave much and little. *first rows*: Enter in the display filter, until the rows in sight are those of
the filter. *complete*: until the number of matches is final, and those are told. Each filter is a new one, so the hub
has to look at every packet. *problem*: the key N from a place at random, until the next packet with a problem is shown.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
from dashboard import browser_page, running, stats
from playwright.sync_api import Page
from results import Result, Table, arguments, finish, progress

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub

RATE = 1_000_000
"""Packets/s while the ring is filled."""
BYTES_A_PACKET = 420
"""Of the ring: columns take some 345, and what comes until the agent has stopped needs room too."""

FILTERS = (
    "tcp.port == 443 and orig_len > {}",
    "(dns or quic) and orig_len != {}",
    "ip.addr == 192.168.0.0/16 and orig_len != {}",
    'dns_query contains "example" and orig_len != {}',
    "tcp_problem != 0 and orig_len != {}",
)
"""Each with a number that makes it another one."""

FILLED = """
const root = body.getRootNode();
const rows = () => [...root.querySelectorAll(".layer .row")].filter((row) => !row.hidden);
const text = (row) => row.querySelector(".number").textContent;
const filled = () => rows().length > 0 && rows().every(text);
const frame = () => new Promise((done) => requestAnimationFrame(done));
const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
"""

JUMP = (
    "async (body, shares) => {"
    + FILLED
    + """
  const took = [];
  for (const share of shares) {
    const before = rows()[0]?.dataset.index;
    const start = performance.now();
    body.scrollTop = share * (body.scrollHeight - body.clientHeight);
    do await frame(); while (rows()[0]?.dataset.index === before || !filled());
    await painted();
    took.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 300));
  }
  return took;
}"""
)
"""JavaScript on the list's body: ms of each jump to these shares of the scrollbar."""

ENTER = (
    "([body, status]) => {"
    + FILLED
    + """
  const before = body.getAttribute("aria-rowcount");
  const found = window.entered = {};
  addEventListener("keydown", async () => {
    const start = performance.now();
    while (body.getAttribute("aria-rowcount") === before) await frame();
    await frame();
    while (!found.first_ms || !found.complete_ms) {
      await frame();
      if (!found.first_ms && filled()) found.first_ms = performance.now() - start;
      if (!found.complete_ms && / of /.test(status.textContent)) found.complete_ms = performance.now() - start;
    }
    found.matches = Number(status.textContent.split(" ")[0].replaceAll(",", ""));
  }, { capture: true, once: true });
}"""
)
"""JavaScript on the list's body and the filter's status: from the next key on, ms until there are rows, and until the
number of matches is final."""

PROBLEM = (
    "async (body, shares) => {"
    + FILLED
    + """
  const took = [];
  const number = () => root.querySelector(".row.current:not([hidden]) .number")?.textContent;
  for (const share of shares) {
    body.scrollTop = share * (body.scrollHeight - body.clientHeight);
    await new Promise((done) => setTimeout(done, 500));
    rows()[2].dispatchEvent(new PointerEvent("pointerdown", { bubbles: true, composed: true }));
    await new Promise((done) => setTimeout(done, 500));
    const before = number();
    const start = performance.now();
    body.dispatchEvent(new KeyboardEvent("keydown", { key: "n", bubbles: true, composed: true, cancelable: true }));
    do await frame(); while (!number() || number() === before || !filled());
    await painted();
    took.push(performance.now() - start);
  }
  return took;
}"""
)
"""JavaScript on the list's body: ms from the key N to the next problem, from these shares of the scrollbar."""


def fill(hub: EmbeddedHub, packets: int) -> None:
    """Wait until the hub has so many packets, and stop the agent."""
    while (now := stats(hub))["packets"] < packets:
        time.sleep(0.2)

    async def stop() -> None:
        async with HubClient(hub.url, hub.token) as client:
            await client.stop(now["id"])

    with ThreadPoolExecutor(1) as pool:  # the browser's driver has the main thread's event loop
        pool.submit(asyncio.run, stop()).result()


def enter(page: Page, where: str) -> dict[str, float]:
    """Filter, from all packets on."""
    box = page.get_by_label("Display filter", exact=True)
    box.press("Escape")
    status, body = page.locator(".filter-bar .status"), page.locator(".packet-list .body")
    page.wait_for_timeout(1_500)
    box.fill(where)
    page.wait_for_timeout(500)  # the box asks for completions while somebody types
    handles = [body.element_handle(), status.element_handle()]
    page.evaluate(ENTER, handles)
    box.press("Enter")
    page.wait_for_function("window.entered.matches !== undefined", timeout=120_000)
    found: dict[str, float] = page.evaluate("window.entered")
    return found


def measure(page: Page, jumps: int, rounds: int, table: Table) -> None:
    """All there is to measure on a page whose ring is full."""
    random = Random(1)
    body = page.locator(".packet-list .body")

    def shares(count: int) -> list[float]:
        return [random.random() for _ in range(count)]

    def tell(name: str, took_ms: list[float], matches: int | list[int]) -> None:
        progress(name)
        table.add(name, matches, *map(float, np.percentile(took_ms, (50, 95, 100))))

    tell("jump, all packets", body.evaluate(JUMP, shares(jumps)), [])
    tell("problem, all packets", body.evaluate(PROBLEM, shares(jumps // 4)), [])
    for number, form in enumerate(FILTERS):
        found = [enter(page, form.format(10 * number + k)) for k in range(rounds)]
        name = form.split(" and orig_len")[0]
        matches = int(found[-1]["matches"])
        tell(f"first rows, {name}", [each["first_ms"] for each in found], matches)
        tell(f"complete, {name}", [each["complete_ms"] for each in found], matches)
        tell(f"jump, {name}", body.evaluate(JUMP, shares(jumps // 2)), matches)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--packets", type=int, default=10_000_000)
    parser.add_argument("--jumps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="how often each filter is entered")
    options = parser.parse_args()
    ring_mib = options.packets * BYTES_A_PACKET // 2**20 + 64
    with running(RATE, ring_mib, payload="none") as run, browser_page(run.address) as (page, _):
        fill(run.hub, options.packets)
        page.wait_for_timeout(3_000)
        now = stats(run.hub)
        kept = now["end"] - now["first"]
        table = Table(f"{kept:,} packets in the ring", "", ["matches", "median, ms", "95th percentile, ms", "most, ms"])
        measure(page, options.jumps, options.rounds, table)
    finish(Result("packet_list", [table]), options.json)


if __name__ == "__main__":
    main()
