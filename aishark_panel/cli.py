"""The `aishark` command: what each subcommand means to the user, and nothing else.

An error that is the user's to act on ends as one line on standard error and exit status 2. Heavy imports happen inside
the commands, so that `--help` is quick and an agent's host needs no dashboard packages.
"""

import asyncio
import gc
import logging
import os
import secrets
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from aishark_panel import logs
from aishark_panel.archive_commands import archive_app
from aishark_panel.errors import AisharkError, ConfigError, ExpressionError
from aishark_panel.extcap_commands import extcap_app
from aishark_panel.hub_commands import DEFAULT_HUB_PORT, agents_app, pointed_at, record_app, token_app, upload
from aishark_panel.install_commands import agent_install, hub_install, serve_install
from aishark_panel.people_commands import session_app, user_app
from aishark_panel.rules_commands import rules_app
from aishark_panel.tls_commands import tls_app
from aishark_panel.wireshark_commands import wireshark

__all__ = ["app", "main"]

DEFAULT_PORT: Final = 5006

app = typer.Typer(
    name="aishark",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="See, live and from anywhere, what the network of remote hosts is doing.\n\nTry it: **aishark demo**",
)

Browser = Annotated[bool, typer.Option(help="Open the page in your browser.")]
Port = Annotated[int, typer.Option(help="Port of the page; 0: any free one.", min=0, max=65_535)]
HubPort = Annotated[int, typer.Option(help="Port of the hub; 0: any free one.", min=0, max=65_535)]
RuleFiles = Annotated[list[str] | None, typer.Option("--rules", help="File of alert rules (YAML); repeatable.")]
WebhookUrl = Annotated[
    str,
    typer.Option(help="Address to tell of alerts by POST; AISHARK_WEBHOOK keeps it secret.", envvar="AISHARK_WEBHOOK"),
]
NotifyFile = Annotated[str, typer.Option("--notify", help="File (YAML) of channels to tell of alerts: docs/rules.md.")]
LogForm = Annotated[
    logs.LogFormat, typer.Option("--log-format", help="Log lines for people or programs.", envvar="AISHARK_LOG_FORMAT")
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate (PEM) to speak https and wss with.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its private key (PEM, not encrypted).")]
RingMemory = Annotated[int, typer.Option(help="Memory for packets of a session, MiB.", min=48)]
RingsMemory = Annotated[
    int, typer.Option(help="Memory for packets of all sessions, MiB; default: half of the machine's.", min=0)
]
RingsMemoryEach = Annotated[int, typer.Option(help="The same of one person's sessions; default: half of that.", min=0)]
OidcFile = Annotated[Path | None, typer.Option(help="File (YAML) of the provider where people log in: docs/people.md.")]
Dashboards = Annotated[
    list[str] | None,
    typer.Option("--dashboard", help="IP address of a dashboard on another host: it says whose logins it forwards."),
]


def main() -> None:
    """Entry point: run a command, turn our errors into one line and status 2."""
    try:
        _check_environment()
        app()
    except AisharkError as error:
        sys.exit(_say(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # the system takes all back at once; Python would look through it for garbage first, for 0.3 s


def _check_environment() -> None:
    logs.configure(_log_level())
    # Taken away: children may have other tokens. Others may read it, as they may secrets of containers.
    if file := os.environ.pop("AISHARK_TOKEN_FILE", ""):
        from aishark_panel.configfile import read_text

        os.environ["AISHARK_TOKEN"] = read_text(Path(file), "AISHARK_TOKEN_FILE", 1 << 16).strip()
    token = os.environ.get("AISHARK_TOKEN", "")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigError("AISHARK_TOKEN holds characters that no token has: a line break, say. Copy it again.")


def _log_level(default: str = "WARNING") -> str:
    level = os.environ.get("AISHARK_LOG", default).upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"AISHARK_LOG is {level!r:.40}; it takes DEBUG, INFO, WARNING or ERROR.")
    return level


def _say(error: AisharkError) -> int:
    logs.say(f"aishark: {error}", logging.ERROR)
    return 2


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print versions, for a bug report.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from aishark_panel.versions import versions_text

        typer.echo(versions_text())
        raise typer.Exit


hub_app = typer.Typer(invoke_without_command=True)
app.add_typer(hub_app, name="hub")


@hub_app.callback()
def hub(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: HubPort = DEFAULT_HUB_PORT,
    ring_mib: RingMemory = 512,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow a non-loopback address without TLS.")] = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of keys, profiles and audit; default: aishark in your state directory.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of recordings; default: aishark/recordings in your data directory.")
    ] = None,
    recordings_size: Annotated[
        str | None, typer.Option(help="Most disk space of recordings; then the oldest files go. Default: no limit.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Folder of the journal; default: aishark/journal in your data directory.")
    ] = None,
    no_journal: Annotated[bool, typer.Option("--no-journal", help="Keep packets in memory only.")] = False,
    journal_size: Annotated[str, typer.Option(help="Most disk space of a session; then the oldest go.")] = "4GiB",
    max_upload_mib: Annotated[int, typer.Option(help="Largest capture file taken as an upload, MiB.", min=1)] = 4_096,
    max_rings_mib: RingsMemory = 0,
    max_rings_mib_each: RingsMemoryEach = 0,
    oidc: OidcFile = None,
    dashboard: Dashboards = None,
    max_requests_per_second: Annotated[float, typer.Option(help="Most requests of one key.", min=1)] = 500,
    rules: RuleFiles = None,
    builtin_rules: Annotated[bool, typer.Option(help="Watch by the rules that come with aishark, too.")] = True,
    webhook: WebhookUrl = "",
    notify: NotifyFile = "",
    log_format: LogForm = "text",
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True)] = False,
) -> None:
    """Run a hub: agents send it packets, dashboards and notebooks ask it.

    Packets are written to the journal as they come in, so that they survive a crash. The token is taken from
    AISHARK_TOKEN or the file that AISHARK_TOKEN_FILE names, or made and printed.
    """
    if context.invoked_subcommand:
        return
    from aishark_panel.config import parse_size
    from aishark_panel.streams.journal import chosen_journal_dir

    _require_hub_packages()
    from aishark_panel.streams.server import HubConfig, serve_hub
    from aishark_panel.streams.store import default_state_dir

    journal = chosen_journal_dir(journal, no_journal=no_journal, embedded=embedded)
    bound = recordings_size
    recordings_bytes = parse_size(bound, "--recordings-size", "64MiB", "100000GiB") if bound else None
    token = os.environ.get("AISHARK_TOKEN") or secrets.token_urlsafe(24)
    logs.configure(_log_level(), log_format, secrets=[token])
    config = HubConfig(
        token=token,
        host=host,
        port=port,
        ring_bytes=ring_mib * 2**20,
        insecure=insecure,
        tls_cert=tls_cert,
        tls_key=tls_key,
        state=state or (journal if embedded else default_state_dir()),
        journal=journal,
        journal_bytes=parse_size(journal_size, "--journal-size", "128MiB", "1000GiB"),
        recordings=recordings,
        recordings_bytes=recordings_bytes,
        max_upload_bytes=max_upload_mib * 2**20,
        rings_bytes=max_rings_mib * 2**20,
        rings_bytes_each=max_rings_mib_each * 2**20,
        oidc=oidc,
        dashboards=tuple(dashboard or ()),
        requests_per_s=max_requests_per_second,
        rules=tuple(rules or ()),
        builtin_rules=builtin_rules,
        webhook=webhook,
        notify=notify,
        embedded=embedded,
    )
    asyncio.run(serve_hub(config))


def _require_hub_packages() -> None:
    """ConfigError unless what a hub needs beyond an agent is installed."""
    for name in ("argon2", "cryptography", "sqlalchemy"):
        if find_spec(name) is None:
            raise ConfigError(f"A hub needs {name}, which is not installed: pip install 'aishark-panel[hub]'")


agent_app = typer.Typer(invoke_without_command=True)
app.add_typer(agent_app, name="agent")


@agent_app.callback()
def agent(
    context: typer.Context,
    interface: Annotated[list[str] | None, typer.Option("-i", "--interface", help="Interface; repeatable.")] = None,
    capture_filter: Annotated[str | None, typer.Option("-f", "--filter", help="Capture filter (BPF).")] = None,
    file: Annotated[str, typer.Option("-r", "--read", help="Replay this capture file; - is standard input.")] = "",
    speed: Annotated[str, typer.Option(help="Replay speed: 1 is as captured, N times as fast, or max.")] = "1",
    follow: Annotated[
        bool, typer.Option("--follow", help="Play the file at once, then wait for what is still written to it.")
    ] = False,
    ssh: Annotated[str, typer.Option(help="Capture on USER@HOST with its tcpdump over ssh (needs -i).")] = "",
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Make up seeded, realistic traffic.")] = False,
    rate: Annotated[int, typer.Option(help="Synthetic packets per second.", min=1)] = 2_000,
    config: Annotated[str, typer.Option(help="YAML file with these options and more (docs/agent.md).")] = "",
    profile: Annotated[str | None, typer.Option(help="Profile of that file to use.")] = None,
    hub_url: Annotated[str | None, typer.Option("--hub", help="Address of the hub (AISHARK_HUB).")] = None,
    api_key_file: Annotated[str | None, typer.Option(help="File with the token, in place of AISHARK_TOKEN.")] = None,
    ca: Annotated[str | None, typer.Option(help="PEM file of the CA that signed an https hub's certificate.")] = None,
    pin: Annotated[str | None, typer.Option(help="SHA-256 of an https hub's certificate (docs/agent.md).")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this agent; default: the host's.")] = None,
    session: Annotated[str | None, typer.Option(help="Session to feed, by name; default: the hub's own.")] = None,
    snaplen: Annotated[str | None, typer.Option("-s", "--snaplen", help="Bytes kept of each frame.")] = None,
    payload: Annotated[str | None, typer.Option(help="What is sent: full, headers, none, or bytes of payload.")] = None,
    source: Annotated[str | None, typer.Option(help="auto, kernel (Linux) or libpcap.")] = None,
    buffer_size: Annotated[str | None, typer.Option(help="Kernel ring of each interface: 64MiB.")] = None,
    promiscuous: Annotated[str | None, typer.Option(help="Capture frames for other hosts too: true or false.")] = None,
    sampling: Annotated[str | None, typer.Option(help="Send every n-th packet.")] = None,
    sampling_by: Annotated[str | None, typer.Option(help="Sample each packet, or whole conversations.")] = None,
    max_packets_per_second: Annotated[str | None, typer.Option(help="Leave out what goes beyond.")] = None,
    max_bandwidth: Annotated[str | None, typer.Option(help="Captured bits per second: 100Mbit.")] = None,
    batch_size: Annotated[str | None, typer.Option(help="Most packets in a batch: 8192.")] = None,
    batch_age: Annotated[str | None, typer.Option(help="Longest wait of a packet for its batch: 50ms.")] = None,
    compression: Annotated[str | None, typer.Option(help="auto, none, lz4, zstd or gzip.")] = None,
    outbox: Annotated[str | None, typer.Option(help="Memory for what the hub has not acknowledged: 64MiB.")] = None,
    spool: Annotated[str | None, typer.Option(help="Folder for what the hub does not take in time.")] = None,
    spool_size: Annotated[str | None, typer.Option(help="Most bytes there: 1GiB.")] = None,
    on_overload: Annotated[str | None, typer.Option(help="When there is no room: auto, spool, sample or drop.")] = None,
    max_retries: Annotated[str | None, typer.Option(help="Tries to reach the hub at the start; -1: endless.")] = None,
    exclude_port: Annotated[list[int] | None, typer.Option(help="Never capture this local TCP port.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Port on 127.0.0.1 for Prometheus.")] = None,
    status_dir: Annotated[str | None, typer.Option(help="Folder of the status file.")] = None,
    log_format: LogForm = "text",
    status: Annotated[bool, typer.Option("--status", help="Say how the agents of this host are, and end.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the options in force and end.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Capture packets and send them to a hub. The token is read from AISHARK_TOKEN.

    Live: `aishark agent -i eth0 -f 'tcp port 443'`. From a file: `-r FILE`. From another host, nothing to install
    there: `--ssh user@host -i eth0`. Made up: `--synthetic`. Options may also stand in a file (`--config`) or in the
    environment (AISHARK_AGENT__SNAPLEN); the command line comes first.
    """
    from aishark_panel.agent.launch import SourceChoice, run_agent
    from aishark_panel.config import load_agent_options, print_options

    if context.invoked_subcommand:
        return
    options = load_agent_options(config, os.environ, _given(context))
    if print_config:
        print(print_options(options))
        return
    if status:
        raise typer.Exit(_print_statuses(options.agent.status, name or ""))
    made_up, exclude = rate if synthetic else 0, tuple(exclude_port or ())
    choice = SourceChoice(file=file, speed=speed, follow=follow, ssh=ssh, synthetic_rate=made_up, exclude_ports=exclude)
    level = _log_level("WARNING" if with_parent else "INFO")  # who starts one by hand wants to see that it works
    logs.configure(level, log_format, secrets=[options.server.api_key])
    logs.say(run_agent(options, choice, with_parent=with_parent))


def _given(context: typer.Context) -> dict[str, str | tuple[str, ...] | None]:
    """The options of the configuration that a command line may give, by their names there."""
    from aishark_panel.config import option_flags

    names = option_flags()
    given = {}
    for parameter in context.command.params:
        for flag in names.keys() & set(parameter.opts):
            value = context.params[parameter.name or ""]
            given[names[flag]] = tuple(value) or None if isinstance(value, list | tuple) else value
    return given


def _print_statuses(folder: str, name: str) -> int:
    """Print how the agents of that name, or all, are; 0 if all are well."""
    from aishark_panel.agent.status import is_well, read_statuses, status_folders, status_text

    try:
        statuses = read_statuses(status_folders(folder, os.environ), name)
    except PermissionError as error:
        raise ConfigError(f"{error.filename} cannot be read: it belongs to another user; ask as root.") from error
    now_ns = time.time_ns()
    for status in statuses:
        typer.echo(status_text(status, now_ns))
    if not statuses:
        raise ConfigError(f"No agent{name and f' {name!r}'} has left a status here; is it running, as which user?")
    return 0 if all(is_well(status, now_ns) for status in statuses) else 1


serve_app = typer.Typer(invoke_without_command=True)
app.add_typer(serve_app, name="serve")


@serve_app.callback()
def serve(
    context: typer.Context,
    port: Port = DEFAULT_PORT,
    hub_port: HubPort = 0,
    hub_url: Annotated[str, typer.Option("--hub", help="Join this hub instead.", envvar="AISHARK_HUB")] = "",
    host: Annotated[str, typer.Option(help="Address to show the page on, as browsers call it.")] = "127.0.0.1",
    public_url: Annotated[str, typer.Option(help="What a proxy shows it as: docs/howto/reverse-proxy.md.")] = "",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    ring_mib: RingMemory = 512,
    rules: RuleFiles = None,
    webhook: WebhookUrl = "",
    notify: NotifyFile = "",
    browser: Browser = True,
) -> None:
    """Run hub and dashboard on this host and print the page's address with its start token."""
    if context.invoked_subcommand:
        return
    if hub_url and rules:
        raise ConfigError("--rules is for a hub that starts here; give it to the hub you join at its own start.")
    _run_dashboard(
        port=port,
        hub_port=hub_port,
        hub_url=hub_url,
        host=host,
        public_url=public_url,
        tls_cert=tls_cert,
        tls_key=tls_key,
        ring_mib=ring_mib,
        browser=browser,
        hub_options=_alert_options(rules, webhook, notify),
    )


@app.command()
def demo(
    interface: Annotated[str, typer.Option("--interface", help="Capture live here; default: made-up traffic.")] = "",
    rate: Annotated[int, typer.Option(help="Made-up packets per second.", min=1)] = 2_000,
    port: Port = DEFAULT_PORT,
    hub_port: HubPort = 0,
    ring_mib: RingMemory = 512,
    rules: RuleFiles = None,
    webhook: WebhookUrl = "",
    notify: NotifyFile = "",
    browser: Browser = True,
) -> None:
    """Hub, dashboard and an agent, all on this host: watch packets move in one command."""
    source = ["-i", interface] if interface else ["--synthetic", "--rate", str(rate)]
    _run_dashboard(
        port=port,
        hub_port=hub_port,
        hub_url="",
        ring_mib=ring_mib,
        browser=browser,
        agent=source,
        hub_options=_alert_options(rules, webhook, notify),
    )


@app.command("open")
def open_file(
    file: Annotated[Path, typer.Argument(help="Capture file: pcap or pcapng, may be gzip or zstd.")],
    speed: Annotated[str, typer.Option(help="max, or replay as captured (1) or N times as fast.")] = "max",
    port: Port = 0,
    hub_port: HubPort = 0,
    ring_mib: RingMemory = 1_024,
    rules: RuleFiles = None,
    webhook: WebhookUrl = "",
    notify: NotifyFile = "",
    browser: Browser = True,
) -> None:
    """Open a capture file in the dashboard; the axes show capture time."""
    from aishark_panel.export.read import check_capture

    if str(file) == "-":
        raise ConfigError("A pipe cannot be opened here; run 'aishark serve', and 'aishark agent -r -' for the pipe.")
    check_capture(file)
    _run_dashboard(
        port=port,
        hub_port=hub_port,
        hub_url="",
        ring_mib=ring_mib,
        browser=browser,
        agent=["-r", str(file), "--speed", speed, "--name", file.name],
        hub_options=_alert_options(rules, webhook, notify),
    )


@app.command()
def read(
    file: Annotated[str, typer.Argument(help="Capture file, or Parquet of ours; - is standard input.")],
    where: Annotated[str, typer.Option(help="Keep packets that match this display filter.")] = "",
    columns: Annotated[str, typer.Option(help="Columns to write, with commas between.")] = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write here: .parquet .csv .json .arrow .arrows .pcap .pcapng")
    ] = None,
    info: Annotated[
        bool, typer.Option("--info", help="Say what the file is: format, interfaces, times, drops, comments.")
    ] = False,
) -> None:
    """Turn a file of packets into a table: text on standard output, or a file by its suffix."""
    from rich.console import Console
    from rich.progress import Progress

    from aishark_panel.export.read import read_to

    if info:
        if where or columns or output:
            raise ConfigError("--info says what the whole file is; leave --where, --columns and --output out.")
        _print_info(file)
        return
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
        raise AisharkError(pointed_at(where, error)) from error
    except BrokenPipeError:
        # Whoever read us (head, less) has seen enough.
        _close_output()
        return
    except OSError as error:
        _close_output()
        raise AisharkError(f"Standard output cannot be written: {error.strerror}.") from error
    if warning:
        print(f"aishark: {warning}", file=sys.stderr)


def _print_info(file: str) -> None:
    from aishark_panel.export.info import capture_info

    try:
        sys.stdout.write(capture_info(file).text())
        sys.stdout.flush()
    except BrokenPipeError:
        _close_output()


def _close_output() -> None:
    """Send what is still buffered for standard output nowhere, so that it is not tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


for _program, _install in ((agent_app, agent_install), (hub_app, hub_install), (serve_app, serve_install)):
    _program.command("install")(_install)
app.command()(upload)
app.command()(wireshark)
_GROUPS: Final = {
    "record": record_app, "rules": rules_app, "archive": archive_app, "token": token_app, "agents": agents_app,
    "tls": tls_app, "user": user_app, "session": session_app, "extcap": extcap_app,
}  # fmt: skip
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name)


def _alert_options(rules: list[str] | None, webhook: str, notify: str) -> list[str]:
    """What the hub is started with; the webhook's address, which may be secret, goes by the environment."""
    if webhook:
        os.environ["AISHARK_WEBHOOK"] = webhook
    return [word for path in rules or () for word in ("--rules", path)] + (["--notify", notify] if notify else [])


def _run_dashboard(*, agent: list[str] | None = None, **options: Any) -> None:
    try:
        from aishark_panel.views.launch import run_dashboard
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The dashboard needs {error.name}, which is not installed: pip install 'aishark-panel[dashboard]'"
        ) from error
    run_dashboard(agent=agent, **options)
