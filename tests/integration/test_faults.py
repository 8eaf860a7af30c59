"""What goes wrong on the way: broken connections, bad batches, deleted sessions, killed processes."""

import asyncio
import functools
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, Hello, InterfaceInfo, Welcome
from aishark_panel.wire.protocol import AgentEnd
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for
from tests.ledgers import identities
from tests.traffic import frames, hello


async def connect(hub: EmbeddedHub, greeting: Hello) -> tuple[WebSocketClientConnection, Welcome]:
    """An agent made by hand, welcomed."""
    request = HTTPRequest("ws" + hub.url[4:] + "/api/agents/ws", headers={"Authorization": f"Bearer {hub.token}"})
    socket = await websocket_connect(request)
    end = AgentEnd(greeting)
    await socket.write_message(end.open())
    message = await socket.read_message()
    assert message is not None
    welcome = end.receive(message)
    assert isinstance(welcome, Welcome)
    return socket, welcome


def test_a_connection_lost_while_batches_wait_costs_nothing_and_doubles_nothing(hub: EmbeddedHub) -> None:
    batches = [Batch.pack(n + 1, frames(4_000, first=4_000 * n), "none", {}) for n in range(30)]
    greeting = hello(run="01" * 16, session="reconnected")

    async def run() -> None:
        sent = 0
        while sent < len(batches):
            socket, welcome = await connect(hub, greeting)
            sent = welcome.next_sequence - 1
            for packed in batches[sent : sent + 9]:
                await socket.write_message(packed, binary=True)
                sent += 1
            socket.close()  # while the hub still works on what it got
            while await socket.read_message() is not None:
                pass

    asyncio.run(run())
    session = session_of(hub, "reconnected")
    stats_when(hub, session, lambda s: s["packets"] >= 120_000, "all packets")
    for number in range(60_000, 120_001, 7_919):  # older ones were evicted
        packet = ask(hub, functools.partial(HubClient.packet, session=session, number=number))
        assert int.from_bytes(packet["frame"][42:50], "big") == number - 1
    assert ask(hub, lambda c: c.stats(session))["packets"] == 120_000


def test_after_a_bad_batch_nothing_of_that_run_is_taken(hub: EmbeddedHub) -> None:
    bad = Batch.pack(2, Frames.from_list([b"x" * 60], [1], iface=9), "none", {})
    good = [Batch.pack(n, frames(10), "none", {}) for n in (1, 3, 4, 5)]

    async def run() -> None:
        socket, _ = await connect(hub, hello(run="02" * 16, session="bad batch"))
        for packed in (good[0], bad, *good[1:]):
            try:
                await socket.write_message(packed, binary=True)
            except WebSocketClosedError:
                break
        while await socket.read_message() is not None:
            pass
        socket.close()

    asyncio.run(run())
    session = session_of(hub, "bad batch")
    stats = ask(hub, lambda c: c.stats(session))
    assert stats["packets"] == 10
    assert stats["agents"][0]["rejected_batches"] >= 1


def test_batches_that_wait_when_an_agent_talks_nonsense_are_counted_once(hub: EmbeddedHub) -> None:
    batches = [Batch.pack(n + 1, frames(4_000, first=4_000 * n), "none", {}) for n in range(20)]

    async def run() -> None:
        for last in ("nonsense", batches[-1]):
            socket, welcome = await connect(hub, hello(run="03" * 16, session="nonsense"))
            for packed in batches[welcome.next_sequence - 1 : -1]:
                await socket.write_message(packed, binary=True)
            await socket.write_message(last, binary=isinstance(last, bytes))
            if last != "nonsense":
                socket.close()
            while await socket.read_message() is not None:
                pass
            socket.close()

    asyncio.run(run())
    session = session_of(hub, "nonsense")
    stats_when(hub, session, lambda s: s["packets"] == 80_000, "all packets")
    status, answer = call(hub, "GET", f"/api/stream/{session}/ledger")
    assert status == 200
    assert identities(json.loads(answer)) == []


def test_agents_of_a_deleted_session_come_back_idle(hub: EmbeddedHub, capture_file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "-r", str(capture_file), "--speed", "0.5"]
        + ["--session", "doomed", "--name", "survivor"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    try:
        session = session_of(hub, "doomed")
        stats_when(hub, session, lambda s: s["packets"] > 10, "first packets")
        assert call(hub, "DELETE", f"/api/stream/{session}")[0] == 204

        def idle() -> bool:
            agents = json.loads(call(hub, "GET", "/api/agents")[1])["agents"]
            mine = [a for a in agents if a["name"] == "survivor"]
            return bool(mine) and mine[0]["state"] == "stopped" and mine[0]["session_name"] != "doomed"

        wait_for(idle, "the agent, idle in the default session")
        assert session not in [s["id"] for s in ask(hub, lambda c: c.sessions())]
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_following_export_ends_with_its_session(hub: EmbeddedHub, capture_file: Path) -> None:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "followed")
    session = session_of(hub, "followed")
    call(hub, "POST", "/api/stream/start", {"name": "quiet"})
    quiet = session_of(hub, "quiet")
    request = urllib.request.Request(
        f"{hub.url}/api/stream/{quiet}/export?follow=1", headers={"Authorization": f"Bearer {hub.token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.read(4) == b"\x0a\x0d\x0d\x0a"  # the file begins before the first packet
        threading.Timer(0.5, call, [hub, "DELETE", f"/api/stream/{quiet}"]).start()
        answer.read()
    assert ask(hub, lambda c: c.stats(session))["packets"] == 10_000


def test_an_export_that_fails_on_its_way_does_not_look_whole(hub: EmbeddedHub) -> None:
    interfaces = tuple(InterfaceInfo(name=f"if{k}", link_type=t) for k, t in enumerate((1, 101)))
    greeting = Hello(**{name: getattr(hello(), name) for name in Hello.__struct_fields__} | {
        "run": "04" * 16, "session": "two link types", "interfaces": interfaces,
    })  # fmt: skip
    raw = Frames.from_list([bytes(40)] * 10, list(range(10)), iface=1)

    async def run() -> None:
        socket, _ = await connect(hub, greeting)
        await socket.write_message(Batch.pack(1, frames(20_000, size=0), "none", {}), binary=True)
        await socket.write_message(Batch.pack(2, raw, "none", {}), binary=True)
        await socket.read_message()
        socket.close()
        while await socket.read_message() is not None:
            pass

    asyncio.run(run())
    session = session_of(hub, "two link types")
    stats_when(hub, session, lambda s: s["packets"] == 20_010, "all packets")
    request = urllib.request.Request(
        f"{hub.url}/api/stream/{session}/export?format=pcap", headers={"Authorization": f"Bearer {hub.token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer, pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_a_dashboard_whose_hub_is_killed_says_so_and_ends() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "demo", "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(re.search(r"http://\S+", line) for line in process.stdout)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    hub = next(int(p) for p in children if b"hub" in Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0"))
    os.kill(hub, signal.SIGKILL)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "the hub was killed by signal 9" in said
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "end of the agent", 10)
