"""What a soak is made of: processes that die and come back, a wire to capture on, a disk that can be full, and a
network between agents and hub that stalls, drops, delays or trickles."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, sync_playwright

from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.traffic import udp_frame

__all__ = ["AISHARK", "Disk", "Member", "Network", "Visitor", "Wire", "chromium_pids", "memory_mib", "write_talks"]

AISHARK = [sys.executable, "-m", "aishark_panel"]
ETHERTYPE = 0x88B5
"""Of the frames on the wire; one of the two that are for experiments (IEEE 802)."""


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and private (anonymous) memory of a process; nothing of one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    kib = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if "kB" in value}
    return kib.get("VmRSS", 0) / 1024, kib.get("RssAnon", 0) / 1024


def chromium_pids() -> dict[str, list[int]]:
    """Chromium's processes: "pages" those that run pages, "browser" all others. First the one that started the others:
    as pids come round again, the lowest need not be the oldest. All that are seen are the soak's own."""
    found: dict[str, list[int]] = {"browser": [], "pages": []}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                if b"chromium" not in command.split(b"\0")[0]:
                    continue
                place = 0 if b"--type=" not in command else len(found["browser"])
                if b"--type=renderer" in command:
                    found["pages"].append(int(entry.name))
                else:
                    found["browser"].insert(place, int(entry.name))
    return found


def write_talks(path: Path, count: int, pps: int) -> None:
    """A capture of so many conversations of one packet, of now: few hosts have them, so that rules stay calm."""
    frames = [udp_frame("10.9.0.1", f"10.9.0.{2 + n // 50_000}", 10_000 + n % 50_000, 9) for n in range(count)]
    times = time.time_ns() + np.arange(count) * (1_000_000_000 // pps)
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(Frames.from_list(frames, times.tolist())))


class Member:
    """A process of the soak. One that ends without being told to has died by itself."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self.lives: list[int] = []
        """process ids, one after the other"""
        self.deaths: list[str] = []
        """what it died of by itself, each time"""
        self._command, self._environment = command, {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin a life."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the soak alone
            )
        self.lives.append(self._process.pid)

    @property
    def pid(self) -> int:
        """Of the life it has; 0 for none."""
        return self._process.pid if self._process else 0

    def look(self) -> int | None:
        """Exit status if it ended by itself, which may be meant (0): it is dead then, until it is started again."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._process = None
        if status:
            self.deaths.append(f"status {status}")
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        if self._process:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self, patience_s: float = 30.0) -> None:
        """Tell it to end (SIGTERM); not to, or with an error, is to have died."""
        if self.look() is None and self._process:
            self._process.terminate()
            try:
                if status := self._process.wait(patience_s):
                    self.deaths.append(f"status {status} when it was told to end")
            except subprocess.TimeoutExpired:
                self.deaths.append(f"did not end within {patience_s:.0f} s of being told to")
                self._process.kill()
                self._process.wait()
            self._process = None


class Wire:
    """near - far, and a sender of numbered frames. What the kernel says passed is the truth about it."""

    FILTER = f"ether proto {ETHERTYPE:#x}"

    def __init__(self) -> None:
        for words in (
            "link set lo up",
            "link add near type veth peer name far",
            "link set near addrgenmode none up",
            "link set far addrgenmode none up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, rate: int) -> None:
        """Begin to send so many frames a second, of 60 to 1,400 bytes."""
        self._thread = threading.Thread(target=self._send, args=(rate,))
        self._thread.start()

    def _send(self, rate: int) -> None:
        head = bytes.fromhex("020000000002020000000001") + ETHERTYPE.to_bytes(2, "big")
        sent, began_s = 0, time.monotonic()
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("near", 0))
            while not self._stop.wait(0.05):
                for _ in range(int((time.monotonic() - began_s) * rate) - sent):
                    sent += 1
                    out.send(head + sent.to_bytes(8, "big") + bytes(40 + sent % 1_340))

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    @property
    def packets(self) -> int:
        """Frames that arrived at the far end, as its kernel counts them."""
        told = subprocess.run(["ip", "-json", "-statistics", "link", "show", "far"], check=True, capture_output=True)
        return int(json.loads(told.stdout)[0]["stats64"]["rx"]["packets"])


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, folder: Path, mib: int) -> None:
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "soak", str(folder)], check=True)
        self.folder = folder

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Not a byte is free in here, whatever others delete."""
        ballast = self.folder / "ballast"
        filling = asyncio.create_task(self._fill(ballast))
        try:
            yield
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            ballast.unlink(missing_ok=True)

    async def _fill(self, ballast: Path) -> None:
        while True:
            with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
                while file.write(bytes(2**16)):
                    pass
            await asyncio.sleep(0.05)


class Network:
    """A TCP relay before the hub, by which the agents come; it does what networks do."""

    TRICKLE_BYTES_PER_S = 20_000
    DELAY_S = 0.3

    def __init__(self, hub_port: int) -> None:
        self._hub_port = hub_port
        self._mode = ""
        self._open = asyncio.Event()
        self._open.set()
        self._streams: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> None:
        """Listen, on `port` of loopback."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    @contextlib.asynccontextmanager
    async def fault(self, mode: str) -> AsyncIterator[None]:
        """For as long as this lasts: "stalls" (nothing passes, nobody is told), "drops" (connections are reset, and so
        are new ones), "delays" or "trickles"."""
        self._mode = mode
        if mode == "stalls":
            self._open.clear()
        if mode == "drops":
            for stream in list(self._streams):
                stream.transport.abort()
        try:
            yield
        finally:
            self._mode = ""
            self._open.set()

    async def _relay(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        if self._mode == "drops":
            near_out.transport.abort()
            return
        try:
            far_in, far_out = await asyncio.open_connection("127.0.0.1", self._hub_port)
        except OSError:  # the hub is dead
            near_out.transport.abort()
            return
        streams = {near_out, far_out}
        self._streams |= streams
        try:
            await asyncio.gather(self._pump(near_in, far_out), self._pump(far_in, near_out))
        finally:
            self._streams -= streams
            for stream in streams:
                stream.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Hand on what comes, until either side ends."""
        coming: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        reading = asyncio.create_task(self._take(source, coming))
        with contextlib.suppress(OSError):
            while (item := await coming.get())[1]:
                at_s, data = item
                await self._open.wait()
                if self._mode == "delays":
                    await asyncio.sleep(max(0.0, at_s + self.DELAY_S - time.monotonic()))
                while data:
                    step = 2_000 if self._mode == "trickles" else len(data)
                    target.write(data[:step])
                    await target.drain()
                    data = data[step:]
                    if self._mode == "trickles":
                        await asyncio.sleep(step / self.TRICKLE_BYTES_PER_S)
        target.close()
        reading.cancel()

    async def _take(self, source: asyncio.StreamReader, coming: "asyncio.Queue[tuple[float, bytes]]") -> None:
        data = b"?"
        while data:
            try:
                data = await source.read(2**16)
            except OSError:
                data = b""
            await coming.put((time.monotonic(), data))


class Visitor:
    """Somebody in a real browser: filters, changes tabs, and reloads the page, again and again. Garbage is collected
    each time, so that memory says what the page holds, and not when Chromium last found it time to collect."""

    FILTERS = ("tcp", "dns", "udp", "tls or http", "ip.addr == 10.0.0.0/8", "")
    TABS = ("Conversations", "Alerts", "Agents", "Packets")

    def __init__(self, address: str, chromium: str, pause_s: float) -> None:
        self._address, self._chromium, self._pause_s = address, chromium, pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._visit, name="visitor")
        self.did = dict.fromkeys(("loads", "filters", "tabs", "collections", "could_not"), 0)
        self.complaints: list[str] = []
        """errors in the page's console"""
        self.crashes = 0
        """how often the page or the browser ended by itself"""
        self.last_problem = ""

    def start(self) -> None:
        """Open the page."""
        self._thread.start()

    def stop(self) -> None:
        """Close the browser."""
        self._stop.set()
        self._thread.join(60)

    def _visit(self) -> None:
        with sync_playwright() as playwright:
            options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=self._chromium, args=options)
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: self.complaints.append(str(error)))
            page.on("crash", lambda _: self._crashed())
            self._do(lambda: self._load(page, self._address), "loads")
            turn = 0
            while not self._stop.wait(0):
                page.wait_for_timeout(1_000 * self._pause_s)
                self._do(page.request_gc, "collections")
                turn += 1
                if turn % 12 == 0:
                    self._do(lambda: self._load(page, page.url), "loads")
                elif turn % 3 == 0:
                    self._do(lambda n=turn // 3: self._tab(page, self.TABS[n % len(self.TABS)]), "tabs")
                else:
                    self._do(lambda n=turn: self._filter(page, self.FILTERS[n % len(self.FILTERS)]), "filters")
            browser.close()

    def _crashed(self) -> None:
        self.crashes += 1

    def _do(self, action: Callable[[], None], what: str) -> None:
        """A person who finds nothing to click at tries something else; how often is counted."""
        try:
            action()
            self.did[what] += 1
        except BrowserError as error:
            self.did["could_not"] += 1
            self.last_problem = f"{what}: {str(error).splitlines()[0]}"

    def _load(self, page: Page, address: str) -> None:
        page.goto(address, timeout=20_000)
        page.get_by_role("tab", name="Packets").wait_for(timeout=20_000)

    def _tab(self, page: Page, name: str) -> None:
        page.get_by_role("tab", name=name).click(timeout=5_000)

    def _filter(self, page: Page, text: str) -> None:
        page.get_by_role("tab", name="Packets").click(timeout=5_000)
        box = page.get_by_label("Display filter", exact=True)
        box.fill(text, timeout=5_000)
        box.press("Enter")
