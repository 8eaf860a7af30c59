"""Sessions as a notebook sees them: a real hub and real agents, started by capture()."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import aishark_panel as ais
from aishark_panel.errors import (
    CaptureError,
    CapturePermissionError,
    ConfigError,
    ExpressionError,
    HubUnreachableError,
    NotAuthorizedError,
    NotFoundError,
)
from aishark_panel.notebook.capture import Capture
from tests.integration.conftest import wait_for
from tests.notebook.conftest import PACKETS, is_running


def test_the_newest_packets_come_as_a_frame(session: Capture) -> None:
    assert session.packet_count == PACKETS
    df = session.df()
    assert df["number"].tolist() == list(range(1, PACKETS + 1))
    assert session.df(limit=10)["number"].tolist() == list(range(PACKETS - 9, PACKETS + 1))
    assert len(session.df(last="1s")) == len(session.df(last=1.0)) == 1001
    assert len(session.df(last="1s", where="src_ip == '10.0.0.1' or src_port == 10001")) == 8
    small = session.df(where="src_ip == '10.0.0.1'", columns=["ts", "src_ip"], limit=3)
    assert small.columns.tolist() == ["ts", "src_ip"]
    assert small["src_ip"].tolist() == ["10.0.0.1"] * 3
    assert len(session.df(where="dns")) == 0


def test_it_equals_what_the_file_holds(session: Capture, capture_file: Path) -> None:
    ours, file = session.table().arrow, ais.read(capture_file).arrow
    names = [name for name in file.schema.names if name not in ("agent", "iface")]
    assert ours.select(names).to_pydict() == file.select(names).to_pydict()


def test_a_session_is_asked_in_sql_and_its_tables_are_narrowed(session: Capture) -> None:
    assert session.sql("select count(distinct src_ip) as n from packets")["n"].tolist() == [250]
    assert session.sql("select count(*) as n from packets", last="1s")["n"].tolist() == [1001]
    assert len(session.table(where="udp").where("src_ip == '10.0.0.1'")) == PACKETS // 250


def test_a_rule_watches_and_is_replaced_when_its_cell_runs_again(capture_file: Path) -> None:
    with ais.capture(synthetic=True, rate=500, name="watched") as session:
        rule = session.alert("udp", name="chatter", by=["dst_port"], over="1s", having="packets >= 10")
        again = session.alert("dns", name="chatter", over="1s", having="packets >= 1", severity="info")
        wait_for(lambda: len(again.alerts) > 0, "an alert")
        found = again.alerts
        assert set(found["severity"]) == {"info"}
        assert found["fired"].dt.tz is not None
        assert "chatter" in repr(rule)
        assert "<table" in again._repr_html_()
        assert len(session.alerts()) >= len(found)
        assert [r["name"] for r in session.hub.ask(lambda c: c.rules()) if r["source"] == "own"] == ["chatter"]
        again.delete()
        with pytest.raises(ConfigError, match="did you mean dst_port"):
            session.alert("dst_prt == 1")


def test_rules_are_tried_on_what_is_kept(session: Capture) -> None:
    rules = (
        "rules: [{name: chatter, where: udp, by: [src_ip], over: 5s, having: packets > 10}, {name: dns, where: dns}]"
    )
    tried = session.backtest(rules)
    assert tried.packets == PACKETS
    assert tried.rules.set_index("rule")["alerts"].to_dict() == {"chatter": 250, "dns": 0}
    assert len(tried.alerts) + tried.more == 250
    assert set(tried.alerts["rule"]) == {"chatter"}
    assert "250 alerts in 10,000 packets" in repr(tried)
    assert "<table" in tried._repr_html_()
    with pytest.raises(ConfigError, match="did you mean udp"):
        session.backtest("rules: [{name: a, where: udpp}]")
    with pytest.raises(ConfigError, match="keeps no journal"):
        session.backtest(over="journal")


def test_conversations_are_rows_with_their_numbers(session: Capture) -> None:
    rows = session.conversations()
    assert len(rows) == 250
    assert int(rows["packets_ab"].sum()) == PACKETS
    assert rows["handshake_rtt_ns"].isna().all()
    assert len(session.conversations(limit=3)) == 3


def test_what_is_asked_wrongly_is_said(session: Capture) -> None:
    with pytest.raises(ExpressionError, match="did you mean src_port") as raised:
        session.df(where="srcport == 1")
    assert raised.value.position == 0
    with pytest.raises(ConfigError, match="no column 'colour'"):
        session.df(columns=["colour"])
    with pytest.raises(ConfigError, match="is not a time span"):
        session.df(last="soon")
    with pytest.raises(ConfigError, match="at least 1"):
        session.df(limit=0)
    with pytest.raises(ConfigError, match=r"no view 'nothing'.*bandwidth"):
        session.live("nothing")


def test_files_are_written_whole_or_not_at_all(session: Capture, tmp_path: Path) -> None:
    path = session.to_pcapng(tmp_path / "some.pcapng", where="ip.src == 10.0.0.1")
    assert len(ais.read(path)) == PACKETS // 250
    assert session.to_parquet(tmp_path / "all.parquet").stat().st_size > 0
    with pytest.raises(ExpressionError):
        session.to_pcapng(tmp_path / "bad.pcapng", where="no such thing")
    with pytest.raises(ConfigError, match=r"cannot write .*nowhere/x\.parquet: No such file"):
        session.to_parquet(tmp_path / "nowhere" / "x.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.parquet", "some.pcapng"]


def test_running_a_cell_again_replaces_its_capture(capture_file: Path) -> None:
    first = ais.capture(file=capture_file, speed="1", name="again")
    wait_for(lambda: first.packet_count > 0, "packets")
    second = ais.capture(file=capture_file, speed="1", name="again")
    assert first.agent.process.poll() is not None
    assert [s.name for s in second.hub.sessions()].count("again") == 1
    assert second.id != first.id
    assert first.packet_count < PACKETS  # an old variable means the new session
    assert first.id == second.id
    second.close()
    second.close()
    assert second.agent.process.poll() is not None
    assert second.packet_count >= 0  # the packets stay


def test_stop_start_and_clear(capture_file: Path) -> None:
    with ais.capture(synthetic=True, rate=1_000, name="controls") as session:
        wait_for(lambda: session.packet_count > 0, "packets")
        session.stop()
        assert session.stats()["state"] == "stopped"
        session.clear()
        session.start()
        assert session.stats()["cleared"] > 0
        before = session.packet_count
        wait_for(lambda: session.packet_count > before, "packets after start")
        assert "packets/s" in session._repr_html_()
        assert "controls" in repr(session)


def test_a_capture_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Say what to capture.* Interfaces here: .*lo"):
        ais.capture()
    with pytest.raises(ConfigError, match="A capture filter needs an interface"):
        ais.capture(synthetic=True, filter="tcp")
    with pytest.raises(CaptureError, match=r"did not start: cannot open .*nowhere"):
        ais.capture(file=tmp_path / "nowhere.pcap")


def test_without_the_right_to_capture_the_ways_around_are_named() -> None:
    program = (
        "import aishark_panel as ais\n"
        "try: ais.capture('lo')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", program]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw", *command]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.startswith(CapturePermissionError.__name__)
    for way in ("CAP_NET_RAW", "sudo setpriv", "capture(file=", "ssh=", "connect(url, token)", "synthetic=True"):
        assert way in said


def test_connect_finds_sessions_by_id_and_name(session: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with ais.connect(session.hub.url, session.hub.token) as hub:
        assert hub.session(session.id).name == hub.session(session.name).name == session.name
        assert session.name in [s.name for s in hub.sessions()]
        with pytest.raises(NotFoundError, match=r"no session 'nowhere'; there are: .*numbered\.pcap"):
            hub.session("nowhere")
    monkeypatch.setenv("AISHARK_HUB", session.hub.url)
    monkeypatch.setenv("AISHARK_TOKEN", session.hub.token)
    with ais.connect() as hub:
        assert hub.session(session.id).packet_count == PACKETS
        assert session.hub.token not in repr(hub)


def test_connect_says_what_is_wrong(session: Capture) -> None:
    with pytest.raises(ConfigError, match="Say which hub"):
        ais.connect()
    with pytest.raises(NotAuthorizedError):
        ais.connect(session.hub.url, "wrong")
    with pytest.raises(HubUnreachableError):
        ais.connect("http://127.0.0.1:9", "token")


def test_children_end_with_a_process_that_is_killed() -> None:
    program = (
        "import time, aishark_panel as ais, aishark_panel.embedded as embedded\n"
        "session = ais.capture(synthetic=True)\n"
        "print(session.agent.process.pid, embedded.embedded_hub().process.pid, flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: not any(is_running(pid) for pid in children), "the end of hub and agent")
