"""Capture on another host over ssh, where nothing but sshd and tcpdump is needed.

tcpdump runs *remotely* and writes pcap to its standard output, which is the ssh connection; that connection itself is
excluded there, by what sshd says in SSH_CONNECTION. Our end of ssh's standard input is the leash: when it closes, for
whatever reason, tcpdump is ended.
"""

import contextlib
import os
import re
import selectors
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import IO, Final, cast

from aishark_panel.agent.bpf import own_traffic_filter
from aishark_panel.agent.source import SourceInterface, SourceKind
from aishark_panel.errors import CaptureError, CaptureFileError, CapturePermissionError, ConfigError, FilterError
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames
from aishark_panel.wire.pcapfile import CaptureReader

__all__ = ["SshCapture", "remote_command"]

_TARGET: Final = re.compile(r"([A-Za-z0-9_.][A-Za-z0-9_.-]*@)?[A-Za-z0-9_.:][A-Za-z0-9_.:%-]*")
_INTERFACE: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@:-]{0,63}")
_SSH: Final = (
    "ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15",
    "-o", "ServerAliveCountMax=3",
)  # fmt: skip
_START_S: Final = 30.0
_END_S: Final = 3.0
_PIECE_BYTES: Final = 1 << 20
_REMOTE_BUFFER_KIB: Final = 16 << 10
_KEPT_ERROR_BYTES: Final = 8192
_SSH_FAILED: Final = 255
_NOT_FOUND: Final = 127


def remote_command(interface: str, filter: str = "", snaplen: int = MAX_FRAME_BYTES) -> str:
    """The one shell command line to run on the other host, whatever its login shell.

    Raises ConfigError for an interface name no system has, FilterError for a filter that could undo the exclusion of
    the ssh connection.
    """
    if not _INTERFACE.fullmatch(interface):
        raise ConfigError(f"{interface!r} is no interface name")
    expression = own_traffic_filter(filter, ())
    user_part = shlex.quote(f" and ({expression})") if expression else ""
    script = (
        "set -- ${SSH_CONNECTION:?is not set by sshd}; exec 3<&0; "
        # The leash. Background jobs get no standard input, hence descriptor 3; $$ becomes tcpdump by exec.
        "(cat <&3; kill -TERM $$) >/dev/null 2>&1 & exec 3<&-; "
        f"exec tcpdump -U -n -i {interface} -s {snaplen} -B {_REMOTE_BUFFER_KIB} -w - "
        # Cut the zone off addresses like fe80::1%eth0. First, for the reason given at own_traffic_filter.
        f'"not (tcp and host ${{1%%\\%*}} and port $2 and host ${{3%%\\%*}} and port $4)"{user_part}'
    )
    return f"exec sh -c {shlex.quote(script)}"


class SshCapture:
    """Source of the packets of one interface of `target` (user@host, or a name from ssh's configuration).

    The login must work without asking: by key or agent, host key known. `options` are further arguments of ssh.
    Blocks until tcpdump has started there (30 s at most). tcpdump collects packets for up to 1 s at low rates.
    Raises ConfigError, FilterError, CapturePermissionError or CaptureError.
    """

    kind: SourceKind = "ssh"

    def __init__(
        self,
        target: str,
        interface: str,
        filter: str = "",
        snaplen: int = MAX_FRAME_BYTES,
        options: Sequence[str] = (),
    ) -> None:
        if not _TARGET.fullmatch(target):
            raise ConfigError(f"{target!r} is not of the form host or user@host")
        command = [*_SSH, *options, "--", target, remote_command(interface, filter, snaplen)]
        self._target = target
        self._interface = interface
        self._reader = CaptureReader(snaplen=snaplen)
        self._first: Frames | None = None
        self._captured = 0
        self._errors = b""
        self.exhausted = False
        try:
            # A session of its own: Ctrl-C at a terminal is ours to handle, ssh ends by its leash.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise CaptureError("the command ssh is not installed here; install OpenSSH's client") from None
        self._leash = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)
        self._error_output = cast("IO[bytes]", self._process.stderr)
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for source in (self._output, self._error_output, self._woken):
            self._selector.register(source, selectors.EVENT_READ)
        try:
            link_type = self._await_header()
        except BaseException:
            self.close()
            raise
        self.interfaces = [
            SourceInterface(
                name=interface,
                link_type=link_type,
                snaplen=snaplen,
                filter=filter,
                description=f"{interface} of {target} by ssh",
            )
        ]

    def read(self, timeout_s: float) -> Frames | None:
        """Wait up to `timeout_s` for packets. The memory is valid until the next read.

        Raises CaptureError once the connection or tcpdump has failed and what came before has been read.
        """
        frames, self._first = self._first, None
        deadline = time.monotonic() + timeout_s
        while frames is None:
            frames = self._frames()
            remaining_s = deadline - time.monotonic()
            if frames is None and (self.exhausted or remaining_s <= 0 or not self._receive(remaining_s)):
                return None
        self._captured += len(frames)
        return frames

    def counters(self) -> dict[str, int]:
        """`matched` packets, the `kernel_dropped` ones included; of those tcpdump only tells when it ends."""
        # Not its "received by filter": on a loopback that counts every packet twice.
        dropped = self._count("dropped by kernel")
        return {"matched": max(self._captured, self._count("captured")) + dropped, "kernel_dropped": dropped}

    def wake(self) -> None:
        """Make a blocked read return soon. Safe from any thread, also after close."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def close(self) -> None:
        """End tcpdump, take its last counts, and end ssh. Not while another thread is in `read`."""
        if self._leash.closed:
            return
        self._leash.close()
        deadline = time.monotonic() + _END_S
        while self._output in self._watched() and (remaining_s := deadline - time.monotonic()) > 0:
            self._pump(remaining_s)
        self._end_process()
        self._selector.close()
        for each in (self._output, self._error_output, self._waker, self._woken):
            each.close()

    def _await_header(self) -> int:
        """Wait for the head of the pcap stream, which is where the link type stands."""
        deadline = time.monotonic() + _START_S
        while not self._reader.interfaces and not self.exhausted:
            self._receive(deadline - time.monotonic())
            self._first = self._frames()
            if time.monotonic() > deadline:
                raise CaptureError(f"ssh {self._target} gave no packets' header within {_START_S:.0f} s{self._said()}")
        if not self._reader.interfaces:
            raise CaptureError(f"tcpdump on {self._target} ended at once{self._said()}")
        return self._reader.interfaces[0].link_type

    def _frames(self) -> Frames | None:
        try:
            frames = self._reader.frames()
            if frames is None and self._reader.damaged:
                self._reader.finish()
                raise CaptureFileError("a packet record contradicts itself")
        except CaptureFileError as error:
            raise CaptureError(
                f"what {self._target} sends is not tcpdump's output ({error}); "
                "does its shell print something at login? Check with: "
                f"ssh {self._target} true"
            ) from error
        return frames

    def _receive(self, timeout_s: float) -> bool:
        """Feed the reader what arrives within `timeout_s`; False when woken or nothing came."""
        ready, piece = self._pump(timeout_s)
        if piece:
            self._reader.feed(piece)
        elif piece is not None:
            self._end_process()
            self._check_exit()
            self.exhausted = True
        if self._woken in ready:
            self._woken.recv(4096)
            return False
        return bool(ready)

    def _pump(self, timeout_s: float) -> tuple[list[object], bytes | None]:
        """Wait once: what is ready, and the piece of output if any (empty at its end). Errors are kept."""
        ready: list[object] = [key.fileobj for key, _ in self._selector.select(max(timeout_s, 0))]
        piece = None
        if self._output in ready:
            piece = os.read(self._output.fileno(), _PIECE_BYTES)
            if not piece:
                self._selector.unregister(self._output)
        if self._error_output in ready:
            text = os.read(self._error_output.fileno(), _KEPT_ERROR_BYTES)
            self._errors = (self._errors + text)[-_KEPT_ERROR_BYTES:]
            if not text:
                self._selector.unregister(self._error_output)
        return ready, piece

    def _watched(self) -> list[object]:
        return [key.fileobj for key in self._selector.get_map().values()]

    def _end_process(self) -> None:
        """Wait for ssh, and read its last errors; kill it where it does not end."""
        deadline = time.monotonic() + _END_S
        while self._error_output in self._watched() and (remaining_s := deadline - time.monotonic()) > 0:
            self._pump(remaining_s)
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _check_exit(self) -> None:
        """Raise what the exit status and the last words of ssh or tcpdump mean; nothing where all went well."""
        status, said, target = self._process.returncode, self._said(), self._target
        if status == 0:
            return
        if status == _SSH_FAILED:
            raise CaptureError(f"ssh {target} failed{said}. This must work without a question: ssh {target} true")
        if status == _NOT_FOUND:
            raise CaptureError(f"tcpdump is not found on {target}{said}; install it there, within the user's PATH")
        if re.search(r"permission|not permitted", said, re.IGNORECASE):
            raise CapturePermissionError(
                f"tcpdump on {target} may not capture{said}. Log in as root, or let that user's tcpdump capture: "
                "sudo setcap cap_net_raw+ep $(command -v tcpdump)"
            )
        if re.search(r"filter expression|unknown host|syntax error", said):
            raise FilterError(f"capture filter refused on {target}{said}")
        if re.search(r"no such device|doesn't exist", said, re.IGNORECASE):
            raise CaptureError(
                f"there is no interface {self._interface} on {target}{said}; see: ssh {target} tcpdump -D"
            )
        raise CaptureError(f"tcpdump on {target} ended with status {status}{said}")

    def _said(self) -> str:
        """The last words on standard error, as ": text"; control characters of a hostile host are left out."""
        lines = [line for line in self._errors.decode("ascii", "replace").splitlines() if line.strip()]
        words = [line for line in lines if line.startswith("tcpdump: ")] or lines
        text = "".join(c for c in words[-1] if c.isprintable())[:300].rstrip(".") if words else ""
        return f": {text}" if text else ""

    def _count(self, what: str) -> int:
        found = re.search(rb"^(\d{1,18}) packets? %s" % what.encode(), self._errors, re.MULTILINE)
        return int(found[1]) if found else 0
