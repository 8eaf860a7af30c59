"""The hub as a process: binds, announces itself, runs until told to stop."""

import asyncio
import errno
import ipaddress
import json
import os
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tornado.netutil import bind_sockets

from aishark_panel.alerts.channels import load_channels, webhook_channel
from aishark_panel.alerts.load import load_rules
from aishark_panel.alerts.notify import Notifier
from aishark_panel.errors import ConfigError
from aishark_panel.lifetime import until_told_to_stop
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.streams.addresses import Addresses
from aishark_panel.streams.bodies import MAX_HEARD_BYTES, BodyLimit
from aishark_panel.streams.door import HubServer
from aishark_panel.streams.hub import DEFAULT_REQUESTS_PER_S, Hub
from aishark_panel.streams.journal import DEFAULT_JOURNAL_BYTES, Journal
from aishark_panel.streams.oidc import Provider
from aishark_panel.streams.oidc_config import load_oidc
from aishark_panel.streams.ringshares import RingShares
from aishark_panel.streams.routes import make_application
from aishark_panel.streams.session import DEFAULT_RING_BYTES
from aishark_panel.streams.store import Store
from aishark_panel.streams.uploads import DEFAULT_MAX_UPLOAD_BYTES
from aishark_panel.transport import server_tls

__all__ = ["HubConfig", "is_loopback", "serve_hub"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """What a hub is told at its start."""

    token: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port"""
    ring_bytes: int = DEFAULT_RING_BYTES
    insecure: bool = False
    """allow listening beyond this host without TLS"""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """PEM files of the certificate (with what else its chain needs) and its key; None: no TLS"""
    state: Path | None = None
    """folder of what outlives this process (streams/store.py); None: nothing does"""
    recordings: Path | None = None
    """folder of recordings; None: the user's data directory"""
    recordings_bytes: int | None = None
    """most bytes of all files there; None: what the disk has"""
    journal: Path | None = None
    """folder of the journal; None: packets are in memory only"""
    journal_bytes: int = DEFAULT_JOURNAL_BYTES
    """most bytes of one session's journal"""
    max_upload_bytes: int = DEFAULT_MAX_UPLOAD_BYTES
    rings_bytes: int = 0
    rings_bytes_each: int = 0
    """most memory of all sessions' rings, and of one person's; 0: as the machine allows"""
    oidc: Path | None = None
    """file that says at which provider people may log in (streams/oidc_config.py); None: at none"""
    dashboards: tuple[str, ...] = ()
    """addresses of dashboards on other hosts, which say whose logins they forward"""
    requests_per_s: float = DEFAULT_REQUESTS_PER_S
    """most requests of one key a second"""
    rules: tuple[str, ...] = ()
    """files of alert rules"""
    builtin_rules: bool = True
    webhook: str = field(default="", repr=False)
    """address that is told of alerts; often a secret"""
    notify: str = ""
    """file of channels that are told of alerts"""
    embedded: bool = False
    """a child: announce as JSON, end with the parent"""


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reachable from this host only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve_hub(config: HubConfig) -> None:
    """Run a hub until SIGINT or SIGTERM (or, embedded, until its parent ends).

    Raises ConfigError if it cannot bind, or cannot use its certificate, its folders or its rules.
    """
    tls = server_tls(config.tls_cert, config.tls_key)
    rules = load_rules(config.rules, builtin=config.builtin_rules)
    addresses = Addresses(config.dashboards)
    channels = [webhook_channel(config.webhook)] if config.webhook else []
    if config.notify:
        channels += load_channels(config.notify, os.environ)
    notifier = Notifier(channels) if channels else None
    provider = Provider(load_oidc(config.oidc, os.environ)) if config.oidc else None
    if not is_loopback(config.host) and not (tls or config.insecure):
        raise ConfigError(
            f"Listening on {config.host} without TLS would show the token and all packets to the network. "
            "Give it a certificate with --tls-cert and --tls-key, or listen on 127.0.0.1 and use an ssh tunnel, "
            "or add --insecure if the network is trusted."
        )
    try:
        sockets = bind_sockets(config.port, config.host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {config.port} on {config.host} is in use. Choose another with --port, or 0 for any free one."
            ) from error
        raise ConfigError(f"Cannot listen on {config.host} port {config.port}: {error.strerror}.") from error
    reuse_freed_memory()
    hub = Hub(
        config.token,
        ring_bytes=config.ring_bytes,
        recordings=config.recordings,
        recordings_bytes=config.recordings_bytes,
        max_upload_bytes=config.max_upload_bytes,
        requests_per_s=config.requests_per_s,
        store=Store(config.state),
        rules=rules,
        notifier=notifier,
        journal=Journal(config.journal, limit_bytes=config.journal_bytes) if config.journal else None,
        provider=provider,
        addresses=addresses,
        ring_shares=RingShares.of_machine(config.ring_bytes, config.rings_bytes, config.rings_bytes_each),
    )
    hub.start()
    _allow_many_connections()
    application = BodyLimit(make_application(hub))
    server = HubServer.open_at(hub.door, application, tls=tls, max_body_bytes=MAX_HEARD_BYTES)
    server.add_sockets(sockets)
    host, port = sockets[0].getsockname()[:2]
    scheme = "https" if tls else "http"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    _announce(url, config)
    try:
        await until_told_to_stop(with_parent=config.embedded)
    finally:
        server.stop()
        await asyncio.wait_for(server.close_all_connections(), 5)
        await hub.close()


def _allow_many_connections() -> None:
    """Each needs a file descriptor, and the usual soft limit of 1,024 is for programs that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _announce(url: str, config: HubConfig) -> None:
    if config.embedded:
        print(json.dumps({"url": url}), flush=True)
        return
    if not is_loopback(config.host) and config.tls_cert is None:
        print("WARNING: no TLS; whoever can listen on this network reads the token and all packets.", file=sys.stderr)
    # What was given is known; a service's output goes into a log that others read.
    said, token = (config.token,) * 2
    if os.environ.get("AISHARK_TOKEN"):
        said, token = "the one that it was given", "..."
    print(f"hub listens on {url}\ntoken: {said}", flush=True)
    kept = f"written to {config.journal}, at most {config.journal_bytes / 2**30:g} GiB a session"
    print(f"packets are {kept if config.journal else 'kept in memory only'}\n", flush=True)
    print(f"Connect an agent:\n  AISHARK_TOKEN={token} aishark agent -i eth0 --hub {url}", flush=True)
    print(f"Join with a dashboard:\n  AISHARK_HUB={url} AISHARK_TOKEN={token} aishark serve", flush=True)
