"""Peers of other versions at a real hub: refused in words on both sides, counted, and not in a hurry to come again."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketHandler, websocket_connect

from aishark_panel.embedded import EmbeddedHub
from aishark_panel.errors import HubError
from aishark_panel.wire.messages import PROTOCOL_VERSION, Welcome, encode_control
from tests.integration.conftest import ask, call
from tests.traffic import hello

OTHERS = pytest.mark.parametrize(
    ("spoken", "older"), [(PROTOCOL_VERSION - 1, "agent"), (PROTOCOL_VERSION + 1, "hub")], ids=["older", "newer"]
)


def refusals(hub: EmbeddedHub, peer: str) -> int:
    """As the hub's metrics tell them."""
    lines = call(hub, "GET", "/metrics")[1].decode().splitlines()
    return next((int(line.split()[-1]) for line in lines if f'aishark_hub_refusals_total{{peer="{peer}"}}' in line), 0)


@OTHERS
def test_an_agent_of_another_version_is_refused_and_counted(hub: EmbeddedHub, spoken: int, older: str) -> None:
    before = refusals(hub, "agent")

    async def come() -> tuple[int | None, str | None]:
        headers = {"Authorization": f"Bearer {hub.token}"}
        socket = await websocket_connect(HTTPRequest(f"ws{hub.url[4:]}/api/agents/ws", headers=headers))
        await socket.write_message(encode_control(hello(protocol=spoken)))
        async with asyncio.timeout(10):
            assert await socket.read_message() is None
        socket.close()
        return socket.close_code, socket.close_reason

    said = f"agent speaks protocol {spoken}, this hub {PROTOCOL_VERSION}; update the {older}"
    assert asyncio.run(come()) == (1008, said)
    assert refusals(hub, "agent") == before + 1


@OTHERS
def test_a_client_of_another_version_is_refused_and_counted(
    hub: EmbeddedHub, spoken: int, older: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = refusals(hub, "client")
    monkeypatch.setattr("aishark_panel.transport.PROTOCOL_VERSION", spoken)
    older = "client" if older == "agent" else "hub"
    with pytest.raises(
        HubError, match=f"client speaks protocol {spoken}, this hub {PROTOCOL_VERSION}; update the {older}"
    ):
        ask(hub, lambda client: client.sessions())
    assert refusals(hub, "client") == before + 1


def test_a_script_need_not_say_which_version_it_speaks(hub: EmbeddedHub) -> None:
    async def come() -> None:
        headers = {"Authorization": f"Bearer {hub.token}"}
        socket = await websocket_connect(HTTPRequest(f"ws{hub.url[4:]}/api/clients/ws", headers=headers))
        socket.close()
        assert await socket.read_message() is None

    asyncio.run(come())


class OtherHub:
    """A hub of another version: it welcomes each agent so, and notes who came when."""

    def __init__(self) -> None:
        self.version = PROTOCOL_VERSION + 1
        self.came: asyncio.Queue[tuple[float, WebSocketHandler]] = asyncio.Queue()
        other = self

        class Agents(WebSocketHandler):
            def on_message(self, message: str | bytes) -> None:
                if '"hello"' in str(message):
                    other.came.put_nowait((time.monotonic(), self))
                    welcome = Welcome(protocol=other.version, session="s", next_sequence=1, window_bytes=2**20)
                    self.write_message(encode_control(welcome))

        self.socket, self.port = bind_unused_port()
        self.server = HTTPServer(Application([("/api/agents/ws", Agents)]))
        self.server.add_socket(self.socket)


def agent(port: int, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--synthetic", "--hub", f"http://127.0.0.1:{port}"],
        env={**os.environ, "AISHARK_TOKEN": "t", **variables},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_agent_tells_of_a_hub_of_another_version_and_ends() -> None:
    async def run() -> tuple[int, str, int]:
        hub = OtherHub()
        process = agent(hub.port)
        _, said = await asyncio.wait_for(asyncio.to_thread(process.communicate), 60)
        hub.server.stop()
        return process.returncode, said, hub.came.qsize()

    status, said, times = asyncio.run(run())
    assert (status, times) == (2, 1)
    assert f"hub speaks protocol {PROTOCOL_VERSION + 1}, this agent {PROTOCOL_VERSION}; update the agent" in said


def test_an_agent_that_keeps_what_it_captures_waits_for_the_hub_to_be_put_back(tmp_path: Path) -> None:
    """It was welcome before the hub was updated."""

    async def run() -> list[float]:
        hub = OtherHub()
        hub.version = PROTOCOL_VERSION
        process = agent(
            hub.port, AISHARK_PERFORMANCE__SPOOL=str(tmp_path / "spool"), AISHARK_SERVER__RECONNECT_MAX="2s"
        )
        try:
            async with asyncio.timeout(60):
                _, welcome = await hub.came.get()
                hub.version = PROTOCOL_VERSION + 1
                welcome.close()
                came = [(await hub.came.get())[0] for _ in range(3)]
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()
            hub.server.stop()
        return came

    came = asyncio.run(run())
    assert min(later - earlier for earlier, later in itertools.pairwise(came)) >= 0.9
