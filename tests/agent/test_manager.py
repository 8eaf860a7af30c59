"""What systemd is told, over a real datagram socket, and the watchdog that only a moving capture thread feeds."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from aishark_panel.agent.manager import ServiceManager
from aishark_panel.agent.reporter import HUNG_S, Reporter
from aishark_panel.agent.status import LinkReport, Report


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(channel: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(channel.recv(4096).decode())
        except BlockingIOError:
            return messages


def manager(channel: socket.socket, **environment: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": channel.getsockname(), **environment})


def test_what_is_said_arrives(channel: socket.socket) -> None:
    told = manager(channel)
    told.starting(60)
    told.ready()
    told.status("capturing\nREADY=0")
    told.status("capturing\nREADY=0")
    told.alive()
    told.stopping()
    assert heard(channel) == [
        "EXTEND_TIMEOUT_USEC=60000000",
        "READY=1",
        "STATUS=capturing READY=0",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_an_abstract_socket_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0aishark test {os.getpid()}")
        listening.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": f"@aishark test {os.getpid()}"}).ready()
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere"}])
def test_where_nobody_listens_nothing_happens(environment: dict[str, str]) -> None:
    ServiceManager(environment).ready()


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdogs_time_is_the_one_meant_for_us(
    channel: socket.socket, environment: dict[str, str], seconds: float
) -> None:
    assert manager(channel, **environment).watchdog_s == seconds


class Agent:
    """An agent whose capture thread moves when it is told to."""

    def __init__(self) -> None:
        self.turns = 0

    def report(self) -> Report:
        return Report(state="capturing", hub=LinkReport(url="http://hub", connected=True))


def test_only_a_moving_capture_thread_feeds_the_watchdog(channel: socket.socket) -> None:
    now_s = 100.0
    agent = Agent()
    reporter = Reporter(
        "edge", "http://hub", folder=None, manager=manager(channel, WATCHDOG_USEC="9000000"), clock=lambda: now_s
    )
    reporter.beat(agent)
    agent.turns += 7
    reporter.beat(agent)
    assert heard(channel).count("WATCHDOG=1") == 2
    for _ in range(3):
        now_s += HUNG_S / 2
        reporter.beat(agent)
    said = heard(channel)
    assert "WATCHDOG=1" not in said
    why = f"The capture thread has not moved for {1.5 * HUNG_S:.0f} s."
    assert said[-1] == f"STATUS=hung: {why}; connected to http://hub"
    assert (reporter.status.agent.state, reporter.status.agent.hub.connected) == ("hung", True)
    agent.turns += 1
    reporter.beat(agent)
    assert heard(channel) == ["WATCHDOG=1", "STATUS=capturing; connected to http://hub"]
