"""Is delivery exact when either side is killed at random? A real hub with a journal, real agents, the real kernel.

In a network namespace of its own a sender puts numbered frames on a veth pair; an agent captures them live at the other
end, beside tcpdump, whose file is the truth. This process kills hub or agent with SIGKILL at random moments and starts
it again. At the end the hub's packets are compared with tcpdump's, by bytes and order.

    python benchmarks/delivery.py [--kills 200] [--side hub|agent|both] [--rate 1000] [--seed 1]

An agent can be killed only if it has a spool (performance.spool). While it is dead it captures nothing, and the last
half second of what the hub had not taken may go with it; frames that are missing at any other time are counted apart,
and there must be none.
"""

import argparse
import asyncio
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from results import Result, Table, arguments, finish

from aishark_panel.capturefile import open_capture
from aishark_panel.client import HubClient

TOKEN = "benchmark"
MARK = b"aisharkdelivery!"
Numbered = tuple[int, int, bytes]
"""Number, time (ns) and bytes of a frame of ours."""
MEMORY_S = 0.6
"""What an agent may have in memory alone when it is killed."""
INSIDE = "AISHARK_BENCHMARK_INSIDE"
AISHARK = [sys.executable, "-m", "aishark_panel"]


def send(interface: str, rate: int) -> None:
    """Put numbered frames of various lengths on the interface, until killed."""
    rng, number, began_s = random.Random(0), 0, time.monotonic()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        while True:
            for _ in range(max(1, int((time.monotonic() - began_s) * rate) - number)):
                number += 1
                head = bytes.fromhex("020000000002020000000001") + b"\x88\xb5"
                out.send(head + MARK + number.to_bytes(8, "big") + rng.randbytes(rng.randrange(20, 200)))
            time.sleep(0.002)


def numbered(path: Path) -> Iterator[Numbered]:
    """Each of our frames in a capture file."""
    with open_capture(path) as capture:
        for block in capture:
            for i in range(len(block)):
                frame = block.frame(i)
                if frame[14:30] == MARK:
                    yield int.from_bytes(frame[30:38], "big"), int(block.ts[i]), frame


class Side:
    """Hub or agent: a process that dies and comes back."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._environment = command, {**os.environ, "AISHARK_TOKEN": TOKEN, **environment}
        self.kills: list[float] = []
        """Unix times"""
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(self._command, env=self._environment, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills.append(time.time())
        self.process = self._start()


async def ask(url: str, question: Callable[[HubClient, str], Any]) -> Any:
    """Ask about the first session, once the hub answers."""
    deadline_s = time.monotonic() + 120
    while True:
        try:
            async with HubClient(url, TOKEN) as client:
                answer = await question(client, (await client.sessions())[0]["id"])
                if answer:
                    return answer
        except Exception as error:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the hub did not get there: {error}") from error
        await asyncio.sleep(0.2)
        if time.monotonic() > deadline_s:
            raise TimeoutError("the hub did not get there")


async def drained(client: HubClient, session: str) -> dict[str, Any] | None:
    """The ledger, once nothing is on its way."""
    book, stats = await client.ledger(session), await client.stats(session)
    stages = [stage for agent in book["agents"] for stage in agent["stages"]]
    on_its_way = sum(s["parts"].get(p, 0) for s in stages for p in ("in_encoder", "outbox", "spooled", "in_hub_queue"))
    return book if not on_its_way and not stats["packets_per_s"] and stats["packets"] else None


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    for words in (
        "link set lo up",
        "link add veth0 type veth peer name veth1",
        "link set veth0 up",
        "link set veth1 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    hub_options = ["--journal", str(folder / "journal"), "--state", str(folder), "--ring-mib", str(options.ring_mib)]
    sides = {"hub": Side([*AISHARK, "hub", "--port", str(port), "--no-builtin-rules", *hub_options], {})}
    spool = {"AISHARK_PERFORMANCE__SPOOL": str(folder / "spool")} if options.side != "hub" else {}
    quick = {"AISHARK_SERVER__RECONNECT_MAX": "500ms", "AISHARK_SERVER__MAX_RETRIES": "-1"}
    truth = folder / "truth.pcap"
    tcpdump = subprocess.Popen(["tcpdump", "-i", "veth1", "-w", truth, "-U", "-B", "65536", "-Z", "root"])
    sides["agent"] = Side([*AISHARK, "agent", "-i", "veth1", "--hub", url], {**spool, **quick})
    asyncio.run(ask(url, lambda c, s: c.stats(s)))
    time.sleep(2)  # until both capture
    sender = subprocess.Popen([sys.executable, __file__, "send", "veth0", str(options.rate)])
    rng, names = random.Random(options.seed), ["hub", "agent"] if options.side == "both" else [options.side]
    for _ in range(options.kills):
        time.sleep(rng.uniform(0.05, 3.0))
        sides[rng.choice(names)].kill()
    time.sleep(5)
    sender.kill()
    time.sleep(1)
    tcpdump.terminate()
    tcpdump.wait()
    book = asyncio.run(ask(url, drained))
    with (folder / "hub.pcapng").open("wb") as file:

        def write(piece: bytes) -> None:
            file.write(piece)

        async def export(client: HubClient, session: str) -> bool:
            await client.export(session, "pcapng", "", write)
            return True

        asyncio.run(ask(url, export))
    for process in (sender, *(side.process for side in sides.values())):
        process.kill()
        process.wait()
    return compare(list(numbered(truth)), list(numbered(folder / "hub.pcapng")), sides, book)


def compare(
    truth: list[tuple[int, int, bytes]],
    found: list[tuple[int, int, bytes]],
    sides: dict[str, Side],
    book: dict[str, Any],
) -> dict[str, Any]:
    """What tcpdump saw, and what the hub has."""
    if not truth:
        sys.exit("tcpdump saw nothing: there is nothing to compare with.")
    numbers = [number for number, _, _ in found]
    content, kept = {number: frame for number, _, frame in truth}, set(numbers)
    unexplained = in_absence = 0
    since_ns = 0
    kills_ns = [int(1e9 * at_s) for at_s in sides["agent"].kills]
    for number, ts, _ in truth:
        if number in kept:
            since_ns = 0
        else:
            # A run of missing frames is the agent's absence if it began shortly before a kill, or reaches back to one.
            since_ns = since_ns or ts
            excused = any(since_ns - 10e9 < at and ts > at - MEMORY_S * 1e9 for at in kills_ns)
            in_absence, unexplained = in_absence + excused, unexplained + (not excused)
    stages = [stage for agent in book["agents"] for stage in agent["stages"]]
    return {
        **{f"kills of the {name}": len(side.kills) for name, side in sides.items()},
        "frames of tcpdump": len(truth),
        "frames of the hub": len(found),
        "missing while the agent was dead": in_absence,
        "missing": unexplained,
        "twice": len(numbers) - len(kept),
        "out of order": sum(later < number for number, later in itertools.pairwise(numbers)),
        "with other bytes": sum(content.get(number, frame) != frame for number, _, frame in found),
        "differences in the ledger": sum(abs(stage["difference"]) for stage in [*stages, book["ring"]]),
        "let go by the ring": book["ring"]["parts"]["evicted"],
    }


def main() -> None:
    if sys.argv[1:2] == ["send"]:
        send(sys.argv[2], int(sys.argv[3]))
        return
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--side", choices=["hub", "agent", "both"], default="hub")
    parser.add_argument("--rate", type=int, default=1_000, help="frames per second")
    parser.add_argument("--ring-mib", type=int, default=1_024)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if INSIDE not in os.environ:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        namespace = ["unshare", *user, "--net", sys.executable, *sys.argv]
        sys.exit(subprocess.run(namespace, env={**os.environ, INSIDE: "1"}).returncode)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = {**run(options, Path(folder)), "seconds": time.monotonic() - started_s}
    table = Table("Frames, when processes are killed", "", ["value"])
    for name, value in result.items():
        table.add(name, value)
    finish(Result("delivery", [table]), options.json)


if __name__ == "__main__":
    main()
