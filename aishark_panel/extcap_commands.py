"""`aishark extcap`: the sessions of a hub, and their agents, in Wireshark's own list of interfaces.

Wireshark starts programs of its extcap folder and talks to them by options and lines of text (its manual page
extcap(4)). `install` puts a small script there that knows hub and token; `run` is what that script calls.

Wireshark's box for capture filters takes display filters here: what comes was captured already.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aishark_panel import __version__
from aishark_panel.errors import AisharkError, ConfigError, NotFoundError
from aishark_panel.hub_commands import DEFAULT_HUB, HubUrl, hub_client

if TYPE_CHECKING:
    from aishark_panel.client import HubClient

__all__ = ["extcap_app"]

extcap_app = typer.Typer(no_args_is_help=True, help="Sessions in Wireshark's own list of interfaces.")

_PREFIX: Final = "aishark:"
_PERSONAL: Final = Path(".local/lib/wireshark/extcap")
"""Below the home directory: the personal folder of Wireshark 4.2 and newer. Older ones have the system's only."""
_SCRIPT: Final = """#!/bin/sh
# Made by `aishark extcap install`; it holds a token, so it is for its owner only.
export AISHARK_HUB={hub} AISHARK_TOKEN={token}{authority}
exec {python} -m aishark_panel extcap run "$@"
"""
_USER0: Final = 147
"""The link type that Wireshark is told where each packet's interface tells its own."""
_ARGUMENTS: Final = (
    "arg {number=0}{call=--where}{display=Display filter}{type=string}"
    "{tooltip=Packets that match this come; as in the dashboard: tcp.port == 443}",
    "arg {number=1}{call=--oldest}{display=Begin with the oldest packet that the hub has}{type=boolflag}{default=true}"
    "{tooltip=Else with the next one}",
)


@extcap_app.command()
def install(
    hub_url: HubUrl = DEFAULT_HUB,
    folder: Annotated[
        Path | None, typer.Option(help="Wireshark's extcap folder; default: the one that tshark names.")
    ] = None,
) -> None:
    """Put a hub's sessions into Wireshark's list of interfaces. The token is read from AISHARK_TOKEN."""
    asyncio.run(_asked(hub_url, lambda client: client.sessions()))  # says now what is wrong with hub or token
    authority = os.environ.get("AISHARK_CA", "")
    text = _SCRIPT.format(
        hub=shlex.quote(hub_url),
        token=shlex.quote(os.environ["AISHARK_TOKEN"]),
        authority=f" AISHARK_CA={shlex.quote(str(Path(authority).resolve()))}" if authority else "",
        python=shlex.quote(sys.executable),
    )
    path = (folder or _extcap_folder()) / "aishark"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "w") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}. Wireshark 4.2 and newer look into {Path.home() / _PERSONAL} too: "
            "name it with --folder"
        ) from error
    typer.echo(f"Written: {path}")
    typer.echo("Sessions stand in Wireshark's list as 'aishark: NAME'; press F5 there if it runs. To undo, delete it.")


def _extcap_folder() -> Path:
    """Where the Wireshark of this host looks: a folder of this person's where it has such."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(["tshark", "-G", "folders"], capture_output=True, text=True, timeout=20).stdout
        named = dict(re.findall(r"^(.*Extcap path):\s*(.+?)\s*$", said, re.MULTILINE | re.IGNORECASE))
        for name in sorted(named, key=lambda name: "ersonal" not in name):
            return Path(named[name])
    return Path.home() / _PERSONAL


@extcap_app.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}, hidden=True
)
def run(context: typer.Context, hub_url: HubUrl = DEFAULT_HUB) -> None:
    """What Wireshark calls; see extcap(4)."""
    asked = _parse(context.args)
    if asked.extcap_interfaces:
        _print_interfaces(hub_url)
    elif asked.extcap_dlts:
        print(f"dlt {{number={_USER0}}}{{name=aishark}}{{display=As each packet's interface says}}")
    elif asked.extcap_config:
        print("\n".join(_ARGUMENTS))
    elif asked.capture:
        if not asked.fifo:
            raise ConfigError("there is no --fifo; Wireshark names one")
        _capture(hub_url, asked)
    elif asked.extcap_capture_filter:
        _print_problem(asked.extcap_capture_filter)
    else:
        raise ConfigError("Wireshark calls this: see 'aishark extcap install --help'")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    for flag in ("--extcap-interfaces", "--extcap-dlts", "--extcap-config", "--capture"):
        parser.add_argument(flag, action="store_true")
    for option in ("--extcap-interface", "--extcap-capture-filter", "--fifo", "--where"):
        parser.add_argument(option, default="")
    parser.add_argument("--oldest", nargs="?", const="true", default="true")
    return parser.parse_known_args(arguments)[0]


def _print_interfaces(hub_url: str) -> None:
    """Wireshark asks at its start: a hub that does not answer has no interfaces, and is no reason to complain."""
    print(f"extcap {{version={__version__}}}{{display=aishark}}")

    async def found(client: "HubClient") -> list[tuple[str, str]]:
        lines = []
        for session in await client.sessions():
            lines.append((session["id"], session["name"]))
            agents = [agent["name"] for agent in (await client.stats(session["id"]))["agents"]]
            if len(agents) > 1:
                lines += [(f"{session['id']}/{agent}", f"{session['name']}, agent {agent}") for agent in agents]
        return lines

    try:
        for value, name in asyncio.run(_asked(hub_url, found)):
            print(f"interface {{value={_PREFIX}{_plain(value)}}}{{display=aishark: {_plain(name)}}}")
    except AisharkError as error:
        print(f"aishark: {error}", file=sys.stderr)


def _plain(text: str) -> str:
    """Without what means something in extcap's lines."""
    return "".join("_" if each in "{}=\\" or not each.isprintable() else each for each in text)


def _print_problem(expression: str) -> None:
    """Nothing where the expression is right: Wireshark colours its box by that."""
    from aishark_panel.query import compile_expression

    try:
        compile_expression(expression)
    except AisharkError as error:
        print(error)


def _capture(hub_url: str, asked: argparse.Namespace) -> None:
    """Packets into Wireshark's pipe until it closes that, or the session ends."""
    from aishark_panel.query.literals import quote

    session, _, agent = asked.extcap_interface.removeprefix(_PREFIX).partition("/")
    terms = [term for term in (asked.where, asked.extcap_capture_filter) if term]
    terms += [f"agent == {quote(agent)}"] if agent else []

    async def stream(client: "HubClient") -> None:
        known = {each["id"] for each in await client.sessions()}
        if session not in known:
            raise NotFoundError(f"the hub has no session {session!r:.60} any more; press F5 in Wireshark's list")
        if asked.oldest not in ("true", "1"):
            terms.append(f"number >= {(await client.stats(session))['end']}")
        where = " and ".join(f"({term})" for term in terms)
        try:
            pipe = open(asked.fifo, "wb", buffering=0)  # noqa: SIM115, ASYNC230  (nothing else runs on this loop)
        except OSError as error:
            raise ConfigError(f"cannot open Wireshark's pipe {asked.fifo}: {error.strerror}") from error
        with pipe:
            await client.export(session, "pcapng", where, _writer(pipe), follow=True)

    with contextlib.suppress(_PipeClosedError, KeyboardInterrupt):  # Wireshark has stopped the capture
        asyncio.run(_asked(hub_url, stream))


class _PipeClosedError(Exception):
    """Nobody reads any more."""


def _writer(pipe: RawIOBase) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[pipe.write(rest) or 0 :]
        except OSError as error:
            raise _PipeClosedError from error

    return write


async def _asked(hub_url: str, question: Callable[["HubClient"], Any]) -> Any:
    async with hub_client(hub_url) as client:
        return await question(client)
