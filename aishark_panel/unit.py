"""The systemd units of agent, hub and dashboard: services that may do what they need and next to nothing else.

Each runs as a user of its own that exists only meanwhile, with at most one capability; its secrets come as credentials.
Every line beyond the plain ones takes something away; what a program needs and so keeps is said beside it.
"""

import os
import re
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aishark_panel.errors import ConfigError

__all__ = ["Service", "agent_service", "dashboard_service", "hub_service", "install", "warning"]

_UNITS: Final = Path("/etc/systemd/system")
_HOMES: Final = ("/home", "/root", "/run/user")

_AGENT: Final = """\
Type=notify
Environment=AISHARK_SERVER__API_KEY_FILE=%d/key AISHARK_PERFORMANCE__SPOOL=%S/aishark/{name}
RuntimeDirectory=aishark/{name}
RuntimeDirectoryPreserve=restart
WatchdogSec=30
# A new version compiles its kernels at the first start.
TimeoutStartSec=180
"""
_HUB: Final = """\
Type=exec
Environment=AISHARK_TOKEN_FILE=%d/token XDG_STATE_HOME=%S/aishark/{name} XDG_DATA_HOME=%S/aishark/{name}
# Other variables, if need be: of --notify and --oidc files, AISHARK_WEBHOOK.
EnvironmentFile=-/etc/aishark/{name}.env
# Packets have half of the machine's memory (--max-rings-mib); this is for what goes wrong.
MemoryMax=80%
"""
_DASHBOARD: Final = """\
Type=exec
# AISHARK_CA, for a hub whose certificate is of a CA of your own.
EnvironmentFile=-/etc/aishark/{name}.env
MemoryMax=80%
"""
_UNIT: Final = """\
# Made by `aishark {program} install`; docs/howto/install.md explains it.
[Unit]
Description=aishark {program} ({name})
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={command}
{credentials}{own}Environment=AISHARK_LOG=INFO NUMBA_CACHE_DIR=%C/aishark/{name}
CacheDirectory=aishark/{name}
StateDirectory=aishark/{name}
Restart=always
RestartSec=5
TimeoutStopSec=20

# Who it is, and what it may do beyond others: {may}.
DynamicUser=yes
AmbientCapabilities={capability}
CapabilityBoundingSet={capability}
NoNewPrivileges=yes
UMask=0077

# What it sees of the files.
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset={proc}
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
DevicePolicy=closed

# What it may ask of the kernel. Not MemoryDenyWriteExecute: compiled kernels are machine code that is loaded as data.
# Not PrivateUsers or PrivateNetwork: the interfaces and ports are the host's.
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
RestrictAddressFamilies={families}
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
ProtectClock=yes
ProtectHostname=yes
RemoveIPC=yes

[Install]
WantedBy=multi-user.target
"""
_CAPABILITIES: Final = {"": "nothing", "CAP_NET_RAW": "open packet sockets", "CAP_NET_BIND_SERVICE": "ports below 1024"}


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program of ours as a service."""

    name: str
    program: str
    """agent, hub or serve"""
    own: str
    """lines that only this program has"""
    words: Sequence[str] = ()
    """its options; a file that it has as a credential is %d/ and its name there"""
    credentials: Mapping[str, Path] = field(default_factory=dict)
    """files that only root may read, by the name the service has them by"""
    files: Mapping[str, Path] = field(default_factory=dict)
    """other files it is to read, by the option that names them"""
    capability: str = ""
    families: str = "AF_INET AF_INET6 AF_UNIX"
    proc: str = "all"
    """what of /proc it sees: all (how much memory the machine has), or pid"""

    def text(self) -> str:
        """The unit that runs this installation of aishark. ConfigError for what systemd would misread."""
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,60}", self.name):
            raise ConfigError(f"--service is {self.name!r:.70}; it takes small letters, digits and hyphens.")
        paths = {**self.files, **{f"--{name}": path for name, path in self.credentials.items()}}
        for name, path in {**paths, "this installation": _command()}.items():
            if not re.fullmatch(r"/[\w./@+-]+", str(path), re.ASCII):
                raise ConfigError(f"{name}: {path} must be a whole path of letters, digits and . / @ + - _")
        at_home = any(str(path).startswith(_HOMES) for path in (*_installation(), *self.files.values()))
        return _UNIT.format(
            program=self.program,
            name=self.name,
            command=" ".join([str(_command()), self.program, *map(_quoted, self.words)]),
            credentials="".join(f"LoadCredential={name}:{path}\n" for name, path in self.credentials.items()),
            own=self.own.format(name=self.name),
            may=_CAPABILITIES[self.capability],
            capability=self.capability,
            families=self.families,
            proc=self.proc,
            protect_home="read-only" if at_home else "yes",
        )


def agent_service(name: str, config: Path, key: Path) -> Service:
    """An agent with that configuration and key."""
    return Service(
        name=name,
        program="agent",
        own=_AGENT,
        words=["--config", str(config), "--max-retries", "-1", "--log-format", "json"],
        credentials={"key": key},
        files={"--config": config},
        capability="CAP_NET_RAW",
        families="AF_PACKET AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        proc="pid",
    )


def hub_service(name: str, options: Sequence[tuple[str, str]], token: Path) -> Service:
    """A hub with those options (a switch has "" as its value), and the start token from a file."""
    for flag, _ in options:
        if flag in ("--state", "--journal", "--recordings"):
            raise ConfigError(f"{flag}: as a service the hub keeps its files in /var/lib/aishark/{name}; leave it out.")
    return _server(name, "hub", _HUB, options, {"token": token})


def dashboard_service(name: str, options: Sequence[tuple[str, str]]) -> Service:
    """A dashboard with those options."""
    if "--hub" not in dict(options):
        raise ConfigError(
            "As a service the dashboard joins a hub that is one, too: aishark serve --hub URL install. A hub of its "
            "own would forget everything at each start."
        )
    return _server(name, "serve", _DASHBOARD, [*options, ("--no-browser", "")], {})


_SECRET_FILES: Final = ("--tls-cert", "--tls-key", "--notify", "--oidc")
"""options whose files may be root's alone"""


def _server(
    name: str, program: str, own: str, options: Sequence[tuple[str, str]], secrets: Mapping[str, Path]
) -> Service:
    words: list[str] = []
    credentials, files = dict(secrets), {}
    for flag, value in options:
        if flag in _SECRET_FILES:
            words += [flag, f"%d/{flag[2:]}"]
            credentials[flag[2:]] = Path(value)
        elif value:
            words += [flag, value.replace("%", "%%")]
            if flag == "--rules":
                files[f"{flag} {value}"] = Path(value)
        else:
            words.append(flag)
    return Service(
        name=name,
        program=program,
        own=own,
        words=words,
        credentials=credentials,
        files=files,
        capability="CAP_NET_BIND_SERVICE" if 0 < int(dict(options).get("--port", 0)) < 1024 else "",
    )


def _quoted(word: str) -> str:
    """A word as systemd reads it. ConfigError for what it would take for a variable, or for the end of the line."""
    if not word.isprintable() or "$" in word:
        raise ConfigError(f"{word!r:.80} cannot stand in a unit: no $, and no characters without a shape.")
    if re.fullmatch(r"[\w./:%@+=,\[\]-]+", word, re.ASCII):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command() -> Path:
    """The aishark command of the environment that runs now."""
    return Path(sys.executable).parent / "aishark"


def _installation() -> tuple[Path, ...]:
    """Folders that the service must be able to read: the environment, its Python, this package."""
    return Path(sys.prefix), Path(os.path.realpath(sys.executable)).parent, Path(__file__).resolve().parents[1]


def warning() -> str:
    """Why the service could not run this installation, in words: a folder that only its owner may enter; '' if none."""
    ways = {parent for path in _installation() for parent in (path, *path.parents)}
    closed = sorted(path for path in ways if path.exists() and not path.stat().st_mode & stat.S_IXOTH)
    if not closed:
        return ""
    return (
        f"The service's user could not read this installation: {closed[0]} is closed to others. Install aishark where "
        "all may read it, such as in /opt/aishark."
    )


def install(unit: str, service: str) -> Path:
    """Write the unit where systemd finds it. ConfigError where that cannot be done, or the service could not run."""
    if closed := warning():
        raise ConfigError(closed)
    path = _UNITS / f"{service}.service"
    try:
        path.write_text(unit, "utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}. Run it as root, or print it.") from error
    return path
