"""Manifests: replaced as a whole, read without trust; and a recording that goes on by one."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.streams.diskroom import DiskRoom
from aishark_panel.streams.manifest import Counts, Manifest, RecordingOptions, read_manifests
from aishark_panel.streams.partfile import PART
from aishark_panel.streams.recorder import Recorder
from aishark_panel.streams.recording import Recording
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from tests.streams.journals import files_at_most
from tests.traffic import frames, hello

STEM = "live-20231114T221320.123Z"


def manifest(**changes: object) -> Manifest:
    values = {
        "journal": "j", "session": "s", "id": "r", "stem": STEM, "options": RecordingOptions(), "state": "recording",
        "reason": "", "first": 1, "counts": Counts(1), "opened": 0, "ended": 0, "files": (),
    }  # fmt: skip
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def test_it_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    manifest().save(tmp_path)
    manifest(counts=Counts(5, 4)).save(tmp_path)
    with files_at_most(10), pytest.raises(OSError, match="File too large"):
        manifest(counts=Counts(9, 8)).save(tmp_path)
    assert read_manifests(tmp_path, "j") == [manifest(counts=Counts(5, 4))]
    assert [p.name for p in tmp_path.iterdir()] == [f"{STEM}.recording"]
    assert read_manifests(tmp_path, "of another hub") == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"stem": "../../etc/passwd"}'])
def test_what_makes_no_sense_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.recording").write_bytes(content)
    assert read_manifests(tmp_path, "j") == []
    assert (tmp_path / "a.recording").read_bytes() == content


def test_names_lead_nowhere_else(tmp_path: Path) -> None:
    manifest().save(tmp_path)
    path = tmp_path / f"{STEM}.recording"
    assert '"files":[]' in path.read_text()
    note = '{"name":"../x","packets":1,"bytes":1}'
    path.write_text(path.read_text().replace('"files":[]', f'"files":[{note}]'))
    assert read_manifests(tmp_path, "j") == []


@pytest.mark.parametrize("cut", [0, 100])
def test_a_part_counts_up_to_what_the_manifest_names_or_not_at_all(tmp_path: Path, cut: int) -> None:
    """A part that is shorter than the manifest says, as after a power failure, is written again from its beginning."""
    session = Session("s", "live", ring_bytes=MIN_LIMIT_BYTES)
    run = session.runs.attach(hello())
    recording = Recording("r", session, RecordingOptions(), tmp_path, now_ns=1_700_000_000_123_456_789, journal="j")
    for i in range(2):
        session.ingest(run, frames(100, first=100 * i), i + 1, {})
        recording.advance(session.ring.end, 10.0)
        recording.tidy(10.0)  # the second comes too soon after the first to be written down
    (part,) = tmp_path.glob(f"*{PART}")
    if cut:
        part.write_bytes(part.read_bytes()[:cut])
    (known,) = read_manifests(tmp_path, "j")
    room = DiskRoom(tmp_path, None, lambda _: None)
    resumed = Recording.resume(known, session, tmp_path, room)
    assert resumed.counts == (Counts(1) if cut else Counts(101, 100))
    resumed.advance(session.ring.end, 20.0)
    resumed.finish(session.ring.end)
    assert (resumed.written, resumed.failed) == (200, 0)
    times = []
    for path in sorted(tmp_path.glob("*.pcapng")):
        with open_capture(path) as capture:
            times += [int(ts) for block in capture for ts in block.ts]
    assert times == frames(200).ts.tolist()


def test_recordings_of_the_same_moment_have_a_manifest_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of two people may have one name, and a manifest is named by that and the time."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            recorder = Recorder(tmp_path, pool, journal="j")
            for number in range(3):
                session = Session(f"{number}" * 12, "live", ring_bytes=MIN_LIMIT_BYTES)
                await recorder.start(session, RecordingOptions())
            await recorder.close()

    asyncio.run(run())
    assert sorted(manifest.session[0] for manifest in read_manifests(tmp_path, "j")) == ["0", "1", "2"]
