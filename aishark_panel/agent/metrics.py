"""An agent's counters for Prometheus: its text format, served on a loopback port.

Counters carry the names of the ledger as the label `term`.
"""

import socket
from collections.abc import Callable, Iterator
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine

from aishark_panel.agent.status import Status, packet_counters
from aishark_panel.errors import ConfigError
from aishark_panel.wire.prometheus import TEXT, Metric, Sample, exposition

__all__ = ["METRICS", "MetricsServer", "metrics_text"]

_HELD: Final = frozenset(("in_kernel_ring", "in_encoder", "outbox", "spooled"))
"""terms that go down again: packets on their way"""

METRICS: Final = (
    Metric("aishark_agent_packets_total", "counter", "Packets of this run, by the terms of the ledger.", ("term",)),
    Metric("aishark_agent_packets_held", "gauge", "Packets on their way, by the terms of the ledger.", ("term",)),
    Metric("aishark_agent_gaps_total", "counter", "Times without capture."),
    Metric("aishark_agent_gap_seconds_total", "counter", "How long they were."),
    Metric("aishark_agent_outbox_bytes", "gauge", "Memory of what the hub has not acknowledged."),
    Metric("aishark_agent_capturing", "gauge", "Whether packets are captured."),
    Metric("aishark_agent_connected", "gauge", "Whether the hub is connected."),
    Metric("aishark_agent_round_trip_seconds", "gauge", "To the hub and back."),
    Metric("aishark_agent_start_time_seconds", "gauge", "When the agent started, Unix time."),
)


def metrics_text(status: Status) -> str:
    """The status in Prometheus' text exposition format 0.0.4."""
    return exposition(METRICS, _samples(status))


def _samples(status: Status) -> Iterator[Sample]:
    report = status.agent
    for term, packets in packet_counters(report).items():
        yield Sample(f"aishark_agent_packets_{'held' if term in _HELD else 'total'}", packets, (term,))
    yield Sample("aishark_agent_gaps_total", report.counters.get("gaps", 0))
    yield Sample("aishark_agent_gap_seconds_total", report.counters.get("gap_ms", 0) / 1e3)
    yield Sample("aishark_agent_outbox_bytes", report.outbox_bytes)
    yield Sample("aishark_agent_capturing", int(report.state == "capturing"))
    yield Sample("aishark_agent_connected", int(report.hub.connected))
    yield Sample("aishark_agent_round_trip_seconds", report.hub.round_trip_ms / 1e3)
    yield Sample("aishark_agent_start_time_seconds", status.started_ns / 1e9)


class MetricsServer:
    """Answers `GET /metrics` on 127.0.0.1. ConfigError where the port cannot be had."""

    def __init__(self, port: int, read: Callable[[], Status]) -> None:
        self._read = read
        self._server = HTTPServer(self._answer)
        try:
            listening = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(f"agent.metrics: port {port} cannot be listened on: {error.strerror}.") from error
        listening.setblocking(False)
        self._server.add_socket(listening)

    def close(self) -> None:
        self._server.stop()

    def _answer(self, request: HTTPServerRequest) -> None:
        assert request.connection is not None
        good = request.method == "GET" and request.path == "/metrics"
        body = metrics_text(self._read()).encode() if good else b"GET /metrics\n"
        headers = HTTPHeaders({"Content-Type": TEXT, "Content-Length": str(len(body))})
        line = ResponseStartLine("HTTP/1.1", 200 if good else 404, "OK" if good else "Not Found")
        request.connection.write_headers(line, headers, body)
        request.connection.finish()
