"""A hub with a certificate: agents and clients that trust it come in over https and wss, others are told why not."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, HubUnreachableError
from aishark_panel.views.access import hub_tls
from aishark_panel.views.routes import ROUTES
from tests.integration.certificates import Certificate, make_certificate
from tests.integration.conftest import wait_for


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Certificate:
    """One that signs itself."""
    return make_certificate(require_tool("openssl"), tmp_path_factory.mktemp("tls"), "127.0.0.1")


@pytest.fixture(scope="module")
def hub(certificate: Certificate) -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", "--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    yield started
    started.close()


def run_hub(*options: str) -> "subprocess.CompletedProcess[str]":
    """A hub that is expected to end by itself."""
    command = [sys.executable, "-m", "aishark_panel", "hub", "--embedded", "--port", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_agent_and_client_meet_over_tls(hub: EmbeddedHub, certificate: Certificate) -> None:
    assert hub.url.startswith("https://127.0.0.1:")

    async def seen() -> int:
        async with HubClient(hub.url, hub.token, ca=str(certificate.cert)) as client:
            agents = await client.agents()
            interfaces = sum(len(a["interfaces"]) for a in agents)
            assert [s["name"] for s in await client.sessions()] == ["live"]
            return interfaces

    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--synthetic", "--hub", hub.url]
        + ["--ca", str(certificate.cert)],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    try:
        wait_for(lambda: asyncio.run(seen()), "the agent")
    finally:
        process.kill()
        process.wait()


def test_a_certificate_nobody_vouches_for_is_not_trusted(hub: EmbeddedHub) -> None:
    client = HubClient(hub.url, hub.token)
    with pytest.raises(HubUnreachableError, match=r"certificate.*not trusted: self-signed.*AISHARK_CA"):
        asyncio.run(client.connect())
    with pytest.raises(HubUnreachableError, match="not trusted"):
        asyncio.run(client.agents())


def test_the_environment_names_whom_to_trust(
    hub: EmbeddedHub, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AISHARK_CA", str(certificate.cert))
    assert asyncio.run(HubClient(hub.url, hub.token).agents()) == []
    for file in (tmp_path / "missing.pem", certificate.key):
        monkeypatch.setenv("AISHARK_CA", str(file))
        with pytest.raises(ConfigError, match="AISHARK_CA"):
            HubClient(hub.url, hub.token)


def test_who_speaks_plainly_to_a_tls_hub_gets_nothing(hub: EmbeddedHub) -> None:
    with socket.create_connection(("127.0.0.1", int(hub.url.rpartition(":")[2])), 5) as plain:
        plain.sendall(b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(1000)


def test_the_dashboards_routes_reach_a_tls_hub(
    hub: EmbeddedHub, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AISHARK_HUB", hub.url)
    monkeypatch.setenv("AISHARK_CA", str(certificate.cert))
    monkeypatch.setenv("AISHARK_TOKEN", hub.token)
    hub_tls.cache_clear()

    async def log_in() -> int:
        page = HTTPServer(Application(list(ROUTES)))
        sockets = bind_sockets(0, "127.0.0.1")
        page.add_sockets(sockets)
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/login?token={hub.token}"
        answer = await AsyncHTTPClient().fetch(HTTPRequest(url, follow_redirects=False), raise_error=False)
        page.stop()
        return answer.code

    assert asyncio.run(log_in()) == 302
    hub_tls.cache_clear()


def test_only_a_hub_with_a_certificate_listens_beyond_this_host(certificate: Certificate) -> None:
    refused = run_hub("--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "--tls-cert" in refused.stderr
    tls = ["--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key)]
    open_hub = start_hub("--host", "0.0.0.0", "--port", "0", *tls)
    assert open_hub.url.startswith("https://0.0.0.0:")
    open_hub.close()


def test_files_that_are_no_certificate_and_key_end_the_hub_with_a_sentence(
    certificate: Certificate, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        [require_tool("openssl"), "pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:secret"]
        + ["-out", str(locked)],
        check=True,
        capture_output=True,
    )
    for cert, key in (
        (certificate.cert, tmp_path / "missing"),
        (certificate.key, certificate.cert),
        (certificate.cert, locked),
    ):
        ended = run_hub("--tls-cert", str(cert), "--tls-key", str(key))
        assert ended.returncode == 2
        assert "PEM form" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    alone = run_hub("--tls-cert", str(certificate.cert))
    assert (alone.returncode, "go together" in alone.stderr) == (2, True)


@pytest.mark.parametrize(
    ("ca", "words"),
    [("", "is not trusted: self-signed certificate. Name the file of the CA"), (__file__, "holds no certificates")],
)
def test_an_agent_that_cannot_trust_the_hub_says_why(hub: EmbeddedHub, ca: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aishark_panel", "agent", "--synthetic", "--hub", hub.url, "--ca", ca],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]  # before it, Tornado may warn of the handshake
    assert said.startswith("aishark: ")
    assert words in said
