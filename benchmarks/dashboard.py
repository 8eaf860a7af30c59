"""What does the dashboard cost, and how late is what it shows? A real browser on live traffic, at several packet rates.

    python benchmarks/dashboard.py [--rates 1000 100000 1000000] [--seconds 30]
    python benchmarks/dashboard.py --reloads 1000
    python benchmarks/dashboard.py --minutes 30 [--rates 100000]

Hub, agent, dashboard and Chromium are real processes; the agent makes packets up and stamps them with the time of day.

*Rates* (the first form), with one page open and the list following: bytes of WebSocket messages to the browser before
compression; share of the time in which the browser's main thread was busy (its own TaskDuration); time between frames;
CPU of the dashboard's and the hub's process. *Wire to screen* is read off the screen: in every frame the newest row of
the packet list tells its packet's time. A packet is taken for shown in the frame in which it or a newer one is; packets
are taken to be spread evenly between the newest rows of two updates.

*Reloads*: the page is loaded again and again; memory of dashboard and hub every so many loads. *Minutes*: the page
stays open; the browser's JavaScript heap, collected before it is read, every minute.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.sync_api import CDPSession, Page, sync_playwright
from processes import cpu_s, rss_mib
from results import Result, Table, arguments, finish, progress

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub

SHOWN_P50, SHOWN_P95 = "on the screen after, median, ms", "95th percentile, ms"
AISHARK = [sys.executable, "-m", "aishark_panel"]
WARM_UP_S = 15.0
HEADS = (
    "packets/s that arrived",
    "lost",
    SHOWN_P50,
    SHOWN_P95,
    "updates/s",
    "to the browser, kB/s",
    "main thread busy, %",
    "between frames, 95th percentile, ms",
    "dashboard, cores",
    "hub, cores",
)
SAMPLER = """layer => {
  const samples = window.samples = [];
  let last = 0, before = performance.now();
  const frames = window.frames_ms = [];
  const look = () => {
    const now = performance.now();
    frames.push(now - before);
    before = now;
    let newest = 0;
    for (const row of layer.children) {
      if (row.hidden) continue;
      const text = row.querySelector(".time")?.textContent;
      if (!text) continue;
      const [h, m, s] = text.split(":").map(Number);
      newest = Math.max(newest, (h * 3600 + m * 60 + s) * 1000);
    }
    if (newest > last) {
      last = newest;
      samples.push([Date.now() % 86400000, newest]);
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
"""JavaScript: in every frame, when it is and the time of the newest row in sight, ms since midnight UTC."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is measured, and the page's address with its start token."""

    hub: EmbeddedHub
    dashboard: int
    """process id"""
    address: str


@contextmanager
def running(rate: int, ring_mib: int = 512, payload: str = "full") -> Iterator[Running]:
    """Hub with so big a ring, dashboard and an agent of `rate` packets/s with that payload policy."""
    hub = start_hub("--port", "0", "--ring-mib", str(ring_mib))
    env = {**os.environ, "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token}
    serve = subprocess.Popen(
        [*AISHARK, "serve", "--no-browser", "--port", "0"], env=env, stdout=subprocess.PIPE, text=True
    )
    agent = subprocess.Popen(
        [*AISHARK, "agent", "--synthetic", "--rate", str(rate), "--snaplen", "128", "--payload", payload],
        env=env,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert serve.stdout is not None
        address = next(filter(None, (re.search(r"http://\S+/login\S+", line) for line in serve.stdout)))[0]
        yield Running(hub, serve.pid, address)
    finally:
        for process in (agent, serve):
            process.terminate()
            process.wait(30)
        hub.close()


@contextmanager
def browser_page(address: str) -> Iterator[tuple[Page, CDPSession]]:
    """The dashboard in Chromium, once packets are in sight."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        raise SystemExit("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.locator(".packet-list .layer .row .number").first.wait_for(timeout=120_000)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        yield page, devtools
        browser.close()


def metric(devtools: CDPSession, name: str) -> float:
    """One of Chromium's own counters."""
    return float({m["name"]: m["value"] for m in devtools.send("Performance.getMetrics")["metrics"]}[name])


def shown_after_ms(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Delay of packets spread evenly between updates; rows of `samples`: when an update was seen, its newest packet."""
    seen, newest = samples[1:, 0], samples[1:, 1]
    since = samples[:-1, 1]
    weight = newest - since
    steps = np.linspace(0, 1, 101)
    delays = seen[:, None] - (since[:, None] + weight[:, None] * steps)
    picks = np.repeat(np.arange(len(seen)), np.maximum(1, np.round(weight / 10)).astype(int))
    return np.sort(delays[picks].ravel())


def measure(rate: int, seconds: float) -> list[float]:
    """One page at one rate: a value for each of HEADS."""
    with running(rate) as run, browser_page(run.address) as (page, devtools):
        received = [0]

        def count(event: dict[str, Any]) -> None:
            received[0] += len(event["response"]["payloadData"])

        devtools.send("Network.enable")
        devtools.on("Network.webSocketFrameReceived", count)
        page.wait_for_timeout(WARM_UP_S * 1000)
        page.locator(".packet-list .layer").evaluate(SAMPLER)
        before = (cpu_s(run.dashboard), cpu_s(run.hub.process.pid), metric(devtools, "TaskDuration"), received[0])
        packets, started_s = stats(run.hub)["packets"], time.perf_counter()
        page.wait_for_timeout(seconds * 1000)
        span_s = time.perf_counter() - started_s
        after = (cpu_s(run.dashboard), cpu_s(run.hub.process.pid), metric(devtools, "TaskDuration"), received[0])
        now = stats(run.hub)
        samples = np.array(page.evaluate("window.samples"), np.float64)
        frames = np.array(page.evaluate("window.frames_ms"), np.float64)
        dashboard, hub, busy, volume = ((b - a) / span_s for a, b in zip(before, after, strict=True))
        delays = shown_after_ms(samples)
        return [
            (now["packets"] - packets) / span_s,
            now["lost"],
            float(np.percentile(delays, 50)),
            float(np.percentile(delays, 95)),
            len(samples) / span_s,
            volume / 1e3,
            100 * busy,
            float(np.percentile(frames, 95)),
            dashboard,
            hub,
        ]


def stats(hub: EmbeddedHub) -> dict[str, Any]:
    """What the hub says of its newest session."""

    async def ask() -> dict[str, Any]:
        async with HubClient(hub.url, hub.token) as client:
            return await client.stats((await client.sessions())[-1]["id"])

    # In a thread: the browser's driver has the main thread's event loop.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, ask()).result()


def reloads(times: int, rate: int) -> Table:
    """Memory of dashboard and hub over so many loads of the page."""
    table = Table("Reloads", "loads", ["dashboard, MiB", "hub, MiB"])
    with running(rate, ring_mib=48) as run, browser_page(run.address) as (page, _):
        for load in range(times + 1):
            if load % max(1, times // 10) == 0:
                page.wait_for_timeout(20_000)  # pages that were left are forgotten after a while
                progress(f"load {load}")
                table.add(f"{load:,}", rss_mib(run.dashboard), rss_mib(run.hub.process.pid))
            page.reload()
            page.locator(".packet-list .layer .row .number").first.wait_for(timeout=120_000)
    return table


def heap(minutes: int, rate: int) -> Table:
    """The browser's JavaScript heap while the page stays open."""
    heads = ["JavaScript heap, MB", "nodes", "dashboard, MiB", "hub, MiB"]
    table = Table("A page that stays open", "minute", heads)
    with running(rate) as run, browser_page(run.address) as (page, devtools):
        for minute in range(minutes + 1):
            devtools.send("HeapProfiler.collectGarbage")
            progress(f"minute {minute}")
            counts = metric(devtools, "JSHeapUsedSize") / 1e6, int(metric(devtools, "Nodes"))
            table.add(str(minute), *counts, rss_mib(run.dashboard), rss_mib(run.hub.process.pid))
            page.wait_for_timeout(60_000)
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rates", type=int, nargs="+", default=[], help="packets/s; default: 1000 100000 1000000")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--reloads", type=int, default=0)
    parser.add_argument("--minutes", type=int, default=0)
    options = parser.parse_args()
    if options.reloads:
        table = reloads(options.reloads, (options.rates or [2_000])[0])
    elif options.minutes:
        table = heap(options.minutes, (options.rates or [100_000])[0])
    else:
        table = Table("One page on live traffic", "packets/s offered", list(HEADS))
        for rate in options.rates or (1_000, 100_000, 1_000_000):
            progress(f"{rate:,} packets/s")
            table.add(f"{rate:,}", *measure(rate, options.seconds))
    finish(Result("dashboard", [table]), options.json)


if __name__ == "__main__":
    main()
