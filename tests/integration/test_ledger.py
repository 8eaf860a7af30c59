"""Nothing is lost silently: once a run is drained, with limits and with a hub that stalls, the ledger adds up."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aishark_panel.embedded import EmbeddedHub
from tests.integration.conftest import ask, run_agent, session_of, stats_when, wait_for
from tests.ledgers import is_drained

N = 10_000


def book_of(hub: EmbeddedHub, session: str) -> dict[str, dict[str, int]]:
    """Parts of each stage, once the session is drained."""
    book = wait_for(lambda: b if is_drained(b := ask(hub, lambda c: c.ledger(session))) else None, "a drained session")
    return {stage["stage"]: stage["parts"] for stage in (*book["agents"][0]["stages"], book["ring"])}


@pytest.mark.parametrize(
    ("options", "sampled_out", "throttled"),
    [
        ([], 0, 0),
        (["--sampling", "7"], N - 1_429, 0),
        (["--max-packets-per-second", "250"], 0, 7_476),
        (["--sampling", "2", "--max-packets-per-second", "250"], 5_000, 2_476),
        (["--max-bandwidth", "100kbit", "--batch-size", "17"], 0, None),
    ],
)
def test_limits_leave_out_what_they_say_and_count_it(
    hub: EmbeddedHub, capture_file: Path, options: list[str], sampled_out: int, throttled: int | None
) -> None:
    name = " ".join(["ledger", *options])
    done = run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", name, *options)
    assert done.returncode == 0, done.stderr
    session = session_of(hub, name)
    book = book_of(hub, session)
    agent = book["agent"]
    assert agent["sampled_out"] == sampled_out
    if throttled is None:
        # 10 s of packets of 70 bytes, one per ms
        assert agent["taken"] == pytest.approx(10 * 100_000 / (70 * 8), rel=0.03)
    else:
        assert agent["throttled"] == throttled
    assert agent["taken"] + agent["sampled_out"] + agent["throttled"] == N == book["capture"]["captured"]
    assert agent["in_encoder"] == agent["outbox"] == agent["taken_elsewhere"] == 0
    stats = ask(hub, lambda c: c.stats(session))
    assert stats["left_out"] == agent["sampled_out"] + agent["throttled"]
    assert stats["agents"][0]["sampling"] == (int(options[1]) if "--sampling" in options else 1)


@contextlib.contextmanager
def synthetic(hub: EmbeddedHub, session: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "aishark_panel",
            "agent",
            "--hub",
            hub.url,
            "--synthetic",
            "--session",
            session,
            *options,
        ],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
    assert process.returncode == 0


def test_packets_that_a_stalled_hub_costs_are_in_the_book(hub: EmbeddedHub) -> None:
    limits = ("--rate", "40000", "--outbox", "1MiB", "--sampling", "2", "--max-packets-per-second", "15000")
    with synthetic(hub, "stalled", *limits):
        session = session_of(hub, "stalled")
        stats_when(hub, session, lambda s: s["packets"] > 5_000, "5,000 packets")
        hub.process.send_signal(signal.SIGSTOP)
        time.sleep(2)  # longer than sockets and outbox together can hold
        hub.process.send_signal(signal.SIGCONT)
        stats_when(hub, session, lambda s: s["lost"] > 0, "packets lost")
        ask(hub, lambda c: c.stop(session))
        agent = book_of(hub, session)["agent"]
    assert min(agent["sampled_out"], agent["throttled"], agent["dropped_outbox_full"], agent["taken"]) > 0
    assert agent["in_encoder"] == agent["outbox"] == 0
