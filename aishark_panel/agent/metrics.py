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
from aishark_panel.wire.prometheus import TEXT, family, single

__all__ = ["MetricsServer", "metrics_text"]

_HELD: Final = frozenset(("in_kernel_ring", "in_encoder", "outbox", "spooled"))
"""terms that go down again: packets on their way"""
_PREFIX: Final = "aishark_agent"


def metrics_text(status: Status) -> str:
    """The status in Prometheus' text exposition format 0.0.4."""
    report = status.agent
    packets = packet_counters(report)
    counted = {term: n for term, n in packets.items() if term not in _HELD}
    held = {term: n for term, n in packets.items() if term in _HELD}
    lines = [
        *family(
            f"{_PREFIX}_packets_total", "counter", "Packets of this run, by the terms of the ledger.", _terms(counted)
        ),
        *family(f"{_PREFIX}_packets_held", "gauge", "Packets on their way, by the terms of the ledger.", _terms(held)),
        *_counter("gaps_total", "Times without capture.", report.counters.get("gaps", 0)),
        *_counter("gap_seconds_total", "How long they were.", report.counters.get("gap_ms", 0) / 1e3),
        *_gauge("outbox_bytes", "Memory of what the hub has not acknowledged.", report.outbox_bytes),
        *_gauge("capturing", "Whether packets are captured.", int(report.state == "capturing")),
        *_gauge("connected", "Whether the hub is connected.", int(report.hub.connected)),
        *_gauge("round_trip_seconds", "To the hub and back.", report.hub.round_trip_ms / 1e3),
        *_gauge("start_time_seconds", "When the agent started, Unix time.", status.started_ns / 1e9),
    ]
    return "\n".join(lines) + "\n"


def _terms(values: dict[str, int]) -> list[tuple[dict[str, str], float]]:
    return [({"term": term}, value) for term, value in values.items()]


def _counter(name: str, about: str, value: float) -> Iterator[str]:
    return single(f"{_PREFIX}_{name}", "counter", about, value)


def _gauge(name: str, about: str, value: float) -> Iterator[str]:
    return single(f"{_PREFIX}_{name}", "gauge", about, value)


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
