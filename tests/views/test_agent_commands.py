"""The wizard's commands, run by a real shell and read by the agent's own configuration."""

import os
import subprocess
from pathlib import Path

import pytest

from aishark_panel.config import load_agent_options
from aishark_panel.errors import ConfigError
from aishark_panel.views.agent_commands import check_interface, ways

HUB = "https://hub.example:8765"


def test_what_is_pasted_makes_a_configuration_that_an_agent_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_host = next(way for way in ways(HUB, "ak_0-secret", "wg0.1") if way["name"] == "on the host")
    _, key, configuration, _ = (step["command"] for step in on_host["steps"])
    subprocess.run(["sh", "-c", f"{key}\n{configuration}\n"], cwd=tmp_path, check=True)
    assert (tmp_path / "aishark.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(tmp_path)
    options = load_agent_options("agent.yaml", {}, {})
    assert (options.agent.interfaces, options.server.url, options.server.api_key) == (("wg0.1",), HUB, "ak_0-secret")


def test_no_command_has_the_key_among_its_arguments() -> None:
    """The shell's own printf is no process, so its arguments are in no list of processes."""
    for way in ways(HUB, "ak_0-secret", "eth0"):
        commands = [step["command"] for step in way["steps"]]
        with_key = [command for command in commands if "ak_0-secret" in command]
        assert len(with_key) == 1
        assert with_key[0].removeprefix("(umask 077; ").startswith("printf '%s\\n' 'ak_0-secret' ")


def test_every_command_is_one_that_a_shell_understands() -> None:
    for way in ways("http://127.0.0.1:8765", "ak_0-secret", "any"):
        for step in way["steps"]:
            subprocess.run(["sh", "-n", "-c", step["command"]], check=True, env={"PATH": os.environ["PATH"]})


def test_a_hub_on_loopback_says_how_other_hosts_get_there() -> None:
    assert "ssh -N -R 8765:127.0.0.1:8765 user@host" in ways("http://127.0.0.1:8765", "k", "eth0")[0]["note"]
    assert ways(HUB, "k", "eth0")[0]["note"] == ""
    assert "ca: hub-ca.pem" in ways(HUB, "k", "eth0")[0]["steps"][2]["text"]


@pytest.mark.parametrize("name", ["", "eth0;reboot", "$(reboot)", "a b", "-i", "x" * 80, 'eth"0'])
def test_what_is_no_interface_gets_into_no_command(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of an interface"):
        check_interface(name)
