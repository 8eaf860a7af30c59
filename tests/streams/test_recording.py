"""Recording: what is counted when packets are gone before their turn, and when its file ends."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import ConfigError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.partfile import PartFile
from aishark_panel.streams.recording import Recording, RecordingOptions
from aishark_panel.streams.session import Session
from aishark_panel.wire.pcapheaders import InterfaceCounters
from tests.streams.journals import files_at_most
from tests.traffic import START_NS, frames, hello


def make(session: Session, folder: Path, **options: object) -> Recording:
    return Recording("r", session, RecordingOptions.parse(options), folder, now_ns=1_700_000_000_123_456_789)


def catch_up(recording: Recording, now_s: float = 0.0) -> None:
    end = recording.session.ring.end
    while recording.cursor < end:
        recording.advance(end, now_s)


def finish(recording: Recording) -> None:
    recording.finish(recording.session.ring.end)


def times_in(path: Path) -> list[int]:
    with open_capture(path) as file:
        return [int(ts) for f in file for ts in f.ts]


def test_packets_that_are_evicted_before_their_turn_count_as_failed(
    session: Session, run: AgentRun, tmp_path: Path
) -> None:
    recording = make(session, tmp_path)
    for i in range(30):
        session.ingest(run, frames(10_000, first=10_000 * i), i + 1, {})
    evicted = session.ring.first - 1
    assert evicted > 0
    catch_up(recording)
    finish(recording)
    status = recording.status()
    assert (status["offered"], status["failed"]) == (300_000, evicted)
    (path,) = tmp_path.iterdir()
    assert len(times_in(path)) == status["written"] == 300_000 - evicted


def test_packets_that_are_cleared_before_their_turn_count_as_failed(
    session: Session, run: AgentRun, tmp_path: Path
) -> None:
    recording = make(session, tmp_path)
    session.ingest(run, frames(100), 1, {})
    session.clear()
    session.ingest(run, frames(50), 2, {})
    catch_up(recording)
    assert (recording.written, recording.failed) == (50, 100)


def test_a_pcapng_file_ends_with_what_its_interfaces_dropped(session: Session, tmp_path: Path) -> None:
    alone, both = session.runs.attach(hello(run="aa" * 16)), session.runs.attach(hello("eth1", "eth2", run="bb" * 16))
    replayed = session.runs.attach(hello("file", run="cc" * 16))
    recording = make(session, tmp_path)
    session.ingest(alone, frames(10), 1, {"matched": 15, "kernel_dropped": 5})
    session.ingest(both, frames(10), 1, {"matched": 20, "kernel_dropped": 1})  # the sums of both interfaces
    session.ingest(replayed, frames(10), 1, {"matched": 10})
    catch_up(recording)
    alone.counters = {"matched": 18, "kernel_dropped": 8}
    finish(recording)
    (path,) = tmp_path.iterdir()
    with open_capture(path) as file:
        assert sum(map(len, file)) == 30
    assert [(i.name, i.counters) for i in file.interfaces] == [
        ("edge/eth0", InterfaceCounters(accepted=18, dropped_by_system=8)),
        ("edge/eth1", None),
        ("edge/eth2", None),
        ("edge/file", None),
    ]


def test_a_pcapng_file_is_whole_where_the_disk_has_no_room_for_its_end(
    session: Session, run: AgentRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = make(session, tmp_path)
    session.ingest(run, frames(10), 1, {"matched": 15, "kernel_dropped": 5})
    catch_up(recording)

    def full(_part: PartFile, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartFile, "write", full)
    finish(recording)
    assert (recording.written, recording.failed, recording.state) == (10, 0, "stopped")
    (path,) = tmp_path.iterdir()
    assert len(times_in(path)) == 10


def test_a_file_ends_at_its_age_and_the_next_begins_with_a_packet(
    session: Session, run: AgentRun, tmp_path: Path
) -> None:
    recording = make(session, tmp_path, rotate_s=10.0)
    session.ingest(run, frames(10), 1, {})
    catch_up(recording, now_s=100.0)
    recording.tidy(109.9)
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    recording.tidy(110.0)
    recording.tidy(200.0)
    assert [p.name for p in tmp_path.iterdir()] == ["test-20231114T221320.123Z-0001.pcapng"]
    session.ingest(run, frames(10, first=10), 2, {})
    catch_up(recording, now_s=300.0)
    finish(recording)
    paths = sorted(tmp_path.iterdir())
    assert [t for p in paths for t in times_in(p)] == frames(20).ts.tolist()
    assert [len(times_in(p)) for p in paths] == [10, 10]


def test_a_file_of_that_name_is_not_written_over(session: Session, run: AgentRun, tmp_path: Path) -> None:
    older = tmp_path / "test-20231114T221320.123Z-0001.pcapng"
    older.write_text("older")
    recording = make(session, tmp_path)
    session.ingest(run, frames(10), 1, {})
    catch_up(recording)
    finish(recording)
    assert (recording.state, older.read_text()) == ("stopped", "older")
    assert len(times_in(tmp_path / "test-20231114T221320.123Z-0002.pcapng")) == 10


def test_a_folder_that_is_gone_makes_it_wait_until_it_is_back(session: Session, run: AgentRun, tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    recording = make(session, folder)
    session.ingest(run, frames(10), 1, {})
    recording.advance(session.ring.end, 100.0)
    assert (recording.state, recording.written, recording.failed) == ("waiting", 0, 0)
    assert "the disk takes no more (No such file or directory)" in recording.reason
    folder.mkdir()
    recording.tidy(101.0)
    assert recording.state == "waiting"
    recording.tidy(102.0)
    assert (recording.state, recording.reason) == ("recording", "")
    catch_up(recording, 102.0)
    finish(recording)
    (path,) = folder.iterdir()
    assert len(times_in(path)) == recording.written == 10


@pytest.mark.parametrize("export_format", ["pcapng", "parquet"])
def test_a_disk_that_is_full_for_a_while_costs_only_what_is_evicted_meanwhile(
    session: Session, run: AgentRun, tmp_path: Path, export_format: str
) -> None:
    recording = make(session, tmp_path, format=export_format, rotate_packets=50_000)
    for i in range(6):
        session.ingest(run, frames(10_000, first=10_000 * i), i + 1, {})
    with files_at_most(2**14):
        while recording.state == "recording" and recording.cursor < session.ring.end:
            recording.advance(session.ring.end, 0.0)
    assert (recording.state, recording.failed) == ("waiting", 0)
    for i in range(6, 30):
        session.ingest(run, frames(10_000, first=10_000 * i), i + 1, {})
    recording.tidy(10.0)
    evicted = session.ring.first - 1
    catch_up(recording, 10.0)
    finish(recording)
    assert 0 < recording.failed <= evicted
    assert recording.written + recording.failed == 300_000
    found = sorted(n for path in tmp_path.rglob("*.*") for n in numbers_in(path))
    assert len(found) == len(set(found)) == recording.written
    assert set(range(evicted, 300_000)) <= set(found)


def numbers_in(path: Path) -> list[int]:
    if path.suffix == ".parquet":
        return [number - 1 for number in pq.read_table(path)["number"].to_pylist()]
    return [(ts - START_NS) // 1_000_000 for ts in times_in(path)]


def test_a_file_ends_with_so_many_packets(session: Session, run: AgentRun, tmp_path: Path) -> None:
    recording = make(session, tmp_path, rotate_packets=1_000)
    session.ingest(run, frames(2_500), 1, {})
    catch_up(recording)
    finish(recording)
    assert [len(times_in(p)) for p in sorted(tmp_path.iterdir())] == [1_000, 1_000, 500]


@pytest.mark.parametrize("body", [None, [], {"format": 1}, {"rotate_s": float("nan")}, {"rotate_bytes": True}])
def test_options_are_checked(body: object) -> None:
    with pytest.raises(ConfigError, match="no options of a recording"):
        RecordingOptions.parse(body)


def test_parquet_files_stand_in_the_folder_of_their_packets_hour(
    session: Session, run: AgentRun, tmp_path: Path
) -> None:
    recording = make(session, tmp_path, format="parquet")
    late = (1_700_002_800 * 10**9 - START_NS) // 1_000_000  # the next hour begins with that frame
    session.ingest(run, frames(2_000, first=late - 500), 1, {})
    session.ingest(run, frames(10, first=late - 5), 2, {})
    catch_up(recording)
    finish(recording)
    base = "test-20231114T221320.123Z-000"
    hours = "session=test/date=2023-11-14/hour=22", "session=test/date=2023-11-14/hour=23"
    assert [(f["name"], f["packets"]) for f in recording.status()["files"]] == [
        (f"{hours[0]}/{base}1.parquet", 500),
        (f"{hours[1]}/{base}2.parquet", 1_500),
        (f"{hours[0]}/{base}3.parquet", 5),
        (f"{hours[1]}/{base}4.parquet", 5),
    ]
    table = pq.read_table(tmp_path)
    assert table.num_rows == 2_010
    assert table.column_names[-3:] == ["session", "date", "hour"]
    recording = make(session, tmp_path, format="parquet", start="oldest", max_files=1)
    catch_up(recording)
    finish(recording)
    assert len(list(tmp_path.rglob("*.parquet"))) == 5  # of the second one only the last file is left


def test_a_folder_that_is_empty_goes_with_its_last_file(session: Session, run: AgentRun, tmp_path: Path) -> None:
    recording = make(session, tmp_path, format="parquet", max_files=1)
    session.ingest(run, frames(10, first=0), 1, {})
    session.ingest(run, frames(10, first=3_600_000), 2, {})
    catch_up(recording)
    finish(recording)
    assert [path.name for path in (tmp_path / "session=test").rglob("hour=*")] == ["hour=23"]
