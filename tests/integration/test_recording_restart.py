"""Recordings of a hub that is killed, at any moment, and started again: every packet is in one file, once."""

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for, wait_until_ready
from tests.ledgers import identities, is_drained

RequireTool = Callable[[str], str]
Packet = tuple[str, int, bytes]
"""Interface, time (ns) and bytes."""

KILLS = int(os.environ.get("AISHARK_TEST_KILLS", "3"))
"""Of the hub, in the test that kills it at random moments; 50 take four minutes."""


class Hubs:
    """A hub on one port, journal and folder of recordings, which dies and comes back."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.recordings = folder / "recordings"
        self._options = ["--ring-mib", "48", "--journal", f"{folder}/journal", "--state", f"{folder}/state"]
        self._options += ["--recordings", str(self.recordings), *options]
        self.hub = start_hub("--port", "0", *self._options)

    def restart(self, *, kill: bool = True) -> None:
        """End it, and start it again."""
        if kill:
            self.hub.process.kill()
        self.hub.close()
        port = self.hub.url.rpartition(":")[2]
        self.hub = start_hub("--port", port, *self._options, token=self.hub.token)

    def recorded(self, session: str) -> list[dict[str, Any]]:
        return ask(self.hub, lambda c: c.recordings(session))

    def ledger(self, session: str) -> dict[str, Any]:
        return ask(self.hub, lambda c: c.ledger(session))


@contextlib.contextmanager
def hubs(folder: Path, *options: str) -> Iterator[Hubs]:
    made = Hubs(folder, *options)
    try:
        yield made
    finally:
        made.hub.close()


def start_agent(hub: EmbeddedHub, name: str, *options: str) -> "subprocess.Popen[str]":
    """An agent that comes back soon after its hub did."""
    return subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--name", name, *options],
        env={**os.environ, "AISHARK_TOKEN": hub.token, "AISHARK_SERVER__RECONNECT_MAX": "300ms"},
        stderr=subprocess.PIPE,
        text=True,
    )


def packets(path: Path) -> list[Packet]:
    with open_capture(path) as capture:
        found = [
            (capture.interfaces[int(block.iface[i])].name, int(block.ts[i]), bytes(block.frame(i)))
            for block in capture
            for i in range(len(block))
        ]
        assert capture.warning is None
        return found


def exported(each: Hubs, session: str) -> list[Packet]:
    """All packets of a session, in order."""
    status, content = call(each.hub, "GET", f"/api/stream/{session}/export?format=pcapng")
    assert status == 200
    path = each.folder / "export.pcapng"
    path.write_bytes(content)
    return packets(path)


def in_pcapng(each: Hubs, recording: dict[str, Any], capinfos: str) -> list[Packet]:
    """The packets of a recording's files, one after the other; capinfos must find the files whole."""
    found = []
    for file in recording["files"]:
        path = each.recordings / file["name"]
        done = subprocess.run([capinfos, "-Mrc", "-T", path], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert int(done.stdout.split()[-1]) == file["packets"]
        found += packets(path)
    return found


def in_parquet(each: Hubs, recording: dict[str, Any]) -> list[tuple[int, int]]:
    """(number, time in ns) of the packets in a recording's files, one after the other."""
    rows: list[tuple[int, int]] = []
    with duckdb.connect() as connection:
        for file in recording["files"]:
            query = f"SELECT number, epoch_ns(ts) FROM '{each.recordings / file['name']}'"
            found = connection.execute(query).fetchall()
            assert len(found) == file["packets"]
            rows += found
    return rows


def start_recording(hub: EmbeddedHub, session: str, export_format: str, **options: object) -> str:
    return str(ask(hub, lambda c: c.record_start(session, export_format, **options))["id"])


def stop_all(each: Hubs, session: str) -> list[dict[str, Any]]:
    running = [r["id"] for r in each.recorded(session) if r["state"] == "recording"]
    return [ask(each.hub, lambda c, r=r: c.record_stop(session, r)) for r in running]  # type: ignore[misc]


def assert_database_is_intact(each: Hubs) -> None:
    (file,) = (each.folder / "state").glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.timeout(120 + 10 * KILLS)
def test_a_hub_killed_at_random_moments_records_every_packet_once(
    tmp_path: Path, capture_file: Path, require_tool: RequireTool
) -> None:
    capinfos = require_tool("capinfos")
    rng = random.Random(7)
    with hubs(tmp_path) as each:
        wait_until_ready(each.hub)
        session = session_of(each.hub, "live")
        small = start_recording(each.hub, session, "pcapng", rotate_packets=1_000)
        one = start_recording(each.hub, session, "pcapng")
        table = start_recording(each.hub, session, "parquet", rotate_s=0.5)
        pace = ("-r", str(capture_file), "--speed", str(5 / KILLS), "--batch-size", "37")
        agents = [start_agent(each.hub, name, *pace) for name in ("edge", "core")]
        try:
            stats_when(each.hub, session, lambda s: len(s["agents"]) == 2, "both agents")
            for _ in range(KILLS):
                time.sleep(rng.uniform(0, 1.5))  # the moment is what this test is about
                each.restart()
            said = [agent.communicate(timeout=120)[1] for agent in agents]
        finally:
            for agent in agents:
                agent.kill()
        assert [agent.returncode for agent in agents] == [0, 0], said
        wait_for(lambda: is_drained(each.ledger(session)), "a drained session")
        stopped = {r["id"]: r for r in stop_all(each, session)}
        book = each.ledger(session)
        kept = exported(each, session)
        assert identities(book) == []
        assert (book["ring"]["packets"], book["ring"]["parts"]["in_ring"]) == (20_000, 20_000)
        assert len(set(kept)) == 20_000
        for line in book["recordings"]:
            assert (line["state"], line["difference"], line["packets"]) == ("stopped", 0, 20_000)
            assert line["parts"] == {"written": 20_000, "failed": 0, "left_out": 0, "in_ring": 0}
        assert in_pcapng(each, stopped[small], capinfos) == kept
        assert in_pcapng(each, stopped[one], capinfos) == kept
        # In the order of their times, which is not that of two agents' arrival.
        assert sorted(in_parquet(each, stopped[table])) == [(n, ts) for n, (_, ts, _) in enumerate(kept, 1)]
        assert not [p for p in each.recordings.rglob("*.*") if p.suffix in (".part", ".new")]
        assert_database_is_intact(each)


def test_recordings_go_on_after_a_restart_and_those_that_were_stopped_do_not(
    tmp_path: Path, capture_file: Path, require_tool: RequireTool
) -> None:
    capinfos = require_tool("capinfos")
    with hubs(tmp_path) as each:
        wait_until_ready(each.hub)
        session = session_of(each.hub, "live")
        chosen = start_recording(each.hub, session, "pcapng", where="src_port == 10006", max_files=3)
        stopped = start_recording(each.hub, session, "parquet")
        gone = start_recording(each.hub, new_session(each.hub, "gone"), "pcapng")
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max").returncode == 0
        before = ask(each.hub, lambda c: c.record_stop(session, stopped))
        each.restart(kill=False)
        stats = stats_when(each.hub, session, lambda s: s["packets"] and "journal" not in s["reason"], "recovery")
        assert (stats["recordings"]["recording"], stats["recordings"]["stopped"], stats["packets"]) == (1, 1, 10_000)
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max").returncode == 0
        assert [r["id"] for r in each.recorded(session)] == [chosen, stopped]
        assert each.recorded(session)[1] == before
        (after,) = stop_all(each, session)
        assert (after["id"], after["written"], after["failed"], len(after["files"])) == (chosen, 80, 0, 2)
        assert [p for p in exported(each, session) if p[2][34:36] == b"\x27\x16"] == in_pcapng(each, after, capinfos)
        (other,) = (s["id"] for s in ask(each.hub, lambda c: c.sessions()) if s["name"] == "gone")
        assert [r["id"] for r in each.recorded(other)] == [gone]
        assert call(each.hub, "DELETE", f"/api/stream/{other}")[0] == 204
        assert not list(each.recordings.glob("gone-*"))


def test_what_the_journal_let_go_is_counted(tmp_path: Path, capture_file: Path) -> None:
    with hubs(tmp_path) as each:
        wait_until_ready(each.hub)
        session = session_of(each.hub, "live")
        table = start_recording(each.hub, session, "parquet", rotate_s=600.0)
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max").returncode == 0
        wait_for(lambda: each.recorded(session)[0]["written"] == 10_000, "all packets in a part")
        ask(each.hub, lambda c: c.clear(session))
        wait_for(lambda: ask(each.hub, lambda c: c.stats(session))["journal"]["waiting_bytes"] == 0, "the last sync")
        each.restart()
        stats_when(each.hub, session, lambda s: "Waiting" in s["reason"] or s["state"] == "ended", "recovery")
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max").returncode == 0
        (after,) = stop_all(each, session)
        assert (after["id"], after["written"], after["failed"]) == (table, 10_000, 10_000)
        assert [number for number, _ in in_parquet(each, after)] == list(range(10_001, 20_001))
        (line,) = each.ledger(session)["recordings"]
        assert (line["packets"], line["difference"]) == (20_000, 0)


def test_the_oldest_files_make_room_within_the_quota(tmp_path: Path) -> None:
    with hubs(tmp_path, "--recordings-size", "64MiB") as each:
        wait_until_ready(each.hub)
        session = session_of(each.hub, "live")
        each.recordings.mkdir()
        (each.recordings / "mine.pcapng").write_bytes(bytes(2**20))
        recording = start_recording(each.hub, session, "pcapng")
        traffic = start_agent(each.hub, "edge", "--synthetic", "--rate", "25000")
        try:
            wait_for(lambda: each.recorded(session)[0]["removed_files"] >= 3, "files to be removed")
        finally:
            traffic.kill()
            traffic.communicate()
        (after,) = stop_all(each, session)
        assert (after["id"], after["state"], after["reason"]) == (recording, "stopped", "")
        files = sorted(p.name for p in each.recordings.glob("live-*.pcapng"))
        assert [f["name"] for f in after["files"]] == files
        numbers = [int(name.split("-")[-1].removesuffix(".pcapng")) for name in files]
        assert numbers == list(range(after["removed_files"] + 1, numbers[-1] + 1))
        assert 32 * 2**20 < sum((each.recordings / name).stat().st_size for name in files) <= 64 * 2**20
        assert (each.recordings / "mine.pcapng").exists()


def new_session(hub: EmbeddedHub, name: str) -> str:
    call(hub, "POST", "/api/stream/start", {"name": name})
    return session_of(hub, name)
