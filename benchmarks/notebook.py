"""A notebook that computes hard while packets arrive: is one lost, and what does its stream say that it left out?

    python benchmarks/notebook.py [--seconds 30] [--rate 50000] [--max-batches 1000]

A real Jupyter kernel captures made-up traffic, holds the session and a stream of `session.follow()`, and then computes
in one cell, pure Python and numpy by turns, and takes nothing from the stream. The next stops the capture and looks
at the books: what the agent made has to be what the hub took, no stage of the ledger may lack a packet, and what the
session has must be what waits in the stream's buffer, what that dropped, and what it missed. *Longest stall* is the
longest time in which the kernel's background thread did not run: what a busy cell costs the stream.
"""

import json
import os
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from results import Result, Table, arguments, finish

ROOT = Path(__file__).resolve().parents[1]

BEGIN = """
import asyncio, json, time
import numpy as np
import aishark_panel as ais
from aishark_panel.notebook.background import background_loop
session = ais.capture(synthetic=True, rate={rate}, snaplen=128)
while "Getting ready" in session.stats()["reason"]:
    time.sleep(0.2)
stream = session.follow(start="oldest", columns=["number"], max_batches={max_batches}).connect()
stalls = [0.0]

async def tick():
    while True:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        stalls[0] = max(stalls[0], time.monotonic() - before - 0.01)

ticking = asyncio.run_coroutine_threadsafe(tick(), background_loop())
began = session.packet_count
"""

COMPUTE = """
until_s, cpu_s, start_s = time.monotonic() + {seconds}, time.process_time(), time.monotonic()
matrix = np.random.default_rng(1).random((400, 400))
while time.monotonic() < until_s:
    sum(k * k for k in range(200_000))
    matrix = matrix @ matrix
    matrix /= matrix.max()
took_s, cpu_s = time.monotonic() - start_s, time.process_time() - cpu_s
arrived = session.packet_count - began
"""

END = """
ticking.cancel()
session.close()
while session.stats()["state"] != "ended":
    time.sleep(0.1)
session_end = session.packet_count
patience_s = time.monotonic() + 30
while stream.packet_count + stream.missed < session_end and time.monotonic() < patience_s:
    time.sleep(0.1)
waiting = [batch["number"] for batch in stream]
numbers = np.concatenate([np.asarray(batch) for batch in waiting])
stats, book = session.stats(), session.hub.ask(lambda client: client.ledger(session.id))
(agent,) = book["agents"]
made = {stage["stage"]: stage for stage in agent["stages"]}
print(json.dumps({
    "computed, s": took_s,
    "CPU of the kernel, cores": cpu_s / took_s,
    "packets/s": arrived / took_s,
    "packets sent": made["agent"]["packets"],
    "dropped by the agent, counted": sum(n for p, n in made["agent"]["parts"].items() if p.startswith("dropped_")),
    "taken by the hub": stats["packets"],
    "in its ring": book["ring"]["parts"]["in_ring"],
    "let go by its ring": book["ring"]["parts"]["evicted"],
    "lost": made["agent"]["packets"] - stats["packets"],
    "differences in the ledger": sum(abs(s["difference"]) for s in [*agent["stages"], book["ring"]]),
    "at the stream": stream.packet_count,
    "dropped by the stream, counted": stream.dropped,
    "missed by the stream, counted": stream.missed,
    "waiting in the stream afterwards": len(numbers),
    "not accounted for": session_end - stream.missed - stream.dropped - len(numbers),
    "gaps that are not told": int((np.diff(numbers) != 1).sum()),
    "longest stall, ms": 1e3 * stalls[0],
}))
"""


def run(client: BlockingKernelClient, source: str, timeout_s: float) -> str:
    """What a cell printed. Raises RuntimeError with its error."""
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            said.append(message["content"]["text"])

    reply = client.execute_interactive(source, output_hook=hear, timeout=timeout_s)
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join(reply["content"]["traceback"]))
    return "".join(said)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=50_000, help="packets/s")
    parser.add_argument("--max-batches", type=int, default=1_000, help="length of the stream's buffer")
    options = parser.parse_args()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment)
    try:
        run(client, BEGIN.format(rate=options.rate, max_batches=options.max_batches), 120)
        run(client, COMPUTE.format(seconds=options.seconds), options.seconds + 60)
        result = json.loads(run(client, END, 90))
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    table = Table("A kernel that computes while packets arrive", "", ["value"])
    for name, value in result.items():
        table.add(name, value)
    finish(Result("notebook", [table]), options.json)


if __name__ == "__main__":
    main()
