"""`aishark wireshark`: Wireshark on a packet of a session or of a file.

Heavy imports happen inside the commands, as in aishark_panel.cli.
"""

import asyncio
import contextlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.hub_commands import DEFAULT_HUB, HubUrl, hub_client, session_id_of, time_of_option
from aishark_panel.wire.times import within

if TYPE_CHECKING:
    from aishark_panel.client import HubClient

__all__ = ["wireshark"]

_SECOND_NS: Final = 10**9


def wireshark(
    what: Annotated[
        str, typer.Argument(metavar="SESSION|FILE", help="Session of a hub by name or id, or capture file.")
    ],
    packet: Annotated[int, typer.Option(help="Number of the packet: the session's, or within the file.", min=1)] = 1,
    at: Annotated[
        str, typer.Option(help="When it was captured (UTC), for a packet that has left the hub's ring.")
    ] = "",
    around: Annotated[float, typer.Option(help="Seconds before and after it that come too.", min=0.001)] = 30.0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Keep the packets in this file (.pcapng), and only name the command."),
    ] = None,
    hub_url: HubUrl = DEFAULT_HUB,
) -> None:
    """Open Wireshark at a packet.

    Of a session, the packets of the seconds around it come from the hub: from its ring, or what it has on disk of that
    time. The token is read from AISHARK_TOKEN. A recorded file is opened as it is.
    """
    if Path(what).exists() or "/" in what or what.endswith((".pcap", ".pcapng")):
        _run(["wireshark", "-r", str(_capture(what)), "-g", str(packet)], only_name=output is not None)
        return
    with _place(output) as path:
        number = asyncio.run(_fetch(hub_url, what, packet, at, round(around * _SECOND_NS), path))
        _run(["wireshark", "-r", str(path), "-g", str(number)], only_name=output is not None)


def _capture(path: str) -> str:
    """The file, if Wireshark can read it. Raises CaptureFileError."""
    from aishark_panel.export.read import check_capture

    check_capture(path)
    return path


@contextlib.contextmanager
def _place(output: Path | None) -> Iterator[Path]:
    """Where the packets go: the file that is wanted, or one that is gone when Wireshark ends."""
    if output is not None:
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="aishark-") as folder:
        yield Path(folder) / "packets.pcapng"


async def _fetch(hub_url: str, wanted: str, packet: int, at: str, around_ns: int, path: Path) -> int:
    """Write the packets around one to a file; which of them it is there."""
    async with hub_client(hub_url) as client:
        session = await session_id_of(client, wanted)
        ts = time_of_option(at, "--at") if at else await _time_of(client, session, packet)
        start, end = max(0, ts - around_ns), ts + around_ns + 1
        where = within(start, end)
        session = client.within(session, start, end)
        await client.read_back(session)
        found = await client.seek(session, packet, where)
        if found["number"] != packet:
            raise NotFoundError(f"packet {packet:,} of session {wanted} was not captured around that time, or is gone")
        first = await client.seek(session, 1, where)
        try:
            with path.open("wb") as file:

                def write(data: bytes) -> None:
                    file.write(data)

                await client.export(session, "pcapng", where, write)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
        return int(found["row"] - first["row"]) + 1


async def _time_of(client: "HubClient", session: str, packet: int) -> int:
    try:
        return int((await client.packet(session, packet))["ts"])
    except NotFoundError as error:
        raise NotFoundError(f"{error}. If it was captured earlier, say when: --at '2026-11-26 18:00:05'") from None


def _run(command: list[str], *, only_name: bool) -> None:
    if only_name:
        typer.echo(shlex.join(command))
        return
    if shutil.which(command[0]) is None:
        raise ConfigError(
            "Wireshark is not installed here, or not on the PATH. With --output FILE the packets are kept, to be opened"
            " elsewhere."
        )
    subprocess.run(command, check=False)
