"""Does trying rules on the past hold up the capture? Ingest at a steady rate, without and with two backtests at a time.

    python benchmarks/backtest.py [--rate 100000] [--seconds 20] [--rounds 3]

Hub and agent are real processes. The backtests run the built-in rules over the session's ring, one begun as soon as
another ends; two at a time is the most that a hub allows. Medians of the rounds, which take turns.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
from typing import Any

from pages import ingest_rate

from aishark_panel.client import EmbeddedHub, HubClient, start_hub
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


async def measure(hub: EmbeddedHub, seconds: float, rounds: int) -> dict[str, Any]:
    async with HubClient(hub.url, hub.token) as client:
        session = await filled_session(client)
        found: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
        tried: list[dict[str, Any]] = []
        for _ in range(rounds):
            found["without"].append(await ingest_rate(client, session, seconds))
            two = [asyncio.create_task(keep_trying(client, session, tried)) for _ in range(2)]
            await asyncio.sleep(1)
            found["with"].append(await ingest_rate(client, session, seconds))
            for task in two:
                task.cancel()
            await asyncio.gather(*two, return_exceptions=True)
        result: dict[str, Any] = {
            name: {key: statistics.median(each[key] for each in runs) for key in runs[0]}
            for name, runs in found.items()
        }
        result["backtests"] = len(tried)
        result["packets_tried"] = sum(answer["packets"] for answer in tried)
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    for name in ("without", "with"):
        print(name.ljust(8), "  ".join(f"{key} {value:,.0f}" for key, value in result[name].items()))
    print(f"{result['backtests']} backtests over {result['packets_tried']:,} packets")
    print(json.dumps({"benchmark": "backtest", **result}))


if __name__ == "__main__":
    main()
