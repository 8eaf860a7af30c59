"""Is delivery exact when either side is killed at random? An experiment for the journal and the spool to come.

An agent process numbers batches and writes each to a spool file before it sends it; a hub process writes what arrives
to a journal, acknowledges `taken` at once and `durable` after fsync. The conversation is the real one (wire.protocol
over a real WebSocket). This process kills one or the other with SIGKILL at random moments and starts it again. At the
end every frame must be in the journal exactly once, in order.

    python benchmarks/delivery.py [--kills 200] [--batches 120000] [--seed 1]
"""

import argparse
import asyncio
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketHandler, websocket_connect

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PROTOCOL_VERSION, Ack, Batch, Hello, InterfaceInfo, Welcome
from aishark_panel.wire.protocol import AgentEnd, HubEnd

ROWS = 5
SYNC_S = 0.05
HEAD = struct.Struct("<QII")  # sequence, bytes, CRC-32


class Log:
    """Append-only records; a tail torn by a kill is cut off when it is opened again."""

    def __init__(self, path: Path) -> None:
        self.records: list[tuple[int, bytes]] = list(read_log(path))
        whole = sum(HEAD.size + len(r) for _, r in self.records)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)

    @property
    def last(self) -> int:
        return self.records[-1][0] if self.records else 0

    def append(self, sequence: int, record: bytes) -> None:
        self._file.write(HEAD.pack(sequence, len(record), zlib.crc32(record)) + record)
        self.records.append((sequence, record))

    def sync(self) -> None:
        os.fsync(self._file.fileno())


def read_log(path: Path) -> Iterator[tuple[int, bytes]]:
    data = path.read_bytes() if path.exists() else b""
    at = 0
    while at + HEAD.size <= len(data):
        sequence, size, crc = HEAD.unpack_from(data, at)
        record = data[at + HEAD.size : at + HEAD.size + size]
        if len(record) < size or zlib.crc32(record) != crc:
            return
        yield sequence, record
        at += HEAD.size + size


async def agent(folder: Path, port: int, batches: int) -> None:
    # The run names the spool, not the process: an agent that starts again goes on numbering where its spool ends.
    spool = Log(folder / "spool")
    durable_at = folder / "durable"
    hello = Hello(
        protocol=PROTOCOL_VERSION, agent="a", run="0" * 32, version="0", host="h", source="replay",
        interfaces=(InterfaceInfo(name="f", link_type=1),),
    )  # fmt: skip
    while True:
        try:
            socket = await websocket_connect(f"ws://127.0.0.1:{port}/")
        except OSError:
            await asyncio.sleep(0.02)
            continue
        try:
            if await converse(AgentEnd(hello), socket, spool, batches):
                durable_at.write_text("all")
                return
        except WebSocketClosedError:
            continue


async def converse(end: AgentEnd, socket: WebSocketClientConnection, spool: Log, batches: int) -> bool:
    """Send what the hub lacks; True once all is durable there, False when the connection ended."""
    rng = random.Random()
    await socket.write_message(end.open())
    while (message := await socket.read_message()) is not None:
        event = end.receive(message)
        if isinstance(event, Ack) and event.durable == batches:
            return True
        while isinstance(event, Welcome | Ack) and end.sent < batches and end.in_flight_bytes < 64_000:
            sequence = end.sent + 1
            if sequence > spool.last:
                numbers = range((sequence - 1) * ROWS, sequence * ROWS)
                content = [n.to_bytes(8, "big") + rng.randbytes(rng.randrange(60)) for n in numbers]
                spool.append(sequence, Batch.pack(sequence, Frames.from_list(content, list(numbers)), "none", {}))
            packed = spool.records[sequence - 1][1]
            end.batch_sent(sequence, len(packed))
            await socket.write_message(packed, binary=True)
    return False


async def hub(folder: Path, port: int) -> None:
    journal = Log(folder / "journal")
    durable = journal.last

    class Socket(WebSocketHandler):
        def open(self) -> None:  # type: ignore[override]
            self.end = HubEnd()
            self.task = asyncio.create_task(self.keep_durable(), name="sync")

        def on_message(self, message: str | bytes) -> None:
            try:
                event = self.end.receive(message)
            except ProtocolError as error:
                print(f"PROTOCOL ERROR {error}", file=sys.stderr, flush=True)
                self.close()
                return
            if isinstance(event, Hello):
                self.write_message(self.end.open("s", next_sequence=journal.last + 1, capture=True))
                self.end.taken = self.end.durable = journal.last
            elif isinstance(event, Batch):
                assert isinstance(message, bytes)
                journal.append(event.sequence, message)
                self.acknowledge()

        def acknowledge(self) -> None:
            try:
                sent = self.write_message(self.end.acknowledge(journal.last, max(durable, self.end.durable)))
                sent.add_done_callback(lambda future: future.exception())  # a closed socket ends in on_close
            except WebSocketClosedError:
                self.task.cancel()

        async def keep_durable(self) -> None:
            nonlocal durable
            while True:
                await asyncio.sleep(SYNC_S)
                if journal.last > durable:
                    mark = journal.last
                    journal.sync()
                    durable = mark
                    self.acknowledge()

        def on_close(self) -> None:
            self.task.cancel()

    journal.sync()
    server = HTTPServer(Application([("/", Socket)]))
    server.add_sockets(bind_sockets(port, "127.0.0.1"))
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--batches", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    sockets = bind_sockets(0, "127.0.0.1")
    port = sockets[0].getsockname()[1]
    sockets[0].close()
    started_s = time.monotonic()
    kills = {"agent": 0, "hub": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def start(role: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, __file__, role, name, str(port), str(options.batches)]
            return subprocess.Popen(command)

        running = {role: start(role) for role in kills}
        while not (folder / "durable").exists() and time.monotonic() - started_s < 900:
            time.sleep(rng.uniform(0.05, 1.4))
            if sum(kills.values()) < options.kills and running["agent"].poll() is None:
                role = rng.choice(["agent", "hub"])
                running[role].send_signal(signal.SIGKILL)
                running[role].wait()
                kills[role] += 1
                running[role] = start(role)
        for process in running.values():
            process.kill()
            process.wait()
        records = list(read_log(folder / "journal"))
    numbers = [
        int.from_bytes(frames.frame(i)[:8], "big")
        for _, record in records
        for frames in [Batch.unpack(record).content()]
        for i in range(len(frames))
    ]
    expected = options.batches * ROWS
    result = {
        "kills": kills,
        "frames_expected": expected,
        "frames_in_journal": len(numbers),
        "missing": expected - len(set(numbers)),
        "duplicates": len(numbers) - len(set(numbers)),
        "in_order": numbers == sorted(numbers),
        "seconds": round(time.monotonic() - started_s, 1),
    }
    for key, value in result.items():
        print(f"{key:>20}  {value}")
    print(json.dumps({"benchmark": "delivery", **result}))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "agent":
        asyncio.run(agent(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    elif len(sys.argv) > 1 and sys.argv[1] == "hub":
        asyncio.run(hub(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
