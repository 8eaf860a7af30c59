"""The built-in rules on a real interface: every attack and what looks like them, sent through a veth pair, captured by
a real agent, watched by a real hub. test_attacks.py runs this in a network namespace of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.integration.attacks import ATTACKS, innocent
from tests.integration.conftest import ask, call, session_of, stats_when, wait_for, wait_until_ready
from tests.integration.hosts import ip

RULES = [rule for rule in read_rules(BUILTIN) if rule.enabled]
SNAPLEN = 400


class Watched:
    """A session that has seen everything."""

    def __init__(self, hub: EmbeddedHub, folder: Path) -> None:
        self.hub = hub
        agent = subprocess.Popen(
            [sys.executable, "-m", "aishark_panel", "agent", "-i", "far0", "--snaplen", str(SNAPLEN), "--hub", hub.url]
            + ["--session", "attacks"],
            env={**os.environ, "AISHARK_TOKEN": hub.token},
        )
        try:
            self.session = session_of(hub, "attacks")
            stats_when(hub, self.session, lambda s: s["state"] == "capturing", "the capture")
            self.sent = send("near0")
            self.stats = stats_when(hub, self.session, lambda s: s["packets"] >= self.sent, "all packets")
            with contextlib.suppress(pytest.fail.Exception):  # a case says which are missing
                wait_for(lambda: not missing(self.fired()), "the alerts", timeout_s=20)
        finally:
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(30) == 0
        self.alerts = self.fired()
        status, content = call(hub, "GET", f"/api/stream/{self.session}/export?format=pcapng")
        assert status == 200
        self.file = folder / "attacks.pcapng"
        self.file.write_bytes(content)

    def fired(self) -> list[dict[str, Any]]:
        answer = ask(self.hub, lambda c: c.alerts(self.session))
        return [alert for alert in answer["alerts"] if alert["fired_ns"]]


def send(interface: str) -> int:
    """Send everything, never more at once than the receiver's ring holds; how many frames that were."""
    count = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        for frames in (*(attack.frames() for attack in ATTACKS), list(innocent())):
            for number, frame in enumerate(frames):
                sender.send(frame)
                if number % 500 == 499:
                    time.sleep(0.02)  # the pace, not a wait for anything
            count += len(frames)
    return count


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    ip("link", "add", "near0", "mtu", "65535", "type", "veth", "peer", "name", "far0", "mtu", "65535")
    for name in ("lo", "near0", "far0"):
        ip("link", "set", name, "up")
    hub = start_hub("--port", "0", "--ring-mib", "128")
    try:
        wait_until_ready(hub)
        yield Watched(hub, tmp_path_factory.mktemp("attacks"))
    finally:
        hub.close()
        ip("link", "delete", "near0")


def missing(alerts: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Attacks of which no alert tells."""
    seen = [(alert["rule"], alert["key"].items()) for alert in alerts]
    return [
        (attack.rule, attack.key)
        for attack in ATTACKS
        if not any(rule == attack.rule and key >= attack.key.items() for rule, key in seen)
    ]


def test_each_attack_raises_its_alert(watched: Watched) -> None:
    assert missing(watched.alerts) == []


def test_nothing_else_does(watched: Watched) -> None:
    """Innocent traffic is among what was sent."""
    others = [
        (alert["rule"], alert["key"])
        for alert in watched.alerts
        if not any(a.rule == alert["rule"] and alert["key"].items() >= a.key.items() for a in ATTACKS)
    ]
    assert others == []


def test_trying_the_rules_on_what_was_captured_gives_the_same_alerts(watched: Watched) -> None:
    assert watched.stats["lost"] == 0
    live = {(a["rule"], place(a["key"]), a["window_start_ns"], a["fired_ns"]) for a in watched.alerts}
    events = [event for event in Backtest(RULES, watched.file) if event.state == "firing"]
    assert {(e.rule.name, place(e.key), e.window_start_ns, e.at_ns) for e in events} == live


def place(key: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    """A key without the agent, which a file tells by the names of its interfaces."""
    shown = {name: str(value).rpartition("/")[2] if name == "iface" else value for name, value in key.items()}
    return frozenset((name, value) for name, value in shown.items() if name != "agent")


def test_each_alert_has_evidence_that_its_rule_fires_on(watched: Watched) -> None:
    """What is saved of an alert shows what it is about."""
    alert = next(a for a in watched.fired() if a["rule"] == "port_scan")
    number = alert["number"]

    def saved() -> bytes | None:
        status, content = call(watched.hub, "GET", f"/api/stream/{watched.session}/alerts/{number}/evidence")
        return content if status == 200 else None

    path = watched.file.with_name("evidence.pcapng")
    path.write_bytes(wait_for(saved, "evidence"))
    assert any(e.rule.name == "port_scan" for e in Backtest(RULES, path))
