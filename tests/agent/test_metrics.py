"""Prometheus' text, asked for over HTTP."""

import asyncio
import socket
import urllib.error
import urllib.request

import pytest

from aishark_panel.agent.metrics import MetricsServer, metrics_text
from aishark_panel.agent.status import LinkReport, Report, Status
from aishark_panel.errors import ConfigError

STATUS = Status(
    name="edge",
    pid=1,
    version="1",
    started_ns=1_500_000_000,
    written_ns=2,
    agent=Report(
        state="capturing",
        hub=LinkReport(url="http://h", connected=False, round_trip_ms=2.5),
        counters={"matched": 7, "dropped_outbox_full": 2, "outbox": 5, "in_encoder": 1, "gaps": 2, "gap_ms": 1_500},
        outbox_bytes=99,
    ),
)
FIGURES = {
    'aishark_agent_packets_total{term="matched"}': 7,
    'aishark_agent_packets_total{term="dropped_outbox_full"}': 2,
    'aishark_agent_packets_held{term="outbox"}': 5,
    'aishark_agent_packets_held{term="in_encoder"}': 1,
    "aishark_agent_gaps_total": 2,
    "aishark_agent_gap_seconds_total": 1.5,
    "aishark_agent_outbox_bytes": 99,
    "aishark_agent_capturing": 1,
    "aishark_agent_connected": 0,
    "aishark_agent_round_trip_seconds": 0.0025,
    "aishark_agent_start_time_seconds": 1.5,
}


def figures(text: str) -> dict[str, float]:
    """Read back the exposition format: each line a comment, or a name and a number."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_every_figure_is_there_with_its_type() -> None:
    text = metrics_text(STATUS)
    assert figures(text) == FIGURES
    assert text.endswith("\n")
    assert "# TYPE aishark_agent_packets_total counter" in text
    assert "# TYPE aishark_agent_packets_held gauge" in text


def test_it_is_served_on_the_loopback_port_and_nothing_else_is() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def fetch(path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""

    async def run() -> None:
        server = MetricsServer(port, lambda: STATUS)
        try:
            status, text = await asyncio.to_thread(fetch, "/metrics")
            assert (status, figures(text)) == (200, FIGURES)
            assert (await asyncio.to_thread(fetch, "/"))[0] == 404
            assert (await asyncio.to_thread(fetch, "/metrics", "POST"))[0] == 404
            with pytest.raises(ConfigError, match=rf"agent\.metrics: port {port} cannot be listened on"):
                MetricsServer(port, lambda: STATUS)
        finally:
            server.close()

    asyncio.run(run())
