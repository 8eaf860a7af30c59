"""A hub in memory: a real session and the real query methods, without the sockets between."""

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from aishark_panel.agent.payload import Payload
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.client import HubClient
from aishark_panel.errors import ConflictError, HubUnreachableError
from aishark_panel.streams.about import line
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Hello, InterfaceInfo, PayloadPolicy
from tests.views.alerts import MemoryAlerts
from tests.views.backtests import MemoryBacktests
from tests.views.places import MemoryPlaces

T = TypeVar("T")

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000

RULES = """
rules:
  - name: many_questions
    description: Somebody asks a lot.
    where: dns
    by: [src_ip]
    over: 1s
    having: packets >= 5
    severity: warning
    annotations: {summary: "{src_ip} asked {packets} times"}
"""


@functools.cache
def frame(kind: str) -> bytes:
    """One frame: tcp, reset, dns or arp."""
    ether = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    packets: dict[str, Packet] = {
        "tcp": ether / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=4000, dport=9999, flags="PA") / Raw(b"x" * 46),
        "reset": ether / IP(src="10.0.0.3", dst="10.0.0.2") / TCP(sport=4002, dport=9999, flags="RA"),
        "dns": ether / IP(src="10.0.0.1", dst="10.0.0.53") / UDP(sport=4001, dport=53) / DNS(qd=DNSQR(qname="a.test")),
        "arp": ether / ARP(psrc="10.0.0.1", pdst="10.0.0.2"),
    }
    return bytes(packets[kind])


class MemoryHub(MemoryAlerts, MemoryBacktests, MemoryPlaces):
    """What HubClient offers, over one session in this process."""

    def __init__(self, source: str = "synthetic") -> None:
        super().__init__()
        self.builtin = parse_rules(RULES, "rules of the tests")
        self.may = ["view", "capture", "export"]
        self.session = Session("5e55", "lab", ring_bytes=64 * 2**20, rules=self.builtin)
        self.created: list[str] = []
        self.agent_lines: list[dict[str, Any]] = []
        self.orders: list[tuple[str, dict[str, object]]] = []
        self.refusal = ""
        """what an agent says instead of obeying"""
        self.recorded: list[dict[str, Any]] = []
        self.url = "http://127.0.0.1:1"
        self.connected = True
        self.reason = ""
        self.asked: list[str] = []
        self.traffic_asked: list[tuple[str, str, int]] = []
        """by, where and since of each question for traffic"""
        self.tickets: list[tuple[str, str, bool]] = []
        self._sequence = 0
        self.run = self.session.runs.attach(
            Hello(
                protocol=1,
                agent="edge",
                run="0" * 32,
                version="0",
                host="edge.test",
                source=source,  # type: ignore[arg-type]
                interfaces=(InterfaceInfo(name="eth0", link_type=1, filter="not port 22"),),
            )
        )

    def add(
        self,
        kinds: Sequence[str],
        start_ns: int = START_NS,
        every_ns: int = SECOND_NS,
        *,
        payload: PayloadPolicy = "full",
    ) -> None:
        """Packets of these kinds, `every_ns` apart, from an agent with that payload policy."""
        times = [start_ns + k * every_ns for k in range(len(kinds))]
        frames, ethernet = Frames.from_list([frame(k) for k in kinds], times), np.ones(1, np.int32)
        policy = Payload(payload, batch_rows=len(kinds) or 1)
        for content in policy.contents(policy.cut(frames, ethernet), ethernet):
            self._sequence += 1
            self.session.ingest(self.run, content, self._sequence, {})
        self.session.alerts.settle()

    def _ask(self, method: str, **params: object) -> tuple[Any, Any]:
        self.asked.append(method)
        if not self.connected:
            raise HubUnreachableError(self.reason)
        return METHODS[method](self.session, params)

    async def _batch(self, method: str, **params: object) -> tuple[pa.RecordBatch, Any]:
        info, body = self._ask(method, **params)
        table = pa.ipc.open_stream(body).read_all().combine_chunks()
        batches = table.to_batches()
        return (batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)), info

    within = staticmethod(HubClient.within)

    async def sessions(self) -> list[dict[str, Any]]:
        self._ask("stats")
        lab = line(self.session)
        lab["may"] = self.may
        return [lab, *({**lab, "id": f"new{k}", "name": name} for k, name in enumerate(self.created))]

    async def create_session(self, name: str = "") -> dict[str, Any]:
        self.created.append(name)
        return {"id": f"new{len(self.created) - 1}"}

    async def stats(self, session: str) -> dict[str, Any]:
        return dict(self._ask("stats")[0])

    async def traffic(
        self, session: str, resolution_ms: int, since: int = 0, where: str = "", by: str = "protocol"
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        self.traffic_asked.append((by, where, since))
        return await self._batch("rollup", resolution_ms=resolution_ms, since=since, where=where, by=by)

    async def conversations(
        self, session: str, limit: int = 20, where: str = "", sort: str = "bytes"
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        return await self._batch("conversations", limit=limit, where=where, sort=sort)

    async def endpoints(
        self, session: str, limit: int = 20, where: str = "", sort: str = "bytes"
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        return await self._batch("endpoints", limit=limit, where=where, sort=sort)

    async def hierarchy(self, session: str, where: str = "") -> dict[str, Any]:
        return dict(self._ask("hierarchy", where=where)[0])

    async def tcp_health(self, session: str, where: str = "", since_ns: int = 0) -> dict[str, Any]:
        return dict(self._ask("tcp_health", where=where, since_ns=since_ns)[0])

    async def ledger(self, session: str) -> dict[str, Any]:
        return dict(self._ask("ledger")[0])

    async def rows(
        self, session: str, first: int, count: int, where: str = "", columns: Sequence[str] | None = None
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        params: dict[str, object] = {"first": first, "count": count, "where": where}
        return await self._batch("rows", **params, **({"columns": list(columns)} if columns else {}))

    async def seek(
        self, session: str, number: int, where: str = "", only: str = "", *, back: bool = False
    ) -> dict[str, Any]:
        return dict(self._ask("seek", number=number, where=where, only=only, back=back)[0])

    async def packet(self, session: str, number: int) -> dict[str, Any]:
        values, body = self._ask("packet", number=number)
        return {**values, "frame": bytes(body)}

    async def values(
        self, session: str, columns: Sequence[str], where: str = "", text: str = "", limit: int = 20
    ) -> list[tuple[str, int]]:
        params: dict[str, object] = {"columns": list(columns), "where": where, "text": text, "limit": limit}
        return [tuple(pair) for pair in self._ask("values", **params)[0]["values"]]

    async def conversation(self, session: str, conversation: int) -> dict[str, Any]:
        return dict(self._ask("conversation", conversation=str(conversation))[0])

    async def payloads(
        self, session: str, conversation: int, cursor: str = "", limit: int = 1_000_000
    ) -> tuple[dict[str, Any], bytes]:
        result, body = self._ask("payloads", conversation=str(conversation), cursor=cursor, limit=limit)
        return result, bytes(body)

    async def agents(self) -> list[dict[str, Any]]:
        if not self.connected:
            raise HubUnreachableError(self.reason)
        return self.agent_lines

    async def profiles(self) -> list[dict[str, Any]]:
        settings = {"filter": "tcp port 80", "snaplen": 128, "sampling": None, "max_packets_per_second": None}
        return [{"name": "web", **settings}]

    async def agent_interfaces(self, agent: str) -> list[dict[str, Any]]:
        if self.refusal:
            raise ConflictError(self.refusal)
        return [{"name": "eth0", "captured": True}, {"name": "eth1", "captured": False}]

    async def agent_try(self, agent: str, filter: str) -> dict[str, Any]:
        self.orders.append(("try", {"filter": filter}))
        if self.refusal:
            raise ConflictError(self.refusal)
        figures = {"packets": 8, "bytes": 800, "passed_packets": 2, "passed_bytes": 400, "missed_packets": 0}
        return {"seconds": 2.0, **figures}

    async def agent_start(self, agent: str, **settings: object) -> dict[str, Any]:
        return self._obey(agent, "capturing", settings)

    async def agent_stop(self, agent: str) -> dict[str, Any]:
        return self._obey(agent, "stopped", {})

    def _obey(self, agent: str, state: str, settings: dict[str, object]) -> dict[str, Any]:
        if self.refusal:
            raise ConflictError(self.refusal)
        self.orders.append((state, settings))
        found = next(each for each in self.agent_lines if each["id"] == agent)
        found["state"] = state
        return found

    async def recordings(self, session: str) -> list[dict[str, Any]]:
        if not self.connected:
            raise HubUnreachableError(self.reason)
        return self.recorded

    async def record_start(self, session: str, export_format: str = "pcapng", **options: object) -> dict[str, Any]:
        facts = {
            "id": f"r{len(self.recorded)}",
            "format": export_format,
            "reason": "",
            "folder": "/captures",
            "where": "",
        }
        counts = {"written": 7, "failed": 0, "bytes": 700, "files": [], "current_file": "lab-0001.pcapng.part"}
        self.recorded.append({**facts, **counts, **options, "state": "recording"})
        return self.recorded[-1]

    async def record_stop(self, session: str, recording: str) -> dict[str, Any]:
        found = next(each for each in self.recorded if each["id"] == recording)
        found["state"] = "stopped"
        return found

    async def start(self, session: str) -> None:
        self.session.condition.wanted = True

    async def stop(self, session: str) -> None:
        self.session.condition.wanted = False

    async def clear(self, session: str) -> None:
        self.session.clear()

    async def export_ticket(self, session: str, export_format: str, where: str = "", *, follow: bool = False) -> str:
        self.tickets.append((export_format, where, follow))
        return "ticket-1"


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)
