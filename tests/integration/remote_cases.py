"""A live capture that is started from afar: with the filter of a profile, and with one that does not compile.
test_remote.py runs this in a user and network namespace of its own."""

import socket
import subprocess
from collections.abc import Iterator

import pytest

from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConflictError
from tests.integration.conftest import ask, session_of, stats_when, wait_until_ready
from tests.integration.test_agents import agent, register, when


@pytest.fixture(scope="module")
def hub() -> Iterator[EmbeddedHub]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    started = start_hub("--port", "0", "--ring-mib", "48")
    wait_until_ready(started)
    yield started
    started.close()


def send(port: int, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"hello", ("127.0.0.2", port))


def test_a_profiles_filter_decides_what_arrives_and_a_bad_one_changes_nothing(hub: EmbeddedHub) -> None:
    agent_id, key = register(hub, "live")
    ask(hub, lambda c: c.profile_save("wanted", filter="udp dst port 7001"))
    with agent(hub, key, "-i", "lo", "-f", "udp"):
        when(hub, agent_id, "capturing")
        ask(hub, lambda c: c.agent_stop(agent_id))
        send(7001, 5)
        found = ask(hub, lambda c: c.agent_start(agent_id, session="filtered", profile="wanted"))
        assert "7001" in found["interfaces"][0]["filter"]
        with pytest.raises(ConflictError, match=r"Agent live: .*nonsense"):
            ask(hub, lambda c: c.agent_start(agent_id, filter="nonsense 7"))
        send(7002, 50)
        send(7001, 20)
        session = session_of(hub, "filtered")
        stats = stats_when(hub, session, lambda s: s["packets"] >= 20, "packets")
        assert stats["packets"] == 20
        ports = ask(hub, lambda c: c.table(session, columns=["dst_port"])).column("dst_port")
        assert set(ports.to_pylist()) == {7001}
        assert when(hub, agent_id, "capturing")["settings"]["filter"] == "udp dst port 7001"
