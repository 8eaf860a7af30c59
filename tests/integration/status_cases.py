"""What `aishark agent --status` says while interfaces come and go, and where a filter is none. test_service.py runs
this in a network namespace of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path

from aishark_panel.agent.status import read_statuses, status_folders, status_text
from aishark_panel.embedded import EmbeddedHub
from tests.integration.conftest import ask, wait_for
from tests.integration.edge import Wires, edge_agent, ip, wires

__all__ = ["wires"]


def aishark(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aishark_panel", *words]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def status_when(text: str) -> str:
    """The status of the agent `edge` once it has that text."""

    def look() -> str | None:
        now_ns = time.time_ns()
        said = "\n".join(status_text(s, now_ns) for s in read_statuses(status_folders("", os.environ), "edge"))
        return said if text in said else None

    return wait_for(look, f"status {text!r}")


def test_an_interface_that_goes_down_is_told_and_so_is_its_return(
    hub: EmbeddedHub, wires: Wires, tmp_path: Path
) -> None:
    with edge_agent(hub, tmp_path, "down and up"):
        status_when("edge: capturing")
        ip("link", "set", "far0", "down")
        assert "far0" in status_when("edge: interrupted: interface far0").splitlines()[0]
        ip("link", "set", "far0", "up")
        assert "  gaps      1, together" in status_when("edge: capturing")


def test_an_interface_that_was_taken_away_is_told_until_there_is_one_of_its_name(
    hub: EmbeddedHub, wires: Wires, tmp_path: Path
) -> None:
    ip("link", "add", "near7", "type", "veth", "peer", "name", "far7")
    for name in ("near7", "far7"):
        ip("link", "set", name, "addrgenmode", "none", "up")
    text = "agent: {name: edge, interfaces: [far0, far7]}\nserver: {api_key: '${THE_KEY}'}\n"
    with edge_agent(hub, tmp_path, "taken away", text):
        status_when("edge: capturing")
        ip("link", "set", "far7", "down")
        ip("link", "set", "far7", "name", "elsewhere7")
        ip("link", "set", "elsewhere7", "up")
        status_when("edge: capturing: interface far7 is called elsewhere7 now")
        ip("link", "delete", "near7")
        status_when("edge: interrupted: ")
        ip("link", "add", "near7", "type", "veth", "peer", "name", "far7")
        for name in ("near7", "far7"):
            ip("link", "set", name, "addrgenmode", "none", "up")
        status_when("edge: capturing")


def test_a_filter_that_is_none_is_told_when_the_agent_does_not_start(wires: Wires, tmp_path: Path) -> None:
    folder = str(tmp_path)
    done = aishark(
        "agent", "-i", "far0", "-f", "no filter", "--name", "edge", "--status-dir", folder, AISHARK_TOKEN="t"
    )
    assert done.returncode == 2
    status = aishark("agent", "--status", "--status-dir", folder)
    assert status.returncode == 1
    assert status.stdout.startswith("edge: ended ")
    assert "syntax error in filter expression" in status.stdout.splitlines()[0]


def test_a_filter_of_the_hub_that_is_none_is_told_while_the_capture_goes_on(
    hub: EmbeddedHub, wires: Wires, tmp_path: Path
) -> None:
    with edge_agent(hub, tmp_path, "refused"):
        where = {"AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url}
        done = aishark("agents", "change", "edge", "-f", "no filter", **where)
        assert done.returncode == 2
        assert "syntax error" in done.stderr
        status = status_when("  refused   ")
        assert status.startswith("edge: capturing\n")
        assert "syntax error" in status


def test_an_agent_is_driven_by_name_from_the_command_line(hub: EmbeddedHub, wires: Wires, tmp_path: Path) -> None:
    where = {"AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url}
    with edge_agent(hub, tmp_path, "by command"):
        listed = aishark("agents", "interfaces", "edge", **where).stdout
        assert [line.split()[0] for line in listed.splitlines() if "  captured" in line] == ["far0", "far1"]
        assert "near0  0 packets/s  0.00 Mbit/s  up  not allowed\n" in listed
        assert aishark("agents", "try", "edge", "port 53", "--seconds", "0.2", **where).stdout == (
            "No packet came within 0.2 s.\n"
        )
        changed = aishark("agents", "change", "edge", "-i", "far1", "--filter", "port 53", "-s", "100", **where)
        assert changed.stdout.endswith("  edge  capturing  far1\n")
        (interface,) = next(a for a in ask(hub, lambda c: c.agents()) if a["name"] == "edge")["interfaces"]
        assert (interface["filter"], interface["snaplen"]) == ("(udp) and (port 53)", 100)
        assert "  edge  stopped  " in aishark("agents", "stop", "edge", **where).stdout
        refused = aishark("agents", "change", "edge", "-s", "90", **where)
        assert (refused.returncode, refused.stderr) == (
            2,
            "aishark: Agent edge does not capture now; start it with these settings.\n",
        )
        assert aishark("agents", "start", "edge", **where).stdout.endswith("  edge  capturing  far1\n")
    unknown = aishark("agents", "try", "edg", "udp", **where)
    assert (unknown.returncode, unknown.stderr) == (2, "aishark: no agent 'edg'; there are none\n")
