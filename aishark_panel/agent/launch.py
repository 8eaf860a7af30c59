"""From the command line's options to a running agent."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from aishark_panel.agent.runner import Agent, AgentConfig
from aishark_panel.agent.source import Source
from aishark_panel.errors import ConfigError
from aishark_panel.lifetime import until_told_to_stop
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.wire.messages import CodecName

__all__ = ["LiveOptions", "codec_for", "hub_endpoints", "launch", "source_maker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """Options of a live capture."""

    interface: str
    capture_filter: str
    snaplen: int
    """bytes kept of each frame"""
    buffer_bytes: int
    """kernel ring"""
    hub: str
    """address of the hub, whose connection is never captured"""
    exclude_ports: tuple[int, ...] = ()
    """local TCP ports never captured: a dashboard's, say"""


def hub_endpoints(hub: str, exclude_ports: tuple[int, ...] = ()) -> list[tuple[str, int]]:
    """TCP endpoints (address, port) whose packets the agent itself causes, directly or by being watched."""
    parts = urlsplit(hub)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"The hub's host {parts.hostname!r} is not known: {error}. Check --hub.") from error
    endpoints = [(str(address[4][0]), port) for address in found]
    loopback = [(a, p) for p in exclude_ports for a in ("127.0.0.1", "::1")]
    return list(dict.fromkeys(endpoints + loopback))


def codec_for(compression: Literal["auto"] | CodecName, hub: str) -> CodecName:
    """The codec to use: "auto" is none to a hub on this host, lz4 to any other."""
    if compression != "auto":
        return compression
    host = urlsplit(hub).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return "none" if local else "lz4"


def source_maker(options: LiveOptions, *, file: str, speed: str, ssh: str, rate: int) -> Callable[[], Source]:
    """What opens the source that was asked for; ConfigError unless exactly one was."""
    if urlsplit(options.hub).scheme not in ("http", "https"):
        raise ConfigError(f"--hub must be an address such as http://127.0.0.1:8765, not {options.hub!r}.")
    asked = [bool(file), bool(rate), bool(options.interface)]
    if ssh and not options.interface:
        raise ConfigError("--ssh needs the interface to capture on there: add -i eth0.")
    if sum(asked) != 1:
        raise ConfigError(
            "Say what to capture: one of -i INTERFACE, -r FILE, --ssh USER@HOST -i INTERFACE, --synthetic."
        )
    if file:
        from aishark_panel.agent.replay import ReplaySource, parse_speed

        pace = parse_speed(speed)
        return lambda: ReplaySource(file, speed=pace, snaplen=options.snaplen)
    if rate:
        from aishark_panel.agent.synthetic import SyntheticSource

        return lambda: SyntheticSource(rate_pps=rate)
    if ssh:
        from aishark_panel.agent.ssh import SshCapture

        return lambda: SshCapture(ssh, options.interface, options.capture_filter, snaplen=options.snaplen)
    from aishark_panel.agent.capture import LiveCapture

    return lambda: LiveCapture(
        options.interface,
        options.capture_filter,
        snaplen=options.snaplen,
        buffer_bytes=options.buffer_bytes,
        exclude=hub_endpoints(options.hub, options.exclude_ports),
    )


async def launch(config: AgentConfig, make_source: Callable[[], Source], *, with_parent: bool) -> str:
    """Run an agent until its source ends or it is told to stop; returns why it ended."""
    reuse_freed_memory()
    agent = Agent(config, make_source)
    run = asyncio.create_task(agent.run(), name="agent")
    stop = asyncio.create_task(until_told_to_stop(with_parent=with_parent), name="stop")
    done, _ = await asyncio.wait([run, stop], return_when=asyncio.FIRST_COMPLETED)
    if run in done:
        stop.cancel()
        return run.result()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    return f"stopped: {stop.result()}"
