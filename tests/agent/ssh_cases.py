"""Capture over ssh, from a real sshd on this host. test_ssh.py runs this in a network namespace of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.layers.l2 import Ether

from aishark_panel.agent.ssh import SshCapture
from aishark_panel.errors import CaptureError, FilterError

PORT = 2222


@dataclass
class Login:
    """How to reach the sshd of these tests."""

    target: str
    options: list[str]

    def capture(self, interface: str = "lo", filter: str = "", snaplen: int = 65_535) -> SshCapture:
        return SshCapture(self.target, interface, filter, snaplen, self.options)


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not sshd or not shutil.which("ssh") or not shutil.which("tcpdump", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("sshd, ssh or tcpdump is not installed")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if os.getuid() == 0:  # where sshd confines its unprivileged part; /run is the namespace's own from here on
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        Path("/run/sshd").mkdir()
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    host_key = (folder / "host.pub").read_text("ascii")
    (folder / "known").write_text(f"[127.0.0.1]:{PORT} {host_key}", "ascii")
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"ListenAddress 127.0.0.1\nPort {PORT}\nHostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'user.pub'}\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        "ascii",
    )
    options = [
        "-F",
        "none",
        "-p",
        str(PORT),
        "-i",
        str(folder / "user"),
        "-o",
        f"UserKnownHostsFile={folder / 'known'}",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(configuration)], stderr=log)
    try:
        wait_for(lambda: answers(PORT))
        yield Login(f"{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1", options)
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come about within 10 s"
        time.sleep(0.01)


def received(capture: SshCapture, count: int) -> list[Ether]:
    """The next `count` packets, fewer where they do not come within 5 s."""
    packets: list[Ether] = []
    deadline = time.monotonic() + 5
    while len(packets) < count and time.monotonic() < deadline:
        frames = capture.read(0.2)
        if frames:
            packets += [Ether(frames.frame(i)) for i in range(len(frames))]
    return packets


def send_datagrams(port: int, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for n in range(count):
            sender.sendto(bytes([n]), ("127.0.0.1", port))


def tcpdump_runs(snaplen: int) -> bool:
    """Whether a tcpdump with this snaplen is alive: each test that asks has its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            if arguments[0].endswith(b"tcpdump") and str(snaplen).encode() in arguments:
                return True
    return False


def test_packets_of_the_other_host_arrive(login: Login) -> None:
    with contextlib.closing(login.capture(filter="udp and (dst port 7777)", snaplen=50_001)) as capture:
        [interface] = capture.interfaces
        assert (interface.name, interface.link_type, interface.snaplen) == ("lo", 1, 50_001)
        send_datagrams(7777, 10)
        send_datagrams(7778, 10)
        packets = received(capture, 10)
        assert [bytes(p[UDP].payload)[0] for p in packets] == list(range(10))
        assert capture.counters() == {"matched": 10, "kernel_dropped": 0}
        assert tcpdump_runs(50_001)
    assert capture.counters() == {"matched": 10, "kernel_dropped": 0}
    wait_for(lambda: not tcpdump_runs(50_001))


@pytest.mark.parametrize("expression", ["", "udp or tcp"])
def test_the_ssh_connection_itself_is_not_captured(login: Login, expression: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        contextlib.closing(login.capture(filter=expression)) as capture,
    ):
        assert answers(server.getsockname()[1])
        packets = [p for p in received(capture, 3) if TCP in p]
    assert len(packets) >= 3
    assert all(PORT not in (p[TCP].sport, p[TCP].dport) for p in packets)


def test_a_waiting_read_can_be_woken(login: Login) -> None:
    with contextlib.closing(login.capture(filter="udp port 1")) as capture:
        alarm = threading.Timer(0.1, capture.wake)
        alarm.start()
        started = time.monotonic()
        assert capture.read(30) is None
        assert time.monotonic() - started < 5
        alarm.join()
    capture.wake()
    capture.close()


def test_a_broken_connection_is_an_error_and_ends_tcpdump(login: Login) -> None:
    with contextlib.closing(login.capture(snaplen=50_002)) as capture:
        [ssh] = children()
        os.kill(ssh, signal.SIGKILL)
        with pytest.raises(CaptureError, match=login.target):
            capture.read(10)
    wait_for(lambda: not tcpdump_runs(50_002))


def children() -> list[int]:
    """Our child processes named ssh."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text("ascii").split()
    return [int(pid) for pid in found if Path(f"/proc/{pid}/comm").read_text("ascii").strip() == "ssh"]


def test_an_unknown_interface_is_an_error_that_says_how_to_list_them(login: Login) -> None:
    with pytest.raises(CaptureError, match=r"no interface eth77 on .* tcpdump -D"):
        login.capture("eth77")


def test_a_filter_tcpdump_does_not_understand_is_an_error_with_its_reason(login: Login) -> None:
    with pytest.raises(FilterError, match="syntax error"):
        login.capture(filter="tcp prot 80")


def test_a_filter_cannot_run_commands_there(login: Login, tmp_path: Path) -> None:
    for expression in (f"'; touch {tmp_path}/x; '", f"$(touch {tmp_path}/x)", f"`touch {tmp_path}/x`"):
        with pytest.raises(FilterError):
            login.capture(filter=expression)
    assert list(tmp_path.iterdir()) == []


def test_a_login_that_is_refused_is_an_error_that_says_what_must_work(login: Login) -> None:
    stranger = Login(
        login.target, [*login.options[:4], "-i", "/nonexistent", "-o", "IdentityAgent=none", *login.options[6:]]
    )
    with pytest.raises(CaptureError, match=f"Permission denied.*ssh {login.target} true"):
        stranger.capture()


def test_a_host_that_does_not_answer_is_an_error(login: Login) -> None:
    with pytest.raises(CaptureError, match="Connection refused"):
        Login(login.target, ["-F", "none", "-p", "1"]).capture()
