"""History: when the ring is enough, what must be read back, and what is said of what is missing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aishark_panel.errors import ConflictError
from aishark_panel.export.partitions import Span
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.history import MAX_KEPT, Histories, History, Kept, _has, _reaches_back, split_id
from aishark_panel.streams.recorder import Recorder
from aishark_panel.streams.recording import Recording, RecordingOptions
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.segments import Gap, Kind, Totals, encode_note, record_head, segment_head, segment_path
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import SourceKind
from tests.traffic import START_NS, frames, hello

SECOND_NS = 10**9
DAY: Span = (START_NS, START_NS + 86_400 * SECOND_NS)


def session_of(source: SourceKind = "live", packets: int = 0) -> tuple[Session, AgentRun]:
    session = Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)
    run = session.runs.attach(hello(source=source))
    for i in range(packets // 10_000):
        session.ingest(run, frames(10_000, first=10_000 * i), i + 1, {})
    return session, run


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ab12", ("ab12", None)),
        ("ab12@5-9", ("ab12", (5, 9))),
        ("ab12@9-5", ("ab12@9-5", None)),
        ("ab12@5-", ("ab12@5-", None)),
        (f"ab12@5-{2**63}", (f"ab12@5-{2**63}", None)),
    ],
)
def test_a_name_may_have_a_time(text: str, found: tuple[str, Span | None]) -> None:
    assert split_id(text) == found


def test_the_ring_has_what_it_never_let_go_or_what_is_newer_than_its_oldest() -> None:
    assert _has(session_of(packets=10_000)[0], 0)
    session, _ = session_of(packets=300_000)
    oldest = START_NS + (session.ring.first - 1) * 1_000_000
    assert session.ring.evicted
    assert _has(session, oldest)
    assert not _has(session, oldest - 1)
    replayed, _ = session_of("replay", packets=300_000)
    assert not _has(replayed, oldest)  # times of a file may jump


def test_when_packets_may_have_come_in() -> None:
    session, run = session_of()
    history = History(session, (100 * SECOND_NS, 200 * SECOND_NS), Kept(None, ()))
    assert history._arrived() == (95 * SECOND_NS, 260 * SECOND_NS)
    session.gaps.append(Gap(what="connection", agent="edge", start_ns=150 * SECOND_NS, end_ns=900 * SECOND_NS))
    assert history._arrived() == (95 * SECOND_NS, 2**63)  # what was seen meanwhile came later
    run.offset_ns = -3_600 * SECOND_NS
    assert history._arrived() is None  # its clock is an hour ahead


def test_a_journal_reaches_back_to_its_oldest_segment(tmp_path: Path) -> None:
    assert not _reaches_back(tmp_path / "none", (0, 1))
    assert not _reaches_back(tmp_path, (0, 1))
    for number, packets in ((7, 1_000), (8, 2_000)):
        totals = encode_note(Totals(packets=packets, bytes=0, cleared=0, lost=0, first_ts=1))
        head = record_head(Kind.TOTALS, totals, at_ns=number * SECOND_NS)
        segment_path(tmp_path, number).write_bytes(segment_head() + head + totals)
    assert _reaches_back(tmp_path, (7 * SECOND_NS, 2**63))
    assert not _reaches_back(tmp_path, (7 * SECOND_NS - 1, 2**63))
    assert not _reaches_back(tmp_path, None)


def test_packets_between_the_recordings_and_the_ring_are_told(tmp_path: Path) -> None:
    session, run = session_of(packets=20_000)
    recording = Recording("r", session, RecordingOptions(format="parquet", start="oldest"), tmp_path, now_ns=1)
    while recording.cursor < session.ring.end:
        recording.advance(session.ring.end, 0.0)
    recording.finish(session.ring.end)
    for i in range(2, 40):
        session.ingest(run, frames(10_000, first=10_000 * i), i + 1, {})
    history = History(session, DAY, Kept(None, recording.files))
    assert history.reading.startswith("Reading this time back from the disk")
    history.run()
    assert history.reading == ""
    assert history.problem == (
        f"{session.ring.first - 20_001:,} packets of about this time are in no whole file yet, and not in the ring."
    )
    assert numbers(history) == [*range(1, 20_001), *range(session.ring.first, session.ring.end)]


def test_a_broken_file_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    session, _ = session_of(packets=300_000)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    history = History(session, DAY, Kept(None, [tmp_path / "x.parquet"]))
    history.run()
    assert history.problem.startswith("Not all of this time could be read back: cannot read")


def test_a_time_that_is_too_long_keeps_its_newest_packets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aishark_panel.streams.history.RING_BYTES", MIN_LIMIT_BYTES)
    session, _ = session_of(packets=10_000)
    session.ring.limit_bytes = 2**30
    (run,) = session.runs
    for i in range(1, 40):
        session.ingest(run, frames(10_000, first=10_000 * i), i + 1, {})
    history = History(session, DAY, Kept(None, ()))
    history.run()
    assert "did not fit into 48 MiB" in history.problem
    assert history.session.ring.end == session.ring.end
    assert history.session.ring.size_bytes <= MIN_LIMIT_BYTES


def test_who_needs_it_no_more_breaks_it_off() -> None:
    session, _ = session_of(packets=100_000)
    history = History(session, DAY, Kept(None, ()))
    history.cancel()
    history.run()
    assert (history.reading, history.session.packets) == ("", 8_192)


def numbers(history: History) -> list[int]:
    with history.session.ring.read() as views:
        return [n for v in views for n in range(v.packets.first_number + v.start, v.packets.first_number + v.stop)]


def test_what_comes_later_is_taken_too() -> None:
    session, run = session_of("replay", packets=20_000)
    history = History(session, (START_NS + 10 * SECOND_NS, START_NS + 30 * SECOND_NS), Kept(None, ()))
    history.run()
    assert not history.is_behind
    assert set(range(10_001, 20_001)) <= set(numbers(history))
    session.ingest(run, frames(20_000, first=20_000), 3, {})
    assert history.is_behind
    history.run()
    assert set(range(10_001, 30_001)) <= set(numbers(history))
    assert not history.is_behind
    assert history.covers(session, history.span)


def test_of_a_time_that_is_over_nothing_more_comes() -> None:
    session, run = session_of(packets=20_000)
    history = History(session, (START_NS, START_NS + 30 * SECOND_NS), Kept(None, ()))
    history.run()
    for i in range(3, 40):
        session.ingest(run, frames(10_000, first=10_000 * i), i, {})
    assert not history.is_behind
    assert history.covers(session, history.span)


def test_a_time_that_goes_on_is_read_anew_where_the_ring_was_faster() -> None:
    session, run = session_of("replay", packets=20_000)
    history = History(session, (START_NS, 2**62), Kept(None, ()))
    history.run()
    assert history.covers(session, history.span)
    for i in range(3, 40):
        session.ingest(run, frames(10_000, first=10_000 * i), i, {})
    assert not history.covers(session, history.span)


def test_nobody_pushes_out_what_others_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = session_of(packets=300_000)
    executor = ThreadPoolExecutor(1)
    (tmp_path / "journal" / "abc").mkdir(parents=True)
    histories = Histories(Recorder(tmp_path, executor), tmp_path / "journal")
    spans = [(START_NS + k, START_NS + k + 1) for k in range(MAX_KEPT + 1)]
    try:
        kept = [histories.reach(session, span) for span in spans[:-1]]
        assert len({id(history) for history in kept}) == MAX_KEPT
        with pytest.raises(ConflictError, match="try again later"):
            histories.reach(session, spans[-1])
        assert histories.reach(session, spans[0]) is kept[0]
        monkeypatch.setattr("aishark_panel.streams.history._BUSY_S", -1.0)
        assert histories.reach(session, spans[-1]) not in (None, *kept)
        assert histories.reach(session, spans[0]) is kept[0]  # the one that was asked longest ago made room
        histories.forget(session)
        assert histories.reach(session, spans[0]) is not kept[0]
    finally:
        histories.close()
        executor.shutdown()
