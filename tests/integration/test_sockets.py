"""Clients' WebSockets on a real hub: subscriptions that add up, and bounds that one client cannot pass."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from aishark_panel.client import HubClient, Missed
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import HubError
from aishark_panel.streams.places import MAX_SUBSCRIBERS_EACH
from aishark_panel.wire.messages import Request, decode_reply, encode_control
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.arrow import read_stream
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when
from tests.traffic import frames

PACKETS = 30_000
HASTY_PER_S = 20


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30,000 numbered packets of a kilobyte: more than all buffers between hub and client hold."""
    path = tmp_path_factory.mktemp("captures") / "large.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(PACKETS, size=1_000)))
    return path


async def dial(hub: EmbeddedHub, path: str, token: str | None = None) -> WebSocketClientConnection:
    headers = {"Authorization": f"Bearer {token or hub.token}"}
    return await websocket_connect(HTTPRequest(f"ws{hub.url[4:]}{path}", headers=headers), max_message_size=2**26)


@asynccontextmanager
async def subscribed(hub: EmbeddedHub, session: str, query: str) -> AsyncIterator[WebSocketClientConnection]:
    socket = await dial(hub, f"/api/stream/{session}/ws?{query}")
    yield socket
    socket.close()
    while await socket.read_message() is not None:
        pass  # what was under way


async def read_until(socket: WebSocketClientConnection, number: int) -> tuple[list[int], list[dict[str, Any]]]:
    """Numbers of the packets that come, up to that one, and notices."""
    numbers: list[int] = []
    notices = []
    async with asyncio.timeout(30):
        while not numbers or numbers[-1] < number:
            message = await socket.read_message()
            assert message is not None, socket.close_reason
            if isinstance(message, str):
                notices.append(json.loads(message))
            else:
                numbers += read_stream(message).column("number").to_pylist()
    return numbers, notices


def new_session(hub: EmbeddedHub, name: str) -> str:
    return str(json.loads(call(hub, "POST", "/api/stream/start", {"name": name})[1])["id"])


def test_a_slow_subscriber_is_told_what_it_missed_and_fills_the_gap_and_it_adds_up(
    hub: EmbeddedHub, large_file: Path, capture_file: Path
) -> None:
    session = new_session(hub, "slow")

    async def run() -> None:
        async with subscribed(hub, session, "columns=number,frame") as slow, subscribed(hub, session, "") as quick:
            await asyncio.to_thread(
                stats_when, hub, session, lambda s: s["subscriptions"]["open"] == 2, "two subscribers"
            )
            reading = asyncio.create_task(read_until(quick, PACKETS))
            options = ["-r", str(large_file), "--speed", "max", "--session", "slow"]
            assert (await asyncio.to_thread(run_agent, hub, *options)).returncode == 0
            assert await reading == (list(range(1, PACKETS + 1)), [])
            reading = asyncio.create_task(read_until(quick, PACKETS + 10_000))
            late = asyncio.create_task(read_until(slow, PACKETS + 10_000))
            options[1] = str(capture_file)
            assert (await asyncio.to_thread(run_agent, hub, *options)).returncode == 0
            assert (await reading)[0][0] == PACKETS + 1
            numbers, notices = await late
        assert notices
        missing = [n for notice in notices for n in range(notice["first"], notice["next"])]
        assert sorted([*numbers, *missing]) == list(range(1, PACKETS + 10_001))
        assert [notice["evicted"] for notice in notices] == [0] * len(notices)
        stats = await asyncio.to_thread(
            stats_when, hub, session, lambda s: s["subscriptions"]["open"] == 0, "nobody subscribed"
        )
        assert stats["subscriptions"] == {
            "open": 0,
            "offered": 2 * (PACKETS + 10_000),
            "delivered": 2 * (PACKETS + 10_000) - len(missing),
            "queued": 0,
            "missed": len(missing),
        }
        assert stats["lost"] == 0
        again: list[int] = []
        async with HubClient(hub.url, hub.token) as client:
            for notice in notices:
                wanted = client.subscribe(session, "", ["number"], str(notice["first"]), end=notice["next"])
                async for batch in wanted:
                    assert not isinstance(batch, Missed)
                    again += batch.column("number").to_pylist()
        assert again == missing

    asyncio.run(run())


def test_json_lines_come_as_binary_messages(hub: EmbeddedHub, capture_file: Path) -> None:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "as json")
    session = session_of(hub, "as json")

    async def run() -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = []
        query = "format=json&columns=number,src_port&where=src_port==10006&start=oldest&end=1001"
        socket = await dial(hub, f"/api/stream/{session}/ws?{query}")
        while (message := await socket.read_message()) is not None:
            assert isinstance(message, bytes)
            lines += map(json.loads, message.splitlines())
        socket.close()
        assert (socket.close_code, socket.close_reason) == (1000, "the end was reached")
        return lines

    assert asyncio.run(run()) == [{"number": n, "src_port": 10_006} for n in (7, 257, 507, 757)]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("columns=nothing", "no column 'nothing'"),
        ("start=-5", "start is now, oldest or a packet number"),
        ("end=x", "end is a packet number"),
        ("where=src_prt", "src_prt"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_closed_with_the_reason(
    hub: EmbeddedHub, query: str, reason: str
) -> None:
    session = new_session(hub, "senseless")

    async def run() -> tuple[int | None, str]:
        socket = await dial(hub, f"/api/stream/{session}/ws?{query}")
        assert await socket.read_message() is None
        socket.close()
        return socket.close_code, socket.close_reason or ""

    code, said = asyncio.run(run())
    assert code == 1008
    assert reason in said
    assert call(hub, "DELETE", f"/api/stream/{session}")[0] == 204


def test_one_person_has_so_many_subscribers_and_others_still_get_in(hub: EmbeddedHub) -> None:
    issued = ask(hub, lambda c: c.token_issue("many", ["view", "capture"], 600))
    many = EmbeddedHub(hub.url, issued["token"], hub.process)
    session = new_session(many, "crowded")

    async def run() -> None:
        path = f"/api/stream/{session}/ws"
        sockets = [await dial(many, path) for _ in range(MAX_SUBSCRIBERS_EACH)]
        one_more = await dial(many, path)
        assert await one_more.read_message() is None
        assert one_more.close_reason == f"many has {MAX_SUBSCRIBERS_EACH} subscribers at once, the most of one person"
        one_more.close()
        async with subscribed(hub, session, ""):
            pass
        leaving = sockets.pop()
        leaving.close()
        await leaving.read_message()
        await asyncio.to_thread(
            stats_when, hub, session, lambda s: s["subscriptions"]["open"] < MAX_SUBSCRIBERS_EACH, "room"
        )
        async with HubClient(many.url, many.token) as client:
            assert [batch async for batch in client.subscribe(session, start="oldest", end=1)] == []
        for socket in sockets:
            socket.close()
            await socket.read_message()

    asyncio.run(run())


@pytest.fixture
def hasty_hub() -> Iterator[EmbeddedHub]:
    """A hub that answers 20 requests of a key, and of a socket, a second."""
    started = start_hub("--port", "0", "--ring-mib", "48", "--max-requests-per-second", str(HASTY_PER_S))
    yield started
    started.close()


def test_who_asks_too_fast_is_answered_later_and_others_are_not(hasty_hub: EmbeddedHub) -> None:
    async def run() -> tuple[float, float]:
        hasty, calm = await dial(hasty_hub, "/api/clients/ws"), await dial(hasty_hub, "/api/clients/ws")
        started_s = time.monotonic()
        for i in range(4 * HASTY_PER_S):
            await hasty.write_message(encode_control(Request(id=i, method="sessions")))
        await calm.write_message(encode_control(Request(id=1, method="sessions")))
        await calm.read_message()
        calm_s = time.monotonic() - started_s
        for i in range(4 * HASTY_PER_S):
            message = await hasty.read_message()
            assert isinstance(message, bytes)
            assert decode_reply(message)[0].id == i
        hasty_s = time.monotonic() - started_s
        for socket in (hasty, calm):
            socket.close()
            await socket.read_message()
        return calm_s, hasty_s

    calm_s, hasty_s = asyncio.run(run())
    assert hasty_s > 1.8  # half of them pass at once, the others take two seconds
    assert calm_s < hasty_s / 2


def test_a_refusal_says_why(hub: EmbeddedHub) -> None:
    async def run(client: HubClient) -> None:
        await anext(client.subscribe("0123456789ab"))

    with pytest.raises(HubError, match="no session"):
        ask(hub, run)
