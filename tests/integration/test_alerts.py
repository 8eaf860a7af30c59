"""Alerts of a real hub: the same as a backtest gives, told to a real webhook, and cleared with the packets."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.load import load_rules
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import HubError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.alerts.blocks import scan, udp
from tests.integration.conftest import ask, call, run_agent, session_of, wait_for, wait_until_ready

OWN_RULES = """
rules:
  - name: chatter
    where: udp
    by: [src_ip]
    over: 2s
    having: packets_per_s >= 50 and nunique(src_port) >= 1
    for: 1s
  - name: some_dns
    where: dns
    over: 1s
    having: packets >= 3
"""


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes: a scan, chatter, and a gap."""
    parts = [
        scan("10.0.0.66", "10.0.0.2", 100, start_s=5.0),
        udp([20 + i / 100 for i in range(1_000)], source="10.0.0.5", size=200),
        udp([i / 4 for i in range(480)]),
    ]
    rows = sorted((int(part.ts[i]), part.frame(i)) for part in parts for i in range(len(part)))
    path = tmp_path_factory.mktemp("captures") / "traffic.pcap"
    writer = PcapWriter(link_type=1)
    frames = Frames.from_list([frame for _, frame in rows], [ts for ts, _ in rows])
    path.write_bytes(writer.header() + writer.frames(frames))
    return path


@pytest.fixture(scope="module")
def rules_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "own.yaml"
    path.write_text(OWN_RULES)
    return path


@pytest.fixture(scope="module")
def hub(rules_file: Path, told: tuple[str, list[dict[str, Any]]]) -> Iterator[EmbeddedHub]:
    options = ["--rules", str(rules_file), "--webhook", told[0]]
    started = start_hub("--port", "0", "--ring-mib", "48", *options)
    wait_until_ready(started)
    yield started
    started.close()


def alerts_when_over(hub: EmbeddedHub, session: str, raised: int) -> dict[str, Any]:
    """The session's alerts once that many are resolved, and nothing changes any more."""

    def look() -> dict[str, Any] | None:
        answer = ask(hub, lambda client: client.alerts(session))
        resolved = [alert for alert in answer["alerts"] if alert["state"] == "resolved"]
        over = [alert for alert in resolved if alert["evidence"]["state"] != "waiting"]
        return answer if len(over) >= raised else None

    return wait_for(look, "alerts")


@pytest.mark.parametrize("batch_size", ["8192", "7"])
def test_live_alerts_are_those_of_the_backtest(
    hub: EmbeddedHub, traffic: Path, rules_file: Path, batch_size: str
) -> None:
    expected = {
        (e.rule.name, *e.key.values(), e.window_start_ns, e.fired_ns, e.at_ns)
        for e in Backtest(load_rules([str(rules_file)]), traffic)
        if e.state == "resolved"
    }
    assert {name for name, *_ in expected} == {"port_scan", "chatter"}
    name = f"batches of {batch_size}"
    result = run_agent(hub, "-r", str(traffic), "--speed", "max", "--session", name, "--batch-size", batch_size)
    assert result.returncode == 0, result.stderr
    live = alerts_when_over(hub, session_of(hub, name), len(expected))["alerts"]
    assert {
        (a["rule"], *a["key"].values(), a["window_start_ns"], a["fired_ns"], a["resolved_ns"]) for a in live
    } == expected


def test_the_webhook_is_told_of_both_changes(
    hub: EmbeddedHub, traffic: Path, told: tuple[str, list[dict[str, Any]]]
) -> None:
    run_agent(hub, "-r", str(traffic), "--speed", "max", "--session", "told")
    session = session_of(hub, "told")
    alerts_when_over(hub, session, 2)
    mine = wait_for(
        lambda: found if len(found := [m for m in told[1] if m["session"]["name"] == "told"]) == 4 else None, "messages"
    )
    assert sorted((m["rule"], m["state"]) for m in mine) == [
        (rule, state) for rule in ("chatter", "port_scan") for state in ("firing", "resolved")
    ]
    stats = json.loads(call(hub, "GET", f"/api/stream/{session}/stats")[1])
    wait_for(lambda: ask(hub, lambda c: c.stats(session))["alerts"]["deliveries"]["sent"] == 4, "count")
    assert stats["alerts"]["raised"] == 2


def test_rest_gives_what_the_client_gets(hub: EmbeddedHub, traffic: Path) -> None:
    run_agent(hub, "-r", str(traffic), "--speed", "max", "--session", "rest")
    session = session_of(hub, "rest")
    answer = alerts_when_over(hub, session, 2)
    assert {rule["state"] for rule in answer["rules"]} == {"on", "off"}
    status, body = call(hub, "GET", f"/api/stream/{session}/alerts?since=0")
    assert (status, json.loads(body)["alerts"]) == (200, answer["alerts"])
    status, body = call(hub, "GET", f"/api/stream/{session}/alerts?since={answer['next']}")
    assert (status, json.loads(body)["alerts"]) == (200, [])
    assert call(hub, "GET", f"/api/stream/{session}/alerts?since=x")[0] == 400
    ask(hub, lambda client: client.clear(session))
    assert ask(hub, lambda client: client.alerts(session))["alerts"] == []


def test_live_traffic_that_stops_lets_time_go_on(hub: EmbeddedHub) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--synthetic", "--rate", "500"]
        + ["--session", "stops"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        stderr=subprocess.DEVNULL,
    )
    try:
        session = session_of(hub, "stops")
        wait_for(lambda: ask(hub, lambda c: c.alerts(session))["firing"], "an alert of DNS")
        ask(hub, lambda client: client.stop(session))
        wait_for(lambda: not ask(hub, lambda c: c.alerts(session))["firing"], "the end of all alerts")
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_hub_with_a_rules_file_that_is_wrong_does_not_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("rules: [{name: a, wher: tcp}]")
    with pytest.raises(HubError):
        start_hub("--port", "0", "--rules", str(path))
    assert "rule 'a': no key 'wher'; did you mean where?" in capfd.readouterr().err
