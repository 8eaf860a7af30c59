"""What a running agent says of itself: the file that `aishark agent --status` reads.

The agent writes it anew every second or two, whole, so a file that is older than that belongs to an agent that hangs or
is gone, and whoever reads it says so. An agent that failed leaves its last file, with the reason.
"""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from aishark_panel.wire.messages import InterfaceInfo

__all__ = [
    "NOT_YET",
    "STALE_S",
    "LinkReport",
    "Refusal",
    "Report",
    "Status",
    "StatusFile",
    "is_well",
    "packet_counters",
    "read_statuses",
    "status_folder",
    "status_folders",
    "status_text",
]

NOT_YET: Final = "no answer yet"
"""why there is no connection before the first try has ended"""
STALE_S: Final = 10.0
"""Age from which a status no longer says how the agent is."""
_MAX_BYTES: Final = 1 << 20
_SERVICES: Final = Path("/run/aishark")
"""where systemd makes the runtime directories of installed agents (unit.py)"""
_RUNNING: Final = ("capturing", "paused", "waiting", "interrupted")
_FINAL: Final = "ended"


class LinkReport(msgspec.Struct, frozen=True, kw_only=True):
    """The connection to the hub."""

    url: str
    connected: bool
    reason: str = ""
    """why there is none, in words"""
    session: str = ""
    """id of the session that takes the packets"""
    round_trip_ms: float = 0.0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub asked for and was not given."""

    reason: str
    at_ns: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent knows of itself at a moment."""

    state: str
    """capturing; paused (by the hub); waiting (for the hub's first word); interrupted (an interface is gone); hung (the
    capture thread does not move); ended"""
    reason: str = ""
    """why it does not capture, in words"""
    run: str = ""
    source: str = ""
    interfaces: tuple[InterfaceInfo, ...] = ()
    """those captured now"""
    sampling: int = 1
    max_packets_per_second: int = 0
    hub: LinkReport
    refused: Refusal | None = None
    """the last order that was refused"""
    counters: dict[str, int] = {}
    """by the names of the ledger (docs/protocol.md)"""
    outbox_bytes: int = 0
    """memory held by what the hub has not acknowledged"""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A report with who wrote it, when, and the rates since the one before."""

    name: str
    pid: int
    version: str
    started_ns: int
    written_ns: int
    agent: Report
    captured_per_s: float = 0.0
    delivered_per_s: float = 0.0
    """packets/s over the last seconds"""


_decoder: Final = msgspec.json.Decoder(Status)


def status_folder(option: str, environment: Mapping[str, str]) -> Path:
    """Where an agent writes its status: the option, else systemd's folder for the service, else the user's own."""
    if option:
        return Path(option)
    if runtime := environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(runtime)
    return _own_folder(environment)


def status_folders(option: str, environment: Mapping[str, str]) -> list[Path]:
    """Where statuses are looked for: the option, else the user's own folder and those of services."""
    if option:
        return [Path(option)]
    with contextlib.suppress(OSError):
        return [_own_folder(environment), *sorted(_SERVICES.iterdir())]
    return [_own_folder(environment)]


def _own_folder(environment: Mapping[str, str]) -> Path:
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "aishark"
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "aishark" / "agents"


class StatusFile:
    """The file of one agent, NAME.json; NAME-PID.json while another agent of that name runs. OSError from all calls."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        plain = re.sub(r"[^\w.-]", "_", name)[:100].strip(".") or "agent"
        path = folder / f"{plain}.json"
        before = _read(path)
        taken = before is not None and before.agent.state != _FINAL and not _trouble(before, time.time_ns())
        self.path = folder / f"{plain}-{os.getpid()}.json" if taken else path

    def write(self, status: Status) -> None:
        """Replace the file as a whole: nobody reads half of it."""
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        new.write_bytes(msgspec.json.encode(status))
        new.chmod(0o600)
        new.replace(self.path)

    def remove(self) -> None:
        """The agent ended as it was to."""
        self.path.unlink(missing_ok=True)


def read_statuses(folders: list[Path], name: str = "") -> list[Status]:
    """The statuses found there, of the agents of that name if one is given; PermissionError if all are others'."""
    found: list[Status] = []
    refused: PermissionError | None = None
    for folder in folders:
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
            try:
                status = _read(path)
            except PermissionError as error:
                refused = error
                continue
            if status and name in ("", status.name):
                found.append(status)
    if refused and not found:
        raise refused
    return found


def _read(path: Path) -> Status | None:
    try:
        with path.open("rb") as file:
            return _decoder.decode(file.read(_MAX_BYTES))
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _trouble(status: Status, now_ns: int) -> str:
    """Why the status does not say how the agent is now; '' if it does, or if the agent has ended."""
    age_s = (now_ns - status.written_ns) / 1e9
    if status.agent.state == _FINAL or age_s <= STALE_S:
        return ""
    alive = _is_there(status.pid)
    return f"stale: nothing was written for {_span(age_s)}; process {status.pid} " + (
        "is there but hangs" if alive else "is gone"
    )


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def packet_counters(report: Report) -> dict[str, int]:
    """The counters that count packets: those of the times without capture are left out."""
    return {name: count for name, count in report.counters.items() if name not in ("gaps", "gap_ms")}


def is_well(status: Status, now_ns: int) -> bool:
    """Whether that agent runs, captures what it is asked for, and is connected."""
    return status.agent.state in ("capturing", "paused") and status.agent.hub.connected and not _trouble(status, now_ns)


def status_text(status: Status, now_ns: int) -> str:
    """A status for people, some lines."""
    agent, hub = status.agent, status.agent.hub
    trouble = _trouble(status, now_ns)
    age = _span((now_ns - status.written_ns) / 1e9)
    state = trouble or (f"{_FINAL} {age} ago" if agent.state == _FINAL else agent.state)
    interfaces = "; ".join(i.name + (f" (filter {i.filter!r})" if i.filter else "") for i in agent.interfaces)
    link = "connected" if hub.connected else f"not connected: {hub.reason}" if hub.reason else "not connected"
    if hub.connected and hub.round_trip_ms:
        link += f", {hub.round_trip_ms:.1f} ms round trip"
    limits = [f"one packet in {agent.sampling}"] if agent.sampling > 1 else []
    if agent.max_packets_per_second:
        limits.append(f"at most {agent.max_packets_per_second:,} packets/s")
    lines = [
        f"{status.name}: {state}" + (f": {agent.reason}" if agent.reason and not trouble else ""),
        f"  process   {status.pid}, version {status.version}, started {_span((now_ns - status.started_ns) / 1e9)} ago",
        f"  hub       {hub.url} {link}",
        f"  capture   {', '.join([f'{agent.source} {interfaces}'.strip(), *limits])}",
        f"  rates     {status.captured_per_s:,.0f} packets/s captured, {status.delivered_per_s:,.0f} delivered",
        f"  memory    {agent.outbox_bytes:,} bytes wait for the hub",
        f"  packets   {', '.join(f'{name} {count:,}' for name, count in packet_counters(agent).items()) or 'none'}",
    ]
    if gaps := agent.counters.get("gaps"):
        lines.append(f"  gaps      {gaps:,}, together {agent.counters.get('gap_ms', 0) / 1e3:,.1f} s")
    if agent.refused:
        lines.append(f"  refused   {_span((now_ns - agent.refused.at_ns) / 1e9)} ago: {agent.refused.reason}")
    return "\n".join(re.sub(r"[^\x20-\x7e\u00a0-\U0010ffff]", "?", line) for line in lines)


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
