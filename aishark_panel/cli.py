"""The `aishark` command: what each subcommand means to the user, and nothing else.

An error that is the user's to act on ends as one line on standard error and exit status 2. Heavy imports happen inside
the commands, so that `--help` is quick and an agent's host needs no dashboard packages.
"""

import asyncio
import logging
import os
import platform
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from aishark_panel import __version__
from aishark_panel.errors import AisharkError, ConfigError, ExpressionError

__all__ = ["app", "main"]

DEFAULT_PORT: Final = 5006
DEFAULT_HUB_PORT: Final = 8765
DEFAULT_HUB: Final = f"http://127.0.0.1:{DEFAULT_HUB_PORT}"

app = typer.Typer(
    name="aishark",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="See, live and from anywhere, what the network of remote hosts is doing.\n\nTry it: **aishark demo**",
)

Compression = Literal["auto", "none", "lz4", "zstd", "gzip"]
HubUrl = Annotated[str, typer.Option("--hub", help="Address of the hub.", envvar="AISHARK_HUB")]
Browser = Annotated[bool, typer.Option(help="Open the page in your browser.")]
Port = Annotated[int, typer.Option(help="Port of the page; 0: any free one.")]
HubPort = Annotated[int, typer.Option(help="Port of the hub; 0: any free one.")]
RingMemory = Annotated[int, typer.Option(help="Memory for packets of a session, MiB.", min=48)]


def main() -> None:
    """Entry point: run a command, turn our errors into one line and status 2."""
    logging.basicConfig(level=os.environ.get("AISHARK_LOG", "WARNING").upper(), format="%(levelname)s %(message)s")
    try:
        app()
    except AisharkError as error:
        sys.exit(_say(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _say(error: AisharkError) -> int:
    print(f"aishark: {error}", file=sys.stderr)
    return 2


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"aishark {__version__}")
        raise typer.Exit


@app.command()
def hub(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: HubPort = DEFAULT_HUB_PORT,
    ring_mib: RingMemory = 512,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow a non-loopback address without TLS.")] = False,
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True)] = False,
) -> None:
    """Run a hub: agents send it packets, dashboards and notebooks ask it.

    The token is taken from AISHARK_TOKEN, or made and printed.
    """
    from aishark_panel.streams.server import HubConfig, serve_hub

    token = os.environ.get("AISHARK_TOKEN") or secrets.token_urlsafe(24)
    config = HubConfig(
        token=token, host=host, port=port, ring_bytes=ring_mib * 2**20, insecure=insecure, embedded=embedded
    )
    asyncio.run(serve_hub(config))


@app.command()
def agent(
    interface: Annotated[str, typer.Option("-i", "--interface", help="Interface to capture on.")] = "",
    capture_filter: Annotated[str, typer.Option("-f", "--filter", help="Capture filter (BPF), as tcpdump's.")] = "",
    file: Annotated[str, typer.Option("-r", "--read", help="Replay this capture file; - is standard input.")] = "",
    speed: Annotated[str, typer.Option(help="Replay speed: 1 is as captured, N times as fast, or max.")] = "1",
    ssh: Annotated[str, typer.Option(help="Capture on USER@HOST with its tcpdump over ssh (needs -i).")] = "",
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Make up seeded, realistic traffic.")] = False,
    rate: Annotated[int, typer.Option(help="Synthetic packets per second.", min=1)] = 2_000,
    hub_url: HubUrl = DEFAULT_HUB,
    name: Annotated[str, typer.Option(help="Name of this agent; default: the host's.")] = "",
    session: Annotated[str, typer.Option(help="Session to feed, by name; default: the hub's own.")] = "",
    snaplen: Annotated[int, typer.Option("-s", "--snaplen", help="Bytes kept of each frame.", min=14)] = 262_144,
    buffer_mib: Annotated[int, typer.Option(help="Kernel ring of a live capture, MiB.", min=1)] = 64,
    batch_rows: Annotated[int, typer.Option(help="Most packets in a batch.", min=1, max=65_536)] = 8_192,
    batch_age_ms: Annotated[int, typer.Option(help="Longest wait of a packet for its batch, ms.", min=1)] = 50,
    compression: Annotated[Compression, typer.Option(help="auto: none on this host, lz4 to others.")] = "auto",
    exclude_port: Annotated[list[int] | None, typer.Option(help="Never capture this local TCP port.")] = None,
    max_retries: Annotated[int, typer.Option(help="Tries to reach the hub at the start; -1 for ever.")] = 5,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Capture packets and send them to a hub. The token is read from AISHARK_TOKEN.

    Live: `aishark agent -i eth0 -f 'tcp port 443'`. From a file: `-r FILE`. From another host, nothing to install
    there: `--ssh user@host -i eth0`. Made up: `--synthetic`.
    """
    from aishark_panel.agent.encode import BatchLimits
    from aishark_panel.agent.launch import LiveOptions, codec_for, launch, source_maker
    from aishark_panel.agent.runner import AgentConfig

    token = os.environ.get("AISHARK_TOKEN")
    if not token:
        raise ConfigError("No token: set AISHARK_TOKEN to the one the hub printed at its start.")
    options = LiveOptions(
        interface=interface,
        capture_filter=capture_filter,
        snaplen=snaplen,
        buffer_bytes=buffer_mib * 2**20,
        hub=hub_url,
        exclude_ports=tuple(exclude_port or ()),
    )
    make_source = source_maker(options, file=file, speed=speed, ssh=ssh, rate=rate if synthetic else 0)
    config = AgentConfig(
        hub=hub_url,
        token=token,
        session=session,
        codec=codec_for(compression, hub_url),
        limits=BatchLimits(max_rows=batch_rows, max_age_s=batch_age_ms / 1000),
        max_retries=max_retries,
        name=name or platform.node(),
    )
    print(asyncio.run(launch(config, make_source, with_parent=with_parent)), file=sys.stderr)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address of the page.")] = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    hub_port: HubPort = 0,
    hub_url: Annotated[str, typer.Option("--hub", help="Join this hub instead.", envvar="AISHARK_HUB")] = "",
    ring_mib: RingMemory = 512,
    browser: Browser = True,
) -> None:
    """Run hub and dashboard on this host and print the page's address with its start token."""
    _run_dashboard(host=host, port=port, hub_port=hub_port, hub_url=hub_url, ring_mib=ring_mib, browser=browser)


@app.command()
def demo(
    interface: Annotated[str, typer.Option("--interface", help="Capture live here; default: made-up traffic.")] = "",
    rate: Annotated[int, typer.Option(help="Made-up packets per second.", min=1)] = 2_000,
    port: Port = DEFAULT_PORT,
    hub_port: HubPort = 0,
    ring_mib: RingMemory = 512,
    browser: Browser = True,
) -> None:
    """Hub, dashboard and an agent, all on this host: watch packets move in one command."""
    source = ["-i", interface] if interface else ["--synthetic", "--rate", str(rate)]
    _run_dashboard(
        host="127.0.0.1", port=port, hub_port=hub_port, hub_url="", ring_mib=ring_mib, browser=browser, agent=source
    )


@app.command("open")
def open_file(
    file: Annotated[Path, typer.Argument(help="Capture file: pcap or pcapng, may be gzip or zstd.")],
    speed: Annotated[str, typer.Option(help="max, or replay as captured (1) or N times as fast.")] = "max",
    port: Port = 0,
    hub_port: HubPort = 0,
    ring_mib: RingMemory = 1_024,
    browser: Browser = True,
) -> None:
    """Open a capture file in the dashboard; the axes show capture time."""
    from aishark_panel.export.read import check_capture

    check_capture(file)
    _run_dashboard(
        host="127.0.0.1",
        port=port,
        hub_port=hub_port,
        hub_url="",
        ring_mib=ring_mib,
        browser=browser,
        agent=["-r", str(file), "--speed", speed, "--name", file.name],
    )


@app.command()
def read(
    file: Annotated[str, typer.Argument(help="Capture file; - is standard input.")],
    where: Annotated[str, typer.Option(help="Keep packets that match this display filter.")] = "",
    columns: Annotated[str, typer.Option(help="Columns to write, with commas between.")] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write here: .parquet .csv .json .arrow .pcap .pcapng")
    ] = None,
) -> None:
    """Turn a capture file into a table: text on standard output, or a file by its suffix."""
    from rich.console import Console
    from rich.progress import Progress

    from aishark_panel.export.read import read_to

    terminal = Console(stderr=True)
    chosen = [c.strip() for c in columns.split(",") if c.strip()]
    quiet = not terminal.is_terminal or (output is None and sys.stdout.isatty())
    try:
        with Progress(console=terminal, transient=True, disable=quiet) as progress:
            task = progress.add_task(f"Reading {file}", total=None)
            warning = read_to(
                file,
                output,
                where=where,
                columns=chosen,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    except ExpressionError as error:
        raise AisharkError(_pointed_at(where, error)) from error
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough; nothing more must be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if warning:
        print(f"aishark: {warning}", file=sys.stderr)


def _pointed_at(expression: str, error: ExpressionError) -> str:
    """The error with the expression under it and a mark at its place."""
    if error.position is None:
        return str(error)
    return f"{error}\n  {expression}\n  {' ' * error.position}^"


def _run_dashboard(*, agent: list[str] | None = None, **options: Any) -> None:
    try:
        from aishark_panel.views.launch import run_dashboard
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The dashboard needs {error.name}, which is not installed: pip install 'aishark-panel[dashboard]'"
        ) from error
    run_dashboard(agent=agent, **options)
