"""What becomes of alerts on a real hub: acknowledged, archived, silenced, with evidence, before and after it is killed;
and rules of one's own, which watch at once."""

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.alerts.blocks import scan, udp
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for, wait_until_ready
from tests.traffic import START_NS

RULES = """
rules:
  - name: chatter
    description: A host sends a lot.
    where: udp
    by: [src_ip]
    over: 2s
    having: packets >= 20
    runbook: https://runbooks.test/chatter
"""
CHATTER, QUIET, SILENT = "10.0.0.5", "10.0.0.6", "10.0.0.7"


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a minute: three hosts that chatter, one after another, and a scan."""
    bursts = [
        udp([start + i / 50 for i in range(100)], source=host)
        for start, host in ((2, CHATTER), (10, QUIET), (20, SILENT))
    ]
    parts = [*bursts, scan("10.0.0.66", "10.0.0.2", 40, start_s=24.0), udp([0.0, 30.0], source="10.0.0.1")]
    rows = sorted((int(part.ts[i]), part.frame(i)) for part in parts for i in range(len(part)))
    path = tmp_path_factory.mktemp("captures") / "traffic.pcap"
    writer = PcapWriter(link_type=1)
    frames = Frames.from_list([frame for _, frame in rows], [ts for ts, _ in rows])
    path.write_bytes(writer.header() + writer.frames(frames))
    return path


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, told: tuple[str, list[dict[str, Any]]]) -> list[str]:
    folder = tmp_path_factory.mktemp("kept")
    (folder / "rules.yaml").write_text(RULES)
    kept = ["--journal", str(folder / "journal"), "--state", str(folder / "state")]
    return ["--ring-mib", "48", "--rules", str(folder / "rules.yaml"), "--webhook", told[0], *kept]


@pytest.fixture(scope="module")
def hub(options: list[str]) -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", *options)
    wait_until_ready(started)
    yield started
    started.close()


def alerts_of(hub: EmbeddedHub, session: str, **asked: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """The newest alert of each rule and source."""
    answer = ask(hub, lambda c: c.alerts(session, **asked))
    return {(a["rule"], a["key"].get("src_ip", "")): a for a in answer["alerts"]}


def settled(hub: EmbeddedHub, session: str, count: int) -> dict[tuple[str, str], dict[str, Any]]:
    """The alerts once so many are over and nothing waits for evidence."""

    def look() -> dict[tuple[str, str], dict[str, Any]] | None:
        alerts = ask(hub, lambda c: c.alerts(session, archived=True))["alerts"]
        over = [a for a in alerts if a["state"] == "resolved" and a["evidence"]["state"] != "waiting"]
        return alerts_of(hub, session, archived=True) if len(over) >= count else None

    return wait_for(look, "alerts with evidence")


def as_saved(hub: EmbeddedHub, session: str, number: int, path: Path) -> list[str]:
    """Where each packet of an alert's evidence is from."""
    status, body = call(hub, "GET", f"/api/stream/{session}/alerts/{number}/evidence")
    assert status == 200
    path.write_bytes(body)
    with open_capture(path) as file:
        frames = [batch.frame(i) for batch in file for i in range(len(batch))]
    return [".".join(map(str, frame[26:30])) for frame in frames]


def test_the_state_of_alerts_outlives_the_hub(
    hub: EmbeddedHub, options: list[str], traffic: Path, told: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    session = ask(hub, lambda c: c.create_session("kept"))["id"]
    silence = ask(hub, lambda c: c.silence(session, "chatter", {"src_ip": SILENT}, 3_600, "works"))
    assert ask(hub, lambda c: c.silences(session)) == [silence]
    assert (silence["by"], silence["reason"]) == ("token", "works")
    assert run_agent(hub, "-r", str(traffic), "--speed", "max", "--session", "kept").returncode == 0
    alerts = settled(hub, session, 4)
    assert {place: a["silenced"] for place, a in alerts.items()} == {
        ("chatter", CHATTER): False,
        ("chatter", QUIET): False,
        ("chatter", SILENT): True,
        ("port_scan", "10.0.0.66"): False,
    }
    chatter = alerts["chatter", CHATTER]
    assert (chatter["description"], chatter["runbook"]) == ("A host sends a lot.", "https://runbooks.test/chatter")
    assert chatter["evidence"]["complete"]
    assert as_saved(hub, session, chatter["number"], tmp_path / "e.pcapng") == [CHATTER] * 100
    number, other = chatter["number"], alerts["chatter", QUIET]["number"]
    marked = ask(hub, lambda c: c.set_alert(session, number, acknowledged=True))
    assert marked["acknowledged"]["by"] == "token"
    assert ask(hub, lambda c: c.set_alert(session, other, archived=True))["archived"]
    assert ("chatter", QUIET) not in alerts_of(hub, session)
    before = alerts_of(hub, session, archived=True)
    wait_for(lambda: len(of_session(told, session)) >= 6, "messages")

    hub.process.kill()
    hub.close()
    again = start_hub("--port", "0", *options, token=hub.token)
    try:
        after = alerts_of(again, session, archived=True)  # at once, while packets are still read back
        for alert in (*before.values(), *after.values()):
            alert["changed"] = 0
        assert after == before
        assert ask(again, lambda c: c.silences(session)) == [silence]
        assert as_saved(again, session, number, tmp_path / "e.pcapng") == [CHATTER] * 100
        ask(again, lambda c: c.unsilence(session, silence["id"]))
        assert ask(again, lambda c: c.silences(session)) == []
        wait_until_ready(again)
        assert run_agent(again, "-r", str(traffic), "--speed", "max", "--session", "kept").returncode == 0
        settled(again, session, 8)
        mine = wait_for(lambda: found if len(found := of_session(told, session)) >= 14 else None, "messages")
        assert len([m for m in mine if m["number"] <= 4]) == 6  # three alerts, each twice; none again
        assert {m["key"]["src_ip"] for m in mine if m["number"] <= 4 and m["rule"] == "chatter"} == {CHATTER, QUIET}
        actions = [entry["action"] for entry in ask(again, lambda c: c.audit(50))]
        assert {"alert.mark", "silence.add", "silence.delete", "alert.evidence"} <= set(actions)
        folder = Path(options[options.index("--journal") + 1]) / session
        assert sorted(path.name for path in (folder / "evidence").iterdir())[0] == "alert-1.pcapng"
        ask(again, lambda c: c.delete(session))
        wait_for(lambda: not folder.exists(), "the end of the folder")
    finally:
        again.close()


def test_a_hub_that_is_killed_again_and_again_tells_nothing_twice(
    options: list[str], told: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """One host sends all the time, six in turns; the agent sends again what no journal has."""
    parts = [udp([i / 50 for i in range(1_000)], source=CHATTER)]
    parts += [udp([k / 2 + i / 60 for i in range(30)], source=f"10.0.1.{k % 6}") for k in range(36)]
    rows = sorted((int(part.ts[i]), part.frame(i)) for part in parts for i in range(len(part)))
    frames = Frames.from_list([frame for _, frame in rows], [ts for ts, _ in rows])
    writer = PcapWriter(link_type=1)
    (tmp_path / "bursts.pcap").write_bytes(writer.header() + writer.frames(frames))
    hub = start_hub("--port", "0", *options)
    wait_until_ready(hub)
    port, token = hub.url.rpartition(":")[2], hub.token
    file = [str(tmp_path / "bursts.pcap"), "--speed", "1", "--batch-size", "20", "--session", "bursts"]
    agent = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "-r", *file],
        env={**os.environ, "AISHARK_TOKEN": token},
        stderr=subprocess.DEVNULL,
    )
    try:
        session = session_of(hub, "bursts")
        kills = 0
        while kills < 3:
            most = 6 * (kills + 1)
            wait_for(lambda most=most: len(of_session(told, session)) >= most or agent.poll() == 0, "messages")  # type: ignore[misc]
            taken = ask(hub, lambda c: c.stats(session))["packets"]
            if kills and taken > 0.7 * len(rows):  # on a slow machine nearly all has come before that
                break
            kills += 1
            hub.process.kill()
            hub.close()
            hub = start_hub("--port", port, *options, token=token)
        assert agent.wait(60) == 0
        stats_when(hub, session, lambda s: s["state"] == "ended" and not s["alerts"]["firing"], "the end")
        (lasted,) = (a for a in ask(hub, lambda c: c.alerts(session))["alerts"] if a["key"]["src_ip"] == CHATTER)
        told_of = (lasted["number"], "resolved")
        wait_for(lambda: told_of in [(m["number"], m["state"]) for m in of_session(told, session)], "the last message")
    finally:
        agent.kill()
        agent.wait()
        hub.close()
    messages = of_session(told, session)
    assert {m["key"]["src_ip"] for m in messages} == {CHATTER, *(f"10.0.1.{k}" for k in range(6))}
    assert max(Counter((m["number"], m["state"]) for m in messages).values()) == 1
    assert max(Counter((m["key"]["src_ip"], m["state"], m["fired_ns"]) for m in messages).values()) == 1
    assert (lasted["window_start_ns"] - START_NS) // 10**9 < 1  # it went on over all restarts


def of_session(told: tuple[str, list[dict[str, Any]]], session: str) -> list[dict[str, Any]]:
    return [message for message in told[1] if message["session"]["id"] == session]


@pytest.fixture(scope="module")
def lasting(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    """Another hub, without a journal."""
    state = tmp_path_factory.mktemp("state")
    started = start_hub("--port", "0", *options[: options.index("--journal")], "--state", str(state))
    wait_until_ready(started)
    yield started
    started.close()


def test_a_rule_of_ones_own_watches_at_once(lasting: EmbeddedHub, traffic: Path) -> None:
    session = ask(lasting, lambda c: c.create_session("rules"))["id"]
    content = {"name": "from_seven", "where": f"ip.src == {SILENT}", "by": ["src_ip"], "over": "5s"}
    line = ask(lasting, lambda c: c.save_rule(content))
    assert (line["source"], line["content"]) == ("own", content)
    ask(lasting, lambda c: c.save_rule({"name": "chatter", "enabled": False}))
    states = {r["name"]: r["state"] for r in ask(lasting, lambda c: c.alerts(session))["rules"]}
    assert (states["from_seven"], states["chatter"], states["port_scan"]) == ("on", "off", "on")
    assert run_agent(lasting, "-r", str(traffic), "--speed", "max", "--session", "rules").returncode == 0
    assert settled(lasting, session, 2).keys() == {("from_seven", SILENT), ("port_scan", "10.0.0.66")}
    assert ask(lasting, lambda c: c.check_rules(line["yaml"])) == [content]
    ask(lasting, lambda c: c.delete_rule("chatter"))
    states = {r["name"]: r["state"] for r in ask(lasting, lambda c: c.alerts(session))["rules"]}
    assert states["chatter"] == "on"
    with pytest.raises(NotFoundError):
        ask(lasting, lambda c: c.delete_rule("chatter"))


def test_what_is_wrong_with_a_rule_is_said_with_its_place(lasting: EmbeddedHub) -> None:
    with pytest.raises(ConfigError, match=r"rule 'own', where: .*src_prt.* \(at character 5\)"):
        ask(lasting, lambda c: c.save_rule({"name": "own", "where": "not src_prt == 5"}))
    status, body = call(lasting, "PUT", "/api/rules/own", {"content": {"where": "not src_prt == 5"}})
    assert (status, json.loads(body)["error"]["position"]) == (400, 4)
    assert call(lasting, "PUT", "/api/rules/1own", {"content": {}})[0] == 400
    assert call(lasting, "PUT", "/api/rules/own", {"content": {"name": "other"}})[0] == 400


def test_evidence_is_fetched_by_ticket_and_counted(lasting: EmbeddedHub, traffic: Path) -> None:
    run_agent(lasting, "-r", str(traffic), "--speed", "max", "--session", "tickets")
    session = session_of(lasting, "tickets")
    alert = settled(lasting, session, 4)["chatter", CHATTER]
    ticket = ask(lasting, lambda c: c.evidence_ticket(session, alert["number"]))
    with urllib.request.urlopen(f"{lasting.url}/api/export/{ticket}", timeout=20) as answer:
        body = answer.read()
        assert answer.headers["Content-Disposition"] == f'attachment; filename="alert-{alert["number"]}.pcapng"'
    assert len(body) == alert["evidence"]["bytes"]
    assert body == call(lasting, "GET", f"/api/stream/{session}/alerts/{alert['number']}/evidence")[1]
    assert call(lasting, "GET", f"/api/export/{ticket}", token="")[0] == 401  # once
    with pytest.raises(NotFoundError, match="no alert 99"):
        ask(lasting, lambda c: c.evidence_ticket(session, 99))
    status, body = call(lasting, "GET", f"/api/stream/{session}/alerts/99/evidence")
    assert (status, "no alert 99" in json.loads(body)["error"]["message"]) == (404, True)
    metrics = call(lasting, "GET", "/metrics")[1].decode()
    label = f'session="{session}",name="tickets"'
    assert f'aishark_hub_alerts_total{{{label},rule="chatter",severity="warning"}} 3\n' in metrics
    assert f"aishark_hub_evidence_skipped_total{{{label}}} 0\n" in metrics
    assert f'aishark_hub_rule_keys{{{label},rule="chatter"}} 0\n' in metrics
    assert f"aishark_hub_rules_seconds_total{{{label}}} 0\n" not in metrics
    assert call(lasting, "GET", f"/api/stream/{session}/alerts/{alert['number']}")[0] == 200
    ask(lasting, lambda c: c.clear(session))
    assert call(lasting, "GET", f"/api/stream/{session}/alerts/{alert['number']}/evidence")[0] == 404
