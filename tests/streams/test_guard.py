"""Sockets of a hub in this process: who is counted, and how often."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.websocket import WebSocketClientConnection, websocket_connect

from aishark_panel.streams import subscription_routes
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.people import CAPABILITIES
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.routes import make_application


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Hub, str]]:
    """A hub and its address; it does not begin any work by itself."""
    hub = Hub("token", ring_bytes=MIN_LIMIT_BYTES, recordings=folder / "recordings")
    listening, port = bind_unused_port()
    server = HTTPServer(make_application(hub))
    server.add_socket(listening)
    try:
        yield hub, f"ws://127.0.0.1:{port}"
    finally:
        server.stop()
        await server.close_all_connections()
        await hub.close()


async def dial(url: str, token: str) -> WebSocketClientConnection:
    return await websocket_connect(HTTPRequest(url, headers={"Authorization": f"Bearer {token}"}))


async def until_closed(socket: WebSocketClientConnection) -> None:
    while await socket.read_message() is not None:
        pass
    socket.close()


def test_subscribers_are_counted_before_anything_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_routes, "MAX_SUBSCRIBERS", 2)
    go_on = threading.Event()

    async def story() -> None:
        async with served(tmp_path) as (hub, url):
            session = hub.sessions.create("1", "")
            busy = [hub.query_pool.submit(go_on.wait, 20) for _ in range(2)]  # expressions wait to be compiled
            sockets = [await dial(f"{url}/api/stream/{session.id}/ws", "token") for _ in range(3)]
            await until_closed(sockets[2])
            assert sockets[2].close_reason == "a session has at most 2 subscribers; try again later"
            go_on.set()
            for socket in sockets[:2]:
                socket.close()
                await until_closed(socket)
            assert all(each.result() for each in busy)
            another = await dial(f"{url}/api/stream/{session.id}/ws", "token")
            assert session.feeds.seats == 1
            another.close()
            await until_closed(another)

    asyncio.run(asyncio.wait_for(story(), 30))


def test_a_socket_that_goes_on_talking_is_refused_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, url):
            session = hub.sessions.create("1", "")
            socket = await dial(f"{url}/api/stream/{session.id}/ws", "token")
            for _ in range(3):
                await socket.write_message("a word too many")
            await until_closed(socket)
            assert socket.close_reason == "a subscription takes no messages"
            assert hub.refusals == {"subscriber": 1}

    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.mark.parametrize("path", ["/api/clients/ws", "/api/agents/ws"])
def test_what_is_open_ends_with_its_token(tmp_path: Path, path: str) -> None:
    async def story() -> None:
        async with served(tmp_path) as (hub, url):
            issued, token = hub.people.issue("ann", CAPABILITIES, time.time(), 60)
            socket = await dial(url + path, token)
            hub.people.revoke(issued.id, time.time())
            for _ in range(3):  # a few seconds in which the peer does not answer
                hub.admission.check()
            await until_closed(socket)
            assert hub.refusals.total() == 1
            assert socket.close_reason == "the token has expired or was revoked"

    asyncio.run(asyncio.wait_for(story(), 30))
