"""A hub under the load of a team, for minutes: is anything lost, how late are packets, and is its memory bounded?

    python benchmarks/hub.py [--seconds 300] [--agents 50] [--rate 2000] [--sessions 10] [--subscribers 20]
    python benchmarks/hub.py --full-speed [--seconds 120] [--snaplen 128]
    python benchmarks/hub.py --ring-minutes 10 [--plot docs/images/ring.svg]

*Many agents* (the first form): agents that send made-up packets at an even pace, in batches ten times a second, into
sessions that subscribers follow. Fifty interpreters do not fit on two cores, so each of a few processes holds many
agents: every agent has a WebSocket, a run and a credit window of its own, and speaks through the same state machine
(wire.protocol.AgentEnd) as `aishark agent`; only capture is left out. The *delay* is from the moment at which a batch
is due, when its last packet would have been captured, to the acknowledgement that the session has it; the first packet
of a batch has waited for the last, which is told apart. *Seen* is from the time of a packet until a subscriber has it:
waiting for its batch, being merged with those of other agents and the subscription's own pace included.

*Full speed*: one real agent replays a file of mixed packets in a loop for two minutes; ring, rollups, conversations and
TCP analysis are on. *Ring*: the same with memory sampled, and written as a plot.

The hub has a journal with --journal, in a folder that is deleted.
"""

import argparse
import asyncio
import fcntl
import json
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from plots import line
from processes import cpu_s, rss_mib
from results import Result, Table, arguments, finish, progress
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect
from traces import write_trace

from aishark_panel.agent.synthetic import make_trace
from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PROTOCOL_VERSION, Ack, Batch, End, Hello, InterfaceInfo, encode_control
from aishark_panel.wire.protocol import AgentEnd

BATCHES_PER_S = 10
WARM_UP_S = 5.0
PARTS = ("in_kernel_ring", "in_encoder", "outbox", "spooled", "in_hub_queue")


class LoadAgent:
    """One agent: a connection of its own, batches at a pace."""

    def __init__(self, number: int, session: str, rate: int, frames: Frames) -> None:
        self.rows = max(1, rate // BATCHES_PER_S)
        self.interval_s = self.rows / rate
        self.session, self.name = session, f"agent{number:02}"
        self.delays_s: list[float] = []
        """from a batch's last packet to the acknowledgement that it was taken"""
        self.sent_packets = 0
        self.late_s = 0.0
        """most that a batch went out behind its time: this machine's fault, or the hub's for lack of credit"""
        self._frames = [frames.slice(i, i + self.rows) for i in range(0, len(frames) - self.rows + 1, self.rows)]
        self._due_ns: dict[int, int] = {}

    async def run(self, url: str, token: str, start_s: float, seconds: float) -> None:
        hello = Hello(
            protocol=PROTOCOL_VERSION,
            agent=self.name,
            run=secrets.token_hex(16),
            version="benchmark",
            host=self.name,
            source="synthetic",
            session=self.session,
            interfaces=(InterfaceInfo(name="load0", link_type=1),),
        )
        end = AgentEnd(hello)
        address = f"{url.replace('http', 'ws', 1)}/api/agents/ws"
        request = HTTPRequest(address, headers={"Authorization": f"Bearer {token}"})
        socket = await websocket_connect(request, max_message_size=2**20)
        await socket.write_message(end.open())
        credit = asyncio.Event()
        reader = asyncio.create_task(self._read(socket, end, credit))
        while end.welcome is None:
            await credit.wait()
            credit.clear()
        sequence = 0
        offsets = np.arange(self.rows, dtype=np.int64) * int(self.interval_s / self.rows * 1e9)
        while True:
            due_s = start_s + (sequence + 1) * self.interval_s
            if due_s > start_s + seconds:
                break
            await asyncio.sleep(max(0.0, due_s - time.time()))
            block = self._frames[sequence % len(self._frames)]
            first_ns = int((due_s - self.interval_s) * 1e9)
            batch = Frames(first_ns + offsets, block.orig_len, block.iface, block.offsets, block.data)
            sequence += 1
            self.sent_packets += self.rows
            told = {"captured": self.sent_packets, "outbox": 0, "delivered": self.sent_packets}
            packed = Batch.pack(sequence, batch, "none", told)
            while not end.may_send(len(packed)):
                credit.clear()
                await credit.wait()
            self.late_s = max(self.late_s, time.time() - due_s)
            self._due_ns[sequence] = int(due_s * 1e9)
            end.batch_sent(sequence, len(packed))
            await socket.write_message(packed, binary=True)
        while end.durable < sequence:
            credit.clear()
            await credit.wait()
        await socket.write_message(encode_control(End(reason="done", counters={"captured": self.sent_packets})))
        await asyncio.sleep(0.5)
        reader.cancel()
        socket.close()

    async def _read(self, socket: Any, end: AgentEnd, credit: asyncio.Event) -> None:
        taken = 0
        while (message := await socket.read_message()) is not None:
            event = end.receive(message)
            if isinstance(event, Ack):
                now_ns = time.time_ns()
                for sequence in range(taken + 1, event.taken + 1):
                    self.delays_s.append((now_ns - self._due_ns.pop(sequence)) / 1e9)
                taken = event.taken
            credit.set()


def agents_process(url: str, token: str, numbers: list[int], options: dict[str, Any], start_s: float, out: Any) -> None:
    """Some agents, in a process of their own; what they saw goes into the queue `out`."""
    rate, sessions = options["rate"], options["sessions"]
    block = make_trace(8_192, seed=numbers[0] + 1, snaplen=options["snaplen"])[0]
    agents = [LoadAgent(n, f"load{n % sessions}", rate, block) for n in numbers]

    async def run() -> None:
        await asyncio.gather(*(agent.run(url, token, start_s, options["seconds"]) for agent in agents))

    asyncio.run(run())
    out.put(
        {
            "sent": sum(agent.sent_packets for agent in agents),
            "late_s": max(agent.late_s for agent in agents),
            "delays_s": [delay for agent in agents for delay in agent.delays_s],
        }
    )


def subscribers_process(url: str, token: str, sessions: list[str], out: Any) -> None:
    """Subscribers, one for each session named (an id may come again), until the sessions are silent for 3 s."""

    async def follow(session: str) -> tuple[int, int, list[float]]:
        request = HTTPRequest(
            f"{url.replace('http', 'ws', 1)}/api/stream/{session}/ws?start=oldest&columns=number,ts",
            headers={"Authorization": f"Bearer {token}"},
        )
        socket = await websocket_connect(request, max_message_size=64 * 2**20)
        received = missed = 0
        seen_s: list[float] = []
        patience_s = 60.0
        while True:
            try:
                message = await asyncio.wait_for(socket.read_message(), patience_s)
            except TimeoutError:
                break
            if message is None:
                break
            patience_s = 5.0
            if isinstance(message, str):
                missed += json.loads(message).get("packets", 0)
            else:
                now_ns = time.time_ns()
                times = times_of(message)
                received += len(times)
                seen_s += [(now_ns - int(times[i])) / 1e9 for i in (0, -1)]
        socket.close()
        return received, missed, seen_s

    async def run() -> list[tuple[int, int, list[float]]]:
        return await asyncio.gather(*(follow(session) for session in sessions))

    out.put(asyncio.run(run()))


def times_of(stream: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The packets' times (ns) in an Arrow IPC stream."""
    import pyarrow as pa

    with pa.ipc.open_stream(stream) as reader:
        return np.asarray(reader.read_all().column("ts").to_numpy().astype(np.int64))


class Sampler:
    """Memory and CPU of a process over time."""

    def __init__(self, pid: int) -> None:
        self._pid, self.samples = pid, [(time.monotonic(), rss_mib(pid), cpu_s(pid))]

    async def run(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            self.samples.append((time.monotonic(), rss_mib(self._pid), cpu_s(self._pid)))

    @property
    def cpu_share(self) -> float:
        (began_s, _, before_s), (now_s, _, after_s) = self.samples[0], self.samples[-1]
        return (after_s - before_s) / max(now_s - began_s, 1e-9)

    @property
    def most_mib(self) -> float:
        return max(mib for _, mib, _ in self.samples)


async def until_ready(client: HubClient) -> None:
    """Until the hub has its kernels."""
    while True:
        stats = await client.stats((await client.sessions())[0]["id"])
        if "Getting ready" not in stats["reason"]:
            return
        await asyncio.sleep(0.2)


async def many_agents(hub: EmbeddedHub, options: argparse.Namespace) -> Table:
    """Agents into sessions that are followed; what was lost, how late packets were, what it cost."""
    make_trace(8_192, seed=1, snaplen=options.snaplen)  # its kernel is compiled before agents have to be punctual
    context = multiprocessing.get_context("spawn")
    async with HubClient(hub.url, hub.token) as client:
        await until_ready(client)
        ids = [await started(client, hub, f"load{i}") for i in range(options.sessions)]
        heard, told = context.Queue(), context.Queue()
        followed = [ids[i % len(ids)] for i in range(options.subscribers)]
        processes = [context.Process(target=subscribers_process, args=(hub.url, hub.token, followed, heard))]
        start_s = time.time() + WARM_UP_S
        for p in range(options.processes):
            numbers = list(range(p, options.agents, options.processes))
            processes.append(
                context.Process(target=agents_process, args=(hub.url, hub.token, numbers, vars(options), start_s, told))
            )
        for process in processes:
            process.start()
        progress(f"{options.agents} agents for {options.seconds:.0f} s")
        await asyncio.sleep(max(0.0, start_s - time.time()))
        sampler = Sampler(hub.process.pid)
        sampling = asyncio.create_task(sampler.run(1.0))
        await asyncio.sleep(options.seconds)
        sampling.cancel()
        loop = asyncio.get_running_loop()
        reports = [await loop.run_in_executor(None, told.get) for _ in range(options.processes)]
        received = await loop.run_in_executor(None, heard.get)
        books = [await client.ledger(session) for session in ids]
    for process in processes:
        process.join()
    seen = np.array([each for _, _, seen_s in received for each in seen_s])
    delays = np.array([delay for report in reports for delay in report["delays_s"]])
    sent, ingested = sum(r["sent"] for r in reports), sum(book["ring"]["packets"] for book in books)
    each = options.agents // options.sessions
    title = f"{options.agents} agents into {options.sessions} sessions with {options.subscribers} subscribers"
    differences = sum(abs(stage["difference"]) for book in books for a in book["agents"] for stage in a["stages"])
    return Table(
        title,
        "",
        ["value"],
        {
            "packets sent": [[sent]],
            "lost": [[sent - ingested]],
            "differences in the ledger": [[differences]],
            **{f"from a batch's end to its session, {p}": [[ms]] for p, ms in percentiles_ms(delays)},
            **{f"from a packet to a subscriber, {p}": [[ms]] for p, ms in percentiles_ms(seen)},
            "of which a packet waits for its batch, ms at most": [[1e3 / BATCHES_PER_S]],
            "latest sending of a batch, ms": [[1e3 * max(r["late_s"] for r in reports)]],
            "packets at subscribers": [[sum(count for count, _, _ in received)]],
            "expected there": [[options.subscribers * each * (sent // options.agents)]],
            "missed there, counted": [[sum(missed for _, missed, _ in received)]],
            "hub, cores": [[sampler.cpu_share]],
            "hub, MiB": [[sampler.most_mib]],
        },
    )


def percentiles_ms(seconds: np.ndarray[Any, np.dtype[np.float64]]) -> list[tuple[str, float]]:
    """What is told of delays."""
    names = {50: "median, ms", 99: "99th percentile, ms", 100: "most, ms"}
    return [(name, 1e3 * float(np.percentile(seconds, q))) for q, name in names.items()] if len(seconds) else []


async def started(client: HubClient, hub: EmbeddedHub, name: str) -> str:
    """The id of a new session."""
    from tornado.httpclient import AsyncHTTPClient

    body = json.dumps({"name": name})
    headers = {"Authorization": f"Bearer {hub.token}"}
    answer = await AsyncHTTPClient().fetch(f"{hub.url}/api/stream/start", method="POST", headers=headers, body=body)
    return str(json.loads(answer.body)["id"])


async def full_speed(hub: EmbeddedHub, options: argparse.Namespace, path: Path) -> tuple[Table, Sampler]:
    """One agent that replays a file again and again, as fast as the hub takes it."""
    async with HubClient(hub.url, hub.token) as client:
        await until_ready(client)
        session = (await client.sessions())[0]["id"]
        sampler = Sampler(hub.process.pid)
        sampling = asyncio.create_task(sampler.run(0.5))
        agent = replaying_agent(hub, path, options)
        marks: list[tuple[float, int]] = []
        while agent.poll() is None:
            stats = await client.stats(session)
            if stats["packets"]:
                marks.append((time.monotonic(), stats["packets"]))
            await asyncio.sleep(0.25)
        sampling.cancel()
        book = await client.ledger(session)
        stats = await client.stats(session)
    seconds = marks[-1][0] - marks[0][0]
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(marks[:-40:40], marks[40::40], strict=False)]
    parts = book["ring"]["parts"]
    frames = "full frames" if options.snaplen > 1_514 else f"snaplen {options.snaplen}"
    table = Table(
        f"One agent at full speed for {seconds:.0f} s, {frames}",
        "",
        ["value"],
        {
            "packets": [[stats["packets"]]],
            "packets/s": [[(marks[-1][1] - marks[0][1]) / max(seconds, 1e-9)]],
            "packets/s in the slowest 10 s": [[min(steps)] if steps else []],
            "lost": [[stats["lost"] + parts["lost_in_hub_crash"]]],
            "differences in the ledger": [
                [sum(abs(s["difference"]) for a in book["agents"] for s in [*a["stages"], book["ring"]])]
            ],
            "let go by the ring": [[parts["evicted"]]],
            "conversations": [[stats["conversations"]]],
            "ring in use, % of its limit": [[100 * stats["ring_bytes"] / stats["ring_limit_bytes"]]],
            "hub, cores": [[sampler.cpu_share]],
            "hub, MiB": [[sampler.most_mib]],
        },
    )
    return table, sampler


def replaying_agent(hub: EmbeddedHub, path: Path, options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """An agent that reads a file again and again from a pipe."""
    reader = subprocess.Popen(
        [sys.executable, __file__, "feed", str(path), str(options.seconds)], stdout=subprocess.PIPE
    )
    command = [sys.executable, "-m", "aishark_panel", "agent", "-r", "-", "--speed", "max", "--hub", hub.url]
    agent = subprocess.Popen(
        [*command, "--snaplen", str(options.snaplen)],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        stdin=reader.stdout,
        stderr=subprocess.DEVNULL,
    )
    assert reader.stdout is not None
    reader.stdout.close()
    return agent


def feed(path: Path, seconds: float) -> None:
    """A capture file to standard output, again and again as one stream, for so long."""
    data = path.read_bytes()
    until_s = time.monotonic() + seconds
    head, body = memoryview(data)[:24], memoryview(data)[24:]
    fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)
    with os.fdopen(1, "wb", buffering=0) as out:
        out.write(head)
        while time.monotonic() < until_s:
            rest = body
            while len(rest):
                rest = rest[out.write(rest) :]


def main() -> None:
    if sys.argv[1:2] == ["feed"]:
        feed(Path(sys.argv[2]), float(sys.argv[3]))
        return
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, help="default: 300; at full speed 120")
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--rate", type=int, default=2_000, help="packets/s of each agent")
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--subscribers", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2, help="that hold the agents")
    parser.add_argument("--snaplen", type=int, default=128)
    parser.add_argument("--ring-mib", type=int, default=0, help="of a session; default: 64, at full speed 512")
    parser.add_argument("--journal", action="store_true")
    parser.add_argument("--full-speed", action="store_true")
    parser.add_argument("--ring-minutes", type=float, default=0.0)
    parser.add_argument("--plot", type=Path, default=Path("docs/images/ring.svg"))
    options = parser.parse_args()
    one = options.full_speed or options.ring_minutes > 0
    options.seconds = 60 * options.ring_minutes or options.seconds or (120.0 if one else 300.0)
    ring_mib = options.ring_mib or (512 if one else 64)
    with tempfile.TemporaryDirectory() as folder:
        kept = ["--journal", f"{folder}/journal", "--state", f"{folder}/state"] if options.journal else []
        hub = start_hub("--port", "0", "--ring-mib", str(ring_mib), "--recordings", f"{folder}/recordings", *kept)
        try:
            if one:
                path = Path(folder) / "trace.pcap"
                write_trace(path, 500_000, snaplen=options.snaplen)  # or the pipe would be the limit
                table, sampler = asyncio.run(full_speed(hub, options, path))
                if options.ring_minutes:
                    title = f"Resident memory of the hub, MiB; its ring ({ring_mib} MiB, dashed) is full"
                    samples = [(at_s, mib) for at_s, mib, _ in sampler.samples]
                    options.plot.write_text(line(title, samples, ring_mib), "utf-8")
            else:
                table = asyncio.run(many_agents(hub, options))
        finally:
            hub.close()
    finish(Result("hub", [table]), options.json)


if __name__ == "__main__":
    main()
