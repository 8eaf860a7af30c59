"""Hostile agents on a real hub, one trick each: closed with the reason, counted, and others never notice."""

import asyncio
import contextlib
import struct
from collections.abc import Iterator

import pyarrow as pa
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, encode_control
from aishark_panel.wire.schema import FRAMES
from tests.integration.conftest import session_of, stats_when, wait_until_ready
from tests.traffic import frames, hello
from tests.wire.test_columnbatch import made

GOOD = Batch.pack(1, frames(3), "none", {"captured": 3})


@pytest.fixture(scope="module")
def hub() -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", "--ring-mib", "48")
    wait_until_ready(started)
    yield started
    started.close()


def envelope(message: bytes, rows: int = 3, codec: int = 0, raw_bytes: int | None = None, kind: int = 1) -> bytes:
    """A batch of whatever bytes; the layout is that of docs/protocol.md."""
    raw = len(message) if raw_bytes is None else raw_bytes
    return struct.pack("<BBHIIIQ", kind, codec, 8, rows, raw, len(message), 1) + b"{}      " + message


def with_offsets(*offsets: int) -> bytes:
    """Three frames whose offsets are these."""
    content = frames(3)
    wrong = struct.pack("<4i", *offsets)
    good = content.offsets.astype("<i4").tobytes()
    message = bytes(content.to_message())
    assert message.count(good) == 1
    return envelope(message.replace(good, wrong))


def arrow(batch: pa.RecordBatch, compression: str | None = None) -> bytes:
    """A record batch's own message, as Arrow writes it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()
    return bytes(reader.read_next_message().serialize())


def as_dictionaries() -> bytes:
    """A stream that brings dictionaries along, and refers to them."""
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_arrays([pa.array(["a", "b", "a"]).dictionary_encode()], names=["frame"])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


BOMB = pa.Codec("zstd").compress(bytes(512 * 2**20)).to_pybytes()
"""Half a gigabyte of zeros in some kilobytes."""

TRICKS: dict[str, tuple[str | bytes, str]] = {
    "garbage": (b"\x07" * 64, "is unknown"),
    "text where binary is due": (GOOD.decode("latin1"), "not understood"),
    "another schema": (envelope(arrow(pa.RecordBatch.from_pydict({"x": [1, 2, 3]}))), "not a FRAMES record batch"),
    "a schema": (envelope(bytes(FRAMES.serialize())), "not an Arrow record-batch"),
    "cut": (GOOD[:-9], "disagree"),
    "cut inside": (envelope(bytes(frames(3).to_message())[:-40]), "not a FRAMES record batch"),
    "negative offsets": (with_offsets(-70, 70, 140, 210), "not a FRAMES record batch"),
    "overlapping offsets": (with_offsets(0, 140, 70, 210), "not a FRAMES record batch"),
    "offsets beyond the end": (with_offsets(0, 70, 140, 2**30), "not a FRAMES record batch"),
    "dictionaries": (envelope(as_dictionaries()), "not an Arrow record-batch"),
    "compression of Arrow's own": (envelope(arrow(frames(3).to_arrow(), "zstd")), "declares Arrow IPC compression"),
    "a bomb": (envelope(BOMB, codec=2, raw_bytes=8 * 2**20), "declared 8,388,608"),
    "a bomb that says so": (envelope(BOMB, codec=2, raw_bytes=512 * 2**20), "is above"),
    "too many rows": (envelope(b"", rows=70_000), "is above"),
    "other rows than it says": (envelope(bytes(frames(3).to_message()), rows=2), "holds 3 rows, declared 2"),
    "a wrong number": (Batch.pack(7, frames(3), "none", {}), "came after"),
    "an interface that is not there": (Batch.pack(1, Frames.from_list([b"x"], [1], iface=5), "none", {}), "declared"),
    "columns with wrong layers": (Batch.pack(1, made(2, layers=[1 << 60, 0]), "none", {}), "layers that are unknown"),
    "columns with an interface": (Batch.pack(1, made(2, iface=[0, 9]), "none", {}), "not declared"),
    "frames that say they are columns": (envelope(bytes(frames(3).to_message()), kind=2), "column batch"),
}


async def play(hub: EmbeddedHub, run: str, *messages: str | bytes) -> tuple[int | None, str | None]:
    """Greet, say these, and hear how it ends."""
    request = HTTPRequest("ws" + hub.url[4:] + "/api/agents/ws", headers={"Authorization": f"Bearer {hub.token}"})
    socket = await websocket_connect(request)
    await socket.write_message(encode_control(hello(agent="eve", run=run, session="eve's")))
    await socket.read_message()
    for message in messages:
        with contextlib.suppress(WebSocketClosedError):
            await socket.write_message(message, binary=isinstance(message, bytes))
    while await asyncio.wait_for(socket.read_message(), 20) is not None:
        pass
    socket.close()
    return socket.close_code, socket.close_reason


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_ends_its_own_connection_with_the_reason_and_is_counted(hub: EmbeddedHub, trick: str) -> None:
    message, reason = TRICKS[trick]
    run = f"{list(TRICKS).index(trick):032x}"
    code, said = asyncio.run(play(hub, run, message))
    assert code == 1008
    assert reason in (said or "")
    session = session_of(hub, "eve's")
    stats = stats_when(hub, session, lambda s: any(a["run"] == run and a["refusals"] for a in s["agents"]), "a count")
    (line,) = (a for a in stats["agents"] if a["run"] == run)
    assert (line["refusals"], line["connected"], line["packets"]) == (1, False, 0)
    assert reason in line["reason"]


def test_a_batch_with_a_flipped_bit_is_refused_or_harmless(hub: EmbeddedHub) -> None:
    async def run() -> None:
        for bit in range(24 * 8, 44 * 8, 16):
            flipped = bytearray(GOOD)
            flipped[bit // 8] ^= 1 << bit % 8
            later = Batch.pack(9, frames(1), "none", {})  # so that it ends, whatever became of the first
            code, _ = await play(hub, f"{bit:032x}", bytes(flipped), later)
            assert code == 1008

    asyncio.run(run())


def test_tiny_batches_in_a_row_cost_no_memory_and_all_arrive(hub: EmbeddedHub) -> None:
    batches = 20_000

    async def run() -> None:
        request = HTTPRequest("ws" + hub.url[4:] + "/api/agents/ws", headers={"Authorization": f"Bearer {hub.token}"})
        socket = await websocket_connect(request)
        await socket.write_message(encode_control(hello(agent="tiny", run="cd" * 16, session="tiny")))
        tiny = Batch.pack(1, frames(1), "none", {})

        async def send() -> None:
            for sequence in range(1, batches + 1):
                await socket.write_message(tiny[:16] + struct.pack("<Q", sequence) + tiny[24:], binary=True)

        sending = asyncio.create_task(send())
        while f'"taken":{batches},' not in str(await asyncio.wait_for(socket.read_message(), 30)):
            pass
        await sending
        socket.close()
        while await socket.read_message() is not None:
            pass

    asyncio.run(run())
    stats = stats_when(hub, session_of(hub, "tiny"), lambda s: s["packets"] == batches, "all of them")
    assert stats["agents"][0]["refusals"] == 0
