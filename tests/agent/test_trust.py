"""Whom an agent trusts: real TLS handshakes, certificates made by openssl, and openssl's fingerprint as the pin."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aishark_panel.agent.connection import LinkOptions
from aishark_panel.agent.launch import agent_config as config_of
from aishark_panel.agent.trust import trusted
from aishark_panel.config import load_agent_options
from aishark_panel.errors import ConfigError, HubUnreachableError
from tests.agent.hub_double import HubDouble, NumberedSource, agent_config, running, until
from tests.agent.test_connection import quiet_tornado
from tests.integration.certificates import Certificate, make_ca, make_certificate

__all__ = ["quiet_tornado"]


@pytest.fixture(scope="module")
def openssl(require_tool: Callable[[str], str]) -> str:
    return require_tool("openssl")


@pytest.fixture(scope="module")
def ca(openssl: str, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_ca(openssl, tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module", params=["self-signed", "signed"])
def certificate(
    request: pytest.FixtureRequest, openssl: str, ca: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Certificate:
    signer = ca if request.param == "signed" else None
    return make_certificate(openssl, tmp_path_factory.mktemp("hub"), "127.0.0.1", signer)


def fingerprint(openssl: str, certificate: Certificate) -> str:
    """As openssl prints it: AB:CD:..."""
    command = [openssl, "x509", "-in", str(certificate.cert), "-noout", "-fingerprint", "-sha256"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]


def parsed(pin: str) -> str:
    options = load_agent_options("", {"AISHARK_TOKEN": "t"}, {"server.url": "https://hub", "server.pin": pin})
    return config_of(options).link.pin


def serving(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


async def outcome(certificate: Certificate, link: LinkOptions) -> tuple[str, int]:
    """What an agent says that cannot connect ('': it could), and how many requests the hub has seen."""
    hub = HubDouble(tls=serving(certificate))
    said = ""
    async with running(agent_config(hub.url, link=link), NumberedSource()) as (_, task):
        await until(lambda: hub.numbers or task.done(), "an outcome")
        if task.done():
            with pytest.raises(HubUnreachableError) as raised:
                await task
            said = str(raised.value)
    await hub.close()
    return said, hub.connections


@pytest.mark.parametrize("spelling", [str, str.lower, lambda pin: pin.replace(":", "")])
def test_a_pinned_certificate_is_trusted_whoever_signed_it(
    openssl: str, certificate: Certificate, spelling: Callable[[str], str]
) -> None:
    pin = parsed(spelling(fingerprint(openssl, certificate)))
    assert asyncio.run(outcome(certificate, LinkOptions(pin=pin))) == ("", 1)


def test_another_certificate_is_refused_before_the_key_is_shown(openssl: str, certificate: Certificate) -> None:
    said, requests = asyncio.run(outcome(certificate, LinkOptions(pin="0" * 64)))
    assert "shows another certificate than server.pin says" in said
    assert fingerprint(openssl, certificate).replace(":", "").lower() in said
    assert requests == 0


def test_with_a_ca_both_must_hold(openssl: str, certificate: Certificate, ca: Certificate) -> None:
    pin = parsed(fingerprint(openssl, certificate))
    said, requests = asyncio.run(outcome(certificate, LinkOptions(pin=pin, ca=str(ca.cert))))
    assert (requests == 1) == (said == "") == _is_signed(openssl, certificate, ca)
    assert "is not trusted" in said or not said


def _is_signed(openssl: str, certificate: Certificate, ca: Certificate) -> bool:
    command = [openssl, "verify", "-CAfile", str(ca.cert), str(certificate.cert)]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no certificates"):
        trusted(str(tmp_path / "missing.pem"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"server.url": "http://hub", "server.pin": "0" * 64}, "server.pin is for https hubs"),
        ({"server.pin": "0" * 63}, "--pin must be the SHA-256 of a certificate"),
        ({"performance.on_overload": "spool"}, "needs a folder"),
        ({"performance.on_overload": "drop", "performance.spool": "/x"}, "leave performance.spool out"),
        ({"performance.spool_size": "1MiB"}, "--spool-size must be a size"),
    ],
)
def test_options_that_do_not_fit_are_told(given: dict[str, str | tuple[str, ...] | None], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(load_agent_options("", {"AISHARK_TOKEN": "t"}, given))


@pytest.mark.parametrize(("spool", "policy"), [("", "drop"), ("/x", "spool")])
def test_what_gives_follows_from_whether_there_is_a_folder(spool: str, policy: str) -> None:
    config = config_of(load_agent_options("", {"AISHARK_TOKEN": "t"}, {"performance.spool": spool}))
    assert (config.on_overload, config.link.persistent) == (policy, bool(spool))
