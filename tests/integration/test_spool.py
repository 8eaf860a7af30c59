"""Agent processes with a spool, killed, stopped, out of disk, and the real hub: the ledger adds up at every telling."""

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.embedded import EmbeddedHub
from tests.agent.own_network import AS_ROOT
from tests.integration.conftest import ask, session_of, stats_when, wait_for
from tests.integration.test_faults import connect
from tests.traffic import hello

PARTS = (
    "sampled_out", "throttled", "dropped_outbox_full", "dropped_at_exit", "dropped_spool_unreadable",
    "lost_in_agent_crash", "in_encoder", "outbox", "spooled", "delivered",
)  # fmt: skip


def start(hub: EmbeddedHub, session: str, spool: Path, *options: str, inside: tuple[str, ...] = ()) -> "Process":
    command = [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--synthetic", "--session", session]
    return subprocess.Popen(
        [*inside, *command, "--spool", str(spool), *options],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        stderr=subprocess.PIPE,
        text=True,
    )


Process = subprocess.Popen[str]


@contextlib.contextmanager
def ended(process: Process) -> Iterator[Process]:
    """Whatever happens, it does not outlive the test."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def more_packets(hub: EmbeddedHub, session: str) -> None:
    """Wait for 1,000 more than there are."""
    before = ask(hub, lambda c: c.stats(session))["packets"]
    stats_when(hub, session, lambda s: s["packets"] > before + 1_000, "more packets")


def counters_of(hub: EmbeddedHub, session: str) -> dict[str, int]:
    """The agent's counters, which add up whenever they are told."""
    (agent,) = ask(hub, lambda c: c.stats(session))["agents"]
    counts: dict[str, int] = agent["counters"]
    assert not counts or counts["captured"] == sum(counts[name] for name in PARTS), counts
    return counts


def counters_when_drained(hub: EmbeddedHub, session: str) -> dict[str, int]:
    """Stop the agent; its counters once the hub has all of it."""
    ask(hub, lambda c: c.stop(session))
    stats_when(hub, session, lambda s: not s["agents"][0]["capturing"], "the capture's end")

    def look() -> dict[str, int] | None:
        counts = counters_of(hub, session)
        return None if counts["in_encoder"] or counts["outbox"] or counts["spooled"] else counts

    return wait_for(look, "a drained agent")


def test_an_agent_killed_again_and_again_accounts_for_every_packet(hub: EmbeddedHub, tmp_path: Path) -> None:
    rng = random.Random(1)
    for life in range(6):
        with ended(start(hub, "killed", tmp_path, "--rate", "5000")) as process:
            session = session_of(hub, "killed")
            more_packets(hub, session)
            if life % 2:
                hub.process.send_signal(signal.SIGSTOP)  # what waits goes to the spool, or is lost in the kill
                time.sleep(rng.uniform(0.2, 1.5))
            process.kill()
            process.wait()
            hub.process.send_signal(signal.SIGCONT)
    with ended(start(hub, "killed", tmp_path, "--rate", "5000")) as process:
        more_packets(hub, session)
        counts = counters_when_drained(hub, session)
        process.terminate()
        assert process.wait(20) == 0
    stats = ask(hub, lambda c: c.stats(session))
    assert counts["delivered"] == stats["packets"]
    assert counts["matched"] == counts["captured"]
    assert counts["lost_in_agent_crash"] > 0
    assert len(stats["agents"]) == 1
    (agent,) = stats["agents"]
    assert 0 < agent["down_since_ns"] < agent["down_until_ns"] < time.time_ns()
    (book,) = ask(hub, lambda c: c.ledger(session))["agents"]
    assert [stage["difference"] for stage in book["stages"] if stage["stage"] != "capture"] == [0, 0]
    assert list(tmp_path.glob("*.segment")) == []


def test_an_agent_told_to_stop_while_the_hub_hangs_keeps_all(hub: EmbeddedHub, tmp_path: Path) -> None:
    with ended(start(hub, "told to stop", tmp_path, "--rate", "5000")) as process:
        session = session_of(hub, "told to stop")
        stats_when(hub, session, lambda s: s["packets"] > 1_000, "packets")
        hub.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        process.terminate()
        assert process.wait(20) == 0
        hub.process.send_signal(signal.SIGCONT)
    assert list(tmp_path.glob("*.segment"))
    with ended(start(hub, "told to stop", tmp_path, "--rate", "5000")) as process:
        stats_when(hub, session, lambda s: s["agents"][0]["down_since_ns"] > 0, "the next life")
        counts = counters_when_drained(hub, session)
        assert counts["lost_in_agent_crash"] == 0
        assert counts["captured"] == counts["delivered"] == ask(hub, lambda c: c.stats(session))["packets"]
        process.terminate()
        assert process.wait(20) == 0


def test_a_spool_on_a_full_disk_costs_packets_that_are_counted_and_nothing_else(
    hub: EmbeddedHub, tmp_path: Path
) -> None:
    if subprocess.run([*AS_ROOT[:-1], "--mount", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    inside = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    mounted = (*inside, f"mount -t tmpfs -o size=3m small {tmp_path} && exec \"$@\"", "sh")  # fmt: skip
    options = ("--rate", "40000", "--outbox", "2MiB", "--spool-size", "16MiB", "--name", "full disk")
    with ended(start(hub, "full disk", tmp_path, *options, inside=mounted)) as process:
        session = session_of(hub, "full disk")
        stats_when(hub, session, lambda s: s["packets"] > 5_000, "packets")
        hub.process.send_signal(signal.SIGSTOP)
        time.sleep(3)  # longer than sockets, outbox and disk together can hold
        hub.process.send_signal(signal.SIGCONT)
        wait_for(lambda: counters_of(hub, session)["dropped_outbox_full"] > 0, "packets lost")
        counts = counters_when_drained(hub, session)
        assert counts["delivered"] == ask(hub, lambda c: c.stats(session))["packets"]
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "the spool cannot be written: No space left on device" in process.stderr.read()


def test_a_second_agent_on_the_spool_is_refused_in_one_line(hub: EmbeddedHub, tmp_path: Path) -> None:
    with ended(start(hub, "locked", tmp_path)) as first:
        session_of(hub, "locked")
        with ended(start(hub, "locked", tmp_path)) as second:
            assert second.wait(60) == 2
            assert second.stderr is not None
            said = second.stderr.read().strip()
            assert re.fullmatch(rf"aishark: The spool folder .* another agent \(process {first.pid}\).*", said)


def test_the_hub_drops_an_agent_that_was_cut_off_without_a_word(hub: EmbeddedHub) -> None:
    async def run() -> float:
        peer, _ = await connect(hub, hello(run="0c" * 16, session="cut off"))
        # From here on nothing is read or answered, as by a host whose cable was pulled.
        stream: Any = peer.protocol and peer.protocol.stream
        stream.io_loop.remove_handler(stream.fileno())
        started_s = time.monotonic()
        session = await asyncio.to_thread(session_of, hub, "cut off")
        await asyncio.to_thread(stats_when, hub, session, lambda s: not s["agents"][0]["connected"], "the agent gone")
        stream.close()
        peer.close()
        return time.monotonic() - started_s

    assert asyncio.run(run()) < 27
