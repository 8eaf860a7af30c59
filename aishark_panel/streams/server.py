"""The hub as a process: binds, announces itself, runs until told to stop."""

import asyncio
import errno
import ipaddress
import json
import sys
from dataclasses import dataclass, field

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from aishark_panel.errors import ConfigError
from aishark_panel.lifetime import until_told_to_stop
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.streams.guard import MAX_BODY_BYTES
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.routes import make_application
from aishark_panel.streams.session import DEFAULT_RING_BYTES

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
    embedded: bool = False
    """a child: announce as JSON, end with the parent"""


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reachable from this host only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def serve_hub(config: HubConfig) -> None:
    """Run a hub until SIGINT or SIGTERM (or, embedded, until its parent ends). Raises ConfigError if it cannot bind."""
    if not is_loopback(config.host) and not config.insecure:
        raise ConfigError(
            f"Listening on {config.host} without TLS would show the token and all packets to the network. "
            "Listen on 127.0.0.1 and use an ssh tunnel, or add --insecure if the network is trusted."
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
    hub = Hub(config.token, ring_bytes=config.ring_bytes)
    hub.start()
    server = HTTPServer(make_application(hub), max_body_size=MAX_BODY_BYTES)
    server.add_sockets(sockets)
    host, port = sockets[0].getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    _announce(url, config)
    try:
        await until_told_to_stop(with_parent=config.embedded)
    finally:
        server.stop()
        await asyncio.wait_for(server.close_all_connections(), 5)
        await hub.close()


def _announce(url: str, config: HubConfig) -> None:
    if config.embedded:
        print(json.dumps({"url": url}), flush=True)
        return
    if not is_loopback(config.host):
        print("WARNING: no TLS; whoever can listen on this network reads the token and all packets.", file=sys.stderr)
    print(f"hub listens on {url}\ntoken: {config.token}\n", flush=True)
    print(f"Connect an agent:\n  AISHARK_TOKEN={config.token} aishark agent -i eth0 --hub {url}", flush=True)
    print(f"Join with a dashboard:\n  AISHARK_HUB={url} AISHARK_TOKEN={config.token} aishark serve", flush=True)
