"""What a hub can make a live agent do, on two real interfaces. test_remote_control.py runs this in a network namespace
of its own."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.client import EmbeddedHub, start_hub
from aishark_panel.errors import HubError
from tests.integration.conftest import ask, session_of, stats_when, wait_for, wait_until_ready
from tests.traffic import udp_frame

FILE = """
agent:
  name: edge
  interfaces: [far0, far1]
  filter: udp
  snaplen: 200
server:
  api_key: ${THE_KEY}
performance:
  max_packets_per_second: 1000
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Wires:
    """near0 - far0 and near1 - far1."""

    def __init__(self) -> None:
        ip("link", "set", "lo", "up")
        self.senders = []
        for n in (0, 1):
            ip("link", "add", f"near{n}", "type", "veth", "peer", "name", f"far{n}")
            for name in (f"near{n}", f"far{n}"):
                ip("link", "set", name, "addrgenmode", "none", "up")
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sender.bind((f"near{n}", 0))
            self.senders.append(sender)

    def send(self, wire: int, port: int, count: int = 1, size: int = 20) -> None:
        for n in range(count):
            self.senders[wire].send(udp_frame("10.0.0.1", "10.0.0.2", 40_000, port, struct.pack("!Q", n) + bytes(size)))


@pytest.fixture(scope="module")
def wires() -> Wires:
    return Wires()


@pytest.fixture(scope="module")
def hub(wires: Wires) -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", "--ring-mib", "48")
    wait_until_ready(started)
    yield started
    started.close()


@pytest.fixture
def session(hub: EmbeddedHub, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Session that an agent of both interfaces feeds, as FILE has it."""
    path = tmp_path / "agent.yaml"
    path.write_text(FILE)
    name = request.node.name
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--config", str(path), "--hub", hub.url, "--session", name],
        env={**os.environ, "THE_KEY": hub.token},
    )
    session = session_of(hub, name)
    stats_when(hub, session, lambda s: s["agents"] and s["agents"][0]["capturing"], "the agent's capture")
    yield session
    process.terminate()
    assert process.wait(10) == 0


def start(hub: EmbeddedHub, session: str, **settings: Any) -> dict[str, Any]:
    """Start the session's agent with settings; its line."""
    run = ask(hub, lambda c: c.stats(session))["agents"][0]["run"]
    return ask(hub, lambda c: c.agent_start(run, **settings))


def arrive(hub: EmbeddedHub, session: str, packets: int) -> dict[str, Any]:
    """Statistics when that many packets are there in all."""
    stats = stats_when(hub, session, lambda s: s["packets"] >= packets, f"{packets} packets")
    assert stats["packets"] == packets
    return stats


def rows(hub: EmbeddedHub, session: str, *columns: str) -> list[tuple[Any, ...]]:
    batch, _ = ask(hub, lambda c: c.rows(session, 1, 1_000, columns=columns))
    return [tuple(row.values()) for row in batch.to_pylist()]


def test_both_interfaces_of_the_file_are_captured(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    wires.send(0, 53, 3)
    arrive(hub, session, 3)
    wires.send(1, 54, 2)
    stats = arrive(hub, session, 5)
    assert [i["name"] for i in stats["agents"][0]["interfaces"]] == ["far0", "far1"]
    assert rows(hub, session, "iface", "dst_port") == [("far0", 53)] * 3 + [("far1", 54)] * 2


def test_a_start_with_a_filter_changes_what_arrives(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    wires.send(0, 53)
    arrive(hub, session, 1)
    line = start(hub, session, filter="dst port 53", snaplen=60)
    assert [i["filter"] for i in line["interfaces"]] == ["(udp) and (dst port 53)"] * 2
    for wire in (0, 1):
        wires.send(wire, 54)
        wires.send(wire, 53)
    arrive(hub, session, 3)
    assert rows(hub, session, "dst_port", "cap_len") == [(53, 70), (53, 60), (53, 60)]
    start(hub, session, filter="", snaplen=262_144)
    wires.send(0, 54, size=400)
    arrive(hub, session, 4)
    assert rows(hub, session, "dst_port", "cap_len", "orig_len")[3] == (54, 200, 450)  # the file's snaplen holds


def test_a_filter_that_does_not_compile_is_answered_with_the_reason_and_changes_nothing(
    hub: EmbeddedHub, wires: Wires, session: str
) -> None:
    with pytest.raises(HubError, match=r"capture filter .*not a filter.* on far0: .*syntax error"):
        start(hub, session, filter="not a filter")
    with pytest.raises(HubError, match="parentheses"):
        start(hub, session, filter="udp) or (tcp")
    wires.send(0, 54)
    arrive(hub, session, 1)


def test_sampling_and_rate_are_bounded_by_the_file_and_told(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    start(hub, session, sampling=4, max_packets_per_second=5_000)
    wires.send(0, 53, 40)
    stats = arrive(hub, session, 10)
    agent = stats["agents"][0]
    assert (agent["sampling"], agent["max_packets_per_second"]) == (4, 1_000)
    start(hub, session, sampling=1, max_packets_per_second=0)
    assert ask(hub, lambda c: c.stats(session))["agents"][0]["max_packets_per_second"] == 1_000


def test_a_stop_loses_nothing_that_was_captured(hub: EmbeddedHub, wires: Wires, session: str) -> None:
    start(hub, session)
    for turn in range(1, 4):
        wires.send(0, 53, 30)
        ask(hub, lambda c: c.stop(session))
        stats_when(hub, session, lambda s: not s["agents"][0]["capturing"], "the stop")
        wires.send(0, 53, 7)  # while stopped: not captured
        arrive(hub, session, 30 * turn)
        ask(hub, lambda c: c.start(session))
        stats_when(hub, session, lambda s: s["agents"][0]["capturing"], "the start")

    def booked() -> bool:
        stages = ask(hub, lambda c: c.ledger(session))["agents"][0]["stages"]
        return not any(s["difference"] for s in stages) and stages[0]["parts"]["captured"] == 90

    wait_for(booked, "a ledger that adds up")
