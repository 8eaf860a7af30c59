"""From the command line's options to a running agent."""

import asyncio
import ipaddress
import os
import platform
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import urlsplit

import pyarrow as pa

from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.bpf import Endpoint
from aishark_panel.agent.connection import LinkOptions
from aishark_panel.agent.encode import BatchLimits
from aishark_panel.agent.manager import ServiceManager
from aishark_panel.agent.reporter import Reporter
from aishark_panel.agent.runner import Agent, AgentConfig
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Source
from aishark_panel.agent.status import status_folder
from aishark_panel.compiling import told
from aishark_panel.config import AgentOptions, AgentSection, PerformanceSection, ServerSection
from aishark_panel.errors import WHERE_TOKENS_COME_FROM, ConfigError
from aishark_panel.lifetime import until_told_to_stop
from aishark_panel.memory import let_go_of_code, reuse_freed_memory
from aishark_panel.wire.messages import CodecName, PayloadPolicy, SamplingBy

if TYPE_CHECKING:
    from aishark_panel.agent.capture import LiveCapture
    from aishark_panel.agent.libpcap import LibpcapCapture

__all__ = ["SourceChoice", "agent_config", "hub_endpoints", "run_agent", "source_maker", "trial_maker"]

_KEPT_BYTES: Final = 8 * 2**20
"""Memory that the C heap keeps at most of what was freed: some batches."""
_SETTLED_S: Final = 10.0
"""By then the kernels of a capture are loaded, and what loads them is not needed."""


def hub_endpoints(hub: str, exclude_ports: tuple[int, ...] = ()) -> list[Endpoint]:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChoice:
    """What to capture, besides what the options say: one of these, or nothing for the options' interfaces."""

    file: str = ""
    """capture file to replay; - is standard input"""
    speed: str = "1"
    """of the replay"""
    follow: bool = False
    """play the file without delay and then what is still written to it"""
    ssh: str = ""
    """USER@HOST to capture on"""
    synthetic_rate: int = 0
    """made-up packets/s; 0: none"""
    exclude_ports: tuple[int, ...] = ()
    """local TCP ports never captured: a dashboard's, say"""


def agent_config(options: AgentOptions) -> AgentConfig:
    """What an agent with these options is told; ConfigError without a key."""
    server, performance = options.server, options.performance
    if not server.api_key:
        raise ConfigError(
            f"No token for the hub at {server.url}. {WHERE_TOKENS_COME_FROM}; or name a file with --api-key-file."
        )
    return AgentConfig(
        hub=server.url,
        token=server.api_key,
        name=options.agent.name or platform.node(),
        session=server.session,
        scope=CaptureScope(
            interfaces=options.agent.interfaces,
            filter=options.agent.filter,
            snaplen=options.agent.snaplen,
            sampling=performance.sampling,
            sampling_by=cast("SamplingBy", performance.sampling_by),
            payload=cast("PayloadPolicy", options.agent.payload),
            max_packets_per_second=performance.max_packets_per_second,
            max_bits_per_s=performance.max_bandwidth,
        ),
        bounds=Bounds(
            remote_control=options.allow.remote_control,
            interfaces=options.allow.interfaces,
            snaplen=options.allow.snaplen,
            max_packets_per_second=options.allow.max_packets_per_second,
            payload=cast("PayloadPolicy | None", options.allow.payload or None),
        ),
        codec=_codec(performance.compression, server.url),
        limits=BatchLimits(max_rows=performance.batch_size, max_age_s=performance.batch_age),
        outbox_bytes=performance.outbox,
        spool=Path(performance.spool) if performance.spool else None,
        spool_bytes=performance.spool_size,
        on_overload=_on_overload(performance),
        link=LinkOptions(
            ca=server.ca,
            pin=_checked_pin(server),
            reconnect_s=server.reconnect_interval,
            reconnect_max_s=server.reconnect_max,
            max_retries=server.max_retries,
            persistent=bool(performance.spool),
        ),
    )


def _on_overload(performance: PerformanceSection) -> Literal["spool", "sample", "drop"]:
    wanted, has_spool = performance.on_overload, bool(performance.spool)
    if wanted == "spool" and not has_spool:
        raise ConfigError("performance.on_overload is spool, which needs a folder: give performance.spool (--spool).")
    if wanted == "drop" and has_spool:
        raise ConfigError(
            "performance.on_overload is drop, but there is a spool folder: leave performance.spool out, or choose "
            "spool (what it has no room for is dropped, too)."
        )
    if wanted == "auto":
        return "spool" if has_spool else "drop"
    return cast("Literal['spool', 'sample', 'drop']", wanted)


def _checked_pin(server: ServerSection) -> str:
    if server.pin and not server.url.startswith("https:"):
        raise ConfigError(f"server.pin is for https hubs, which show a certificate; {server.url} is none.")
    return server.pin


def _codec(compression: str, hub: str) -> CodecName:
    """The codec to use: "auto" is none to a hub on this host, lz4 to any other."""
    if compression != "auto":
        return cast("CodecName", compression)
    host = urlsplit(hub).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return "none" if local else "lz4"


def source_maker(options: AgentOptions, choice: SourceChoice) -> Callable[[CaptureScope], Source]:
    """What opens the source that was asked for; ConfigError unless exactly one was."""
    interfaces = options.agent.interfaces
    if choice.ssh and len(interfaces) != 1:
        raise ConfigError("--ssh needs the one interface to capture on there: add -i eth0.")
    if sum(map(bool, (choice.file, choice.synthetic_rate, interfaces))) != 1:
        raise ConfigError(
            "Say what to capture: one of -i INTERFACE, -r FILE, --ssh USER@HOST -i INTERFACE, --synthetic."
        )
    if choice.follow and not choice.file:
        raise ConfigError("--follow needs the file to follow: add -r FILE.")
    if choice.file:
        from aishark_panel.agent.replay import ReplaySource, parse_speed

        pace = None if choice.follow else parse_speed(choice.speed)
        return lambda scope: ReplaySource(choice.file, speed=pace, snaplen=scope.snaplen, follow=choice.follow)
    if choice.synthetic_rate:
        from aishark_panel.agent.synthetic import SyntheticSource

        return lambda scope: SyntheticSource(rate_pps=choice.synthetic_rate, snaplen=scope.snaplen)
    if choice.ssh:
        from aishark_panel.agent.ssh import SshCapture

        return lambda scope: SshCapture(choice.ssh, interfaces[0], scope.filter, snaplen=scope.snaplen)
    return _live_maker(options.agent, hub_endpoints(options.server.url, choice.exclude_ports))


def trial_maker(options: AgentOptions, choice: SourceChoice) -> Callable[[CaptureScope], Source] | None:
    """What opens a second, small capture for a while; None where packets do not come from interfaces of this host."""
    if choice.ssh or not options.agent.interfaces:
        return None
    from aishark_panel.agent.trial import BUFFER_BYTES

    return source_maker(replace(options, agent=replace(options.agent, buffer_size=BUFFER_BYTES)), choice)


def _live_maker(agent: AgentSection, exclude: list[Endpoint]) -> Callable[[CaptureScope], Source]:
    from aishark_panel.agent.cooked import ANY
    from aishark_panel.agent.several import InterfaceCapture, SeveralCaptures

    def opener(interface: str, capture_filter: str, snaplen: int, index: int) -> InterfaceCapture:
        return _capture_class(agent.source)(
            interface,
            capture_filter,
            snaplen=snaplen,
            buffer_bytes=agent.buffer_size,
            promiscuous=agent.promiscuous,
            exclude=exclude,
            index=index,
        )

    def make(scope: CaptureScope) -> Source:
        names = scope.interfaces
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ConfigError(f"Interface {twice[0]} is named twice.")
        if ANY in names and len(names) > 1:
            raise ConfigError("`any` stands for all interfaces: name no other beside it.")
        return SeveralCaptures(names, opener, scope.filter, scope.snaplen)

    return make


def _capture_class(source: str) -> "type[LiveCapture] | type[LibpcapCapture]":
    if source == "libpcap" or (source == "auto" and sys.platform != "linux"):
        from aishark_panel.agent.libpcap import LibpcapCapture

        return LibpcapCapture
    if sys.platform != "linux":
        raise ConfigError("The kernel's packet ring is Linux's; here use --source libpcap.")
    from aishark_panel.agent.capture import LiveCapture

    return LiveCapture


def run_agent(options: AgentOptions, choice: SourceChoice, *, with_parent: bool = False) -> str:
    """Run an agent until its source ends or it is told to stop; returns why it ended. Its status is told meanwhile."""
    reuse_freed_memory(_KEPT_BYTES)
    # Arrow's own allocator keeps 10 MB more for batches that come and go (docs/design.md).
    pa.set_memory_pool(pa.system_memory_pool())
    reporter = Reporter(
        options.agent.name or platform.node(),
        options.server.url,
        folder=status_folder(options.agent.status, os.environ),
        manager=ServiceManager(os.environ),
        metrics_port=options.agent.metrics,
    )
    try:
        sources = source_maker(options, choice), trial_maker(options, choice)
        ended = asyncio.run(_run(agent_config(options), *sources, reporter, with_parent=with_parent))
    except KeyboardInterrupt:
        reporter.ended()
        raise
    except BaseException as error:
        reporter.failed(str(error) or type(error).__name__)
        raise
    reporter.ended()
    return ended


async def _run(
    config: AgentConfig,
    make_source: Callable[[CaptureScope], Source],
    open_trial: Callable[[CaptureScope], Source] | None,
    reporter: Reporter,
    *,
    with_parent: bool,
) -> str:
    with told(reporter.compiling):
        agent = Agent(config, make_source, open_trial)
    asyncio.get_running_loop().call_later(_SETTLED_S, let_go_of_code)
    run = asyncio.create_task(agent.run(), name="agent")
    stop = asyncio.create_task(until_told_to_stop(with_parent=with_parent), name="stop")
    report = asyncio.create_task(reporter.follow(agent), name="report")
    tasks = [run, stop, report]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    reporter.beat(agent)
    if run in done:
        return run.result()
    if report in done:
        report.result()
    return f"stopped: {stop.result()}"
