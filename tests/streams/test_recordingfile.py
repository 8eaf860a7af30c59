"""A recording's file on a disk that takes no more: what can be used of it is kept, and nothing else is left behind."""

from pathlib import Path

import numpy as np
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.streams.manifest import Counts
from aishark_panel.streams.partfile import PartFile
from aishark_panel.streams.recordingfile import RecordingFile
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from tests.traffic import frames, hello


@pytest.fixture
def session() -> Session:
    session = Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)
    session.ingest(session.runs.attach(hello()), frames(20), 1, {})
    return session


def begin(session: Session, folder: Path, name: str) -> RecordingFile:
    return RecordingFile(folder, name, session, "", opened_s=0.0, before=Counts(0), failed=lambda: 0)


def write(file: RecordingFile, session: Session, start: int, stop: int) -> None:
    with session.ring.read(1, session.ring.end) as ((packets, _, _),):
        file.write(packets, np.arange(start, stop))


def fill_disk(monkeypatch: pytest.MonkeyPatch, after_bytes: int = 100) -> None:
    """The next write takes so many bytes, and then the disk is full."""
    real = PartFile.write

    def full(part: PartFile, data: bytes | memoryview) -> int:
        real(part, data[:after_bytes])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PartFile, "write", full)


def test_it_is_seen_once_it_is_whole(session: Session, tmp_path: Path) -> None:
    file = begin(session, tmp_path, "a.pcapng")
    write(file, session, 0, 10)
    write(file, session, 10, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pcapng.part"]
    file.complete()
    file.sync()
    file.give_name()
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("a.pcapng", file.note.bytes)]
    assert (file.is_whole, file.is_lost, file.note.packets) == (True, False, 20)
    with pytest.raises(FileExistsError):
        begin(session, tmp_path, "a.pcapng")


def test_of_pcapng_the_blocks_before_are_kept(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = begin(session, tmp_path, "a.pcapng")
    write(file, session, 0, 10)
    fill_disk(monkeypatch)
    with pytest.raises(OSError, match="No space"):
        write(file, session, 10, 20)
    assert (file.is_whole, file.is_lost) == (True, False)
    file.complete()
    file.sync()
    file.give_name()
    with open_capture(tmp_path / "a.pcapng") as capture:
        assert sum(map(len, capture)) == file.packets == 10


@pytest.mark.parametrize("name", ["a.parquet", "empty.pcapng"])
def test_what_is_of_no_use_is_removed(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def go_on() -> None:
        write(file, session, 10, 20)
        file.complete()

    file = begin(session, tmp_path, name)
    if name == "a.parquet":
        write(file, session, 0, 10)
    fill_disk(monkeypatch)
    with pytest.raises(OSError, match="No space"):
        go_on()
    assert (file.is_whole, file.is_lost) == (False, True)
    file.discard()  # again: nothing more is done
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_did_not_sync_is_removed(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_part: PartFile) -> None:
        raise OSError(5, "Input/output error")

    file = begin(session, tmp_path, "a.pcapng")
    write(file, session, 0, 10)
    monkeypatch.setattr(PartFile, "sync", fail)
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    assert file.is_lost
    assert list(tmp_path.iterdir()) == []
