"""The main path at full speed: capture file -> agent process -> WebSocket -> hub process -> dissect, ring, rollups,
conversations; with alert rules, a recording and a journal, and without.

Two tables. *Stages*: the CPU that each step costs by itself, in one thread, nothing waiting for anything. *Processes*:
a real agent and a real hub, a client asking for statistics, a rollup and a page of rows four times a second meanwhile;
packets per second from the first packet taken to the last, CPU of each process, nothing lost. Each kind of frames runs
alone first, then with a journal, with rules, with a recording, and with both, so what each part costs can be read off.

    python benchmarks/pipeline.py [--packets 1000000] [--rounds 3] [--rules 20] [--record pcapng parquet] [--no-journal]

Rules are those of benchmarks/rules.yaml; beyond twenty they come again with other windows. `--rules 0`, `--record`
without a format and `--no-journal` leave those runs out. Recordings and journals go to a folder below --folder, and are
deleted.
"""

import argparse
import asyncio
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from hub import until_ready
from processes import cpu_s, rss_mib
from results import Result, Table, arguments, finish, progress
from traces import write_trace

from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.agent.replay import ReplaySource
from aishark_panel.alerts.log import AlertLog
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.export.writer import open_writer
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.query import compile_expression
from aishark_panel.streams.ring import Ring
from aishark_panel.streams.rollups import Rollups
from aishark_panel.wire.messages import Batch, CodecName
from aishark_panel.wire.packets import Interface

PREDICATES = (
    "tcp_flags == 2",
    "has(tcp_flags, 'SYN') and not has(tcp_flags, 'ACK')",
    "dst_port == 443",
    "src_port == 53 or dst_port == 53",
    "ip.addr == 10.0.0.1",
    "in_net(src_ip, '10.0.0.0/8')",
    "in_net(dst_ip, '192.168.0.0/16') and dst_port < 1024",
    "dns_query.str.contains('example')",
    "dns_rcode == 3",
    "tls_sni.str.endswith('.com')",
    "http_status >= 500",
    "http_method == 'POST'",
    "protocol == 'ICMP'",
    "orig_len > 1400",
    "ip_ttl < 5",
    "tcp_window == 0",
    "payload_len > 1000 and dst_port == 80",
    "arp",
    "malformed",
    "dst_port in [22, 23, 3389, 5900]",
)
HEADS = (
    "packets/s",
    "lost",
    "agent CPU, µs a packet",
    "hub CPU, µs a packet",
    "hub, MiB",
    "questions answered",
    "not recorded, counted",
)
CASES: tuple[tuple[str, int, CodecName], ...] = (
    ("snaplen 128", 128, "none"),
    ("snaplen 128, lz4", 128, "lz4"),
    ("full frames", 262_144, "none"),
    ("full frames, lz4", 262_144, "lz4"),
)
RULES = Path(__file__).with_name("rules.yaml")


class Extra(NamedTuple):
    """What the hub does beside the main path."""

    rules: int = 0
    record: str = ""
    """format, or '' for no recording"""
    journal: bool = False

    def __str__(self) -> str:
        parts = [f"{self.rules} rules"] * bool(self.rules) + [f"recording {self.record}"] * bool(self.record)
        parts += ["journal"] * self.journal
        return "".join(f", {part}" for part in parts)


def rules_text(count: int) -> str:
    """So many rules, as YAML."""
    known = yaml.safe_load(RULES.read_text())["rules"]
    rules = []
    for i in range(count):
        again, which = divmod(i, len(known))
        rule = copy.deepcopy(known[which])  # what is shared would be written as an alias
        if again:
            rule |= {"name": f"{rule['name']}_{again}", "over": f"{10 + again}s"}
        rules.append(rule)
    return yaml.safe_dump({"rules": rules})


def stages(path: Path, snaplen: int, rules: int, formats: list[str]) -> dict[str, float]:
    """CPU nanoseconds a packet of each step, each run alone over the whole trace."""
    cost: dict[str, float] = {}
    total = 0

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started_s = time.thread_time()
        result = work()
        cost[name] = cost.get(name, 0.0) + time.thread_time() - started_s
        return result

    def batches() -> Iterator[bytes]:
        nonlocal total
        source, encoder, sequence = ReplaySource(str(path), speed=None, snaplen=snaplen), Encoder(BatchLimits()), 0
        while not source.exhausted:
            frames = timed("agent: read and index", lambda: source.read(1.0))
            if frames is None:
                continue
            total += len(frames)
            for batch in encoder.add(frames, 0.0):
                sequence += 1
                number = sequence
                yield timed("agent: encode", lambda: Batch.pack(number, batch, "none", {}))  # noqa: B023
        source.close()

    ring, rollups = Ring(512 * 2**20), Rollups()
    predicates = [compile_expression(text) for text in PREDICATES]
    alerts = AlertLog(parse_rules(rules_text(rules), "rules"))
    interfaces = [Interface("benchmark", "file", 1)]
    writers = {name: open_writer(Nowhere(), f".{name}", interfaces) for name in formats}
    link_types, codes = np.array([1], np.int32), np.array([0], np.uint16)
    for packed in batches():
        frames = timed("hub: unpack and check", lambda: Batch.unpack(packed).content())  # noqa: B023
        views = timed("hub: dissect into ring", lambda: ring.append(frames, link_types, codes))  # noqa: B023
        for packets, start, stop in views:
            columns = packets.columns
            timed(
                "hub: rollups",
                lambda: rollups.add(columns.ts[start:stop], columns.protocol[start:stop], columns.orig_len[start:stop]),  # noqa: B023
            )
            timed("hub: 20 predicates", lambda: [p.mask(packets, start, stop) for p in predicates])  # noqa: B023
            if rules:
                timed(f"hub: {rules} rules", lambda: alerts.take(packets, start, stop, interfaces))  # noqa: B023
            for name, writer in writers.items():
                timed(f"hub: {name} file", lambda: writer.write(packets, np.arange(start, stop)))  # noqa: B023
    for name, writer in writers.items():
        timed(f"hub: {name} file", writer.close)
    return {name: 1e9 * seconds / total for name, seconds in cost.items()}


class Nowhere:
    """A sink that costs nothing."""

    def write(self, data: bytes, /) -> int:
        return len(data)


class Watched(NamedTuple):
    """What a client saw of a run."""

    seconds: float
    """from the first to the last moment of growth"""
    packets: int
    grown: int
    """packets that came between these moments"""
    agent_s: float
    """CPU between them: what a process needs to start is not in it"""
    hub_s: float
    answers: int
    recorded: int


async def watch(hub: EmbeddedHub, expected: int, record: str, begin: Callable[[], int]) -> Watched:
    """Begin (`begin` starts an agent, its process), wait for the packets as a page would; then for the recording to
    have them."""
    async with HubClient(hub.url, hub.token) as client:
        await until_ready(client)
        session = (await client.sessions())[0]["id"]
        recording = await client.record_start(session, record) if record else {}
        agent = begin()
        first_s = last_s = agent_s = hub_s = 0.0
        first, seen, answers, next_page_s = 0, 0, 0, 0.0
        while seen < expected:
            stats = await client.stats(session)
            now_s = time.perf_counter()
            if stats["packets"] > seen:
                if not first:
                    first, first_s = stats["packets"], now_s
                    agent_s, hub_s = cpu_s(agent), cpu_s(hub.process.pid)
                seen, last_s = stats["packets"], now_s
            elif first_s and now_s - last_s > 20:
                break
            if now_s >= next_page_s:
                await client.traffic(session, 1_000)
                await client.rows(session, max(stats["end"] - 50, 1), 50)
                answers += 1
                next_page_s = now_s + 0.25
            await asyncio.sleep(0.004)
        agent_s, hub_s = cpu_s(agent) - agent_s, cpu_s(hub.process.pid) - hub_s
        ended = await client.record_stop(session, recording["id"]) if recording else {"written": 0}
        return Watched(last_s - first_s, seen, seen - first, agent_s, hub_s, answers, ended["written"])


def processes(path: Path, packets: int, snaplen: int, codec: CodecName, extra: Extra, folder: str) -> list[float]:
    """One run of a real agent against a real hub: a value for each of HEADS."""
    with tempfile.TemporaryDirectory(dir=folder) as recordings:
        rules = Path(recordings) / "rules.yaml"
        rules.write_text(rules_text(extra.rules))
        hub = start_hub(
            *("--port", "0", "--ring-mib", "512", "--recordings", recordings),
            *("--no-builtin-rules", "--rules", str(rules)),
            *(("--journal", f"{recordings}/journal") if extra.journal else ()),
        )
        agents = []

        def start_agent() -> int:
            agents.append(
                subprocess.Popen(
                    [sys.executable, "-m", "aishark_panel", "agent", "-r", str(path), "--speed", "max"]
                    + ["--hub", hub.url, "--snaplen", str(snaplen), "--compression", codec],
                    env={**os.environ, "AISHARK_TOKEN": hub.token},
                    stderr=subprocess.DEVNULL,
                )
            )
            return agents[0].pid

        try:
            seen = asyncio.run(watch(hub, packets, extra.record, start_agent))
            memory_mib = rss_mib(hub.process.pid)
            agents[0].wait(30)
        finally:
            hub.close()
    return [
        seen.grown / max(seen.seconds, 1e-9),
        packets - seen.packets,
        1e6 * seen.agent_s / max(seen.grown, 1),
        1e6 * seen.hub_s / max(seen.grown, 1),
        memory_mib,
        seen.answers,
        seen.packets - seen.recorded if extra.record else 0,
    ]


def extras(rules: int, formats: list[str], *, journal: bool) -> list[Extra]:
    """Nothing, each part alone, and rules with each recording."""
    chosen = [Extra()] + [Extra(journal=True)] * journal
    chosen += [Extra(rules)] * bool(rules) + [Extra(0, name) for name in formats]
    return chosen + [Extra(rules, name) for name in formats] * bool(rules)


def stages_table(path: Path, rules: int, formats: list[str], rounds: int) -> Table:
    """The CPU of each step with small and with whole frames."""
    found: dict[str, list[list[float]]] = {}
    for place, (name, snaplen, _) in enumerate(CASES[::2]):
        stages(path, snaplen, rules, formats)  # compiles and warms
        for number in range(rounds):
            progress(f"stages, {name}, round {number + 1}")
            for stage, cost_ns in stages(path, snaplen, rules, formats).items():
                found.setdefault(stage, [[] for _ in CASES[::2]])[place].append(cost_ns)
    table = Table("Each step by itself: CPU, ns a packet", "step", [name for name, _, _ in CASES[::2]])
    for stage, cells in found.items():
        table.add(stage, *cells)
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rules", type=int, default=20)
    parser.add_argument("--record", nargs="*", choices=["pcapng", "parquet"], default=["pcapng", "parquet"])
    parser.add_argument("--journal", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where recordings and journals go")
    options = parser.parse_args()
    reuse_freed_memory()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "trace.pcap"
        write_trace(path, options.packets)
        each_bytes = path.stat().st_size / options.packets - 16
        by_stage = stages_table(path, options.rules, options.record, options.rounds)
        runs: dict[str, list[list[float]]] = {}
        all_extras = extras(options.rules, options.record, journal=options.journal)
        for number in range(options.rounds):
            for name, snaplen, codec in CASES:
                for extra in all_extras if codec == "none" else [Extra()]:
                    progress(f"{name}{extra}, round {number + 1}")
                    run = processes(path, options.packets, snaplen, codec, extra, options.folder)
                    runs.setdefault(f"{name}{extra}", []).append(run)
    table = Table("A real agent and a real hub", "frames, and what the hub does beside", list(HEADS))
    for name, of_name in runs.items():
        table.add(name, *zip(*of_name, strict=True))
    note = f"{options.packets:,} packets a round, {each_bytes:.0f} bytes each on average."
    finish(Result("pipeline", [table, by_stage], [note]), options.json)


if __name__ == "__main__":
    main()
