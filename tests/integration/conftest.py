"""A real hub process, real agents, and a way to ask them: nothing in this folder is faked."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.traffic import frames

T = TypeVar("T")


@pytest.fixture(scope="module")
def hub() -> Iterator[EmbeddedHub]:
    """A hub of its own for each test module."""
    started = start_hub("--port", "0", "--ring-mib", "48")
    wait_until_ready(started)
    yield started
    started.close()


def wait_until_ready(hub: EmbeddedHub) -> None:
    """Until the hub has its kernels: seconds from the cache, half a minute on a new machine."""
    wait_for(lambda: "Waiting" in ask(hub, lambda c: _default_stats(c))["reason"], "kernels ready", timeout_s=100.0)


async def _default_stats(client: HubClient) -> dict[str, Any]:
    return await client.stats((await client.sessions())[0]["id"])


def ask(hub: EmbeddedHub, question: Callable[[HubClient], Awaitable[T]]) -> T:
    """Ask the hub something over a client of its own."""

    async def run() -> T:
        async with HubClient(hub.url, hub.token) as client:
            return await question(client)

    return asyncio.run(run())


def call(hub: EmbeddedHub, method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, bytes]:
    """One HTTP request; `token` None: the right one, "": none at all."""
    token = hub.token if token is None else token
    request = urllib.request.Request(
        hub.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def session_of(hub: EmbeddedHub, name: str) -> str:
    """Id of the session of that name, once it exists."""

    def look() -> str | None:
        return next((str(s["id"]) for s in ask(hub, lambda c: c.sessions()) if s["name"] == name), None)

    return wait_for(look, f"session {name}", timeout_s=90.0)  # on a new machine its agent compiles first


def wait_for(check: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    """The first true answer of `check`, or a failure that says what was waited for.

    It is asked less often the longer it takes, because each question costs the hub and this process some time."""
    deadline_s, pause_s = time.monotonic() + timeout_s, 0.02
    while time.monotonic() < deadline_s:
        if answer := check():
            return answer
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.2)
    pytest.fail(f"{what} did not happen within {timeout_s:.0f} s")


def stats_when(hub: EmbeddedHub, session: str, check: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """Statistics of the session once they pass the check."""

    def look() -> dict[str, Any] | None:
        stats = ask(hub, lambda c: c.stats(session))
        return stats if check(stats) else None

    return wait_for(look, what)


def run_agent(
    hub: EmbeddedHub, *options: str, token: str | None = None, **more: Any
) -> "subprocess.CompletedProcess[str]":
    """Run an agent to its end."""
    return subprocess.run(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, *options],
        env={**os.environ, "AISHARK_TOKEN": token or hub.token},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )


@pytest.fixture(scope="session")
def capture_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pcap file of 10,000 numbered packets, 1 ms apart."""
    path = tmp_path_factory.mktemp("captures") / "numbered.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(frames(10_000)))
    return path


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a webhook, and what it was told."""
    messages: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", messages
    server.shutdown()
    thread.join()
    server.server_close()
