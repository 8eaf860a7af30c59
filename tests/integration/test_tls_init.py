"""`aishark tls init`: what it makes, and hub, agents and dashboard that use it."""

import asyncio
import contextlib
import hashlib
import os
import re
import ssl
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from aishark_panel import privateca
from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, HubUnreachableError
from aishark_panel.privateca import HubCertificate, make_hub_certificate
from tests.integration.conftest import wait_for


def aishark(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "aishark_panel", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


class Made(NamedTuple):
    folder: Path
    said: str
    pin: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("tls") / "ca"
    done = aishark("tls", "init", "--host", "Hub.Example.", "--host", "127.0.0.1", "--folder", str(folder))
    assert done.returncode == 0, done.stderr
    pin = re.search(r"--pin ([0-9a-f]{64})", done.stdout)
    assert pin
    return Made(folder, done.stdout, pin[1])


@pytest.fixture(scope="module")
def hub(made: Made) -> Iterator[EmbeddedHub]:
    started = start_hub(
        *("--port", "0", "--ring-mib", "48"),
        *("--tls-cert", str(made.folder / "hub.pem"), "--tls-key", str(made.folder / "hub-key.pem")),
    )
    yield started
    started.close()


def test_the_keys_are_closed_to_others_and_the_commands_are_told(made: Made) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made.folder.iterdir()}
    assert modes.keys() == {"ca.pem", "ca-key.pem", "hub.pem", "hub-key.pem"}
    assert modes["ca-key.pem"] == modes["hub-key.pem"] == 0o600
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
    for words in (
        f"aishark hub --host 0.0.0.0 --tls-cert {made.folder}/hub.pem --tls-key {made.folder}/hub-key.pem",
        "aishark agent -i eth0 --hub https://hub.example:8765 --ca ca.pem",
        f"aishark agent -i eth0 --hub https://hub.example:8765 --pin {made.pin}",
        f"AISHARK_CA={made.folder}/ca.pem aishark serve --hub https://hub.example:8765 --host hub.example",
    ):
        assert words in made.said


def test_openssl_agrees_on_what_was_made(made: Made, require_tool: Callable[[str], str]) -> None:
    def openssl(*arguments: str) -> str:
        done = subprocess.run([require_tool("openssl"), *arguments], capture_output=True, text=True, cwd=made.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name in ("hub.example", "localhost"):
        openssl(
            "verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", "sslserver", "-verify_hostname", name, "hub.pem"
        )
    openssl("verify", "-x509_strict", "-CAfile", "ca.pem", "-verify_ip", "127.0.0.1", "hub.pem")
    openssl("x509", "-in", "hub.pem", "-noout", "-checkend", str(395 * 86_400))
    ends = subprocess.run(
        [require_tool("openssl"), "x509", "-in", made.folder / "hub.pem", "-noout", "-checkend", str(397 * 86_400)],
        capture_output=True,
    )
    assert ends.returncode == 1
    fingerprint = openssl("x509", "-in", "hub.pem", "-noout", "-fingerprint", "-sha256")
    assert fingerprint.strip().rpartition("=")[2].replace(":", "").lower() == made.pin


@contextlib.contextmanager
def agent(hub: EmbeddedHub, name: str, *trust: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--synthetic", "--name", name, "--hub", hub.url, *trust],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_agents_come_in_by_the_ca_or_the_pin(hub: EmbeddedHub, made: Made) -> None:
    async def names() -> set[str]:
        async with HubClient(hub.url, hub.token, ca=str(made.folder / "ca.pem")) as client:
            return {line["name"] for line in await client.agents()}

    with agent(hub, "by-ca", "--ca", str(made.folder / "ca.pem")), agent(hub, "by-pin", "--pin", made.pin):
        wait_for(lambda: asyncio.run(names()) >= {"by-ca", "by-pin"}, "both agents")


def test_a_wrong_pin_and_another_ca_are_refused(hub: EmbeddedHub, made: Made, tmp_path: Path) -> None:
    other = make_hub_certificate(tmp_path / "other", ["127.0.0.1"])
    for trust, words in (
        (("--pin", "0" * 64), f"its pin is {made.pin}"),
        (("--ca", str(other.ca), "--pin", made.pin), "is not trusted"),
        (("--ca", str(other.ca)), "is not trusted"),
    ):
        done = aishark("agent", "--synthetic", "--hub", hub.url, *trust, AISHARK_TOKEN=hub.token)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_a_name_that_is_not_in_the_certificate_is_refused(tmp_path: Path) -> None:
    elsewhere = make_hub_certificate(tmp_path, ["hub.example"])
    hub = start_hub(
        "--port", "0", "--ring-mib", "48", "--tls-cert", str(elsewhere.cert), "--tls-key", str(elsewhere.key)
    )
    try:
        done = aishark("agent", "--synthetic", "--hub", hub.url, "--ca", str(elsewhere.ca), AISHARK_TOKEN=hub.token)
        assert done.returncode == 2
        assert "is not trusted: IP address mismatch" in done.stderr
        with pytest.raises(HubUnreachableError, match=r"not valid for '127\.0\.0\.1'"):
            asyncio.run(HubClient(hub.url, hub.token, ca=str(elsewhere.ca)).agents())
    finally:
        hub.close()


def test_a_dashboard_shows_a_tls_hub_over_tls(hub: EmbeddedHub, made: Made) -> None:
    ca = str(made.folder / "ca.pem")
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "serve", "--hub", hub.url, "--port", "0", "--no-browser"]
        + ["--tls-cert", str(made.folder / "hub.pem"), "--tls-key", str(made.folder / "hub-key.pem")],
        env={**os.environ, "AISHARK_TOKEN": hub.token, "AISHARK_CA": ca},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        address = next(line.strip() for line in process.stdout if "/login?token=" in line)
        assert address.startswith("https://127.0.0.1:")
        opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)),
            urllib.request.HTTPCookieProcessor(),
        )
        with opener.open(address, timeout=30) as page:  # the login asks the hub; the cookie leads to the page
            assert page.status == 200
            assert b"aishark" in page.read()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_page_for_others_needs_a_certificate_and_a_name(made: Made) -> None:
    bare = aishark("serve", "--host", "192.0.2.1", "--no-browser")
    assert (bare.returncode, "'aishark tls init' makes them" in bare.stderr) == (2, True)
    tls = ("--tls-cert", str(made.folder / "hub.pem"), "--tls-key", str(made.folder / "hub-key.pem"))
    nameless = aishark("serve", "--host", "0.0.0.0", "--no-browser", *tls)
    assert (nameless.returncode, "the one that they use" in nameless.stderr) == (2, True)


def test_made_again_it_keeps_the_ca_and_gives_another_certificate(tmp_path: Path) -> None:
    def digest(made: HubCertificate) -> str:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(made.cert.read_text())).hexdigest()

    first = make_hub_certificate(tmp_path, ["a.example"])
    ca = first.ca.read_bytes()
    second = make_hub_certificate(tmp_path, ["b.example", "::1"])
    assert (first.is_new_ca, second.is_new_ca) == (True, False)
    assert second.ca.read_bytes() == ca
    assert second.names == ("b.example", "::1")
    assert digest(second) == second.pin != first.pin
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(second.cert, second.key)


@pytest.mark.parametrize(
    "name", ["", "a b", "-a", "a..b", "1.2.3", "300.1.1.1", "x" * 64, "a/b", "a.example:8765", "a\nb"]
)
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no host name or IP address"):
        make_hub_certificate(tmp_path / "ca", [name])
    assert not (tmp_path / "ca").exists()


def test_a_ca_that_cannot_be_used_is_left_alone(tmp_path: Path) -> None:
    made, other = make_hub_certificate(tmp_path / "a", ["a"]), make_hub_certificate(tmp_path / "b", ["b"])
    key = made.ca.with_name("ca-key.pem")
    content = key.read_bytes()
    for wrong, words in (
        (b"", "no CA that can be used"),
        (other.ca.with_name("ca-key.pem").read_bytes(), "not the key"),
    ):
        key.write_bytes(wrong)
        with pytest.raises(ConfigError, match=words):
            make_hub_certificate(tmp_path / "a", ["a"])
    key.write_bytes(content)
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        make_hub_certificate(tmp_path / "a", ["a"])
    key.unlink()
    with pytest.raises(ConfigError, match=r"ca-key\.pem cannot be used"):
        make_hub_certificate(tmp_path / "a", ["a"])


def test_a_ca_that_has_expired_makes_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privateca, "_CA_DAYS", 0)
    with pytest.raises(ConfigError, match="has expired"):
        make_hub_certificate(tmp_path, ["a"])


def test_without_cryptography_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'aishark-panel\[hub\]'"):
        make_hub_certificate(tmp_path, ["a"])
