"""Commands that ask a hub: upload a capture file, record sessions, give tokens, drive agents.

Each makes its client, asks, and prints the answer.

A hub's address comes from --hub or AISHARK_HUB, the token from AISHARK_TOKEN alone, so that no list of processes shows
it.
"""

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from aishark_panel.errors import WHERE_TOKENS_COME_FROM, AisharkError, ConfigError, ExpressionError, NotFoundError
from aishark_panel.wire.inquiries import trial_line
from aishark_panel.wire.times import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aishark_panel.client import HubClient

__all__ = [
    "DEFAULT_HUB",
    "DEFAULT_HUB_PORT",
    "HubUrl",
    "SessionName",
    "agents_app",
    "hub_client",
    "moment",
    "pointed_at",
    "record_app",
    "session_id_of",
    "time_of_option",
    "token_app",
    "upload",
]

DEFAULT_HUB_PORT: Final = 8765
DEFAULT_HUB: Final = f"http://127.0.0.1:{DEFAULT_HUB_PORT}"

HubUrl = Annotated[str, typer.Option("--hub", help="Address of the hub.", envvar="AISHARK_HUB")]
RecordingFormat = Literal["pcapng", "parquet"]


def upload(
    file: Annotated[Path, typer.Argument(help="Capture file: pcap or pcapng, may be gzip or zstd.")],
    hub_url: HubUrl = DEFAULT_HUB,
    session: Annotated[str, typer.Option(help="Add to this session (name or id); default: a new one.")] = "",
) -> None:
    """Send a capture file to a hub, where it becomes a session. The token is read from AISHARK_TOKEN."""
    from rich.console import Console
    from rich.progress import Progress

    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        sending = progress.add_task(f"Sending {file.name}", total=None)
        reading = progress.add_task("The hub reads it", total=None, visible=False)

        def show(status: dict[str, Any]) -> None:
            progress.update(sending, completed=status["offset"], total=status["size"])
            progress.update(
                reading, completed=status["bytes_read"], total=status["size"], visible=status["state"] != "receiving"
            )

        async def send() -> dict[str, Any]:
            async with hub_client(hub_url) as client:
                return await client.upload(
                    file, show, session=await session_id_of(client, session) if session else None
                )

        status = asyncio.run(send())
    typer.echo(f"{file.name}: {status['packets']:,} packets in session {status['session']}")
    if status["warning"]:
        typer.echo(f"aishark: {status['warning']}", err=True)


record_app = typer.Typer(no_args_is_help=True, help="Record sessions into files on the hub's disk.")
SessionName = Annotated[str, typer.Argument(help="Session, by name or id.")]


@record_app.command("start")
def record_start(
    session: SessionName = "live",
    file_format: Annotated[RecordingFormat, typer.Option("--format")] = "pcapng",
    where: Annotated[str, typer.Option(help="Record packets that match this display filter.")] = "",
    oldest: Annotated[bool, typer.Option("--oldest", help="Begin with the oldest packet the hub still has.")] = False,
    rotate_mib: Annotated[int | None, typer.Option(help="New file at this size; default 1024, Parquet 64.")] = None,
    rotate_s: Annotated[float | None, typer.Option(help="New file at this age, s; default never, Parquet 10.")] = None,
    rotate_packets: Annotated[int | None, typer.Option(help="New file at so many packets; default never.")] = None,
    max_files: Annotated[int | None, typer.Option(help="Finished files kept, the oldest go; default: all.")] = None,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Start a recording; it goes on until it is stopped. The token is read from AISHARK_TOKEN.

    If the hub keeps a journal it goes on after a restart of the hub, with every packet once.

    While the hub's disk is full it waits, and the capture goes on; packets that the ring lets go meanwhile are counted.

    With 'aishark hub --recordings-size' the oldest finished files make room for new ones.
    """

    async def start() -> dict[str, Any]:
        async with hub_client(hub_url) as client:
            return await client.record_start(
                await session_id_of(client, session),
                file_format,
                where=where,
                start="oldest" if oldest else "now",
                rotate_bytes=rotate_mib and rotate_mib * 2**20,
                rotate_s=rotate_s,
                rotate_packets=rotate_packets,
                max_files=max_files,
            )

    try:
        recording = asyncio.run(start())
    except ExpressionError as error:
        raise AisharkError(pointed_at(where, error)) from error
    typer.echo(_recording_line(recording))


@record_app.command("stop")
def record_stop(
    recording: Annotated[str, typer.Argument(help="Recording, by id; 'aishark record list' shows them.")],
    session: SessionName = "live",
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Stop a recording and name its files."""

    async def stop() -> dict[str, Any]:
        async with hub_client(hub_url) as client:
            return await client.record_stop(await session_id_of(client, session), recording)

    status = asyncio.run(stop())
    typer.echo(_recording_line(status))
    for file in status["files"]:
        typer.echo(f"  {Path(status['folder']) / file['name']}  {file['packets']:,} packets  {file['bytes']:,} bytes")


@record_app.command("list")
def record_list(session: SessionName = "live", hub_url: HubUrl = DEFAULT_HUB) -> None:
    """List the recordings of a session."""

    async def recordings() -> list[dict[str, Any]]:
        async with hub_client(hub_url) as client:
            return await client.recordings(await session_id_of(client, session))

    for recording in asyncio.run(recordings()):
        typer.echo(_recording_line(recording))


def _recording_line(recording: dict[str, Any]) -> str:
    counts = "{id}  {format}  {state}  {written:,} of {offered:,} packets  {bytes:,} bytes".format(**recording)
    return f"{counts}  {recording['reason'] or recording['folder']}"


token_app = typer.Typer(no_args_is_help=True, help="Tokens that let people into a hub, each with rights of its own.")


@token_app.command("issue")
def token_issue(
    person: Annotated[str, typer.Argument(help="Name of the person; sessions belong to it.")],
    may: Annotated[
        str, typer.Option(help="What it allows, with commas between: view, capture, export, admin.")
    ] = "view,capture,export",
    hours: Annotated[float, typer.Option(help="How long it is good.")] = 12,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Give a person a token, for their AISHARK_TOKEN or the page's login. It is shown this once.

    A person sees their own sessions, agents and uploads only; an admin sees everybody's. AISHARK_TOKEN must be the
    hub's own token, or an admin's.
    """
    capabilities = [word.strip() for word in may.split(",") if word.strip()]
    issued = asyncio.run(hub_client(hub_url).token_issue(person, capabilities, 3_600 * hours))
    typer.echo(f"token {issued['id']} of {issued['person']}, good until {moment(issued['expires_s'])}:", err=True)
    typer.echo(issued["token"])


@token_app.command("list")
def token_list(hub_url: HubUrl = DEFAULT_HUB) -> None:
    """List the tokens that are good."""
    for issued in asyncio.run(hub_client(hub_url).tokens()):
        rights = ",".join(issued["capabilities"])
        typer.echo(f"{issued['id']}  {issued['person']}  {rights}  until {moment(issued['expires_s'])}")


@token_app.command("revoke")
def token_revoke(
    token: Annotated[str, typer.Argument(help="Token, by its id; 'aishark token list' shows it.")],
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Take a token back; what is open with it ends."""
    asyncio.run(hub_client(hub_url).token_revoke(token))


agents_app = typer.Typer(no_args_is_help=True, help="Agents of a hub: their keys, and what they do.")
AgentId = Annotated[str, typer.Argument(help="Agent, by its id; 'aishark agents list' shows it.")]


@agents_app.command("list")
def agents_list(hub_url: HubUrl = DEFAULT_HUB) -> None:
    """List the agents that have a key or are connected."""
    for agent in asyncio.run(hub_client(hub_url).agents()):
        typer.echo(_agent_line(agent))


@agents_app.command("register")
def agents_register(
    name: Annotated[str, typer.Argument(help="Name of the agent.")],
    owner: Annotated[str, typer.Option(help="Person it belongs to; default: you.")] = "",
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Give an agent a key of its own, which lets it send packets and nothing else. The key is shown this once."""
    agent = asyncio.run(hub_client(hub_url).agent_register(name, owner))
    typer.echo(f"agent {agent['name']} is {agent['id']}; its key, for its AISHARK_TOKEN:", err=True)
    typer.echo(agent["key"])


@agents_app.command("key")
def agents_key(agent: AgentId, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """Give an agent another key, shown this once. The old one is good until the new one is used, or for a day."""
    given = asyncio.run(hub_client(hub_url).agent_new_key(agent))
    typer.echo(f"agent {given['name']} has a new key, for its AISHARK_TOKEN:", err=True)
    typer.echo(given["key"])


@agents_app.command("delete")
def agents_delete(agent: AgentId, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """Revoke an agent's key and end its connection."""
    asyncio.run(hub_client(hub_url).agent_delete(agent))


AgentName = Annotated[str, typer.Argument(help="Agent, by name or id.")]
CaptureFilter = Annotated[str | None, typer.Option("-f", "--filter", help="Capture filter (BPF); '' for none.")]


@agents_app.command("start")
def agents_start(
    agent: AgentName,
    session: Annotated[str, typer.Option(help="Session to feed, by name or id; default: the one it feeds.")] = "",
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Make an agent capture; 'aishark agents change' says what."""
    _order(hub_url, agent, lambda client, agent_id: client.agent_start(agent_id, session=session))


@agents_app.command("stop")
def agents_stop(agent: AgentName, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """Make an agent pause until it is started again."""
    _order(hub_url, agent, lambda client, agent_id: client.agent_stop(agent_id))


@agents_app.command("change")
def agents_change(
    agent: AgentName,
    interface: Annotated[list[str] | None, typer.Option("-i", "--interface", help="Interface; repeatable.")] = None,
    capture_filter: CaptureFilter = None,
    snaplen: Annotated[int | None, typer.Option("-s", "--snaplen", help="Bytes kept of each frame.")] = None,
    sampling: Annotated[int | None, typer.Option(help="Send every n-th packet.")] = None,
    max_packets_per_second: Annotated[int | None, typer.Option(help="Leave out what goes beyond.")] = None,
    profile: Annotated[str, typer.Option(help="Profile of the hub.")] = "",
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Change what an agent captures while it does. Its own configuration bounds what it accepts."""
    _order(
        hub_url,
        agent,
        lambda client, agent_id: client.agent_change(
            agent_id,
            profile=profile,
            interfaces=interface,
            filter=capture_filter,
            snaplen=snaplen,
            sampling=sampling,
            max_packets_per_second=max_packets_per_second,
        ),
    )


@agents_app.command("interfaces")
def agents_interfaces(agent: AgentName, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """List the interfaces of an agent's host, with what passes them now."""

    async def ask() -> list[dict[str, Any]]:
        client = hub_client(hub_url)
        return await client.agent_interfaces(await _agent_id(client, agent))

    for interface in asyncio.run(ask()):
        rates = f"{interface['packets_per_s']:,.0f} packets/s  {interface['bits_per_s'] / 1e6:,.2f} Mbit/s"
        notes = [
            "up" if interface["up"] else "down",
            "captured" if interface["captured"] else "" if interface["allowed"] else "not allowed",
            " ".join(interface["addresses"]),
        ]
        typer.echo(f"{interface['name']}  {rates}  {'  '.join(filter(None, notes))}")


@agents_app.command("try")
def agents_try(
    agent: AgentName,
    capture_filter: Annotated[str, typer.Argument(metavar="FILTER", help="Capture filter (BPF).")],
    seconds: Annotated[float, typer.Option(help="How long to look.", min=0.1, max=10)] = 2.0,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Say what share of an agent's traffic a capture filter would keep, without changing anything."""

    async def ask() -> dict[str, Any]:
        client = hub_client(hub_url)
        return await client.agent_try(await _agent_id(client, agent), capture_filter, seconds)

    typer.echo(trial_line(asyncio.run(ask())))


def _order(hub_url: str, agent: str, order: "Callable[[HubClient, str], Coroutine[Any, Any, dict[str, Any]]]") -> None:
    """Give an agent an order, and print its line once it has obeyed."""

    async def give() -> dict[str, Any]:
        client = hub_client(hub_url)
        return await order(client, await _agent_id(client, agent))

    typer.echo(_agent_line(asyncio.run(give())))


async def _agent_id(client: "HubClient", wanted: str) -> str:
    """The id of the agent of that id or name. Raises NotFoundError, or ConfigError where a name is not enough."""
    agents = await client.agents()
    for key in ("id", "name"):
        found = [str(agent["id"]) for agent in agents if agent[key] == wanted]
        if len(found) > 1:
            raise ConfigError(f"{len(found)} agents are named {wanted!r}; say which by its id: {', '.join(found)}")
        if found:
            return found[0]
    names = ", ".join(agent["name"] for agent in agents) or "none"
    raise NotFoundError(f"no agent {wanted!r:.60}; there are {names}")


def _agent_line(agent: dict[str, Any]) -> str:
    interfaces = ",".join(i["name"] for i in agent["interfaces"]) or "-"
    return f"{agent['id']}  {agent['name']}  {agent['state']}  {interfaces}  {agent['reason']}".rstrip()


def moment(unix_s: int) -> str:
    """A time for people, in their time zone."""
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def hub_client(hub_url: str) -> "HubClient":
    """A client of the hub at that address, with the token of AISHARK_TOKEN. Raises ConfigError without one."""
    from aishark_panel.client import HubClient

    token = os.environ.get("AISHARK_TOKEN")
    if not token:
        raise ConfigError(f"No token for the hub at {hub_url}. {WHERE_TOKENS_COME_FROM}.")
    return HubClient(hub_url, token)


async def session_id_of(client: "HubClient", wanted: str) -> str:
    """The id of the session of that id or name. Raises NotFoundError."""
    sessions = await client.sessions()
    for key in ("id", "name"):
        for session in sessions:
            if session[key] == wanted:
                return str(session["id"])
    raise NotFoundError(f"no session {wanted!r}; there are {', '.join(s['name'] for s in sessions)}")


def time_of_option(text: str, option: str) -> int:
    """The time that an option was given, ns since 1970; in UTC unless it says otherwise. Raises ConfigError."""
    try:
        return nanoseconds(text)
    except ValueError:
        raise ConfigError(
            f"{option} {text!r:.40} is no time; write for example 2026-11-26 or '2026-11-26 18:00:05'"
        ) from None


def pointed_at(expression: str, error: ExpressionError) -> str:
    """The error with the expression under it and a mark at its place."""
    if error.position is None:
        return str(error)
    return f"{error}\n  {expression}\n  {' ' * error.position}^"
