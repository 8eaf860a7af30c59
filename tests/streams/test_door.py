"""The door: strangers are few and brief, and who shows a token is no stranger."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tornado.testing import bind_unused_port

from aishark_panel.errors import TooManyRequestsError
from aishark_panel.streams import door
from aishark_panel.streams.bodies import MAX_BODY_BYTES
from aishark_panel.streams.door import Door, HubServer
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.people import OWNER
from aishark_panel.streams.places import Places
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.routes import make_application


@contextlib.asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Hub, int]]:
    """A hub's real server within this process, so that its limits can be small."""
    hub = Hub("token", ring_bytes=MIN_LIMIT_BYTES, recordings=folder / "recordings")
    server = HubServer.open_at(hub.door, make_application(hub), tls=None, max_body_bytes=MAX_BODY_BYTES)
    socket, port = bind_unused_port()
    server.add_socket(socket)
    async with asyncio.timeout(20):
        yield hub, port
    server.stop()
    await server.close_all_connections()
    await hub.close()


ASKED = b"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token\r\n\r\n"


async def dial(port: int, said: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    return reader, writer


def test_strangers_are_so_many_and_those_with_a_token_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_STRANGERS_EACH", 3)

    async def run() -> None:
        async with listening(tmp_path) as (hub, port):
            known = []
            for _ in range(5):
                reader, writer = await dial(port, ASKED)
                assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
                known.append(writer)
            strangers = [await dial(port, b"GET /") for _ in range(3)]
            reader, turned_away = await dial(port, ASKED)
            assert await reader.read() == b""
            assert hub.door.turned_away == 1
            strangers[0][1].close()
            while hub.door.strangers > 2:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            reader, writer = await dial(port, ASKED)
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            for each in (*known, *(w for _, w in strangers), turned_away, writer):
                each.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /api/stream HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST /api/stream/start HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
        b"PATCH /api/uploads/ab HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
    ],
)
def test_who_says_nothing_more_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(door, "HEAD_S", 0.2)
    monkeypatch.setattr(door, "BODY_S", 0.2)

    async def run() -> None:
        async with listening(tmp_path) as (hub, port):
            reader, writer = await dial(port, said)
            await reader.read()  # an answer perhaps, and the end
            while hub.door.strangers:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            writer.close()

    asyncio.run(run())


def test_one_address_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_STRANGERS_EACH", 2)
    monkeypatch.setattr(door, "MAX_STRANGERS", 3)
    entrance = Door()
    assert [entrance.enter(i, "10.0.0.1") for i in range(3)] == [True, True, False]
    assert [entrance.enter(i, "10.0.0.2") for i in range(10, 12)] == [True, False]
    entrance.leave(0)
    entrance.leave(0)
    assert entrance.enter(11, "10.0.0.2")
    assert entrance.turned_away == 2


def test_places_are_bounded_for_each_and_in_all() -> None:
    places = Places("things", total=4, each=2)
    for name in ("ann", "ann", OWNER.name):
        places.take(name)
    with pytest.raises(TooManyRequestsError, match="ann has 2 things at once"):
        places.take("ann")
    places.take(OWNER.name)
    with pytest.raises(TooManyRequestsError, match="takes 4 things at once"):
        places.take("bob")
    places.leave("ann")
    places.take("bob")
    assert places.taken == 4
