"""Agents whose interfaces come and go, as the hub sees them. test_interface.py runs this in a network namespace."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.agent.cables import ip, wait_for_carrier
from tests.integration.conftest import ask, session_of, stats_when, wait_for, wait_until_ready
from tests.traffic import udp_frame

FRAME = udp_frame("10.0.0.1", "10.0.0.2", 40_000, 9_999, b"hello")


def make_wire(number: int) -> None:
    ip("link", "add", f"near{number}", "type", "veth", "peer", "name", f"far{number}")
    for name in (f"near{number}", f"far{number}"):
        ip("link", "set", name, "addrgenmode", "none", "up")
    wait_for_carrier(f"near{number}")


def send(number: int) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((f"near{number}", 0))
        sender.send(FRAME)


@pytest.fixture(scope="module")
def hub() -> Iterator[EmbeddedHub]:
    ip("link", "set", "lo", "up")
    started = start_hub("--port", "0", "--ring-mib", "48")
    wait_until_ready(started)
    yield started
    started.close()


@contextmanager
def agent(hub: EmbeddedHub, session: str, *options: str) -> Iterator[str]:
    """A live agent that feeds a session; the session's id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--session", session, *options],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    try:
        found = session_of(hub, session)
        stats_when(hub, found, lambda s: s["agents"] and s["agents"][0]["capturing"], "the agent's capture")
        yield found
    finally:
        process.terminate()
        assert process.wait(10) == 0


def agent_when(hub: EmbeddedHub, session: str, what: str, **expected: str) -> dict[str, Any]:
    """The session's agent once the text of each of its fields is in it."""

    def look() -> dict[str, Any] | None:
        line: dict[str, Any] = ask(hub, lambda c: c.stats(session))["agents"][0]
        fits = all(text in line[name] if text else not line[name] for name, text in expected.items())
        return line if fits else None

    return wait_for(look, what)


def interfaces_seen(hub: EmbeddedHub, session: str) -> list[str]:
    table = ask(hub, lambda c: c.table(session, where="udp.port == 9999", columns=["iface"]))
    return [str(name) for name in table.column("iface").to_pylist()]


@pytest.mark.parametrize("source", ["kernel", "libpcap"])
def test_an_agent_outlives_its_interfaces_and_says_what_is_wrong(hub: EmbeddedHub, source: str) -> None:
    for number in (0, 1):
        make_wire(number)
    options = ("-i", "far0", "-i", "far1", "-f", "udp port 9999", "--source", source)
    with agent(hub, f"outlived {source}", *options) as session:
        send(0)
        stats_when(hub, session, lambda s: s["packets"] == 1, "the first packet")
        ip("link", "delete", "near0")
        line = agent_when(hub, session, "the agent's word", reason="no interface 'far0'")
        assert line["capturing"]
        send(1)
        stats_when(hub, session, lambda s: s["packets"] == 2, "a packet of the other interface")
        make_wire(0)
        agent_when(hub, session, "all is well again", reason="")
        send(0)
        stats = stats_when(hub, session, lambda s: s["packets"] == 3, "a packet of the new interface")
        assert stats["agents"][0]["counters"]["matched"] == 3
        assert stats["agents"][0]["counters"]["gaps"] == 1
        assert [i["name"] for i in stats["agents"][0]["interfaces"]] == ["far0", "far1"]
        assert all(stage["difference"] == 0 for stage in ask(hub, lambda c: c.ledger(session))["agents"][0]["stages"])
    for number in (0, 1):
        ip("link", "delete", f"near{number}")


def test_an_agent_on_any_tags_packets_by_interface_those_that_come_later_too(hub: EmbeddedHub) -> None:
    make_wire(2)
    with agent(hub, "anywhere", "-i", "any", "-f", "udp port 9999") as session:
        send(2)
        stats_when(hub, session, lambda s: s["packets"] == 2, "the first packet, going out and coming in")
        make_wire(3)
        send(3)
        stats_when(hub, session, lambda s: s["packets"] == 4, "a packet of the new interface")
        assert interfaces_seen(hub, session) == ["near2", "far2", "near3", "far3"]
