"""PacketStream over real sockets: order, bounds, and going on after the hub was away."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import aishark_panel as ais
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, ExpressionError, NotAuthorizedError, NotFoundError
from aishark_panel.notebook.capture import Capture, ChildAgent
from tests.integration.conftest import wait_for
from tests.notebook.conftest import PACKETS


def numbers(batches: list[pa.RecordBatch]) -> list[int]:
    return [number for batch in batches for number in batch.column("number").to_pylist()]


def test_follow_gives_every_packet_once_and_ends_with_the_capture(session: Capture) -> None:
    stream = session.follow(start="oldest")
    assert numbers(list(stream)) == list(range(1, PACKETS + 1))
    assert (stream.packet_count, stream.missed, stream.dropped) == (PACKETS, 0, 0)
    assert stream.reason == "ended"


def test_a_coroutine_follows_without_holding_up_its_loop(session: Capture) -> None:
    async def read() -> tuple[list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        beside = asyncio.create_task(tick())
        found = [number async for batch in session.follow(start="oldest") for number in batch["number"].to_pylist()]
        beside.cancel()
        return found, ticks

    found, ticks = asyncio.run(read())
    assert found == list(range(1, PACKETS + 1))
    assert ticks > 20


def test_a_coroutine_that_is_broken_off_loses_no_batch(capture_file: Path) -> None:
    async def read(stream: ais.PacketStream) -> int:
        found = 0
        while found < PACKETS:
            batches = aiter(stream)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    async for batch in batches:
                        found += batch.num_rows
        return found

    with ais.capture(file=capture_file, name="broken off") as played:
        assert asyncio.run(read(played.follow(start="oldest"))) == PACKETS


def test_a_coroutine_that_leaves_its_loop_stops_receiving(session: Capture) -> None:
    async def first(stream: ais.PacketStream) -> int:
        async for batch in stream:
            return int(batch.num_rows)
        return 0

    stream = session.follow(start="oldest")
    assert asyncio.run(first(stream)) > 0
    assert (stream.connected, stream.reason) == (False, "disconnected")


def test_a_loop_that_is_left_stops_and_another_goes_on_behind_it(session: Capture) -> None:
    stream = session.follow(start="oldest")
    found: list[int] = []
    for batch in stream:
        found += numbers([batch])
        break
    assert not stream.connected
    assert stream.reason == "disconnected"
    assert found + numbers(list(stream)) == list(range(1, PACKETS + 1))
    assert (stream.packet_count, stream.missed, stream.dropped) == (PACKETS, 0, 0)


def test_a_stream_that_was_connected_before_its_loop_goes_on_after_it(session: Capture) -> None:
    with session.follow(start="oldest") as stream:
        next(iter(stream))
        wait_for(lambda: stream.packet_count == PACKETS, "all packets")


def test_a_stream_is_disconnected_and_connected_at_once(session: Capture) -> None:
    stream = session.follow(start="oldest").connect()
    for _ in range(20):
        stream.disconnect()
        stream.connect()
    assert numbers(list(stream)) == list(range(1, PACKETS + 1))


def test_follow_calls_back_without_a_loop(session: Capture) -> None:
    heard: list[pa.RecordBatch] = []
    stream = session.follow(start="oldest", on_batch=heard.append)
    wait_for(lambda: stream.packet_count == PACKETS and len(numbers(heard)) == PACKETS, "all packets")
    stream.disconnect()
    assert numbers(heard) == list(range(1, PACKETS + 1))


def test_where_and_columns_choose(session: Capture) -> None:
    batches = list(session.follow(where="src_port == 10000", columns=["src_ip"], start="oldest"))
    assert batches[0].schema.names == ["number", "src_ip"]
    assert numbers(batches) == list(range(1, PACKETS, 250))


def test_a_callback_hears_batches_in_a_thread_of_its_own(session: Capture) -> None:
    heard: list[tuple[int, str]] = []
    done = threading.Event()

    def on_batch(batch: pa.RecordBatch) -> None:
        heard.append((batch.num_rows, threading.current_thread().name))
        if sum(rows for rows, _ in heard) == PACKETS:
            done.set()

    with ais.PacketStream(session.hub.url, session.hub.token, session.id, on_batch=on_batch, start="oldest") as stream:
        assert done.wait(30)
        assert stream.packet_count == PACKETS
        assert stream.connected
        assert f"connected to session {session.name}" in repr(stream)
    assert not stream.connected
    assert {name for _, name in heard}.isdisjoint({"aishark", "MainThread"})


def test_the_buffer_is_bounded_and_what_it_drops_is_counted(session: Capture) -> None:
    stream = session.follow(start="oldest", max_batches=1).connect()
    wait_for(lambda: stream.packet_count == PACKETS, "all packets")
    (last,) = list(stream)
    assert stream.dropped == PACKETS - last.num_rows > 0
    stream.clear()
    assert (stream.packet_count, stream.dropped) == (0, 0)


def test_a_callback_that_fails_ends_the_stream_with_its_error(
    session: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    def on_batch(batch: pa.RecordBatch) -> None:
        raise ZeroDivisionError("by me")

    stream = ais.PacketStream(session.hub.url, session.hub.token, session.id, on_batch=on_batch, start="oldest")
    with pytest.raises(ZeroDivisionError, match="by me"):
        list(stream)
    assert stream.reason == "by me"
    assert "a packet stream ended" in caplog.text
    stream.disconnect()


def test_what_is_asked_wrongly_is_said_at_once(session: Capture) -> None:
    url, token = session.hub.url, session.hub.token
    with pytest.raises(ExpressionError):
        ais.PacketStream(url, token, session.id, where="no such thing").connect()
    with pytest.raises(NotFoundError):
        ais.PacketStream(url, token, "nowhere").connect()
    with pytest.raises(NotAuthorizedError):
        ais.PacketStream(url, "wrong").connect()
    with pytest.raises(ConfigError, match="max_batches"):
        ais.PacketStream(url, token, max_batches=0)
    with pytest.raises(ConfigError, match="no column 'colour'"):
        ais.PacketStream(url, token, session.id, columns=["colour"]).connect()


@pytest.fixture
def hub() -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", "--ring-mib", "48")
    yield started
    started.close()


def test_it_goes_on_after_the_hub_was_restarted(hub: EmbeddedHub) -> None:
    agent = ChildAgent(hub, "lasting", ["--synthetic", "--rate", "500"])
    try:
        with ais.connect(hub.url, hub.token) as ours:
            wait_for(lambda: any(s.name == "lasting" and s.packet_count for s in ours.sessions()), "packets")
            watched = ours.session("lasting")
            with ais.PacketStream(hub.url, hub.token, "lasting", columns=["src_ip"]) as stream:
                wait_for(lambda: stream.packet_count > 0, "packets before")
                hub.close()
                wait_for(lambda: not stream.connected, "the loss")
                assert stream.reason.startswith(("The connection to the hub", "No hub answers"))
                again = start_hub("--port", hub.url.rpartition(":")[2], "--ring-mib", "48", token=hub.token)
                try:
                    stream.clear()
                    wait_for(lambda: stream.packet_count > 100, "packets after")
                    assert stream.connected
                    wait_for(lambda: bool(watched.hub._client.connected), "the connection of the handle")
                    assert watched.packet_count > 100  # a session handle finds its session again, by name
                    agent.close()
                finally:
                    again.close()
    finally:
        agent.close()
