"""Agents with keys of their own, driven from afar: a real hub, real agents, and both restarted."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, ConflictError, HubError, NotAuthorizedError, NotFoundError
from aishark_panel.streams.routes import ROUTES
from aishark_panel.wire.messages import CaptureSettings, StartCapture, decode_hub_message
from aishark_panel.wire.protocol import AgentEnd
from tests.integration.conftest import ask, session_of, stats_when, wait_for, wait_until_ready
from tests.traffic import frames, hello

Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def hub(state: Path) -> Iterator[EmbeddedHub]:
    """A hub that keeps its state."""
    started = start_hub("--port", "0", "--ring-mib", "48", "--state", str(state))
    wait_until_ready(started)
    yield started
    started.close()


@contextlib.contextmanager
def agent(hub: EmbeddedHub, key: str, *options: str) -> Iterator[Process]:
    """A running agent that holds this key; synthetic unless told otherwise."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "aishark_panel",
            "agent",
            "--hub",
            hub.url,
            *(options or ("--synthetic", "--rate", "500")),
        ],
        env={**os.environ, "AISHARK_TOKEN": key},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def register(hub: EmbeddedHub, name: str) -> tuple[str, str]:
    """Id and key of a new agent."""
    registered = ask(hub, lambda c: c.agent_register(name))
    return registered["id"], registered["key"]


def line(hub: EmbeddedHub, agent_id: str) -> dict[str, Any] | None:
    return next((a for a in ask(hub, lambda c: c.agents()) if a["id"] == agent_id), None)


def when(hub: EmbeddedHub, agent_id: str, state: str, **more: object) -> dict[str, Any]:
    """The agent's line once it is in that state."""

    def look() -> dict[str, Any] | None:
        found = line(hub, agent_id)
        return found if found and found["state"] == state and more.items() <= found.items() else None

    return wait_for(look, f"agent {state} {more}")


def test_a_key_lets_its_agent_in_and_opens_nothing_else(hub: EmbeddedHub) -> None:
    agent_id, key = register(hub, "edge")
    assert key not in json.dumps(ask(hub, lambda c: c.agents()))
    assert line(hub, agent_id) | {"state": "offline", "registered": True} == line(hub, agent_id)  # type: ignore[operator]
    with agent(hub, key, "--synthetic", "--name", "somebody else", "--session", "keyed"):
        found = when(hub, agent_id, "capturing", name="edge", session_name="keyed")
        assert found["source"] == "synthetic"
        stats_when(hub, session_of(hub, "keyed"), lambda s: s["packets"] > 0, "packets")
    for pattern, _ in ROUTES:
        path = re.sub(r"\(.*?\)", "0123456789ab", pattern)
        if path == "/api/agents/ws":
            continue
        request = urllib.request.Request(hub.url + path, headers={"Authorization": f"Bearer {key}"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=10)
    with pytest.raises(NotAuthorizedError):
        asyncio.run(HubClient(hub.url, key).connect())


def test_a_deleted_agent_is_cut_off_and_does_not_come_back(hub: EmbeddedHub) -> None:
    agent_id, key = register(hub, "to go")
    with agent(hub, key) as process:
        when(hub, agent_id, "capturing")
        ask(hub, lambda c: c.agent_delete(agent_id))
        assert process.wait(10) == 2
        assert process.stderr is not None
        assert "the key of this agent was revoked" in process.stderr.read()
    with agent(hub, key) as process:
        assert process.wait(20) == 2
    assert line(hub, agent_id) is None
    with pytest.raises(NotFoundError):
        ask(hub, lambda c: c.agent_delete(agent_id))


def test_the_newest_holder_of_a_key_counts(hub: EmbeddedHub) -> None:
    agent_id, key = register(hub, "twice")
    with agent(hub, key) as first:
        when(hub, agent_id, "capturing")
        with agent(hub, key, "--synthetic", "--session", "second"):
            assert first.wait(20) == 2
            when(hub, agent_id, "capturing", session_name="second")


def test_a_stopped_agent_stays_stopped_whatever_is_restarted(state: Path) -> None:
    def started(*options: str) -> EmbeddedHub:
        return start_hub("--ring-mib", "48", "--state", str(state / "restarts"), *options)

    hub = started("--port", "0")
    agent_id, key = register(hub, "quiet")
    ask(hub, lambda c: c.profile_save("thin", sampling=10))
    with agent(hub, key):
        when(hub, agent_id, "capturing")
        assert ask(hub, lambda c: c.agent_stop(agent_id))["state"] == "stopped"
    with agent(hub, key):
        when(hub, agent_id, "stopped", reason="stopped by the user")
        hub.close()
        hub = started("--port", hub.url.rpartition(":")[2])
        when(hub, agent_id, "stopped", reason="stopped by the user")
        assert ask(hub, lambda c: c.agent_start(agent_id, profile="thin"))["state"] == "capturing"
    with agent(hub, key):
        # A new run of the agent is told its settings again.
        found = wait_for(
            lambda: (a := line(hub, agent_id)) and a["counters"].get("sampled_out") and a, "sampling by the new run"
        )
        assert found["settings"]["sampling"] == 10
        assert ask(hub, lambda c: c.agent_start(agent_id, profile="thin", sampling=2))["settings"]["sampling"] == 2
    hub.close()


def test_an_agent_goes_on_in_another_session_and_no_packet_is_lost_or_doubled(
    hub: EmbeddedHub, capture_file: Path
) -> None:
    agent_id, key = register(hub, "mover")

    def times(session: str) -> list[int]:
        table = ask(hub, lambda c: c.table(session, columns=["ts"]))
        return [int(t) for t in table.column("ts").cast("int64").to_pylist()]

    with agent(hub, key, "-r", str(capture_file), "--speed", "4", "--session", "before") as process:
        before = session_of(hub, "before")
        stats_when(hub, before, lambda s: s["packets"] > 1_000, "packets")
        assert ask(hub, lambda c: c.agent_start(agent_id, session="after"))["session_name"] == "after"
        assert process.wait(30) == 0
    after = session_of(hub, "after")
    stats_when(hub, after, lambda s: s["state"] == "ended", "end")
    seen, rest = times(before), times(after)
    assert len(seen) > 1_000
    assert len(rest) > 1_000
    assert seen + rest == frames(10_000).ts.tolist()


def test_an_agents_refusal_arrives_in_its_own_words_and_nothing_changes(hub: EmbeddedHub) -> None:
    agent_id, key = register(hub, "stubborn")
    with agent(hub, key):
        when(hub, agent_id, "capturing")
        with pytest.raises(ConflictError, match=r"Agent stubborn: .*source \(synthetic\) cannot change"):
            ask(hub, lambda c: c.agent_start(agent_id, filter="udp"))
        found = when(hub, agent_id, "capturing", reason="")
        assert found["settings"]["filter"] is None
    when(hub, agent_id, "offline")
    with pytest.raises(ConflictError, match="Agent stubborn is not connected"):
        ask(hub, lambda c: c.agent_stop(agent_id))
    with pytest.raises(NotFoundError, match="no agent '0123'"):
        ask(hub, lambda c: c.agent_start("0123"))
    with pytest.raises(NotFoundError, match="no profile 'unknown'"):
        ask(hub, lambda c: c.agent_start(agent_id, profile="unknown"))


def test_an_agent_that_leaves_instead_of_answering_is_said(hub: EmbeddedHub) -> None:
    run = "cd" * 16

    async def leave() -> None:
        request = HTTPRequest("ws" + hub.url[4:] + "/api/agents/ws", headers={"Authorization": f"Bearer {hub.token}"})
        socket = await websocket_connect(request)
        await socket.write_message(AgentEnd(hello(agent="by hand", run=run)).open())
        await socket.read_message()
        start = asyncio.create_task(HubClient(hub.url, hub.token).agent_start(run, snaplen=64))
        message = await socket.read_message()
        assert isinstance(message, str)
        order = decode_hub_message(message)
        assert isinstance(order, StartCapture)
        assert (order.snaplen, order.filter) == (64, None)
        socket.close()
        await start

    with pytest.raises(ConflictError, match="Agent by hand left"):
        asyncio.run(leave())
    assert line(hub, run) is None  # without a key it is told of only while it is connected


def test_starting_an_agent_starts_its_session_and_only_that_agent_was_stopped(hub: EmbeddedHub) -> None:
    one, key = register(hub, "one")
    two, other_key = register(hub, "two")
    with (
        agent(hub, key, "--synthetic", "--session", "pair"),
        agent(hub, other_key, "--synthetic", "--session", "pair"),
    ):
        when(hub, one, "capturing")
        when(hub, two, "capturing")
        session = session_of(hub, "pair")
        ask(hub, lambda c: c.agent_stop(two))
        assert when(hub, one, "capturing")
        ask(hub, lambda c: c.stop(session))
        when(hub, one, "stopped")
        ask(hub, lambda c: c.start(session))
        when(hub, one, "capturing")
        assert when(hub, two, "stopped")
        ask(hub, lambda c: c.stop(session))
        ask(hub, lambda c: c.agent_start(two))
        when(hub, one, "capturing")
        when(hub, two, "capturing")


def test_profiles_are_made_changed_and_forgotten(hub: EmbeddedHub) -> None:
    ask(hub, lambda c: c.profile_save("web & more/less", filter="tcp port 443", snaplen=128))
    ask(hub, lambda c: c.profile_save("web & more/less", filter="tcp port 80"))
    empty = dict.fromkeys(set(CaptureSettings.__struct_fields__) - {"filter"})
    assert {"name": "web & more/less", "filter": "tcp port 80", **empty} in ask(hub, lambda c: c.profiles())
    ask(hub, lambda c: c.profile_delete("web & more/less"))
    assert ask(hub, lambda c: c.profiles()) == []
    with pytest.raises(NotFoundError):
        ask(hub, lambda c: c.profile_delete("web & more/less"))


@pytest.mark.parametrize(
    "settings", [{"snaplen": 5}, {"sampling": 0}, {"filter": 7}, {"max_packets_per_second": -1}, {"colour": "red"}]
)
def test_settings_that_make_no_sense_are_refused(hub: EmbeddedHub, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ask(hub, lambda c: c.profile_save("bad", **settings))


def test_a_name_is_registered_once_and_is_a_name(hub: EmbeddedHub) -> None:
    register(hub, "unique")
    for name in ("unique", "", "x" * 201):
        with pytest.raises(ConfigError):
            register(hub, name)


def test_who_did_what_is_written_down(hub: EmbeddedHub) -> None:
    register(hub, "first of all")
    agent_id, _ = register(hub, "watched")
    session = session_of(hub, "live")
    ask(hub, lambda c: c.stop(session))
    ask(hub, lambda c: c.start(session))
    ticket = ask(hub, lambda c: c.export_ticket(session, "csv", "udp"))
    with urllib.request.urlopen(f"{hub.url}/api/export/{ticket}", timeout=20) as answer:
        answer.read()
    with contextlib.suppress(HubError):
        ask(hub, lambda c: c.agent_start(agent_id, filter="udp"))
    ask(hub, lambda c: c.agent_delete(agent_id))
    entries = ask(hub, lambda c: c.audit(7))
    assert [(e["who"], e["action"], e["subject"]) for e in reversed(entries)] == [
        ("token", "agent.register", agent_id),
        ("token", "session.stop", session),
        ("token", "session.start", session),
        ("token", "session.export_ticket", session),
        ("token", "session.export", session),
        ("token", "agent.start", agent_id),
        ("token", "agent.delete", agent_id),
    ]
    assert entries[2]["details"] == {"name": "live", "format": "csv", "where": "udp"}
    assert entries[1]["details"] == {"filter": "udp"}
    assert entries[0]["ts_ns"] > entries[6]["ts_ns"]
    older = ask(hub, lambda c: c.audit(1, before=entries[6]["number"]))
    assert [e["number"] for e in older] == [entries[6]["number"] - 1]
    with pytest.raises(ConfigError, match="limit"):
        ask(hub, lambda c: c.audit(-1))


def aishark(hub: EmbeddedHub, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url}
    run = [sys.executable, "-m", "aishark_panel", *command]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)


def test_keys_are_managed_from_the_command_line(hub: EmbeddedHub) -> None:
    made = aishark(hub, "agents", "register", "by command")
    assert made.returncode == 0
    agent_id = made.stderr.split(" is ")[1].split(";")[0]
    with agent(hub, made.stdout.strip()):
        when(hub, agent_id, "capturing")
        assert f"{agent_id}  by command  capturing  synthetic" in aishark(hub, "agents", "list").stdout
    assert aishark(hub, "agents", "delete", agent_id).returncode == 0
    again = aishark(hub, "agents", "delete", agent_id)
    assert (again.returncode, again.stderr) == (2, f"aishark: no registered agent '{agent_id}'\n")
