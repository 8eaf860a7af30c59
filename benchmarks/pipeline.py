"""The main path at full speed: capture file -> agent process -> WebSocket -> hub process -> dissect, ring, rollups,
conversations.

Two tables. *Stages*: what each step costs by itself, in one process, nothing waiting for anything. *Processes*: a real
agent and a real hub, a client asking for statistics, a rollup and a page of rows four times a second meanwhile; packets
per second from the first packet taken to the last, CPU of each process, nothing lost.

    python benchmarks/pipeline.py [--packets 1000000] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from traces import write_trace

from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.agent.replay import ReplaySource
from aishark_panel.client import EmbeddedHub, HubClient, start_hub
from aishark_panel.query import compile_expression
from aishark_panel.streams.conversations import Conversations
from aishark_panel.streams.ring import Ring
from aishark_panel.streams.rollups import Rollups
from aishark_panel.wire.messages import Batch, CodecName

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
CASES: tuple[tuple[str, int, CodecName], ...] = (
    ("snaplen 128", 128, "none"),
    ("snaplen 128, lz4", 128, "lz4"),
    ("full frames", 262_144, "none"),
    ("full frames, lz4", 262_144, "lz4"),
)


def stages(path: Path, snaplen: int) -> dict[str, float]:
    """Nanoseconds a packet of each step, each run alone over the whole trace."""
    cost: dict[str, float] = {}
    total = 0

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started_s = time.perf_counter()
        result = work()
        cost[name] = cost.get(name, 0.0) + time.perf_counter() - started_s
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

    ring, rollups, conversations = Ring(512 * 2**20), Rollups(), Conversations()
    predicates = [compile_expression(text) for text in PREDICATES]
    link_types, codes = np.array([1], np.int32), np.array([0], np.uint16)
    for packed in batches():
        frames = timed("hub: unpack and check", lambda: Batch.unpack(packed).frames())  # noqa: B023
        views = timed("hub: dissect into ring", lambda: ring.append(frames, link_types, codes))  # noqa: B023
        for packets, start, stop in views:
            columns = packets.columns
            timed(
                "hub: rollups",
                lambda: rollups.add(columns.ts[start:stop], columns.protocol[start:stop], columns.orig_len[start:stop]),  # noqa: B023
            )
            timed("hub: conversations", lambda: conversations.add(packets, start, stop))  # noqa: B023
            timed("hub: 20 predicates", lambda: [p.mask(packets, start, stop) for p in predicates])  # noqa: B023
    return {name: 1e9 * seconds / total for name, seconds in cost.items()}


def cpu_s(pid: int) -> float:
    """User and system seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def watch(hub: EmbeddedHub, expected: int) -> tuple[float, float, int, int]:
    """Wait for the packets as a page would; returns first and last moment of growth, packets, answers got."""
    async with HubClient(hub.url, hub.token) as client:
        session = (await client.sessions())[0]["id"]
        first_s = last_s = 0.0
        seen, answers, next_page_s = 0, 0, 0.0
        while seen < expected:
            stats = await client.stats(session)
            now_s = time.perf_counter()
            if stats["packets"] > seen:
                first_s = first_s or now_s
                seen, last_s = stats["packets"], now_s
            elif first_s and now_s - last_s > 20:
                break
            if now_s >= next_page_s:
                await client.rollup(session, 1_000)
                await client.rows(session, max(stats["end"] - 50, 1), 50)
                answers += 1
                next_page_s = now_s + 0.25
            await asyncio.sleep(0.004)
        return first_s, last_s, seen, answers


def processes(path: Path, packets: int, snaplen: int, codec: CodecName) -> dict[str, float]:
    """One run of a real agent against a real hub."""
    hub = start_hub("--port", "0", "--ring-mib", "512")
    try:
        time.sleep(2.0)  # its kernels load in the background
        hub_before_s = cpu_s(hub.process.pid)
        agent = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "agent", "-r", str(path), "--speed", "max", "--hub", hub.url]
            + ["--snaplen", str(snaplen), "--compression", codec],
            env={**os.environ, "AISHARK_TOKEN": hub.token},
            stderr=subprocess.DEVNULL,
        )
        first_s, last_s, seen, answers = asyncio.run(watch(hub, packets))
        agent_s, hub_s = cpu_s(agent.pid), cpu_s(hub.process.pid) - hub_before_s
        memory_mib = rss_mib(hub.process.pid)
        agent.wait(30)
    finally:
        hub.close()
    return {
        "packets_per_s": seen / max(last_s - first_s, 1e-9),
        "lost": packets - seen,
        "agent_cpu_us": 1e6 * agent_s / seen,
        "hub_cpu_us": 1e6 * hub_s / seen,
        "hub_mib": memory_mib,
        "page_answers": answers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "pipeline", "packets": options.packets}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "trace.pcap"
        write_trace(path, options.packets)
        print(f"{options.packets:,} packets, {path.stat().st_size / options.packets - 16:.0f} bytes each on average\n")
        for name, snaplen, _ in CASES[::2]:
            stages(path, snaplen)  # compiles and warms
            costs = stages(path, snaplen)
            print(f"stages, {name}: ns a packet")
            for stage, cost_ns in costs.items():
                print(f"  {stage:<24}{cost_ns:8.0f}")
            print(f"  {'all':<24}{sum(costs.values()):8.0f}\n")
            result[f"stages, {name}"] = costs
        print(f"{'processes':<20}{'packets/s':>12}{'lost':>6}{'agent µs':>10}{'hub µs':>8}{'hub MiB':>9}{'pages':>7}")
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in CASES}
        for _ in range(options.rounds):
            for name, snaplen, codec in CASES:
                rounds[name].append(processes(path, options.packets, snaplen, codec))
        for name, runs in rounds.items():
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(
                f"{name:<20}{median['packets_per_s']:>12,.0f}{median['lost']:>6.0f}{median['agent_cpu_us']:>10.2f}"
                f"{median['hub_cpu_us']:>8.2f}{median['hub_mib']:>9.0f}{median['page_answers']:>7.0f}"
            )
            result[name] = median
    print(json.dumps(result))


if __name__ == "__main__":
    main()
