"""Recording: what is counted when packets are gone before their turn, and when its file ends."""

from pathlib import Path

import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import ConfigError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.partfile import PartFile
from aishark_panel.streams.recording import Recording, RecordingOptions
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.pcapheaders import InterfaceCounters
from tests.traffic import frames, hello


@pytest.fixture
def session() -> Session:
    return Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)


@pytest.fixture
def run(session: Session) -> AgentRun:
    return session.attach(hello())


def make(session: Session, folder: Path, **options: object) -> Recording:
    return Recording("r", session, RecordingOptions.parse(options), folder, now_ns=1_700_000_000_123_456_789)


def catch_up(recording: Recording, now_s: float = 0.0) -> None:
    end = recording.session.ring.end
    while recording.cursor < end:
        recording.advance(end, now_s)


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
    recording.finish()
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
    alone, both = session.attach(hello(run="aa" * 16)), session.attach(hello("eth1", "eth2", run="bb" * 16))
    replayed = session.attach(hello("file", run="cc" * 16))
    recording = make(session, tmp_path)
    session.ingest(alone, frames(10), 1, {"matched": 15, "kernel_dropped": 5})
    session.ingest(both, frames(10), 1, {"matched": 20, "kernel_dropped": 1})  # the sums of both interfaces
    session.ingest(replayed, frames(10), 1, {"matched": 10})
    catch_up(recording)
    alone.counters = {"matched": 18, "kernel_dropped": 8}
    recording.finish()
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
    recording.finish()
    assert (recording.written, recording.failed, recording.state) == (10, 0, "failed")
    (path,) = tmp_path.iterdir()
    assert len(times_in(path)) == 10


def test_a_file_ends_at_its_age_and_the_next_begins_with_a_packet(
    session: Session, run: AgentRun, tmp_path: Path
) -> None:
    recording = make(session, tmp_path, rotate_s=10.0)
    session.ingest(run, frames(10), 1, {})
    catch_up(recording, now_s=100.0)
    recording.rotate_if_due(109.9)
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    recording.rotate_if_due(110.0)
    recording.rotate_if_due(200.0)
    assert [p.name for p in tmp_path.iterdir()] == ["test-20231114T221320.123Z-0001.pcapng"]
    session.ingest(run, frames(10, first=10), 2, {})
    catch_up(recording, now_s=300.0)
    recording.finish()
    paths = sorted(tmp_path.iterdir())
    assert [t for p in paths for t in times_in(p)] == frames(20).ts.tolist()
    assert [len(times_in(p)) for p in paths] == [10, 10]


def test_a_file_that_cannot_be_begun_ends_the_recording(session: Session, run: AgentRun, tmp_path: Path) -> None:
    recording = make(session, tmp_path / "gone")
    session.ingest(run, frames(10), 1, {})
    catch_up(recording)
    assert (recording.state, recording.written, recording.failed) == ("failed", 0, 10)
    assert "gone takes no more (No such file or directory)" in recording.reason


def test_a_file_of_that_name_is_not_written_over(session: Session, run: AgentRun, tmp_path: Path) -> None:
    older = tmp_path / "test-20231114T221320.123Z-0001.pcapng"
    older.write_text("older")
    recording = make(session, tmp_path)
    session.ingest(run, frames(10), 1, {})
    catch_up(recording)
    assert (recording.state, older.read_text()) == ("failed", "older")


@pytest.mark.parametrize("body", [None, [], {"format": 1}, {"rotate_s": float("nan")}, {"rotate_bytes": True}])
def test_options_are_checked(body: object) -> None:
    with pytest.raises(ConfigError, match="no options of a recording"):
        RecordingOptions.parse(body)
