"""Mutated WebSocket messages in bulk, to a hub's sockets of agents and clients.

Messages go as raw frames (RFC 6455, masked with zeros), many in one write. What is counted was surely dealt with by the
hub: batches it acknowledged and requests it answered, and the one message with which it closed the connection. Those
sent behind that one count for nothing.
"""

import asyncio
import base64
import random
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import msgspec

from aishark_panel.wire.messages import Batch, Heartbeat, Request, encode_control
from tests.traffic import frames, hello
from tests.wire.test_columnbatch import made

__all__ = ["Tally", "fuzz", "mutate"]

_A_WRITE: Final = 24
"""Messages of one connection."""
_AT_ONCE: Final = 8
_WAIT_S: Final = 60.0
_QUIET_S: Final = 15.0
Seed = tuple[bytes, int]
"""a good batch, and where changes begin to be survived: its frames' bytes"""

_METHODS: Final = ("stats", "rows", "rollup", "conversations", "packet", "alerts", "ledger", "table", "me", "sessions")


@dataclass
class Tally:
    """What became of the messages."""

    agent_messages: int = 0
    client_messages: int = 0
    connections: int = 0
    closes: Counter[int] = field(default_factory=Counter)
    """by close code"""
    quiet: int = 0
    """connections whose last message got no answer"""

    @property
    def messages(self) -> int:
        return self.agent_messages + self.client_messages


def mutate(message: bytes, rng: random.Random, *, spare: int = 0) -> bytes:
    """The message with some bytes changed, cut out, doubled or cut off; mostly behind the first `spare`."""
    changed = bytearray(message)
    low = spare if rng.random() < 0.985 and spare < len(changed) else 0
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(low, len(changed))
        changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    kind = rng.random()
    if kind < 0.004:
        del changed[rng.randrange(len(changed)) :]
    elif kind < 0.008:
        at = rng.randrange(len(changed))
        changed[at:at] = changed[at : at + 40]
    return bytes(changed)


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + bytes(4) + payload


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    opcode, size = await reader.readexactly(2)
    if size == 126:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", await reader.readexactly(8))
    return opcode & 15, await reader.readexactly(size)


async def _open(url: str, token: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    key = base64.b64encode(bytes(16)).decode()
    head = (
        f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    writer.write(head.encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in answer:
        raise ConnectionError(answer.decode("latin1"))
    return reader, writer


async def _answers(reader: asyncio.StreamReader, tally: Tally, kind: str) -> int:
    """How many messages the hub dealt with, until it closed or had dealt with the last one."""
    done = 0
    while True:
        try:
            async with asyncio.timeout(_QUIET_S):
                opcode, payload = await _read(reader)
        except TimeoutError:
            # The last message's number had become one of those before: it is a duplicate, which nobody answers.
            tally.quiet += 1
            return done
        if opcode == 8:
            tally.closes[struct.unpack(">H", payload[:2])[0] if payload else 0] += 1
            return done + 1
        if opcode not in (1, 2):
            continue
        if kind == "client":
            if b'"id":4711' in payload:
                return _A_WRITE
            done += 1
        elif b'"ack"' in payload:
            done = max(done, int(msgspec.json.decode(payload)["taken"]))
            if done == _A_WRITE:
                return done


def _agent_messages(rng: random.Random, seeds: list[Seed]) -> list[bytes]:
    messages = []
    for sequence in range(1, _A_WRITE + 1):
        seed, spare = seeds[min(int(rng.expovariate(1.0)), len(seeds) - 1)]
        numbered = seed[:16] + struct.pack("<Q", sequence) + seed[24:]
        messages.append(_frame(2, mutate(numbered, rng, spare=spare)))
    if rng.random() < 0.1:  # control messages, of which hardly any survives
        text = encode_control(Heartbeat(sent_ns=1, counters={"captured": 5})).encode()
        messages.insert(rng.randrange(3), _frame(rng.choice((1, 1, 2)), mutate(text, rng)))
    return messages


def _client_messages(rng: random.Random, session: str) -> list[bytes]:
    messages = []
    for i in range(_A_WRITE):
        params: dict[str, object] = {"session": session, "where": "src_port == 10001", "count": 20, "number": 1}
        text = encode_control(Request(id=i, method=rng.choice(_METHODS), params=params)).encode()
        where = text.index(b"src_port")
        at = where + rng.randrange(17) if rng.random() < 0.97 else rng.randrange(len(text))
        byte = rng.choice(b"0123456789abcxyz()=<>&|. ")
        messages.append(_frame(1, text[:at] + bytes([byte]) + text[at + 1 :]))
    return [*messages, _frame(1, encode_control(Request(id=4_711, method="me")).encode())]


async def _agent(url: str, token: str, rng: random.Random, seeds: list[Seed], tally: Tally) -> None:
    reader, writer = await _open(url, token, "/api/agents/ws")
    try:
        greeting = hello(agent="fuzz", run=rng.randbytes(16).hex(), session="fuzzed")
        writer.write(_frame(1, encode_control(greeting).encode()))
        while b'"welcome"' not in (await _read(reader))[1]:
            pass
        writer.write(b"".join(_agent_messages(rng, seeds)))
        tally.agent_messages += await _answers(reader, tally, "agent")
    finally:
        writer.close()


async def _client(url: str, token: str, rng: random.Random, session: str, tally: Tally) -> None:
    reader, writer = await _open(url, token, "/api/clients/ws")
    try:
        writer.write(b"".join(_client_messages(rng, session)))
        tally.client_messages += await _answers(reader, tally, "client")
    finally:
        writer.close()


async def fuzz(url: str, token: str, session: str, *, messages: int, most_s: float, seed: int) -> Tally:
    """Send mutated messages until the hub has dealt with so many, or that much time is over."""
    tally = Tally()
    deadline_s = time.monotonic() + most_s
    batches = [frames(n, size=40) for n in (8, 20, 40, 1)]
    packed = [Batch.pack(1, batch, "none", {"captured": 8}) for batch in batches]
    seeds = [
        *((message, len(message) - batch.captured_bytes) for message, batch in zip(packed, batches, strict=True)),
        (Batch.pack(1, frames(8), "lz4", {"captured": 8}), 24),
        (Batch.pack(1, made(2), "none", {}), 24),
    ]

    async def one(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while tally.messages < messages and time.monotonic() < deadline_s:
            tally.connections += 1
            try:
                async with asyncio.timeout(_WAIT_S):
                    if rng.random() < 0.9:
                        await _agent(url, token, rng, seeds, tally)
                    else:
                        await _client(url, token, rng, session, tally)
            except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
                tally.closes[0] += 1

    await asyncio.gather(*(one(number) for number in range(_AT_ONCE)))
    return tally
