"""The hub's routes: who gets in, what they get, and what hostile peers get."""

import asyncio
import contextlib
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub
from aishark_panel.errors import ExpressionError, NotAuthorizedError, NotFoundError
from aishark_panel.streams.routes import ROUTES
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, Heartbeat, encode_control
from aishark_panel.wire.protocol import AgentEnd
from tests.arrow import read_stream
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when
from tests.traffic import frames, hello
from tests.wire.test_columnbatch import made

HELLO = hello(agent="by hand", session="by hand")


@pytest.fixture(scope="module")
def session(hub: EmbeddedHub, capture_file: Path) -> str:
    """A session that holds the numbered capture file."""
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "file", "--name", "edge")
    return session_of(hub, "file")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [*(pattern for pattern, _ in ROUTES), "/", "/nowhere", "/static/x.js", "/favicon.ico"])
@pytest.mark.parametrize("token", ["", "wrong"])
def test_every_route_refuses_who_has_no_token(hub: EmbeddedHub, path: str, method: str, token: str) -> None:
    path = re.sub(r"\(.*?\)", "0123456789ab", path).replace("\\", "")
    status, body = call(hub, method, path, token=token)
    if (path, method, token) == ("/api/health", "GET", ""):
        assert (status, json.loads(body)) == (200, {"state": "alive"})
        return
    assert status == 401
    assert json.loads(body)["error"]["kind"] == "NotAuthorizedError"


def test_a_page_of_another_site_cannot_open_a_socket(hub: EmbeddedHub) -> None:
    async def open_socket() -> None:
        headers = {"Authorization": f"Bearer {hub.token}", "Origin": "http://evil.example"}
        await websocket_connect(HTTPRequest("ws" + hub.url[4:] + "/api/clients/ws", headers=headers))

    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(open_socket())


def test_a_client_with_a_wrong_token_is_told(hub: EmbeddedHub) -> None:
    with pytest.raises(NotAuthorizedError, match="token"):
        asyncio.run(HubClient(hub.url, "wrong").connect())


def test_sessions_are_started_read_and_deleted_over_rest(hub: EmbeddedHub) -> None:
    status, body = call(hub, "POST", "/api/stream/start", {"name": "over rest"})
    session = json.loads(body)["id"]
    assert (status, json.loads(body)["state"]) == (201, "waiting")
    assert call(hub, "POST", "/api/stream/start", {"id": session})[0] == 200
    assert json.loads(call(hub, "GET", f"/api/stream/{session}/stats")[1])["name"] == "over rest"
    assert session in [s["id"] for s in json.loads(call(hub, "GET", "/api/stream")[1])["sessions"]]
    assert call(hub, "DELETE", f"/api/stream/{session}")[0] == 204
    assert call(hub, "GET", f"/api/stream/{session}/stats")[0] == 404
    assert call(hub, "DELETE", f"/api/stream/{session}")[0] == 404


@pytest.mark.parametrize("body", [[1], {"name": 5}, {"id": 5}, {"name": "x" * 300}])
def test_a_body_that_makes_no_sense_is_refused(hub: EmbeddedHub, body: object) -> None:
    status, answer = call(hub, "POST", "/api/stream/start", body)
    assert status == 400
    assert json.loads(answer)["error"]["kind"] == "ConfigError"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/stream/start", {"name": "half \ud83e"}),
        ("/api/agents", {"name": "\udd88"}),
        ("/api/profiles", {"name": "\ud83e"}),
        ("/api/uploads", {"name": "\ud83e", "size": 1}),
        ("/api/tokens", {"person": "\ud83e"}),
        ("/api/agents/0123456789ab/start", {"session": "\ud83e"}),
    ],
)
def test_half_characters_are_refused_and_everybody_still_sees_the_sessions(
    hub: EmbeddedHub, path: str, body: object
) -> None:
    status, answer = call(hub, "POST", path, body)
    assert (status, json.loads(answer)["error"]["kind"]) == (400, "ConfigError")
    assert ask(hub, lambda c: c.sessions())


@pytest.mark.parametrize("name", ["lab 7", "\u682a \u00fc", 'a"\r\nX: y/../b'])
def test_an_export_is_called_like_its_session(hub: EmbeddedHub, name: str) -> None:
    session = json.loads(call(hub, "POST", "/api/stream/start", {"name": name})[1])["id"]
    request = urllib.request.Request(
        f"{hub.url}/api/stream/{session}/export?format=csv", headers={"Authorization": f"Bearer {hub.token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        message = Message()
        message["Content-Disposition"] = answer.headers["Content-Disposition"]
    assert call(hub, "DELETE", f"/api/stream/{session}")[0] == 204
    assert message.get_content_disposition() == "attachment"
    assert message.get_filename() == re.sub(r"\W", "-", name) + ".csv"


def test_errors_of_expressions_carry_their_place(hub: EmbeddedHub, session: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        ask(hub, lambda c: c.rows(session, 0, 10, where="src_port == 1 and src_prt == 2"))
    assert caught.value.position == 18
    status, body = call(hub, "GET", f"/api/stream/{session}/export?where=src_prt")
    assert (status, json.loads(body)["error"]["position"]) == (400, 0)


def test_an_exported_pcapng_is_what_tshark_reads(
    hub: EmbeddedHub, session: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    status, body = call(hub, "GET", f"/api/stream/{session}/export?format=pcapng")
    assert status == 200
    (tmp_path / "out.pcapng").write_bytes(body)
    fields = ["frame.time_epoch", "frame.len", "frame.interface_name", "udp.srcport", "data"]
    command = [require_tool("tshark"), "-n", "-r", str(tmp_path / "out.pcapng"), "-T", "fields"]
    text = subprocess.run(
        [*command, *(a for f in fields for a in ("-e", f))], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split("\t") for line in text.splitlines()]
    expected = frames(10_000)
    assert len(rows) == 10_000
    for i in range(0, 10_000, 501):
        seconds, nanoseconds = divmod(int(expected.ts[i]), 10**9)
        frame = expected.frame(i)
        assert rows[i] == [
            f"{seconds}.{nanoseconds:09d}",
            str(len(frame)),
            "edge/numbered.pcap",
            str(10_000 + i % 250),
            frame[42:].hex(),
        ]


def test_a_filtered_export_to_parquet_holds_the_matches(hub: EmbeddedHub, session: str) -> None:
    _, body = call(hub, "GET", f"/api/stream/{session}/export?format=parquet&where=src_port%3D%3D10006")
    table = pq.read_table(pa.BufferReader(body))
    assert table.num_rows == 40
    assert set(table.column("src_ip").to_pylist()) == {"10.0.0.7"}
    assert table.column("number").to_pylist() == list(range(7, 10_000, 250))


def test_a_ticket_opens_one_export_once(hub: EmbeddedHub, session: str) -> None:
    ticket = ask(hub, lambda c: c.export_ticket(session, "csv", "number <= 3"))
    assert ask(hub, lambda c: c.export_status(session, ticket))["state"] == "waiting"
    status, body = call(hub, "GET", f"/api/export/{ticket}", token="")
    assert status == 200
    assert len(body.decode().splitlines()) == 4
    told = ask(hub, lambda c: c.export_status(session, ticket))
    assert (told["state"], told["written"], told["missed"]) == ("done", 3, 0)
    assert (told["looked_at"], told["total"], told["bytes"]) == (10_000, 10_000, len(body))
    assert call(hub, "GET", f"/api/export/{ticket}", token="")[0] == 401


def test_an_export_that_is_cancelled_is_no_whole_file(hub: EmbeddedHub) -> None:
    session = json.loads(call(hub, "POST", "/api/stream/start", {"name": "goes on"})[1])["id"]

    async def cancelled(client: HubClient) -> dict[str, Any]:
        ticket = await client.export_ticket(session, "csv", follow=True)
        began = asyncio.Event()
        request = HTTPRequest(f"{hub.url}/api/export/{ticket}", streaming_callback=lambda _: began.set())
        answer = asyncio.ensure_future(AsyncHTTPClient().fetch(request))
        await asyncio.wait_for(began.wait(), 10)
        assert (await client.export_status(session, ticket))["state"] == "writing"
        await client.export_cancel(session, ticket)
        with pytest.raises(HTTPClientError):
            await asyncio.wait_for(answer, 10)
        return await client.export_status(session, ticket)

    told = ask(hub, cancelled)
    assert (told["state"], told["reason"]) == ("cancelled", "It was cancelled.")


def test_a_subscriber_gets_arrow_and_one_that_never_reads_harms_nobody(hub: EmbeddedHub, capture_file: Path) -> None:
    session = json.loads(call(hub, "POST", "/api/stream/start", {"name": "subscribed"})[1])["id"]

    async def run() -> int:
        headers = {"Authorization": f"Bearer {hub.token}"}
        url = "ws" + hub.url[4:] + f"/api/stream/{session}/ws?columns=number,src_ip&start=oldest"
        idle = await websocket_connect(HTTPRequest(url, headers=headers), max_message_size=10)
        reader = await websocket_connect(HTTPRequest(url, headers=headers))
        options = ["-r", str(capture_file), "--speed", "max", "--session", "subscribed"]
        agent = asyncio.create_task(asyncio.to_thread(run_agent, hub, *options))
        seen = 0
        while seen < 10_000:
            message = await asyncio.wait_for(reader.read_message(), 20)
            assert isinstance(message, bytes)
            seen += read_stream(message).num_rows
        assert (await agent).returncode == 0
        for socket in (idle, reader):
            socket.close()
            while await asyncio.wait_for(socket.read_message(), 10) is not None:
                pass  # what was under way when it was closed
        return seen

    assert asyncio.run(run()) == 10_000


async def hostile(hub: EmbeddedHub, *messages: str | bytes, greet: bool = True) -> tuple[int | None, str | None]:
    """Say these messages to the agents' socket; the close code and reason that come back."""
    request = HTTPRequest("ws" + hub.url[4:] + "/api/agents/ws", headers={"Authorization": f"Bearer {hub.token}"})
    socket = await websocket_connect(request)
    if greet:
        await socket.write_message(AgentEnd(HELLO).open())
        await socket.read_message()
    for message in messages:
        with contextlib.suppress(WebSocketClosedError):
            await socket.write_message(message, binary=isinstance(message, bytes))
    while await asyncio.wait_for(socket.read_message(), 10) is not None:
        pass
    socket.close()
    return socket.close_code, socket.close_reason


GOOD = Batch.pack(1, Frames.from_list([b"x" * 60], [1]), "none", {})


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b"junk"], "cut"),
        (["junk"], "not understood"),
        ([GOOD[:-9]], "disagree"),
        ([Batch.pack(2, Frames.from_list([b"x"], [1]), "none", {})], "came after"),
        ([Batch.pack(1, Frames.from_list([b"x"], [1], iface=9), "none", {})], "not declared"),
        ([GOOD[:-70] + b"\xff" * 70], "batch"),
        ([Batch.pack(1, made(2, layers=[1 << 60, 0]), "lz4", {})], "layers that are unknown"),
        ([Batch.pack(1, made(2, iface=[0, 9]), "none", {})], "not declared"),
        ([AgentEnd(HELLO).open()], "twice"),
    ],
)
def test_a_hostile_agent_is_closed_with_a_reason_and_others_go_on(
    hub: EmbeddedHub, session: str, messages: list[str | bytes], reason: str
) -> None:
    code, said = asyncio.run(hostile(hub, *messages))
    assert code == 1008
    assert reason in (said or "")
    assert ask(hub, lambda c: c.stats(session))["packets"] == 10_000


def test_an_agent_that_never_reads_what_it_is_answered_is_closed(hub: EmbeddedHub) -> None:
    async def run() -> None:
        request = HTTPRequest("ws" + hub.url[4:] + "/api/agents/ws", headers={"Authorization": f"Bearer {hub.token}"})
        socket = await websocket_connect(request)
        await socket.write_message(encode_control(hello(agent="deaf", session="deaf")))
        beat = encode_control(Heartbeat(sent_ns=10**4_000))
        with contextlib.suppress(WebSocketClosedError):
            for _ in range(20_000):
                await socket.write_message(beat)
        while await socket.read_message() is not None:
            pass
        socket.close()

    asyncio.run(run())
    reason = "1,000 messages were not read"
    stats_when(hub, session_of(hub, "deaf"), lambda s: s["agents"][0]["reason"] == reason, "the end of the agent")


def test_an_oversized_message_is_refused_before_it_is_read(hub: EmbeddedHub) -> None:
    code, _ = asyncio.run(hostile(hub, bytes(10 * 2**20)))
    assert code in (1009, None)


def test_asking_for_what_is_not_there(hub: EmbeddedHub, session: str) -> None:
    with pytest.raises(NotFoundError, match="packet 99,999"):
        ask(hub, lambda c: c.packet(session, 99_999))
    with pytest.raises(NotFoundError, match="no session"):
        ask(hub, lambda c: c.stats("nonsense"))


def test_clearing_a_session_is_counted(hub: EmbeddedHub, capture_file: Path) -> None:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "cleared")
    session = session_of(hub, "cleared")
    ask(hub, lambda c: c.clear(session))
    stats = stats_when(hub, session, lambda s: s["cleared"] == 10_000, "clear")
    assert (stats["first"], stats["end"], stats["packets"]) == (10_001, 10_001, 10_000)


def test_rollups_and_conversations_add_up(hub: EmbeddedHub, session: str) -> None:
    async def both(client: HubClient) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        return (await client.traffic(session, 1_000))[0], (await client.conversations(session, 1_000))[0]

    rollup, conversations = ask(hub, both)
    expected = frames(10_000)
    assert sum(rollup.column("packets").to_pylist()) == 10_000
    assert sum(rollup.column("bytes").to_pylist()) == expected.captured_bytes
    assert conversations.num_rows == 250
    assert sum(conversations.column("packets_ab").to_pylist()) == 10_000
