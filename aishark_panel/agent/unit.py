"""The systemd unit of an agent: a service that may open packet sockets and next to nothing else.

It runs as a user of its own that exists only meanwhile, with CAP_NET_RAW as its one capability; its key comes as a
credential. Every line beyond the plain ones takes something away; what an agent needs and so keeps is said beside it.
"""

import os
import re
import stat
import sys
from pathlib import Path
from typing import Final

from aishark_panel.errors import ConfigError

__all__ = ["DEFAULT_CONFIG", "DEFAULT_KEY", "DEFAULT_SERVICE", "install", "unit_text", "warning"]

DEFAULT_SERVICE: Final = "aishark-agent"
DEFAULT_CONFIG: Final = Path("/etc/aishark/agent.yaml")
DEFAULT_KEY: Final = Path("/etc/aishark/key")
_UNITS: Final = Path("/etc/systemd/system")
_HOMES: Final = ("/home", "/root", "/run/user")

_UNIT: Final = """\
# Made by `aishark agent install`; docs/agent.md explains it.
[Unit]
Description=aishark capture agent ({service})
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command} agent --config {config} --max-retries -1 --log-format json
Environment=AISHARK_SERVER__API_KEY_FILE=%d/key AISHARK_LOG=INFO NUMBA_CACHE_DIR=%C/aishark/{service}
Environment=AISHARK_PERFORMANCE__SPOOL=%S/aishark/{service}
LoadCredential=key:{key}
CacheDirectory=aishark/{service}
StateDirectory=aishark/{service}
RuntimeDirectory=aishark/{service}
RuntimeDirectoryPreserve=restart
Restart=always
RestartSec=5
WatchdogSec=30
# A new version compiles its kernels at the first start.
TimeoutStartSec=180
TimeoutStopSec=20

# Who it is, and the one thing that it may do beyond others: open packet sockets.
DynamicUser=yes
AmbientCapabilities=CAP_NET_RAW
CapabilityBoundingSet=CAP_NET_RAW
NoNewPrivileges=yes
UMask=0077

# What it sees of the files.
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=yes
PrivateMounts=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset=pid
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
DevicePolicy=closed

# What it may ask of the kernel. Not MemoryDenyWriteExecute: compiled kernels are machine code that is loaded as data.
# Not PrivateUsers or PrivateNetwork: the interfaces are the host's.
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_PACKET AF_INET AF_INET6 AF_UNIX AF_NETLINK
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


def unit_text(service: str = DEFAULT_SERVICE, config: Path = DEFAULT_CONFIG, key: Path = DEFAULT_KEY) -> str:
    """The unit of a service that runs this installation of aishark. ConfigError for what systemd would misread."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,60}", service):
        raise ConfigError(f"--service is {service!r:.70}; it takes small letters, digits and hyphens.")
    paths = {"--config": config, "--key": key, "this installation": _command()}
    for name, path in paths.items():
        if not re.fullmatch(r"/[\w./@+-]+", str(path), re.ASCII):
            raise ConfigError(f"{name}: {path} must be a whole path of letters, digits and . / @ + - _")
    at_home = any(str(path).startswith(_HOMES) for path in (*_installation(), config))
    return _UNIT.format(
        service=service,
        command=_command(),
        config=config,
        key=key,
        protect_home="read-only" if at_home else "yes",
    )


def _command() -> Path:
    """The aishark command of the environment that runs now."""
    return Path(sys.executable).parent / "aishark"


def _installation() -> tuple[Path, ...]:
    """Folders that the service must be able to read: the environment, its Python, this package."""
    return Path(sys.prefix), Path(os.path.realpath(sys.executable)).parent, Path(__file__).resolve().parents[2]


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
