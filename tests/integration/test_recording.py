"""Recordings of a real hub: what other programs read of the files, also after the worst."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, ExpressionError, NotFoundError
from tests.integration.conftest import ask, call, run_agent, session_of, wait_for, wait_until_ready

RequireTool = Callable[[str], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's hub records."""
    return tmp_path_factory.mktemp("hub") / "recordings"


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[EmbeddedHub]:
    """A hub that records into `folder`."""
    with recording_hub(folder) as started:
        yield started


@contextlib.contextmanager
def recording_hub(folder: Path) -> Iterator[EmbeddedHub]:
    started = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(folder))
    try:
        wait_until_ready(started)
        yield started
    finally:
        started.close()


@contextlib.contextmanager
def made_up_traffic(hub: EmbeddedHub, session: str, rate: int) -> Iterator[None]:
    """An agent that feeds the session until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--synthetic", "--rate", str(rate)]
        + ["--session", session, "--max-retries", "0"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def new_session(hub: EmbeddedHub, name: str) -> str:
    return str(json.loads(call(hub, "POST", "/api/stream/start", {"name": name})[1])["id"])


def replay(hub: EmbeddedHub, file: Path, session: str) -> None:
    assert run_agent(hub, "-r", str(file), "--speed", "max", "--session", session, "--name", "edge").returncode == 0


def record(hub: EmbeddedHub, session: str, export_format: str, **options: object) -> str:
    return str(ask(hub, lambda c: c.record_start(session, export_format, **options))["id"])


def stop(hub: EmbeddedHub, session: str, recording: str) -> dict[str, Any]:
    return ask(hub, lambda c: c.record_stop(session, recording))


def tshark_times(tshark: str, path: Path) -> list[int]:
    """Times of a file's packets, ns, as tshark reads them; it must find nothing wrong with the file."""
    command = [tshark, "-n", "-r", str(path), "-T", "fields", "-e", "frame.time_epoch"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cut short" not in done.stderr
    return [int(line.replace(".", "")) for line in done.stdout.split()]


def parquet_rows(folder: Path, pattern: str = "*.parquet") -> list[tuple[int, int]]:
    """(number, time in ns) of the packets in all files, by DuckDB."""
    query = f"SELECT number, epoch_ns(ts) FROM '{folder}/**/{pattern}' ORDER BY number"
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("export_format", ["pcapng", "parquet"])
def test_a_recording_holds_every_packet_in_rotated_files(
    hub: EmbeddedHub, folder: Path, capture_file: Path, export_format: str, require_tool: RequireTool
) -> None:
    session = new_session(hub, f"whole {export_format}")
    recording = record(hub, session, export_format, rotate_bytes=262_144)
    replay(hub, capture_file, f"whole {export_format}")
    status = stop(hub, session, recording)
    assert (status["state"], status["reason"], status["current_file"]) == ("stopped", "", "")
    assert (status["offered"], status["written"], status["failed"]) == (10_000, 10_000, 0)
    assert sum(f["packets"] for f in status["files"]) == 10_000
    files = [folder / f["name"] for f in status["files"]]
    assert [f.stat().st_size for f in files] == [f["bytes"] for f in status["files"]]
    assert sum(f["bytes"] for f in status["files"]) == status["bytes"]
    if export_format == "pcapng":
        assert len(files) == 4
        assert max(f.stat().st_size for f in files) < 263_000
        times = [t for f in files for t in tshark_times(require_tool("tshark"), f)]
    else:
        times = [ts for _, ts in parquet_rows(folder, "whole-parquet-*.parquet")]
    assert times == [1_700_000_000_000_000_000 + i * 1_000_000 for i in range(10_000)]


def test_files_are_whole_after_the_hub_is_killed(tmp_path: Path, require_tool: RequireTool) -> None:
    folder = tmp_path / "recordings"
    tshark = require_tool("tshark")
    with recording_hub(folder) as hub, made_up_traffic(hub, "live", 5_000):
        session = session_of(hub, "live")
        record(hub, session, "pcapng", start="oldest")
        record(hub, session, "parquet", start="oldest", rotate_s=0.5)

        def much_is_written() -> bool:
            pcapng, parquet = ask(hub, lambda c: c.recordings(session))
            return len(parquet["files"]) >= 2 and pcapng["written"] > 5_000

        wait_for(much_is_written, "recordings")
        hub.process.send_signal(signal.SIGKILL)
        hub.process.wait()
    (part,) = folder.glob("*.pcapng.part")
    with open_capture(part) as file:
        readable = sum(len(frames) for frames in file)
        assert file.warning is None
    with part.open("ab") as cut:
        cut.write(b"\6\0\0\0\x80\0\0\0torn")  # as if the kill had come in the middle of a block

    with recording_hub(folder):
        wait_for(lambda: not list(folder.rglob("*.part")), "the next hub to finish what is left")
        (pcapng,) = folder.glob("*.pcapng")
        times = tshark_times(tshark, pcapng)
    rows = parquet_rows(folder)
    both = min(len(times), len(rows))
    assert len(times) == readable > 5_000
    assert both > 2_000
    assert [number for number, _ in rows] == list(range(1, len(rows) + 1))
    assert times[:both] == [ts for _, ts in rows[:both]]


def test_the_files_of_a_hub_that_lives_are_left_alone(hub: EmbeddedHub, folder: Path, capture_file: Path) -> None:
    session = new_session(hub, "shared")
    recording = record(hub, session, "pcapng")
    replay(hub, capture_file, "shared")
    (part,) = wait_for(lambda: list(folder.glob("shared-*.part")), "the part")
    (folder / "dead-0001.parquet.part").write_bytes(b"PAR1")
    with recording_hub(folder):
        wait_for(lambda: not (folder / "dead-0001.parquet.part").exists(), "the second hub to tidy up")
        assert part.exists()
    assert stop(hub, session, recording)["written"] == 10_000
    assert part.with_suffix("").exists()


def test_packets_are_chosen_by_an_expression(hub: EmbeddedHub, folder: Path, capture_file: Path) -> None:
    session = new_session(hub, "chosen")
    replay(hub, capture_file, "chosen")
    recording = record(hub, session, "parquet", where="src_port == 10006", start="oldest")
    assert stop(hub, session, recording)["written"] == 40
    assert [number for number, _ in parquet_rows(folder, "chosen-*.parquet")] == list(range(7, 10_000, 250))


def test_a_recording_can_start_with_the_next_packet(hub: EmbeddedHub, capture_file: Path) -> None:
    session = new_session(hub, "from now")
    replay(hub, capture_file, "from now")
    recording = record(hub, session, "pcapng")
    replay(hub, capture_file, "from now")
    assert stop(hub, session, recording)["written"] == 10_000


def test_a_whole_file_can_be_fetched_by_a_ticket(hub: EmbeddedHub, folder: Path, capture_file: Path) -> None:
    session = new_session(hub, "fetched")
    replay(hub, capture_file, "fetched")
    recording = record(hub, session, "pcapng", start="oldest")
    (file,) = stop(hub, session, recording)["files"]
    ticket = ask(hub, lambda c: c.recording_ticket(session, recording, file["name"]))
    status, body = call(hub, "GET", f"/api/export/{ticket}", token="")
    assert (status, body) == (200, (folder / file["name"]).read_bytes())
    assert call(hub, "GET", f"/api/export/{ticket}", token="")[0] == 401
    other = new_session(hub, "another")
    for asked in ((other, recording, file["name"]), (session, recording, "../" + file["name"]), (session, "f00", "x")):
        with pytest.raises(NotFoundError, match="no recorded file"):
            ask(hub, partial(HubClient.recording_ticket, session=asked[0], recording=asked[1], file=asked[2]))
    gone = ask(hub, lambda c: c.recording_ticket(session, recording, file["name"]))
    (folder / file["name"]).unlink()
    assert call(hub, "GET", f"/api/export/{gone}", token="")[0] == 404


def test_only_the_newest_files_are_kept(hub: EmbeddedHub, folder: Path, capture_file: Path) -> None:
    session = new_session(hub, "few")
    recording = record(hub, session, "pcapng", rotate_bytes=65_536, max_files=3)
    replay(hub, capture_file, "few")
    status = stop(hub, session, recording)
    assert sorted(f["name"] for f in status["files"]) == sorted(p.name for p in folder.glob("few-*"))
    assert len(status["files"]) == 3
    assert status["removed_files"] > 10
    assert status["written"] == 10_000


def test_no_name_leads_out_of_the_folder(hub: EmbeddedHub, folder: Path, capture_file: Path) -> None:
    name = "../../up/\0\N{SNOWMAN}" + "x" * 150
    session = new_session(hub, name)
    recording = record(hub, session, "pcapng", start="oldest")
    call(hub, "POST", "/api/stream/start", {"id": session})
    replay(hub, capture_file, session)
    (file,) = stop(hub, session, recording)["files"]
    assert file["name"].startswith("up-xxx")
    assert (folder / file["name"]).exists()
    assert (folder / file["name"]).stat().st_mode & 0o077 == 0


def test_a_deleted_session_ends_its_recording_and_leaves_its_files(
    hub: EmbeddedHub, folder: Path, capture_file: Path
) -> None:
    session = new_session(hub, "deleted")
    record(hub, session, "pcapng")
    replay(hub, capture_file, "deleted")
    assert call(hub, "DELETE", f"/api/stream/{session}")[0] == 204
    (file,) = folder.glob("deleted-*")
    assert file.suffix == ".pcapng"
    with open_capture(file) as capture:
        assert sum(len(frames) for frames in capture) == 10_000


def test_a_full_disk_makes_recordings_wait_and_the_capture_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    allowed = subprocess.run(["unshare", "-Urm", "true"], capture_output=True)
    if allowed.returncode:
        pytest.skip("no mount namespace can be made here")
    script = 'mount -t tmpfs -o size=8m none "$1" && shift && exec "$@"'
    command = [sys.executable, "-m", "aishark_panel", "hub", "--embedded", "--port", "0", "--ring-mib", "96"]
    process = subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", script, "sh", str(folder), *command, "--recordings", str(folder)],
        env={**os.environ, "AISHARK_TOKEN": "t"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    hub = EmbeddedHub(json.loads(process.stdout.readline())["url"], "t", process)
    try:
        wait_until_ready(hub)
        inside = Path(f"/proc/{process.pid}/root{folder}")
        with made_up_traffic(hub, "live", 10_000):
            session = session_of(hub, "live")
            for export_format in ("pcapng", "parquet"):
                record(hub, session, export_format, rotate_s=0.5)
            waiting = wait_for(lambda: all_wait(hub, session), "the disk to be full")
            for each in waiting:
                assert "waits: " in each["reason"]
                assert "takes no more (No space left on device). Capture goes on." in each["reason"]
            stats = ask(hub, lambda c: c.stats(session))
            assert stats["recordings"]["waiting"] == 2
            assert stats["reason"] == stats["recordings"]["reason"] == waiting[0]["reason"]
            assert {line["state"] for line in ask(hub, lambda c: c.ledger(session))["recordings"]} == {"waiting"}
            wait_for(lambda: ask(hub, lambda c: c.stats(session))["packets"] > stats["packets"], "capture to go on")
            before = {each["id"]: each["written"] for each in waiting}
            wait_for(lambda: list(inside.glob("live-*.pcapng")), "a whole file on the full disk")
            for file in inside.glob("live-*.pcapng"):
                file.unlink()
            wait_for(
                lambda: any(r["written"] > before[r["id"]] for r in ask(hub, lambda c: c.recordings(session))),
                "recordings to go on",
            )
        for each in ask(hub, lambda c: c.recordings(session)):
            ended = stop(hub, session, each["id"])
            assert ended["offered"] == ended["written"] + ended["failed"]
            for file in ended["files"]:
                if (inside / file["name"]).exists():
                    assert packets_in(inside / file["name"]) == file["packets"]
        book = ask(hub, lambda c: c.ledger(session))
        assert [line["difference"] for line in book["recordings"]] == [0, 0]
        assert not list(inside.glob("*.part"))
    finally:
        hub.close()


def all_wait(hub: EmbeddedHub, session: str) -> list[dict[str, Any]] | None:
    """All recordings, once a full disk makes each of them wait."""
    recordings = ask(hub, lambda c: c.recordings(session))
    return recordings if all(each["state"] == "waiting" for each in recordings) else None


def packets_in(path: Path) -> int:
    if path.suffix == ".parquet":
        return len(parquet_rows(path.parent, path.name))
    with open_capture(path) as capture:
        packets = sum(len(frames) for frames in capture)
        assert capture.warning is None
        return packets


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "pcap"}, "Invalid enum value 'pcap'"),
        ({"rotate_bytes": 5}, ">= 65536"),
        ({"rotate_s": "10"}, "got `str` - at `$.rotate_s`"),
        ({"max_files": 0}, ">= 1"),
        ({"folder": "/etc"}, "unknown field `folder`"),
        ({"start": "tomorrow"}, "Invalid enum value"),
    ],
)
def test_options_that_make_no_sense_are_refused(hub: EmbeddedHub, options: dict[str, object], words: str) -> None:
    session = new_session(hub, "options")
    status, body = call(hub, "POST", f"/api/stream/{session}/recordings", options)
    assert status == 400
    assert words in json.loads(body)["error"]["message"]


def test_recordings_over_rest(hub: EmbeddedHub) -> None:
    session = new_session(hub, "rest")
    status, body = call(hub, "POST", f"/api/stream/{session}/recordings", {"format": "parquet"})
    recording = json.loads(body)
    assert (status, recording["state"]) == (201, "recording")
    listed = json.loads(call(hub, "GET", f"/api/stream/{session}/recordings")[1])["recordings"]
    assert [r["id"] for r in listed] == [recording["id"]]
    other = new_session(hub, "rest 2")
    assert call(hub, "DELETE", f"/api/stream/{other}/recordings/{recording['id']}")[0] == 404
    status, body = call(hub, "DELETE", f"/api/stream/{session}/recordings/{recording['id']}")
    assert (status, json.loads(body)["state"], json.loads(body)["files"]) == (200, "stopped", [])
    assert call(hub, "GET", "/api/stream/0123/recordings")[0] == 404


def test_errors_reach_the_client(hub: EmbeddedHub) -> None:
    session = new_session(hub, "errors")

    async def unknown(client: HubClient) -> object:
        return await client.record_stop(session, "0123")

    with pytest.raises(NotFoundError, match="no recording '0123' of this session"):
        ask(hub, unknown)
    with pytest.raises(ConfigError, match="no options of a recording"):
        record(hub, session, "csv")
    with pytest.raises(ExpressionError) as caught:
        record(hub, session, "pcapng", where="src_prt == 1")
    assert caught.value.position == 0


def test_a_hub_that_may_not_write_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = r"cannot make its folder .*: Not a directory"
    with recording_hub(tmp_path / "file" / "recordings") as hub, pytest.raises(ConfigError, match=words):
        record(hub, session_of(hub, "live"), "pcapng")


def test_the_record_command(hub: EmbeddedHub, capture_file: Path, folder: Path) -> None:
    new_session(hub, "by command")

    def run(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "aishark_panel", "record", *words, "--hub", hub.url],
            env={**os.environ, "AISHARK_TOKEN": hub.token},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    recording = run("start", "by command", "--format", "parquet").split()[0]
    replay(hub, capture_file, "by command")
    assert recording in run("list", "by command")
    said = run("stop", recording, "by command")
    assert "10,000 of 10,000 packets" in said
    paths = [Path(line.split()[0]) for line in said.splitlines()[1:]]
    assert paths
    assert all(folder in p.parents and p.exists() for p in paths)


def test_interfaces_that_come_later_are_described_before_their_packets(
    hub: EmbeddedHub, folder: Path, capture_file: Path
) -> None:
    session = new_session(hub, "interfaces")
    recording = record(hub, session, "pcapng")
    replay(hub, capture_file, "interfaces")
    assert (
        run_agent(
            hub, "-r", str(capture_file), "--speed", "max", "--session", "interfaces", "--name", "other"
        ).returncode
        == 0
    )
    (file,) = stop(hub, session, recording)["files"]
    with open_capture(folder / file["name"]) as capture:
        ifaces = np.concatenate([frames.iface.copy() for frames in capture])
        assert [i.name for i in capture.interfaces] == ["edge/numbered.pcap", "other/numbered.pcap"]
    assert np.bincount(ifaces).tolist() == [10_000, 10_000]
