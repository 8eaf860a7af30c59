"""Ten million packets in the packet list: how long from a jump to its rows, and from a filter to what it leaves?

    python benchmarks/packet_list.py [--packets 10000000] [--jumps 100]

A hub keeps the packets of a replayed file (columns only: `--payload none`), a dashboard and Chromium are real. A *jump*
moves the scrollbar to a random place; it ends in the frame in which no row in sight is still waiting. A *filter* is
entered in its box; its *first rows* are those that stand in the list under it, its *count* is complete when the box no
longer says "so far".
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from dashboard import AISHARK, browser_page, stats
from playwright.sync_api import Page, expect
from processes import rss_mib
from traces import write_trace

from aishark_panel.client import start_hub

FILTERS = (
    "dst_port == 443",
    "protocol == 'DNS'",
    "in_net(src_ip, '192.168.0.0/16')",
    "dns_query contains 'a'",
    "tcp_problem != 0",
)
JUMP = """([body, share]) => new Promise(resolve => {
  const layer = body.querySelector(".layer");
  const started = performance.now();
  body.scrollTop = share * (body.scrollHeight - body.clientHeight);
  let frames = 0;
  const look = () => {
    frames += 1;
    const rows = [...layer.children].filter(row => !row.hidden);
    const painted = frames > 1 && rows.length && rows.every(row => !row.classList.contains("loading"));
    if (painted) resolve(performance.now() - started);
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})"""
"""JavaScript: scroll there, and tell after how many ms all rows in sight are painted."""


def jumps(page: Page, times: int) -> dict[str, float]:
    """Milliseconds from the scrollbar to painted rows, at random places."""
    body = page.locator(".packet-list .body").element_handle()
    took = [page.evaluate(JUMP, [body, share]) for share in np.random.default_rng(1).random(times)]
    return {"p50_ms": float(np.percentile(took, 50)), "p95_ms": float(np.percentile(took, 95)), "max_ms": max(took)}


def enter(page: Page, text: str) -> dict[str, float]:
    """Milliseconds from Enter to the first rows, and to the whole count."""
    box = page.get_by_label("Display filter", exact=True)
    box.press("Escape")
    expect(page.locator(".filter-bar .status")).to_have_text("")
    box.fill(text)
    started_s = time.perf_counter()
    box.press("Enter")
    status = page.locator(".filter-bar .status")
    rows = page.locator(".packet-list .layer .row:not([hidden]):not(.loading)")
    first_s = 0.0
    while True:
        said = status.inner_text()
        if said and not first_s and rows.count():
            first_s = time.perf_counter() - started_s
        if re.match(r"[\d,]+ of", said):
            return {
                "first_rows_ms": 1e3 * first_s,
                "count_ms": 1e3 * (time.perf_counter() - started_s),
                "matched": said,
            }  # type: ignore[dict-item]
        page.wait_for_timeout(5)


def measure(address: str, count: int) -> dict[str, Any]:
    """All figures, in one page."""
    with browser_page(address) as (page, _):
        result: dict[str, Any] = {"jump": jumps(page, count)}
        for text in FILTERS:
            result[text] = enter(page, text)
        result["jump, filtered"] = jumps(page, count)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=10_000_000)
    parser.add_argument("--jumps", type=int, default=100)
    options = parser.parse_args()
    hub = start_hub("--port", "0", "--ring-mib", "6000")
    env = {**os.environ, "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        trace = Path(folder) / "trace.pcap"
        write_trace(trace, options.packets, snaplen=128)
        subprocess.run(
            [*AISHARK, "agent", "-r", str(trace), "--speed", "max", "--payload", "none"], env=env, check=True
        )
    serve = subprocess.Popen(
        [*AISHARK, "serve", "--no-browser", "--port", "0"], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert serve.stdout is not None
        address = next(filter(None, (re.search(r"http://\S+/login\S+", line) for line in serve.stdout)))[0]
        kept = stats(hub)
        result = {
            "packets": kept["end"] - kept["first"],
            "ring_mib": kept["ring_bytes"] / 2**20,
            "hub_mib": rss_mib(hub.process.pid),
        }
        result |= measure(address, options.jumps)
    finally:
        serve.terminate()
        serve.wait(30)
        hub.close()
    for name, value in result.items():
        print(f"{name:<36}", value)
    print(json.dumps({"benchmark": "packet_list", **result}))


if __name__ == "__main__":
    main()
