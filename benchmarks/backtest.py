"""Does trying rules on the past hold up the capture? Ingest at a steady rate, without and with two backtests at a time.

    python benchmarks/backtest.py [--rate 100000] [--seconds 20] [--rounds 3]

Hub and agent are real processes. The backtests run the built-in rules over the session's ring, one begun as soon as
another ends; two at a time is the most that a hub allows. The two
take turns, round by round.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from typing import Any

from pages import ingest_rate
from results import Result, Table, arguments, finish, progress

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConflictError

_FILLED = 1_000_000
"""packets that are in the ring before anything is measured"""


async def keep_trying(client: HubClient, session: str, tried: list[dict[str, Any]]) -> None:
    """Backtests, one after the other; what they looked at is added to `tried`."""
    backtest = ""
    while True:
        if not backtest:
            with contextlib.suppress(ConflictError):
                backtest = await client.start_backtest(session)
        elif (answer := await client.backtest(backtest))["state"] != "running":
            tried.append(answer)
            await client.cancel_backtest(backtest)
            backtest = ""
        await asyncio.sleep(0.05)


async def filled_session(client: HubClient) -> str:
    """The id of the agent's session, once it has enough packets."""
    for _ in range(1_200):
        for session in await client.sessions():
            if (await client.stats(session["id"]))["packets"] >= _FILLED:
                return str(session["id"])
        await asyncio.sleep(0.1)
    raise SystemExit("the agent sends too little")


async def measure(hub: EmbeddedHub, seconds: float, rounds: int) -> Result:
    """Ingest by turns, without and with backtests."""
    async with HubClient(hub.url, hub.token) as client:
        session = await filled_session(client)
        found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
        tried: list[dict[str, Any]] = []
        for number in range(rounds):
            progress(f"round {number + 1}")
            found["without"].append(await ingest_rate(client, session, seconds))
            two = [asyncio.create_task(keep_trying(client, session, tried)) for _ in range(2)]
            await asyncio.sleep(1)
            found["with"].append(await ingest_rate(client, session, seconds))
            for task in two:
                task.cancel()
            await asyncio.gather(*two, return_exceptions=True)
        heads = ["packets/s", "waiting at the agent", "lost", "slowest answer of the hub, ms"]
        table = Table("Ingest", "backtests", heads)
        for name, runs in found.items():
            table.add(name, *zip(*(each.values() for each in runs), strict=True))
        note = f"{len(tried)} backtests over {sum(answer['packets'] for answer in tried):,} packets."
        return Result("backtest", [table], [note])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rate", type=int, default=100_000, help="packets/s")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    hub = start_hub("--port", "0", "--ring-mib", "512")
    command = [sys.executable, "-m", "aishark_panel", "agent", "--synthetic", "--rate", str(options.rate)]
    agent = subprocess.Popen(
        [*command, "--snaplen", "128", "--session", "live", "--hub", hub.url],
        env=os.environ | {"AISHARK_TOKEN": hub.token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        result = asyncio.run(measure(hub, options.seconds, options.rounds))
    finally:
        agent.terminate()
        agent.wait()
        hub.close()
    finish(result, options.json)


if __name__ == "__main__":
    main()
