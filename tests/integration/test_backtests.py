"""Rules tried on what a real hub has kept: ring, journal and recordings give what the file gave, and what live told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.alerts.backtest import Backtest
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, ConflictError, NotFoundError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.alerts.blocks import scan, udp
from tests.integration.conftest import ask, run_agent, session_of, stats_when, wait_for, wait_until_ready

SLOW = "rules: [" + ", ".join(f"{{name: r{i}, where: payload contains 'x{i}', by: [src_ip]}}" for i in range(30)) + "]"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans within a minute of chatter."""
    parts = [scan("10.0.0.66", "10.0.0.2", 40, start_s=5), scan("10.0.0.67", "10.0.0.2", 40, start_s=30)]
    parts.append(udp([i / 100 for i in range(6_000)], size=100))
    rows = sorted((int(part.ts[i]), part.frame(i)) for part in parts for i in range(len(part)))
    path = tmp_path_factory.mktemp("captures") / "scans.pcap"
    writer = PcapWriter(link_type=1)
    frames = Frames.from_list([frame for _, frame in rows], [ts for ts, _ in rows])
    path.write_bytes(writer.header() + writer.frames(frames))
    return path


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    folder = tmp_path_factory.mktemp("hub")
    kept = ["--journal", str(folder / "journal"), "--state", str(folder / "state")]
    started = start_hub("--port", "0", "--ring-mib", "48", *kept, "--recordings", str(folder / "recordings"))
    wait_until_ready(started)
    yield started
    started.close()


@pytest.fixture(scope="module")
def session(hub: EmbeddedHub, file: Path) -> str:
    """The file as it was played live, recorded."""
    return recorded(hub, file, "scans", "pcapng")


@pytest.fixture(scope="module")
def parquet_session(hub: EmbeddedHub, session: str, file: Path) -> str:
    """The same in Parquet, and in pcapng at the same time."""
    return recorded(hub, file, "columns", "parquet", "pcapng")


def recorded(hub: EmbeddedHub, file: Path, name: str, *formats: str) -> str:
    session = ask(hub, lambda c: c.create_session(name))["id"]
    for file_format in formats:
        ask(hub, partial(HubClient.record_start, session=session, export_format=file_format))
    assert run_agent(hub, "-r", str(file), "--speed", "max", "--session", name).returncode == 0
    stats_when(hub, session_of(hub, name), lambda s: s["state"] == "ended", "the end of the file")

    def is_written() -> bool:
        return all(r["written"] == 6_080 for r in ask(hub, lambda c: c.recordings(str(session))))

    wait_for(is_written, "the recordings")
    for recording in ask(hub, lambda c: c.recordings(str(session))):
        ask(hub, partial(HubClient.record_stop, session=session, recording=recording["id"]))
    return str(session)


def finished(hub: EmbeddedHub, session: str, **asked: Any) -> dict[str, Any]:
    async def run(client: HubClient) -> str:
        return await client.start_backtest(session, **asked)

    backtest = ask(hub, run)

    def look() -> dict[str, Any] | None:
        answer = ask(hub, lambda c: c.backtest(backtest))
        return answer if answer["state"] != "running" else None

    return wait_for(look, "the end of the backtest")


def told(alerts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(a["rule"], a["key"], a["window_start_ns"], a["fired_ns"], a["resolved_ns"]) for a in alerts]


@pytest.mark.parametrize("over", ["ring", "journal", "recordings"])
def test_what_is_kept_gives_the_alerts_of_the_file_and_of_live(
    hub: EmbeddedHub, session: str, file: Path, over: str
) -> None:
    answer = finished(hub, session, over=over)
    assert (answer["state"], answer["packets"], answer["reason"]) == ("done", 6_080, "")
    assert answer["done"] == answer["total"] > 0
    live = ask(hub, lambda c: c.alerts(session))["alerts"]
    backtest = Backtest(read_rules(BUILTIN), file)
    events = [e for e in backtest if e.state == "resolved" and e.fired_ns]
    assert told(answer["alerts"]) == told(live)
    assert told(live) == [(e.rule.name, e.key, e.window_start_ns, e.fired_ns, e.at_ns) for e in events]
    assert len(live) == 2
    assert {line["rule"]: (line["alerts"], line["keys"]) for line in answer["rules"]}["port_scan"] == (2, 2)


def test_recorded_parquet_gives_the_same(hub: EmbeddedHub, session: str, parquet_session: str) -> None:
    """Of two recordings of the same packets the one that began first is looked at."""
    answer = finished(hub, parquet_session, over="recordings")
    assert (answer["state"], answer["packets"], answer["reason"]) == ("done", 6_080, "")
    assert told(answer["alerts"]) == told(ask(hub, lambda c: c.alerts(session))["alerts"]) != []
    text = "rules: [{name: bytes, where: payload contains 'x'}, {name: udp, where: udp, over: 9s, having: packets > 9}]"
    lines = {line["rule"]: line for line in finished(hub, parquet_session, yaml=text, over="recordings")["rules"]}
    assert "without their bytes" in lines["bytes"]["problem"]
    assert (lines["udp"]["alerts"], lines["udp"]["problem"]) == (1, "")


def test_rules_of_a_text_and_by_name(hub: EmbeddedHub, session: str) -> None:
    text = "rules: [{name: a, where: udp, over: 1s, having: packets >= 50}, {name: b, where: tcp}]"
    answer = finished(hub, session, yaml=text, names=["a"])
    assert [(line["rule"], line["alerts"]) for line in answer["rules"]] == [("a", 1)]
    with pytest.raises(ConfigError, match="no rule 'port_scam'; did you mean port_scan"):
        finished(hub, session, names=["port_scam"])
    with pytest.raises(ConfigError, match="these rules: rule 'a', where"):
        finished(hub, session, yaml="rules: [{name: a, where: udpp}]")
    with pytest.raises(NotFoundError):
        finished(hub, "abcdef")


def test_two_are_under_way_at_most_and_one_can_be_broken_off(hub: EmbeddedHub, session: str) -> None:
    async def run(client: HubClient) -> str:
        return await client.start_backtest(session, SLOW)

    async def crowd(client: HubClient) -> list[str]:
        return [await client.start_backtest(session, SLOW, over="journal") for _ in range(3)]

    with pytest.raises(ConflictError, match="2 backtests are under way"):
        ask(hub, crowd)
    wait_for(lambda: _may_start(hub, run), "the end of one")


def _may_start(hub: EmbeddedHub, run: Any) -> bool:
    try:
        backtest = ask(hub, run)
    except ConflictError:
        return False
    ask(hub, lambda c: c.cancel_backtest(backtest))
    with pytest.raises(NotFoundError):
        ask(hub, lambda c: c.backtest(backtest))
    return True


def aishark(hub: EmbeddedHub, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "aishark_panel", "rules", "test", *arguments]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "300", "AISHARK_HUB": hub.url, "AISHARK_TOKEN": hub.token}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_tries_sessions_and_folders(hub: EmbeddedHub, session: str, file: Path, tmp_path: Path) -> None:
    by_session = aishark(hub, "builtin", "scans", "--json")
    by_folder = aishark(hub, "builtin", str(file.parent), "--json")
    assert (by_session.returncode, by_folder.returncode) == (0, 0), by_session.stderr + by_folder.stderr
    there, here = json.loads(by_session.stdout), json.loads(by_folder.stdout)
    assert told(there["alerts"]) == told(here["alerts"])
    assert len(here["alerts"]) == 2
    shown = aishark(hub, "builtin", "scans")
    assert "10.0.0.67 tried 20 ports of 10.0.0.2 within 10 s" in shown.stdout
    assert "quiet" in shown.stdout
    (tmp_path / "notes.txt").write_text("no capture")
    none = aishark(hub, "builtin", str(tmp_path))
    assert (none.returncode, none.stdout) == (2, "")
    assert "there is no capture file with packets in this folder" in none.stderr
    unknown = aishark(hub, "builtin", "nothing")
    assert unknown.returncode == 2
    assert "nothing" in unknown.stderr
