"""Nothing is lost while things break: hubs and agents killed, stopped and cut off from each other, disks full.

Each fault has a hub, a host with an agent, and traffic of its own, and all happen at the same time. What the hub has in
the end is compared with what tcpdump wrote on the same interface. test_delivery_faults.py runs this in namespaces of
its own.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import pytest
from scapy.utils import RawPcapReader

from aishark_panel.agent.connection import HEARTBEAT_S
from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.integration.conftest import wait_for, wait_until_ready
from tests.integration.hosts import cable, host, ip

pytestmark = pytest.mark.timeout(240)

PORT = 8765
RELAY_PORT = 8766
CUT_S = 30.0
STOPPED_S = 10.0
DELAY_S = 0.2
SLOW_BITS_PER_S = 10_000_000
SPOOL_AFTER_S = 0.5
"""longest time that a packet the hub has not taken is in the agent's memory alone"""
SENDER = """
import socket, sys, time
interface, count, rate, size = sys.argv[1], *map(int, sys.argv[2:])
head = bytes.fromhex("020000000002" "020000000001" "0800")
ip = bytes.fromhex("45000000000000004011000001020304" "05060708")
udp = bytes.fromhex("0007000700000000")
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind((interface, 0))
    began = time.monotonic()
    for number in range(count):
        sender.send(head + ip + udp + number.to_bytes(8, "big") + bytes(size + number % 97))
        if number % 50 == 49:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
"""


class Packet(NamedTuple):
    ts: int
    frame: bytes


def packets(file: Path) -> list[Packet]:
    """The packets of a pcap file with ns times."""
    with RawPcapReader(str(file)) as reader:
        assert reader.nano
        return [Packet(meta.sec * 10**9 + meta.usec, data) for data, meta in reader]


class World:
    """A hub, a host whose only way to it is a cable, and traffic that the host's agent and tcpdump see."""

    def __init__(self, number: int, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.hub_address = f"10.80.{number}.1"
        self.there = stack.enter_context(host(f"10.80.{number}.2"))
        self.wire = f"wire{number}"
        cable(self.there, self.wire)
        ip("address", "add", f"{self.hub_address}/24", "dev", self.wire)
        for arguments in (
            ("link", "add", "near", "type", "veth", "peer", "name", "far"),
            ("link", "set", "near", "addrgenmode", "none", "up"),
            ("link", "set", "far", "addrgenmode", "none", "up"),
        ):
            self.on_host("ip", *arguments)
        self.journal = folder / "journal"
        self.journal.mkdir()
        self.hub: EmbeddedHub | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        stack.callback(self.close)
        self.tcpdump = subprocess.Popen(
            [*self.there.inside, "tcpdump", "-i", "far", "-w", str(folder / "wire.pcap"), "-B", "65536"]
            + ["--time-stamp-precision=nano", "udp port 7"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.tcpdump.stderr is not None
        while "listening" not in self.tcpdump.stderr.readline():
            assert self.tcpdump.poll() is None

    def on_host(self, *command: str) -> None:
        subprocess.run([*self.there.inside, *command], check=True, capture_output=True)

    def start_hub(self) -> None:
        token = self.hub.token if self.hub else None
        files = ["--state", str(self.folder / "state"), "--journal", str(self.journal)]
        options = ["--host", self.hub_address, "--port", str(PORT), "--insecure", "--ring-mib", "96"]
        self.hub = start_hub(*options, *files, token=token)

    def kill_hub(self) -> None:
        assert self.hub is not None
        self.hub.process.kill()
        self.hub.close()

    def start_agent(self, port: int = PORT, **options: str) -> None:
        assert self.hub is not None
        variables = {f"AISHARK_{name.upper()}": value for name, value in options.items()}
        self.agent = subprocess.Popen(
            [*self.there.inside, sys.executable, "-m", "aishark_panel", "agent", "-i", "far", "--filter", "udp port 7"]
            + ["--hub", f"http://{self.hub_address}:{port}", "--name", "edge", "--session", "wire"],
            env={
                **os.environ,
                "AISHARK_TOKEN": self.hub.token,
                "AISHARK_PERFORMANCE__SPOOL": str(self.folder / "spool"),
                "AISHARK_SERVER__RECONNECT_MAX": "1s",
                **variables,
            },
        )

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait(10)

    def get(self, path: str) -> bytes:
        assert self.hub is not None
        request = urllib.request.Request(self.hub.url + path, headers={"Authorization": f"Bearer {self.hub.token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def session(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError):
            return next((s for s in json.loads(self.get("/api/stream"))["sessions"] if s["name"] == "wire"), None)
        return None

    def journal_state(self) -> str:
        session = self.session()
        assert session is not None
        stats = json.loads(self.get(f"/api/stream/{session['id']}/stats"))
        return str(stats["journal"]["state"])

    def is_capturing(self) -> bool:
        session = self.session()
        return session is not None and session["state"] == "capturing"

    def send(self, count: int, rate: int, size: int) -> None:
        self.on_host(sys.executable, "-I", "-S", "-c", SENDER, "near", str(count), str(rate), str(size))

    def drained(self) -> dict[str, Any]:
        """The ledger, once nothing is on its way any more."""

        def unchanged() -> dict[str, Any] | None:
            before = self.book()
            time.sleep(2.5 * HEARTBEAT_S)  # what the hub knows of its agents is as old as their last heartbeat
            return before if before == self.book() else None

        return wait_for(unchanged, "a drained session", timeout_s=90)

    def book(self) -> dict[str, Any] | None:
        """The ledger, if nothing is on its way in it and every identity holds."""
        session = self.session()
        if session is None:
            return None
        book: dict[str, Any] = json.loads(self.get(f"/api/stream/{session['id']}/ledger"))
        waiting = ("in_kernel_ring", "in_encoder", "outbox", "spooled", "in_hub_queue")
        stages = [*(stage for line in book["agents"] for stage in line["stages"]), book["ring"]]
        is_quiet = not any(stage["parts"].get(name, 0) for stage in stages for name in waiting)
        return book if is_quiet and not any(stage["difference"] for stage in stages) else None

    def arrived(self) -> list[Packet]:
        """What the hub has, in its order."""
        session = self.session()
        assert session is not None
        file = self.folder / "hub.pcap"
        file.write_bytes(self.get(f"/api/stream/{session['id']}/export?format=pcap"))
        return packets(file)

    def seen_by_tcpdump(self) -> list[Packet]:
        self.tcpdump.send_signal(signal.SIGINT)
        assert self.tcpdump.stderr is not None
        said = self.tcpdump.stderr.read()
        self.tcpdump.wait(10)
        assert "0 packets dropped by kernel" in said, said
        return packets(self.folder / "wire.pcap")

    def close(self) -> None:
        for process in (self.agent, self.tcpdump):
            if process and process.poll() is None:
                process.kill()
                process.wait(10)
        assert self.tcpdump.stderr is not None
        self.tcpdump.stderr.close()
        if self.hub:
            self.hub.process.send_signal(signal.SIGCONT)
            self.hub.close()


Fault = Callable[[World], None]


def hub_killed(world: World) -> None:
    world.kill_hub()
    time.sleep(1.0)
    world.start_hub()


def network_cut(world: World) -> None:
    world.on_host("ip", "link", "set", "eth0", "down")
    time.sleep(CUT_S)
    world.on_host("ip", "link", "set", "eth0", "up")


def hub_stopped(world: World) -> None:
    assert world.hub is not None
    world.hub.process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_S)
    world.hub.process.send_signal(signal.SIGCONT)


def link_slow(world: World) -> None:
    limit = ("tbf", "rate", f"{SLOW_BITS_PER_S}bit", "burst", "32kb", "latency", "100ms")
    world.on_host("tc", "qdisc", "add", "dev", "eth0", "root", *limit)


def agent_killed(world: World) -> None:
    world.kill_agent()
    world.start_agent()


def both_killed(world: World) -> None:
    world.kill_hub()
    time.sleep(2.0)
    world.kill_agent()
    world.start_agent()
    world.start_hub()


def nothing(world: World) -> None:
    """What is wrong is so from the start."""


def journal_full(world: World) -> None:
    wait_for(lambda: world.journal_state() == "failing", "the hub to say that its disk is full")
    subprocess.run(["mount", "-o", "remount,size=256m", world.journal], check=True)
    wait_for(lambda: world.journal_state() == "on", "the hub to see that there is room again")
    world.kill_hub()
    world.start_hub()


@contextlib.contextmanager
def relay(address: str) -> Iterator[None]:
    """A TCP relay before a hub that hands on everything DELAY_S late, in both directions."""

    def take(source: socket.socket, under_way: "Queue[tuple[float, bytes]]") -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                under_way.put((time.monotonic() + DELAY_S, data))
        under_way.put((time.monotonic() + DELAY_S, b""))

    def hand_on(under_way: "Queue[tuple[float, bytes]]", target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = b"all"
            while data:
                due_s, data = under_way.get()
                time.sleep(max(0.0, due_s - time.monotonic()))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            while True:
                near = opened.enter_context(door.accept()[0])
                far = opened.enter_context(socket.create_connection((address, PORT)))
                for source, target in ((near, far), (far, near)):
                    under_way: Queue[tuple[float, bytes]] = Queue()
                    threading.Thread(target=take, args=(source, under_way), daemon=True).start()
                    threading.Thread(target=hand_on, args=(under_way, target), daemon=True).start()

    with socket.create_server((address, RELAY_PORT)) as door:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield
        door.shutdown(socket.SHUT_RDWR)
        server.join(10)


class Scenario(NamedTuple):
    fault: Fault
    number: int = 16_000
    """packets sent"""
    rate: int = 2_000
    """packets per second"""
    size: int = 200
    """bytes of each packet, at least"""
    journal_bytes: int = 0
    """room on the hub's disk; 0: much"""
    delayed: bool = False


SCENARIOS = {
    "hub killed": Scenario(hub_killed),
    "network cut": Scenario(network_cut),
    "hub stopped": Scenario(hub_stopped),
    "slow link": Scenario(link_slow, rate=4_000, size=1_000),
    "long way": Scenario(nothing, delayed=True),
    "agent killed": Scenario(agent_killed),
    "both killed": Scenario(both_killed),
    "journal full": Scenario(journal_full, journal_bytes=1 << 20),
}


class Outcome(NamedTuple):
    on_wire: list[Packet]
    in_hub: list[Packet]
    book: dict[str, Any]
    killed_ns: tuple[int, int] | None
    """when the agent was killed, and when its successor captured"""


def play(number: int, scenario: Scenario, folder: Path) -> Outcome:
    with contextlib.ExitStack() as stack:
        world = World(number, folder, stack)
        if scenario.journal_bytes:
            size = f"size={scenario.journal_bytes}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", world.journal], check=True)
        world.start_hub()
        assert world.hub is not None
        wait_until_ready(world.hub)
        if scenario.delayed:
            stack.enter_context(relay(world.hub_address))
        world.start_agent(RELAY_PORT if scenario.delayed else PORT)
        wait_for(world.is_capturing, "the agent's capture", 90)  # hubs and agents of all scenarios start at once
        sender = threading.Thread(target=world.send, args=(scenario.number, scenario.rate, scenario.size))
        sender.start()
        time.sleep(2.0)
        before_ns = time.time_ns()
        scenario.fault(world)
        sender.join()
        wait_for(world.is_capturing, "the agent to go on", timeout_s=60)
        book = world.drained()
        killed = "killed" in scenario.fault.__name__ and scenario.fault is not hub_killed
        return Outcome(world.seen_by_tcpdump(), world.arrived(), book, (before_ns, time.time_ns()) if killed else None)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """All scenarios, played at the same time: they mostly wait."""
    ip("link", "set", "lo", "up")
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {
            name: pool.submit(play, number, scenario, tmp_path_factory.mktemp(name.replace(" ", "-")))
            for number, (name, scenario) in enumerate(SCENARIOS.items(), 1)
        }


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_hub_has_what_tcpdump_has(name: str, outcomes: dict[str, Future[Outcome]]) -> None:
    on_wire, in_hub, book, killed_ns = outcomes[name].result()
    assert len(on_wire) > 0.9 * SCENARIOS[name].number  # a busy machine drops some between its interfaces
    if killed_ns is None:
        assert in_hub == on_wire
    else:
        # Lost is only what passed while no agent ran, and just before it was killed.
        kept = set(in_hub)
        assert in_hub == [packet for packet in on_wire if packet in kept]
        lost = [packet.ts for packet in on_wire if packet not in kept]
        assert lost
        assert lost[0] >= killed_ns[0] - (SPOOL_AFTER_S + 0.2) * 1e9
        assert lost[-1] <= killed_ns[1]
        assert lost == [packet.ts for packet in on_wire if lost[0] <= packet.ts <= lost[-1]]
    assert book["ring"]["parts"]["in_ring"] == len(in_hub)
