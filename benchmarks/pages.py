"""Does looking cost the hub anything? Fifty pages, one of which blocks its server for ten seconds, on live traffic.

Hub, agent and dashboard are three real processes; the agent replays an even stream. The pages are Bokeh clients that do
what a browser does: fetch the page with its token, open its WebSocket, say that the document is ready, read every
message. Ingest is read off the hub's own count in windows of a few seconds: without pages, with them, and while the
dashboard's only thread sits in a Python loop, as a page's careless callback would make it.

    python benchmarks/pages.py [--pages 50] [--rate 50000]
"""

import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from bokeh.document import Document
from bokeh.document.events import MessageSentEvent
from bokeh.events import DocumentReady
from bokeh.protocol import Protocol
from results import Result, Table, arguments, finish, progress
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect
from traces import write_trace

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub

BLOCK_S = 10.0
SETTLE_S = 5.0
"""after the first packets: what the agent read while it had no hub yet comes as one burst"""
STREAM_S = 120
"""what the agent sends; fifty pages take most of a minute to open"""


class Page:
    """One open page: counts the bytes and updates that reach it."""

    def __init__(self) -> None:
        self.bytes = 0
        self.updates = 0
        self.live = asyncio.Event()
        """set once the page updates by itself"""

    async def run(self, url: str, token: str) -> None:
        headers = {"Cookie": f"aishark_token={token}"}
        answer = await AsyncHTTPClient().fetch(HTTPRequest(url, headers=headers, request_timeout=120))
        match = re.search(r'"token":"([^"]+)"', answer.body.decode())
        assert match, "the page holds no Bokeh token"
        socket = await websocket_connect(
            HTTPRequest("ws" + url[4:].rstrip("/") + "/ws", headers=headers, connect_timeout=120),
            subprotocols=["bokeh", match[1]],
            max_message_size=2**26,
        )
        await socket.read_message()  # header of the ACK; metadata and content follow
        protocol = Protocol()
        pull = protocol.create("PULL-DOC-REQ")
        ready = protocol.create("PATCH-DOC", [MessageSentEvent(Document(), "bokeh_event", DocumentReady())])
        for message in (pull, ready):
            for part in (message.header_json, message.metadata_json, message.content_json):
                await socket.write_message(part)
        while (data := await socket.read_message()) is not None:
            self.bytes += len(data)
            self.updates += b'"PATCH-DOC"' in (data if isinstance(data, bytes) else data.encode())
            if self.updates > 3:
                self.live.set()


def dashboard(hub_url: str) -> "tuple[subprocess.Popen[str], str]":
    """A dashboard server as a process of its own; SIGUSR1 makes it sit in a Python loop for BLOCK_S seconds."""
    process = subprocess.Popen(
        [sys.executable, __file__, "dashboard", hub_url], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "http://" in line:
            return process, line.strip().partition("/login")[0] + "/"
    raise SystemExit("the dashboard did not start")


def serve_dashboard(hub_url: str) -> None:
    from aishark_panel.views.launch import run_dashboard

    def block(_signal: int, _frame: FrameType | None) -> None:
        until_s = time.monotonic() + BLOCK_S
        while time.monotonic() < until_s:
            pass

    signal.signal(signal.SIGUSR1, block)
    run_dashboard(host="127.0.0.1", port=0, hub_port=0, hub_url=hub_url, ring_mib=512, browser=False)


async def ingest_rate(client: HubClient, session: str, seconds: float) -> dict[str, float]:
    """Packets per second the hub took over so many seconds, and the slowest answer it gave meanwhile."""
    before, started_s = await client.stats(session), time.perf_counter()
    slowest_s = 0.0
    while time.perf_counter() - started_s < seconds:
        asked_s = time.perf_counter()
        await client.stats(session)
        slowest_s = max(slowest_s, time.perf_counter() - asked_s)
        await asyncio.sleep(0.05)
    after = await client.stats(session)
    span_s = time.perf_counter() - started_s
    return {
        "packets_per_s": (after["packets"] - before["packets"]) / span_s,
        "waiting_at_agent": after["agents"][0]["counters"]["outbox"],
        "lost": after["lost"],
        "slowest_answer_ms": 1_000 * slowest_s,
    }


async def measure(hub: EmbeddedHub, pages: int, server: "subprocess.Popen[str]", url: str) -> list[Table]:
    """What the hub ingests while pages look, and what a page gets."""
    async with HubClient(hub.url, hub.token) as client:
        session = (await client.sessions())[0]["id"]
        for _ in range(600):
            if (await client.stats(session))["packets"]:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        heads = ["packets/s", "waiting at the agent", "lost", "slowest answer of the hub, ms"]
        ingest = Table("The hub", "", heads)
        progress("no page")
        ingest.add("no page", *(await ingest_rate(client, session, 6)).values())
        progress(f"{pages} pages")
        opened = [Page() for _ in range(pages)]
        tasks = [asyncio.create_task(page.run(url, hub.token)) for page in opened]
        async with asyncio.timeout(300):
            await asyncio.gather(*(page.live.wait() for page in opened))
        counts = [(page.bytes, page.updates) for page in opened]
        started_s = time.perf_counter()
        ingest.add(f"{pages} pages", *(await ingest_rate(client, session, 10)).values())
        span_s = time.perf_counter() - started_s
        gained = [(p.bytes - b, p.updates - u) for p, (b, u) in zip(opened, counts, strict=True)]
        page = Table("A page", "pages", ["updates/s", "updates/s of the slowest", "kB/s"])
        updates, volumes = [u / span_s for _, u in gained], [b / span_s / 1e3 for b, _ in gained]
        page.add(f"{pages}", statistics.median(updates), min(updates), statistics.median(volumes))
        server.send_signal(signal.SIGUSR1)
        await asyncio.sleep(0.5)
        progress("one page blocks its server")
        ingest.add("one page blocks its server", *(await ingest_rate(client, session, BLOCK_S - 2)).values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [ingest, page]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--rate", type=int, default=50_000)
    options = parser.parse_args()
    hub = start_hub("--port", "0", "--ring-mib", "512")
    os.environ["AISHARK_TOKEN"] = hub.token
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        trace = Path(folder) / "trace.pcap"
        write_trace(trace, STREAM_S * options.rate, snaplen=128, even_pps=options.rate)
        server, url = dashboard(hub.url)
        agent = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "agent", "-r", str(trace), "--hub", hub.url],
        )
        try:
            tables = asyncio.run(measure(hub, options.pages, server, url))
        finally:
            for process in (agent, server):
                process.terminate()
                process.wait(30)
            hub.close()
    finish(Result("pages", tables), options.json)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "dashboard":
        serve_dashboard(sys.argv[2])
    else:
        main()
