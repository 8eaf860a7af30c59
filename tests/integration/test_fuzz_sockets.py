"""Mutated messages to a real hub while a good agent streams: it loses nothing, and the hub's memory stays as it was.

AISHARK_FUZZ_MESSAGES makes it longer; a million take minutes.
"""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.fuzz.sockets import fuzz
from tests.integration.conftest import ask, session_of, stats_when, wait_until_ready

log = logging.getLogger(__name__)

MESSAGES = int(os.environ.get("AISHARK_FUZZ_MESSAGES", "2000"))
GROWTH_MIB = 2 * 48 + 100
"""A short run does not fill the rings of both sessions before it begins, and a long one not their conversations."""
MOST_S = 60.0 if MESSAGES <= 10_000 else 3_600.0


def private_mib(hub: EmbeddedHub) -> float:
    """Memory that is the hub's own."""
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    match = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert match
    return int(match[1]) / 1024


@pytest.mark.timeout(4_000)
def test_mutated_messages_cost_a_good_agent_nothing() -> None:
    hub = start_hub("--port", "0", "--ring-mib", "48", "--max-requests-per-second", "1000000")
    try:
        wait_until_ready(hub)
        agent = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "agent", "--synthetic", "--rate", "2000"]
            + ["--session", "good", "--hub", hub.url],
            env={**os.environ, "AISHARK_TOKEN": hub.token},
        )
        good = session_of(hub, "good")
        stats_when(hub, good, lambda s: s["packets"] > 0, "packets")

        def send(messages: int, seed: int) -> int:
            tally = asyncio.run(fuzz(hub.url, hub.token, good, messages=messages, most_s=MOST_S, seed=seed))
            log.info("%s", tally)
            assert tally.quiet <= 2 + tally.connections // 1_000
            return tally.messages

        send(min(max(MESSAGES // 5, 1_000), 100_000), 0)  # what is kept of runs and expressions fills up, and rings
        before_mib, started_s, sent = private_mib(hub), time.monotonic(), 0
        while sent < MESSAGES:
            sent += send(min(MESSAGES - sent, 100_000), sent + 1)
            after_mib = private_mib(hub)
            span_s = time.monotonic() - started_s
            log.info("%d messages in %d s; %d MiB before, %d after", sent, span_s, before_mib, after_mib)
            assert after_mib < before_mib + GROWTH_MIB
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
        stats = stats_when(hub, good, lambda s: s["state"] == "ended", "the end of the agent")
        (line,) = stats["agents"]
        assert line["counters"]["captured"] == line["packets"] == stats["packets"]
        assert (stats["lost"], line["refusals"], line["rejected_batches"], line["duplicate_batches"]) == (0, 0, 0, 0)
        stages = ask(hub, lambda c: c.ledger(good))["agents"][0]["stages"]
        assert {stage["stage"]: stage["difference"] for stage in stages}["hub"] == 0
    finally:
        hub.close()
