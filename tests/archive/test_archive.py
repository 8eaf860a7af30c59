"""The archive: the same answers from this process and from a cluster, and from others who read its files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import polars as pl
import pytest
from typer.testing import CliRunner

import aishark_panel as ais
from aishark_panel.alerts.load import read_rules
from aishark_panel.archive import Archive
from aishark_panel.archive_commands import archive_app
from aishark_panel.errors import CaptureFileError, ConfigError, ExpressionError
from tests.alerts.blocks import udp
from tests.archive.conftest import record
from tests.traffic import START_NS

QUERIES = [
    "select protocol, count(*) n, sum(orig_len) from packets group by 1 order by n desc",
    "select session, date, hour, count(*), min(ts), max(ts) from packets group by all order by all",
    "select src_ip, count(distinct dst_port) ports, avg(orig_len) from packets group by src_ip order by ports desc, 1",
    "select count(*) from packets where tcp_flags = 2",
    "select src_ip, median(orig_len), quantile_cont(dst_port, 0.9) from packets group by 1 order by 1",
    "with s as (select src_ip, count(*) n from packets group by 1) select max(n) from s",
    "select number, ts from packets where session = 'lab' order by ts, number limit 5 offset 3",
    "select * exclude (layers) from packets where session = 'office' order by number limit 3",
    "select distinct hour from packets order by hour",
    "select src_ip, row_number() over (partition by session order by ts, number) r from packets order by ts, session "
    "limit 4",
]


def rows(table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.to_pylist()
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_cluster_answers_as_one_process_does(folder: Path, scheduler: str, query: str) -> None:
    here, there = Archive(folder).sql(query), Archive(folder, scheduler=scheduler).sql(query)
    assert rows(here)
    assert there.schema.equals(here.schema)
    assert rows(there) == rows(here)


def test_others_read_the_files_as_they_are(folder: Path) -> None:
    query = "select session, count(*) n from packets group by 1 order by 1"
    ours = rows(Archive(folder).sql(query))
    assert ours == [{"session": "lab", "n": 7_900}, {"session": "office", "n": 7_900}]
    with duckdb.connect() as database:
        theirs = database.sql(query.replace("packets", f"'{folder}/**/*.parquet'")).fetchall()
    assert theirs == [("lab", 7_900), ("office", 7_900)]
    frame = pl.scan_parquet(folder, hive_partitioning=True).group_by("session").len().sort("session").collect()
    assert frame.rows() == [("lab", 7_900), ("office", 7_900)]
    assert {p.parent.name for p in folder.rglob("*.parquet")} == {"hour=22", "hour=23", "hour=00"}


@pytest.mark.parametrize("rules", ["builtin", "own"])
def test_rules_give_the_same_alerts_on_both(folder: Path, scheduler: str, rules: str, tmp_path: Path) -> None:
    if rules == "own":
        (tmp_path / "own.yaml").write_text(
            "rules:\n"
            "- {name: many, where: udp, by: [src_ip], over: 10s, having: packets >= 90}\n"
            "- {name: syn, where: tcp.flags.syn == 1, by: [src_ip], over: 5s, having: nunique(dst_port) > 20}\n"
            "- {name: each, where: tcp.dstport == 7}\n"
        )
    wanted = read_rules("builtin" if rules == "builtin" else str(tmp_path / "own.yaml"))
    here, there = Archive(folder).rules(wanted), Archive(folder, scheduler=scheduler).rules(wanted)
    assert there == here
    assert here["packets"] == 15_800
    scans = [(a["session"], a["key"]["src_ip"]) for a in here["alerts"] if a["rule"] in ("port_scan", "syn")]
    assert sorted(set(scans)) == [("lab", "10.0.0.77"), ("office", "10.0.0.66")]


def test_only_what_is_asked_for_is_looked_at(folder: Path) -> None:
    hour = START_NS // (3_600 * 10**9) * 3_600 * 10**9
    archive = Archive(folder)
    span = (hour + 3_600 * 10**9, hour + 2 * 3_600 * 10**9)
    assert {f.hour_ns for f in archive.files(span)} == {span[0]}
    found = rows(archive.sql("select count(*) n, min(hour) as h from packets", span=span, session="lab"))
    assert found == [{"n": archive.sql("select * from packets where hour = 23", session="lab").num_rows, "h": 23}]
    chosen = archive.sql(
        "select session, count(*) n from packets group by 1", where="tcp.flags.syn == 1", session="lab"
    )
    assert rows(chosen) == [{"session": "lab", "n": 400}]
    by_hour = "select hour, date, count(*) n from packets group by all order by all"
    assert rows(archive.sql(by_hour, where="udp or tcp")) == rows(archive.sql(by_hour))
    assert archive.rules(read_rules("builtin"), span=span, session="lab")["packets"] < 7_900


def test_an_archive_may_be_anywhere(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/recordings", recursive=True)
    there, here = Archive("memory://bucket/recordings"), Archive(folder)
    query = "select session, hour, count(*) n from packets group by all order by all"
    assert rows(there.sql(query)) == rows(here.sql(query))
    assert rows(there.sql(query, where="tcp")) == rows(here.sql(query, where="tcp"))
    rules = read_rules("builtin")
    assert there.rules(rules) == here.rules(rules)


def test_of_recordings_at_the_same_time_the_longest_counts(tmp_path: Path) -> None:
    whole = udp([i / 10 for i in range(3_000)])
    session = record(tmp_path, "twice", [whole])
    for file in tmp_path.rglob("*.parquet"):  # another one, begun later, of the same session
        shorter = file.with_name(file.name.replace("20231114T221320", "20231114T221330"))
        if file.name.endswith("0002.parquet"):
            shorter.write_bytes(file.read_bytes())
    archive = Archive(tmp_path)
    assert rows(archive.sql("select count(*) n from packets")) == [{"n": 3_000}]
    assert archive.warnings == [
        "twice-20231114T221330.000Z was recorded at the same time as a longer recording of the session, and is left out"
    ]
    assert session.packets == 3_000


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("select nothing_like_it from packets", "nothing_like_it"),
        ("selekt 1", "cannot be parsed|one SELECT"),
        ("select * from others", "others"),
        ("select count(*) from read_parquet('/etc/passwd')", "only the table packets"),
        ("select 1; select 2", "one SELECT"),
        ("drop table packets", "one SELECT"),
    ],
)
def test_queries_that_make_no_sense_are_refused(folder: Path, scheduler: str, query: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Archive(folder, scheduler=scheduler).sql(query)
    if says in query:
        with pytest.raises(ConfigError, match=says):
            Archive(folder).sql(query)


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.archive.workers._CONNECT_S", 0.5)
    with pytest.raises(ConfigError, match="no Parquet file in this folder"):
        Archive(tmp_path).sql("select 1")
    with pytest.raises(ConfigError, match="there are files of the sessions lab, office"):
        Archive(folder).sql("select 1", session="elsewhere")
    with pytest.raises(ConfigError, match="cannot look into nothing://x"):
        Archive("nothing://x").sql("select 1")
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        Archive(folder, scheduler="tcp://127.0.0.1:1").sql("select 1")
    with pytest.raises(ExpressionError):
        Archive(folder).sql("select 1", where="src_prt == 5")
    with pytest.raises(ConfigError, match="looks into packets"):
        Archive(folder).sql("select count(*) from packets", where="payload contains 'x'")
    (tmp_path / "session=x" / "date=2023-11-14" / "hour=22").mkdir(parents=True)
    (tmp_path / "session=x" / "date=2023-11-14" / "hour=22" / "x.parquet").write_bytes(b"PAR1, cut")
    for ask in (
        lambda: Archive(tmp_path).sql("select 1 from packets"),
        lambda: Archive(tmp_path).sql("select 1 from packets", where="tcp"),
        lambda: Archive(tmp_path).rules(read_rules("builtin")),
    ):
        with pytest.raises((ConfigError, CaptureFileError), match=r"x\.parquet|Parquet|parquet"):
            ask()


def aishark(*options: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "aishark_panel", "archive", *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)


def test_the_commands(folder: Path, scheduler: str) -> None:
    by_session = "select session, count(*) as n from packets group by 1 order by 1"
    here = aishark("query", str(folder), by_session)
    there = aishark("query", str(folder), by_session, "--scheduler", scheduler)
    assert here.stdout == there.stdout
    assert [line.split() for line in here.stdout.splitlines()] == [
        ["session", "n"],
        ["lab", "7900"],
        ["office", "7900"],
    ]
    assert here.stderr == "2 rows\n"
    done = aishark("rules", str(folder), "--json", "--from", "2023-11-14 22:00", "--to", "2023-11-15")
    assert {a["rule"] for a in json.loads(done.stdout)["alerts"]} >= {"port_scan"}
    failed = aishark("query", str(folder), "selec")
    assert (failed.returncode, failed.stdout, "Traceback" in failed.stderr) == (2, "", False)


def test_answers_become_files(folder: Path, tmp_path: Path) -> None:
    by_session = "select session, count(*) as n from packets group by 1 order by 1"
    for suffix in ("csv", "parquet", "json", "arrow"):
        out = tmp_path / f"answer.{suffix}"
        runner = CliRunner().invoke(archive_app, ["query", str(folder), by_session, "--session", "lab", "-o", str(out)])
        assert runner.exit_code == 0
    assert (tmp_path / "answer.json").read_text() == '{"session": "lab", "n": 7900}\n'
    assert (tmp_path / "answer.csv").read_text() == '"session","n"\n"lab",7900\n'
    assert pl.read_parquet(tmp_path / "answer.parquet").rows() == [("lab", 7_900)]
    assert pl.read_ipc(tmp_path / "answer.arrow").rows() == [("lab", 7_900)]
    shown = CliRunner().invoke(archive_app, ["rules", str(folder)]).stdout
    assert "office" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("query", "select 1", "--from", "noon"), "is no time"),
        (("query", "select 1", "--from", "2024-01-01", "--to", "2023-01-01"), "nothing in between"),
        (("query", "select 1", "-o", "x.doc"), "there is no format for .doc"),
        (("query", "select 1", "-o", "/proc/x.csv"), "cannot write /proc/x.csv"),
        (("rules", "--session", "none"), "there are files of the sessions lab, office"),
    ],
)
def test_commands_say_what_is_wrong(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(archive_app, [options[0], str(folder), *options[1:]])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)


def test_the_archive_in_a_cell(folder: Path, scheduler: str) -> None:
    for archive in (ais.open_archive(folder), ais.open_archive(folder, scheduler)):
        frame = archive.sql("select hour, count(*) n from packets group by 1 order by 1", start="2023-11-14 23:00")
        assert frame["hour"].tolist() == [0, 23]
        tried = archive.rules("rules: [{name: syn, where: tcp.flags.syn == 1}]", session="lab")
        assert (tried.packets, tried.rules["rule"].tolist()) == (7_900, ["syn"])
        assert "lab" in repr(archive)
        assert "MB" in archive._repr_html_()
    with pytest.raises(ConfigError):
        ais.open_archive(folder / "none")
