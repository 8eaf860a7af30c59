"""Commands on a hub's people: accounts, and the sessions that they own and share.

Each makes its client, asks, and prints the answer. A password is typed, or read from standard input where that is no
terminal: it is never an argument, which every list of processes would show.
"""

import asyncio
import json
import sys
from getpass import getpass
from typing import Annotated, Any

import typer

from aishark_panel.errors import ConfigError
from aishark_panel.hub_commands import DEFAULT_HUB, HubUrl, SessionName, hub_client, moment, session_id_of
from aishark_panel.views.ledger_lines import ledger_text

__all__ = ["session_app", "user_app"]

Name = Annotated[str, typer.Argument(help="Name of the account.")]

user_app = typer.Typer(
    no_args_is_help=True,
    help="Accounts: people who log in to a hub with a name and a password.\n\n"
    "AISHARK_TOKEN must be the hub's own token, or an admin's. Who logs in at a provider (aishark hub --oidc) has an "
    "account from the first time on. Scripts better have tokens: aishark token issue.",
)


@user_app.command("add")
def user_add(
    name: Name,
    may: Annotated[
        str, typer.Option(help="What the person may do, with commas between: view, capture, export, admin.")
    ] = "view,capture,export",
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Make an account; asks for its password, or reads it from standard input.

    Example: openssl rand -base64 15 | tee /dev/stderr | aishark user add ann --may view,export
    """
    capabilities = [word.strip() for word in may.split(",") if word.strip()]
    asyncio.run(hub_client(hub_url).user_add(name, _new_password(), capabilities))
    typer.echo(f"account {name} may {', '.join(capabilities)}")


@user_app.command("list")
def user_list(hub_url: HubUrl = DEFAULT_HUB) -> None:
    """List the accounts: name, what they may do, where they log in."""
    for user in asyncio.run(hub_client(hub_url).users()):
        notes = [user["issuer"] or "password", "disabled" if user["disabled"] else ""]
        typer.echo(f"{user['name']}  {','.join(user['capabilities'])}  {'  '.join(filter(None, notes))}")


@user_app.command("disable")
def user_disable(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Let the person in again.")] = False,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Let nothing of a person in any more: logins, tokens, agents and links end within seconds. Sessions stay."""
    asyncio.run(hub_client(hub_url).user_change(name, disabled=not undo))


@user_app.command("passwd")
def user_passwd(name: Name, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """Give an account another password, which ends its logins; asks for it, or reads it from standard input."""
    asyncio.run(hub_client(hub_url).user_change(name, password=_new_password()))


@user_app.command("may")
def user_may(
    name: Name,
    capabilities: Annotated[str, typer.Argument(help="With commas between: view, capture, export, admin.")],
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Set what a person may do, from their next login on."""
    words = [word.strip() for word in capabilities.split(",") if word.strip()]
    asyncio.run(hub_client(hub_url).user_change(name, capabilities=words))


session_app = typer.Typer(
    no_args_is_help=True,
    help="Sessions: list and delete them, see what was lost, share them with people, or with whoever has a link.\n\n"
    "A session is its owner's; others see it only if it is shared with them.",
)
Person = Annotated[str, typer.Argument(help="Name of the person.")]


@session_app.command("list")
def session_list(hub_url: HubUrl = DEFAULT_HUB) -> None:
    """List the sessions that you see: your own, and those shared with you."""

    async def sessions() -> list[dict[str, Any]]:
        async with hub_client(hub_url) as client:
            return await client.sessions()

    for session in asyncio.run(sessions()):
        may = ",".join(session["may"])
        line = f"{session['id']}  {session['name']}  {session['state']}  {session['packets']:,} packets"
        typer.echo(f"{line}  owner {session['owner'] or '-'}  you may {may}")


@session_app.command("ledger")
def session_ledger(
    session: SessionName = "live",
    as_json: Annotated[bool, typer.Option("--json", help="As the hub tells it, for programs: docs/ledger.md.")] = False,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Say where each packet of a session is: what was lost, where and why, and that the numbers add up."""

    async def ledger() -> dict[str, Any]:
        async with hub_client(hub_url) as client:
            return await client.ledger(await session_id_of(client, session))

    book = asyncio.run(ledger())
    if as_json:
        typer.echo(json.dumps(book))
        return
    for line in ledger_text(book):
        typer.echo(line)


@session_app.command("delete")
def session_delete(session: SessionName, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """Stop a session and forget its packets, its shares and its links."""

    async def delete() -> None:
        async with hub_client(hub_url) as client:
            await client.delete(await session_id_of(client, session))

    asyncio.run(delete())


@session_app.command("share")
def session_share(
    session: SessionName,
    person: Annotated[str, typer.Argument(help="Name of the person; without one: say with whom it is shared.")] = "",
    export: Annotated[bool, typer.Option("--export", help="Let the person export packets, too.")] = False,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Let a person see a session. They can do there what they may do at all, and no more than view (and export)."""

    async def share() -> list[dict[str, Any]]:
        async with hub_client(hub_url) as client:
            session_id = await session_id_of(client, session)
            if person:
                await client.share(session_id, person, ["view", "export"] if export else ["view"])
            return await client.shares(session_id)

    for shared in asyncio.run(share()):
        typer.echo(f"{shared['person']}  {','.join(shared['capabilities'])}")


@session_app.command("unshare")
def session_unshare(session: SessionName, person: Person, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """Take a session back from a person; what they have open on it ends within seconds."""

    async def unshare() -> None:
        async with hub_client(hub_url) as client:
            await client.unshare(await session_id_of(client, session), person)

    asyncio.run(unshare())


@session_app.command("link")
def session_link(
    session: SessionName,
    hours: Annotated[float, typer.Option(help="How long it is good.")] = 24,
    list_them: Annotated[bool, typer.Option("--list", help="List the links to the session instead.")] = False,
    revoke: Annotated[str, typer.Option(metavar="ID", help="Take this link back instead.")] = "",
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Make a link: a token that lets whoever has it view this session and nothing else. It is shown this once.

    It goes where a token goes: into AISHARK_TOKEN, or the page's login.
    """

    async def link() -> list[dict[str, Any]]:
        async with hub_client(hub_url) as client:
            session_id = await session_id_of(client, session)
            if revoke:
                await client.unlink(session_id, revoke)
                return []
            return await client.links(session_id) if list_them else [await client.link(session_id, 3_600 * hours)]

    for made in asyncio.run(link()):
        line = f"link {made['id']}, made by {made['person'] or 'the owner of the hub'}, good until "
        typer.echo(line + moment(made["expires_s"]), err="token" in made)
        if "token" in made:
            typer.echo(made["token"])


def _new_password() -> str:
    """The password that is typed twice, or the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise ConfigError("The two are not the same; nothing was changed.")
    return password
