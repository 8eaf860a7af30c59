"""Capture over ssh: what is refused before ssh is called, and ssh_cases.py in a network of its own."""

import os
import shlex
from pathlib import Path

import pytest

from aishark_panel.agent.ssh import SshCapture, remote_command
from aishark_panel.errors import CaptureError, ConfigError, FilterError
from tests.agent.own_network import Outcome, case_names, run_cases

CASES = Path(__file__).with_name("ssh_cases.py")
UNSHARE = (
    ("unshare", "--net", "--mount")
    if os.getuid() == 0
    # sshd of an ordinary user logs in that user only, under his own name; the right to capture is handed down.
    else ("unshare", "--user", "--map-current-user", "--keep-caps", "--net")
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return run_cases(CASES, tmp_path_factory.mktemp("ssh"), UNSHARE)


@pytest.mark.parametrize("case", case_names(CASES))
def test_ssh_capture(case: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case]
    if outcome.kind == "skipped":
        pytest.skip(outcome.text)
    assert outcome.kind == "passed", outcome.text


@pytest.mark.parametrize("interface", ["", "-r/etc/passwd", "lo; reboot", "lo\n", "$(id)", "a" * 65, "../lo"])
def test_an_interface_name_that_no_system_has_is_refused(interface: str) -> None:
    with pytest.raises(ConfigError, match="is no interface name"):
        remote_command(interface)


@pytest.mark.parametrize("target", ["", "-oProxyCommand=id", "user@-host", "host name", "host;id", "@host", "a@b@c"])
def test_a_target_that_ssh_could_mistake_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="host or user@host"):
        SshCapture(target, "lo")


def test_a_filter_that_could_undo_the_exclusion_is_refused() -> None:
    with pytest.raises(FilterError, match="do not pair"):
        remote_command("eth0", "tcp) or (tcp")


def test_the_remote_command_is_one_argument_of_the_login_shell() -> None:
    words = shlex.split(remote_command("eth0", "host 10.0.0.1 and not port 22", 96))
    assert words[:3] == ["exec", "sh", "-c"]
    assert len(words) == 4
    assert "tcpdump -U -n -i eth0 -s 96" in words[3]


def test_without_ssh_installed_the_error_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CaptureError, match="ssh is not installed"):
        SshCapture("host", "lo")


@pytest.mark.parametrize(
    ("script", "error", "text"),
    [
        ("echo 'tcpdump: command not found' >&2; exit 127", CaptureError, "tcpdump is not found on host"),
        (
            'echo "tcpdump: eth0: You don\'t have permission to capture on that device" >&2; exit 1',
            CaptureError,
            "setcap cap_net_raw",
        ),
        ("echo 'Welcome to host, it is Monday today, mind the gap'", CaptureError, "does its shell print something"),
        ("exit 0", CaptureError, "ended at once"),
        ("printf 'tcpdump: \\033[2Jboo\\n' >&2; exit 3", CaptureError, r"ended with status 3: tcpdump: \[2Jboo"),
    ],
    ids=["no tcpdump", "no permission", "noise at login", "nothing", "control characters"],
)
def test_what_goes_wrong_there_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, error: type[CaptureError], text: str
) -> None:
    # In ssh's place a script that answers as hosts do which no test can have.
    command = tmp_path / "ssh"
    command.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(error, match=text):
        SshCapture("host", "eth0")
