"""capture(): packets of this host, a remote host, a file or made-up ones, live in a notebook by one call.

Hub and agent are children of this process, one hub for all captures, one agent each. They end with it, however it
ends, because they wait for the end of their standard input.
"""

import atexit
import contextlib
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from aishark_panel.embedded import EmbeddedHub, embedded_hub
from aishark_panel.errors import CaptureError, CapturePermissionError, ConfigError, NotFoundError
from aishark_panel.notebook.session import Hub, Session

__all__ = ["Capture", "ChildAgent", "capture"]

_START_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05
_INSTEAD: Final = (
    "To get it, start JupyterLab by: sudo setpriv --reuid=$USER --regid=$(id -g) --init-groups --inh-caps=+net_raw "
    "--ambient-caps=+net_raw $(command -v jupyter) lab. "
    "Without that right you can still look at a file, capture(file='capture.pcapng'), at a host you reach with ssh, "
    "capture('eth0', ssh='user@host'), at a hub that an agent with it feeds, connect(url, token), or at made-up "
    "traffic, capture(synthetic=True)."
)

_hubs: Final[dict[str, Hub]] = {}
"""our connection to each embedded hub there was in this process, by address"""
_captures: Final[dict[str, "Capture"]] = {}
"""captures that run, by name"""


def capture(
    interface: str | None = None,
    filter: str = "",  # the word of tcpdump, tshark and scapy
    *,
    synthetic: bool = False,
    rate: int = 2_000,
    file: str | os.PathLike[str] | None = None,
    speed: str = "max",
    ssh: str = "",
    snaplen: int = 262_144,
    name: str = "",
) -> "Capture":
    """Capture in the background and return the live session.

    Packets come from `interface` (with a capture `filter`, BPF; over `ssh`, "user@host", from an interface there), from
    a capture `file` played at `speed` ("max", "1" as captured, "10" ten times as fast), or are made up (`synthetic`, at
    `rate` packets/s). `snaplen`: bytes kept of each frame. The session's `name` follows from these; a capture of the
    same name is replaced, so running a cell again leaves one capture.

    Raises ConfigError, CapturePermissionError, or CaptureError with the agent's words where it cannot start.
    """
    source, default_name = _source(interface, filter, synthetic, rate, file, speed, ssh)
    name = name or default_name
    if interface and not ssh:
        _check_permission(interface)
    if previous := _captures.pop(name, None):
        previous.close()
    embedded = embedded_hub()
    hub = _hubs.get(embedded.url) or _hubs.setdefault(embedded.url, Hub(embedded.url, embedded.token))
    with contextlib.suppress(NotFoundError):
        old = hub.session(name).id
        hub.ask(lambda client: client.delete(old))
    started = _captures[name] = Capture(hub, ChildAgent(embedded, name, [*source, "--snaplen", str(snaplen)]), name)
    return started


def _source(
    interface: str | None,
    capture_filter: str,
    synthetic: bool,
    rate: int,
    file: str | os.PathLike[str] | None,
    speed: str,
    ssh: str,
) -> tuple[list[str], str]:
    """The agent's options for what was asked, and a name for it."""
    if [bool(interface), synthetic, file is not None].count(True) != 1:
        raise ConfigError(
            "Say what to capture, one of: capture('eth0'), capture('eth0', ssh='user@host'), "
            f"capture(file='capture.pcapng'), capture(synthetic=True). Interfaces here: {_interfaces()}."
        )
    if capture_filter and not interface:
        raise ConfigError("A capture filter needs an interface; packets of a file are selected later, by where=...")
    if synthetic:
        if rate < 1:
            raise ConfigError(f"rate is packets per second, at least 1, not {rate}")
        return ["--synthetic", "--rate", str(rate)], "synthetic"
    if file is not None:
        path = Path(file).expanduser()
        return ["--read", str(path), "--speed", speed], path.name
    options = ["--interface", str(interface), "--filter", capture_filter]
    place = f"{ssh} {interface}" if ssh else str(interface)
    return [*options, "--ssh", ssh] if ssh else options, f"{place}: {capture_filter}" if capture_filter else place


def _interfaces() -> str:
    return ", ".join(name for _, name in socket.if_nameindex())


def _check_permission(interface: str) -> None:
    """Raise in the words of a notebook what the agent would say in those of a shell."""
    if platform.system() != "Linux":
        return  # there the agent's libpcap says what is missing
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError as error:
        raise CapturePermissionError(
            f"Capturing on {interface} needs the capability CAP_NET_RAW, which this kernel's process does not have. "
            + _INSTEAD
        ) from error


class ChildAgent:
    """An agent as a child process, which ends with this one. `source`: its options that say what to capture."""

    def __init__(self, hub: EmbeddedHub, session: str, source: list[str]) -> None:
        # A file, because a pipe that nobody reads fills up and stops the agent.
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "agent", *source, "--session", session]
            + ["--hub", hub.url, "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env={**os.environ, "AISHARK_TOKEN": hub.token},
            start_new_session=True,  # interrupting a cell is no reason to end the capture
        )

    @property
    def failed(self) -> bool:
        return self.process.poll() not in (None, 0)

    def words(self) -> str:
        """The last line the agent wrote, without its "aishark: "."""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].removeprefix("aishark: ") if lines else "the agent ended without a word"

    def close(self) -> None:
        """End the agent: closing its standard input tells it to send what it has and leave."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._said.close()


class Capture(Session):
    """A session that this process feeds. Leaving it as a context manager ends the capture; its packets stay."""

    def __init__(self, hub: Hub, agent: ChildAgent, name: str) -> None:
        self.agent = agent
        self._closed = False
        atexit.register(self.close)
        try:
            super().__init__(hub, self._session_id(hub, name), name)
        except BaseException:
            self.close()
            raise

    def _session_id(self, hub: Hub, name: str) -> str:
        """Wait until the agent feeds its session. Raises CaptureError with the agent's words if it ends before."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            for session in hub.sessions():
                if session.name == name and session.stats()["agents"]:
                    return session.id
            if self.agent.failed:
                raise CaptureError(f"The capture did not start: {self.agent.words()}")
            time.sleep(_POLL_S)
        raise CaptureError(f"The capture did not start within {_START_TIMEOUT_S:.0f} s.")

    def close(self) -> None:
        """End the capture; the packets stay in the session until a capture of the same name replaces it."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self.agent.close()
