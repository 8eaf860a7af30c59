"""An agent on two real wires and what tests ask of it; for cases that run in a network namespace of their own."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.embedded import EmbeddedHub
from tests.integration.conftest import ask, session_of, stats_when, wait_for
from tests.traffic import udp_frame

__all__ = ["FILE", "Wires", "agent_of", "arrive", "booked", "edge_agent", "ip", "rows", "session", "start", "wires"]

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
allow:
  interfaces: [far0, far1]
  snaplen: 300
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


@contextlib.contextmanager
def edge_agent(hub: EmbeddedHub, folder: Path, name: str, text: str = FILE) -> Iterator[str]:
    """An agent as the configuration `text` has it; the session that it feeds, of that name."""
    path = folder / "agent.yaml"
    path.write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--config", str(path), "--hub", hub.url, "--session", name],
        env={**os.environ, "THE_KEY": hub.token},
    )
    try:
        session = session_of(hub, name)
        stats_when(hub, session, lambda s: s["agents"] and s["agents"][0]["capturing"], "the agent's capture")
        yield session
    finally:
        process.terminate()
        assert process.wait(10) == 0


def agent_of(hub: EmbeddedHub, session: str) -> str:
    """The session's agent, which goes by its run."""
    return str(ask(hub, lambda c: c.stats(session))["agents"][0]["run"])


def start(hub: EmbeddedHub, session: str, **settings: Any) -> dict[str, Any]:
    """Start the session's agent with settings; its line."""
    run = agent_of(hub, session)
    return ask(hub, lambda c: c.agent_start(run, **settings))


def arrive(hub: EmbeddedHub, session: str, packets: int) -> dict[str, Any]:
    """Statistics when that many packets are there in all."""
    stats = stats_when(hub, session, lambda s: s["packets"] >= packets, f"{packets} packets")
    assert stats["packets"] == packets
    return stats


def rows(hub: EmbeddedHub, session: str, *columns: str) -> list[tuple[Any, ...]]:
    batch, _ = ask(hub, lambda c: c.rows(session, 1, 1_000, columns=columns))
    return [tuple(row.values()) for row in batch.to_pylist()]


def booked(hub: EmbeddedHub, session: str, captured: int) -> None:
    """Wait until the ledger has that many packets captured, and adds up."""

    def look() -> bool:
        stages = ask(hub, lambda c: c.ledger(session))["agents"][0]["stages"]
        return not any(s["difference"] for s in stages) and stages[0]["parts"]["captured"] == captured

    wait_for(look, "a ledger that adds up")


@pytest.fixture(scope="module", autouse=True)
def wires() -> Wires:
    """First of all, for the hub listens on the loopback interface that they bring up."""
    return Wires()


@pytest.fixture
def session(hub: EmbeddedHub, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Session that an agent of both interfaces feeds."""
    with edge_agent(hub, tmp_path, request.node.name) as session:
        yield session
