"""An agent as a service: what systemd and `aishark agent --status` are told of real agents, well and in trouble."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aishark_panel.agent.manager import ServiceManager
from aishark_panel.agent.reporter import Reporter
from aishark_panel.agent.runner import Agent, AgentConfig
from aishark_panel.agent.synthetic import SyntheticSource
from aishark_panel.embedded import EmbeddedHub
from aishark_panel.errors import ConflictError
from aishark_panel.wire.frames import Frames
from tests.agent.own_network import AS_ROOT, Outcome, case_names, run_cases
from tests.integration.conftest import ask, wait_for

Process = subprocess.Popen[str]
CASES = Path(__file__).with_name("status_cases.py")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(CASES, tmp_path_factory.mktemp("status"), AS_ROOT)


@pytest.mark.parametrize("case", case_names(CASES))
def test_the_status_of_a_live_agent(case: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case]
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of the notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def until(channel: socket.socket, wanted: str) -> list[str]:
    """What is said up to a message that begins so."""
    said: list[str] = []
    deadline_s = time.monotonic() + 30
    while not said or not said[-1].startswith(wanted):
        assert time.monotonic() < deadline_s, f"no {wanted!r} among {said}"
        said.append(channel.recv(4096).decode())
    return said


@contextlib.contextmanager
def agent(hub: str, key: str, folder: Path, *options: str, **environment: str) -> Iterator[Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub, "--synthetic", "--rate", "500", *options],
        env={**os.environ, "AISHARK_TOKEN": key, "AISHARK_AGENT__STATUS": str(folder), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status_of(folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "aishark_panel", "agent", "--status", "--status-dir", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr


def status_when(folder: Path, text: str) -> tuple[int, str]:
    """Exit status and output of `aishark agent --status` once it has that text."""

    def look() -> tuple[int, str] | None:
        found = status_of(folder)
        return found if text in found[1] else None

    return wait_for(look, f"status {text!r}")


def test_systemd_is_told_of_readiness_life_and_the_end(
    hub: EmbeddedHub, channel: socket.socket, tmp_path: Path
) -> None:
    told = {"NOTIFY_SOCKET": channel.getsockname(), "WATCHDOG_USEC": "2000000"}
    with agent(hub.url, hub.token, tmp_path, **told) as process:
        until(channel, "READY=1")
        until(channel, f"STATUS=capturing on synthetic; connected to {hub.url}")
        until(channel, "WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        until(channel, "STOPPING=1")
        assert process.wait(10) == 0


class Hanging(SyntheticSource):
    """A source that gives packets until it is told to hang."""

    def __init__(self) -> None:
        super().__init__(rate_pps=500)
        self.hang = threading.Event()
        self.go_on = threading.Event()

    def read(self, timeout_s: float) -> Frames | None:
        if self.hang.is_set():
            self.go_on.wait()
        return super().read(timeout_s)


def test_a_hung_capture_thread_is_not_taken_for_life(
    hub: EmbeddedHub, channel: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aishark_panel.agent.reporter.HUNG_S", 0.5)
    channel.setblocking(False)
    source = Hanging()
    manager = ServiceManager({"NOTIFY_SOCKET": channel.getsockname(), "WATCHDOG_USEC": "400000"})
    reporter = Reporter("hanging", hub.url, folder=tmp_path, manager=manager)

    async def until(check: Callable[[str], bool]) -> list[str]:
        said = []
        async with asyncio.timeout(30):
            while True:
                said.append((await asyncio.get_running_loop().sock_recv(channel, 4096)).decode())
                if check(said[-1]):
                    return said

    async def run() -> None:
        agent = Agent(AgentConfig(hub=hub.url, token=hub.token, name="hanging"), lambda scope: source)
        tasks = [asyncio.create_task(agent.run()), asyncio.create_task(reporter.follow(agent))]
        await until(lambda said: said == f"STATUS=capturing on synthetic; connected to {hub.url}")
        await until(lambda said: said == "WATCHDOG=1")
        source.hang.set()
        said = await until(lambda said: said.startswith("STATUS=hung: The capture thread has not moved"))
        assert said.count("WATCHDOG=1") <= 1  # of the turn that was under way
        assert "hanging: hung: The capture thread has not moved" in status_of(tmp_path)[1]
        source.go_on.set()
        await until(lambda said: said == "WATCHDOG=1")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_the_status_says_what_a_running_agent_does(hub: EmbeddedHub, tmp_path: Path) -> None:
    with agent(hub.url, hub.token, tmp_path, "--name", "edge", "--sampling", "5") as process:
        code, text = status_when(tmp_path, f"hub       {hub.url} connected")
        assert code == 0
        assert text.startswith("edge: capturing\n")
        assert "capture   synthetic" in text
        assert "one packet in 5" in text
        assert status_of(tmp_path, "--name", "other") == (
            2,
            "aishark: No agent 'other' has left a status here; is it running, as which user?\n",
        )
        run = next(a["id"] for a in ask(hub, lambda c: c.agents()) if a["name"] == "edge")
        with pytest.raises(ConflictError, match="cannot change its capture filter"):
            ask(hub, lambda c: c.agent_change(run, filter="udp"))
        status_when(tmp_path, "ago: This agent's source (synthetic) cannot change its capture filter")
        ask(hub, lambda c: c.agent_stop(run))
        assert status_when(tmp_path, "edge: paused: stopped by the user")[0] == 0
        process.terminate()
        assert process.wait(10) == 0
    assert status_of(tmp_path)[0] == 2


def test_the_status_of_an_agent_whose_key_was_revoked(hub: EmbeddedHub, tmp_path: Path) -> None:
    registered = ask(hub, lambda c: c.agent_register("revoked"))
    with agent(hub.url, registered["key"], tmp_path, "--name", "edge") as process:
        status_when(tmp_path, "edge: capturing")
        ask(hub, lambda c: c.agent_delete(registered["id"]))
        assert process.wait(10) == 2
    code, text = status_of(tmp_path)
    assert code == 1
    assert "the key of this agent was revoked" in text.splitlines()[0]
    with agent(hub.url, registered["key"], tmp_path, "--name", "edge") as process:
        assert process.wait(20) == 2
    assert "refused the token" in status_of(tmp_path)[1].splitlines()[0]


def test_the_status_of_an_agent_whose_hub_is_away(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with agent(address, "t", tmp_path, "--name", "edge", "--max-retries", "-1"):
            status_when(tmp_path, "edge: waiting: The hub has not asked for packets yet.\n")
            code, text = status_when(tmp_path, f"hub       {address} not connected: ")
            assert code == 1
            assert text.startswith("edge: waiting: The hub has not asked for packets yet.\n")


def test_the_status_of_an_agent_that_was_killed(hub: EmbeddedHub, tmp_path: Path) -> None:
    with agent(hub.url, hub.token, tmp_path, "--name", "edge") as process:
        status_when(tmp_path, "edge: capturing")
        process.kill()
        process.wait()
    path = tmp_path / "edge.json"
    text = path.read_text()
    written = int(text.partition('"written_ns":')[2].partition(",")[0])
    path.write_text(text.replace(str(written), str(written - 60 * 10**9)))
    code, text = status_of(tmp_path)
    assert code == 1
    assert text.startswith("edge: stale: nothing was written for ")
    assert text.splitlines()[0].endswith(f"process {process.pid} is gone")


def test_what_goes_wrong_before_the_start_is_in_the_status_and_the_log(tmp_path: Path) -> None:
    command = ["-i", "no such interface", "--name", "edge", "--log-format", "json", "--status-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "aishark_panel", "agent", *command],
        env={**os.environ, "AISHARK_TOKEN": "s3cret"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert '"level": "error"' in done.stderr
    assert "there is no interface" in done.stderr
    assert "s3cret" not in done.stderr
    assert "edge: ended" in status_of(tmp_path)[1]
