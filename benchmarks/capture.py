"""Who captures how much on a live interface, and at what cost: our capture with encoding, tcpdump -w, dumpcap, cypcap
and scapy, side by side.

    python benchmarks/capture.py [--sizes 64 500] [--seconds 2] [--rounds 2] [--rates N ...] [--only ours ...]

Run as root it makes a network namespace with a veth pair; without, leave out tcpdump, which then cannot give up its
rights. A sender sits on one core and sends equal UDP frames evenly, at rates that rise until it can send no more; a
system call sends 64, which the kernel cuts (UDP_SEGMENT). Its true rate is what the table says. Frames are captured on
their way out, so that no queue but the contestant's can lose one. The contestant sits on the other core, with a buffer
of 64 MiB and files in memory where it writes any. It is done when it has lost a packet at a rate in each of its tries.
Both are real-time processes: others on the machine do not count. CPU is the contestant's own, user and system, over the
run (schedstat); what the kernel does for it while sending is the sender's. `ours` is what an agent does up to the
outbox: kernel ring, limits, encoder, Arrow message in its envelope."""

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from results import Result, Table, arguments, finish, progress

RATES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 600_000, 1_000_000, 1_500_000, 2_000_000)
COMMON = 100_000
"""the rate at which those that reach it are compared"""
NEAR, FAR = "10.0.0.1", "10.0.0.2"
BUFFER_MIB = 64
SENDER_CPU, CONTESTANT_CPU = 0, 1
AT_COMMON = f"CPU at {COMMON:,}/s, ns a packet"
HEADS = ("most without loss, packets/s", "loses at, packets/s", "share lost, %", "CPU at most, ns a packet", AT_COMMON)
NAMES = ("ours", "ours libpcap", "tcpdump", "dumpcap", "cypcap", "scapy")


class Run(NamedTuple):
    """One contestant at one rate."""

    sent: int
    captured: int
    packets_per_s: float
    """as they were sent"""
    cpu_ns: float
    """a packet"""


# The contestants that are Python. Each prints "ready", and at SIGTERM how many packets it has.


def ours(interface: str, source: str) -> int:
    """What an agent does with packets until they lie in its outbox; the hub takes them at once."""
    from aishark_panel.agent.capture import LiveCapture
    from aishark_panel.agent.encode import BatchLimits, Encoder
    from aishark_panel.agent.libpcap import LibpcapCapture
    from aishark_panel.agent.limits import Limiter
    from aishark_panel.agent.outbox import Outbox
    from aishark_panel.agent.several import SeveralCaptures
    from aishark_panel.memory import reuse_freed_memory
    from aishark_panel.wire.frames import Frames

    reuse_freed_memory()
    capture_class = LiveCapture if source == "kernel" else LibpcapCapture

    def opener(name: str, capture_filter: str, snaplen: int, index: int) -> Any:
        return capture_class(name, capture_filter, snaplen, BUFFER_MIB << 20, index=index)

    capture = SeveralCaptures([interface], opener, "udp", 262_144)
    encoder, outbox, limiter = Encoder(BatchLimits()), Outbox("none"), Limiter()
    for batch in encoder.add(Frames.from_list([bytes(60)] * 9_000, [0] * 9_000), 0.0):
        outbox.put(batch, {})  # so that what is done at first use has been done
    encoder.flush()
    captured = 0
    stopped = stop_signal()
    frames = None
    while not stopped or frames is not None:
        frames = capture.read(encoder.due_s(time.monotonic()) if encoder.rows else 0.2)
        if frames is not None:
            captured += len(frames)
            for batch in encoder.add(limiter.take(frames), time.monotonic()):
                outbox.put(batch, {})
        if (aged := encoder.poll(time.monotonic())) is not None:
            outbox.put(aged, {})
        outbox.release(outbox.next_sequence - 1)
    return captured


def cypcap_callback(interface: str) -> int:
    """A callback that does nothing but count."""
    import cypcap

    handle = cypcap.create(interface)
    handle.set_snaplen(262_144)
    handle.set_buffer_size(BUFFER_MIB << 20)
    handle.set_timeout(0.01)
    handle.activate()
    handle.setfilter("udp")
    handle.setnonblock(True)
    waiting = select.poll()
    waiting.register(handle.get_selectable_fd(), select.POLLIN)
    captured = 0

    def count(header: object, data: bytes) -> None:
        nonlocal captured
        captured += 1

    stopped = stop_signal()
    before = -1
    while not stopped or captured != before:
        before = captured
        waiting.poll(200)
        handle.dispatch(-1, count)
    return captured


def scapy_sniff(interface: str) -> int:
    """sniff() that keeps nothing."""
    from scapy.all import conf, sniff

    conf.bufsize = BUFFER_MIB << 20
    captured = 0

    def count(packet: object) -> None:
        nonlocal captured
        captured += 1

    stopped = stop_signal()
    while not stopped:
        sniff(
            iface=interface, filter="udp", store=False, prn=count, stop_filter=lambda packet: bool(stopped), timeout=30
        )
    return captured


def stop_signal() -> list[bool]:
    """Say that the capture runs; the list is no longer empty once it shall end."""
    stopped: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    print("ready", flush=True)
    return stopped


# The sender.


def send(size: int, rate: int, seconds: float) -> tuple[int, float]:
    """Send UDP frames of `size` bytes evenly; (how many were sent, in how many seconds)."""
    payload = size - 42
    total, sent = int(rate * seconds), 0
    most = min(64, 60_000 // payload)
    burst = most if rate > COMMON else max(1, rate // 20_000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, 103, payload)  # UDP_SEGMENT
        sender.connect((FAR, 9999))
        data = bytes(most * payload)
        began = time.perf_counter()
        while sent < total:
            due = min(int((time.perf_counter() - began) * rate) + 1 - sent, most, total - sent)
            if due < min(burst, total - sent):
                time.sleep(0.00002)
                continue
            sender.send(data[: due * payload])
            sent += due
            if time.perf_counter() - began > 4 * seconds:  # as fast as it can
                break
        return sent, time.perf_counter() - began


# One run.


def command(name: str, interface: str, path: Path) -> list[str]:
    tools = {
        "tcpdump": [
            "tcpdump",
            "-i",
            interface,
            "-n",
            "-B",
            str(BUFFER_MIB << 10),
            "-Z",
            "root",
            "-w",
            str(path),
            "udp",
        ],
        "dumpcap": ["dumpcap", "-i", interface, "-q", "-B", str(BUFFER_MIB), "-f", "udp", "-w", str(path)],
    }
    return tools.get(name) or [sys.executable, __file__, "--contestant", name, "--interface", interface]


def cpu_ns(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def run(name: str, size: int, rate: int, seconds: float, folder: Path) -> Run:
    path = folder / "packets.pcap"
    path.unlink(missing_ok=True)
    process = subprocess.Popen(
        command(name, "near0", path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {CONTESTANT_CPU}),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    stream = process.stderr if name in ("tcpdump", "dumpcap") else process.stdout
    for line in stream:
        if re.search(r"ready|listening on|File:", line):
            break
    time.sleep(0.3)
    before = cpu_ns(process.pid)
    words = ["--send", str(size), str(rate), str(seconds)]
    sender = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    sent, took = json.loads(sender.stdout)
    used = cpu_ns(process.pid)
    time.sleep(1.2)  # tcpdump takes what does not fill a block after a second
    for _ in range(100):  # until it has caught up
        time.sleep(0.2)
        if (now := cpu_ns(process.pid)) - used < 2_000_000:
            break
        used = now
    process.send_signal(signal.SIGINT if name in ("tcpdump", "dumpcap") else signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    if name in ("tcpdump", "dumpcap"):
        captured = count_packets(path)
    else:
        assert out.strip(), error
        captured = int(out.split()[-1])
    return Run(sent, captured, sent / took, (now - before) / max(captured, 1))


def count_packets(path: Path) -> int:
    from aishark_panel.capturefile import open_capture

    with open_capture(path) as file:
        return sum(map(len, file))


def climb(name: str, size: int, rates: Sequence[int], seconds: float, rounds: int, folder: Path) -> list[list[Run]]:
    """Tries at rising rates; all of the last have lost packets, or the sender could not send faster."""
    runs: list[list[Run]] = []
    for rate in rates:
        if name != "scapy" and rate < COMMON:
            continue
        tries = []
        for _ in range(max(2, rounds)):
            tries.append(run(name, size, rate, seconds, folder))
            whole = [each for each in tries if each.captured >= each.sent]
            if len(whole) >= rounds:
                break
        runs.append(tries)
        if not whole or max(each.packets_per_s for each in tries) < 0.85 * rate:
            break
    return runs


def compare(sizes: list[int], rates: Sequence[int], seconds: float, rounds: int, names: list[str]) -> list[Table]:
    """A table for each size, on a veth pair of this network namespace."""
    for words in (
        ["link", "set", "lo", "up"],
        ["link", "add", "near0", "type", "veth", "peer", "name", "far0"],
        *(["link", "set", name, "addrgenmode", "none", "up"] for name in ("near0", "far0")),
        ["link", "set", "near0", "gso_max_segs", "1"],
        ["address", "add", f"{NEAR}/24", "dev", "near0"],
        ["neighbour", "add", FAR, "lladdr", "02:00:00:00:00:02", "dev", "near0"],
    ):
        subprocess.run(["ip", *words], check=True)
    time.sleep(0.5)
    tables = []
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        for size in sizes:
            table = Table(f"Frames of {size} bytes", "", list(HEADS), base="ours", of=AT_COMMON)
            for name in names:
                progress(f"{name}, frames of {size} bytes")
                runs = climb(name, size, rates, seconds, rounds, Path(folder))
                table.add(name, *cells(runs))
            tables.append(table)
    return tables


def cells(runs: list[list[Run]]) -> list[list[float]]:
    """Of a contestant's row, from its tries at each rate; a rate at which every try lost packets is its limit."""
    whole = [tries for tries in ([each for each in tries if each.captured >= each.sent] for tries in runs) if tries]
    lost = [tries for tries in runs if all(each.captured < each.sent for each in tries)]
    near = [tries for tries in whole if 0.85 * COMMON < tries[0].packets_per_s < 1.5 * COMMON]
    return [
        [each.packets_per_s for each in whole[-1]] if whole else [0.0],
        [each.packets_per_s for each in lost[0]] if lost else [],
        [100 * (1 - each.captured / each.sent) for each in lost[0]] if lost else [],
        [each.cpu_ns for each in whole[-1]] if whole else [],
        [each.cpu_ns for each in near[0]] if near else [],
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 500])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--interface", help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=3, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        if options.contestant.startswith("ours"):
            captured = ours(options.interface, "libpcap" if "libpcap" in options.contestant else "kernel")
        else:
            captured = {"cypcap": cypcap_callback, "scapy": scapy_sniff}[options.contestant](options.interface)
        print(captured, flush=True)
    elif options.send:
        os.sched_setaffinity(0, {SENDER_CPU})
        print(json.dumps(send(int(options.send[0]), int(options.send[1]), options.send[2])))
    elif options.inside:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        names = [name for name in options.only if name not in ("tcpdump", "dumpcap") or shutil.which(name)]
        tables = compare(options.sizes, options.rates, options.seconds, options.rounds, names)
        notes = [f"{name} is left out: it is not installed." for name in options.only if name not in names]
        finish(Result("capture", tables, notes), options.json)
    else:
        namespace = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
        inside = [*namespace, sys.executable, __file__, "--inside", *sys.argv[1:]]
        raise SystemExit(subprocess.run(inside).returncode)


if __name__ == "__main__":
    main()
