"""The journal: a session comes back as it was, whatever happened to hub, disk and files."""

import errno
import functools
import os
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.errors import ConfigError
from aishark_panel.streams.journal import Journal
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.segments import Gap, Kind, read_segment
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.wire.messages import Batch
from tests.arrow import read_stream
from tests.ledgers import identities
from tests.streams.journals import HELLO, OTHER, SESSION, batch, expected, files_at_most, kept, overflowing, paths
from tests.traffic import frames, hello


def answers(session: Session) -> list[object]:
    """What people would see."""
    rows = {"first": 1, "count": 50, "columns": ["number", "ts", "src_ip", "protocol", "agent", "iface"]}
    bodies = [METHODS["rows"](session, rows)[1], METHODS["rollup"](session, {"resolution_ms": 1_000})[1]]
    bodies.append(METHODS["conversations"](session, {})[1])
    told = stats(session)
    return [read_stream(body).to_pylist() for body in bodies] + [
        {key: told[key] for key in ("packets", "bytes", "first", "end", "first_ts", "last_ts", "evicted", "cleared")}
    ]


def test_a_session_comes_back_as_it_was(tmp_path: Path) -> None:
    with kept(tmp_path) as before:
        for sequence in range(1, 6):
            before.take(batch(sequence))
            before.take(batch(sequence, rows=7), OTHER)
        before.run(OTHER).reject(7, "invalid", 3)
        before.run(OTHER).arrived += 3
        before.run(OTHER).counters = {"captured": 38}
        before.run(OTHER).ended, before.run(OTHER).reason = True, "all sent"
        before.writer.note(before.run(OTHER))
    with kept(tmp_path) as after:
        assert after.contents() == before.contents()
        assert answers(after.session) == answers(before.session)
        assert identities(ledger(after.session)) == []
        first, other = after.run(), after.run(OTHER)
        assert (first.taken, first.received, first.durable, first.journalled, first.packets) == (5, 5, 5, 5, 500)
        assert (first.counters, first.connected, first.ended) == ({"captured": 500}, False, False)
        assert (other.packets, other.rejected, other.ended, other.reason) == (35, {"invalid": 3}, True, "all sent")
        assert after.recovery.gap is not None
        assert stats(after.session)["state"] == "waiting"
        # ... and goes on, over another restart
        after.take(batch(6))
    with kept(tmp_path) as last:
        assert last.session.packets == 635
        assert sorted(last.contents()) == sorted(expected(1, 6) + expected(1, 5, rows=7))
        assert last.run().durable == 6


def test_interfaces_of_before_keep_their_names(tmp_path: Path) -> None:
    with kept(tmp_path) as before:
        before.take(batch(1))
        before.session.runs.set_interfaces(before.run(), hello("eth0", "eth7").interfaces)
        moved = frames(10)
        moved.iface.fill(1)
        before.take(Batch.unpack(Batch.pack(2, moved, "none", {})))
    with kept(tmp_path) as after:
        rows = {"first": 95, "count": 12, "columns": ["iface"]}
        _, body = METHODS["rows"](after.session, rows)
        assert [row["iface"] for row in read_stream(body).to_pylist()] == ["eth0"] * 6 + ["eth7"] * 6


def test_batches_are_durable_once_they_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_sync = threading.Event()
    synced: list[bytes] = []
    real = os.fdatasync

    def sync(fd: int) -> None:
        assert may_sync.wait(20)
        real(fd)
        synced.append(b"".join(path.read_bytes() for path in paths(tmp_path)))

    monkeypatch.setattr(os, "fdatasync", sync)
    with kept(tmp_path) as hub:
        one = batch(1)
        hub.take(one)
        assert hub.durable == {}
        assert hub.run().taken == 1
        may_sync.set()
        hub.wait_durable(1)
        assert one.envelope in synced[0]
        assert hub.journal.waiting_bytes == 0


def test_the_oldest_segments_go_and_the_numbers_stay(tmp_path: Path, small_segments: None) -> None:
    with kept(tmp_path, limit_bytes=100_000) as before:
        for sequence in range(1, 41):
            before.take(batch(sequence))
            before.wait_durable(sequence)
    assert sum(path.stat().st_size for path in paths(tmp_path)) <= 120_000
    with kept(tmp_path, limit_bytes=100_000) as after:
        told = stats(after.session)
        assert (told["packets"], told["end"]) == (4_000, 4_001)
        assert told["bytes"] == before.session.bytes
        first = told["first"]
        assert 1 < first < 3_500
        assert told["evicted"] == first - 1
        assert after.contents() == before.contents()[first - 1 :]
        assert (after.run().packets, after.run().durable) == (4_000, 40)
        assert identities(ledger(after.session)) == []


def test_what_was_cleared_does_not_come_back(tmp_path: Path) -> None:
    with kept(tmp_path) as before:
        before.take(batch(1))
        before.clear()
        before.take(batch(2))
    with kept(tmp_path) as after:
        assert after.contents() == expected(2, 2)
        assert answers(after.session) == answers(before.session)
        assert (after.session.ring.cleared, after.run().packets) == (100, 200)
        assert identities(ledger(after.session)) == []


def test_a_disk_that_takes_nothing_stops_durable_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aishark_panel.streams.journal.RETRY_S", 0.05)
    with kept(tmp_path) as hub:
        hub.take(batch(1))
        hub.wait_durable(1)
        with files_at_most(25_000):
            for sequence in range(2, 8):
                assert hub.take(batch(sequence))
            hub.wait(lambda: hub.writer.is_failing)
            assert stats(hub.session)["journal"]["state"] == "failing"
            assert "may not write a file of the journal this long" in hub.session.reason
            assert hub.run().taken == 7
            assert hub.durable[HELLO.run] < 7
            assert hub.journal.waiting_bytes > 10_000
        hub.wait_durable(7)
        assert not hub.writer.is_failing
        assert (hub.session.reason, hub.journal.waiting_bytes) == ("", 0)
    with kept(tmp_path) as after:
        assert after.contents() == expected(1, 7)


@pytest.mark.parametrize("cleared_before", [False, True])
def test_what_there_was_no_memory_for_is_written_down_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cleared_before: bool
) -> None:
    with kept(tmp_path) as hub:
        with overflowing(hub, monkeypatch):
            assert hub.journal.waiting_bytes < 60_000
            if cleared_before:
                hub.clear()
        assert not hub.take(batch(20))  # not its turn
        for sequence in range(2, 21):
            assert hub.take(batch(sequence))
        if not cleared_before:
            hub.clear()
        hub.take(batch(21))
        hub.wait_durable(21)
        assert hub.run().unjournalled == 0
        assert hub.session.packets == 2_100
    with kept(tmp_path) as after:
        assert after.contents() == expected(21, 21)
        assert (after.session.packets, after.session.ring.end) == (2_100, 2_101)
        assert identities(ledger(after.session)) == []


def test_what_was_cleared_stays_away_when_the_mark_of_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_segments: None
) -> None:
    with kept(tmp_path, limit_bytes=100_000) as before:
        with overflowing(before, monkeypatch):
            before.clear()
        assert before.take(batch(1), OTHER)  # while the first agent has not sent its batches again
        for sequence in range(2, 22):
            assert before.take(batch(sequence))
            before.wait_durable(sequence)
    kinds = [record.kind for path in paths(tmp_path) for record in read_segment(path).records]
    assert Kind.CLEAR not in kinds
    assert kinds.count(Kind.BATCH) > 5
    with kept(tmp_path, limit_bytes=100_000) as after:
        assert after.contents() == expected(21, 21)
        assert after.session.ring.end == before.session.ring.end == 2_201
        assert (after.session.packets, after.session.bytes) == (2_200, before.session.bytes)
        assert identities(ledger(after.session)) == []


def test_packets_that_were_cleared_before_they_were_written_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(tmp_path) as before:
        with overflowing(before, monkeypatch):
            before.take(batch(1, rows=7), OTHER)  # there is no room for it, either
            before.clear()
        assert before.take(batch(1, rows=7), OTHER)  # the first agent was killed: its batches never come again
        assert before.take(batch(2, rows=7), OTHER)
        before.wait(lambda: not before.journal.waiting_bytes)
    with kept(tmp_path) as after:
        assert after.session.ring.end == before.session.ring.end
        assert (after.session.packets, after.session.lost_in_hub_crash) == (before.session.packets, 0)
        assert after.session.ring.cleared == before.session.ring.cleared == 2_007
        assert identities(ledger(after.session)) == []


@functools.cache
def journal_of_three() -> tuple[bytes, list[bytes]]:
    """A segment with three batches, and their frames."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with kept(Path(folder)) as hub:
            for sequence in (1, 2, 3):
                hub.take(batch(sequence, rows=5))
        (path,) = paths(Path(folder))
        return path.read_bytes(), hub.contents()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_journal_that_is_cut_or_damaged_anywhere_gives_what_stands_before(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole, contents = journal_of_three()
    folder = tmp_path_factory.mktemp("damaged")
    (folder / SESSION).mkdir()
    content = bytearray(whole)
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["cut", "flip", "junk"]))
    if how == "cut":
        del content[at:]
    elif how == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        content[at:] = data.draw(st.binary(max_size=300))
    (folder / SESSION / "000000000001.journal").write_bytes(content)
    with kept(folder) as hub:
        assert contents[: hub.session.packets] == hub.contents()
        assert hub.session.packets % 5 == 0
        assert identities(ledger(hub.session)) == []
        durable = hub.run().durable
        assert durable == hub.session.packets // 5
        for sequence in range(durable + 1, 5):
            hub.take(batch(sequence, rows=5))
    with kept(folder) as again:
        assert again.contents() == expected(1, 4, rows=5)


def test_files_that_are_no_segments_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / SESSION
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "000000000001.journal").write_bytes(os.urandom(50_000))
    (folder / "000000000002.journal").mkdir()
    (folder / "000000000003.journal").symlink_to("/dev/zero")
    with kept(tmp_path) as hub:
        assert hub.session.packets == 0
        hub.take(batch(1))
        hub.wait_durable(1)
    assert (folder / "notes.txt").read_text() == "mine"
    with kept(tmp_path) as after:
        assert after.contents() == expected(1, 1)


def test_two_hubs_cannot_share_a_journal(tmp_path: Path) -> None:
    with kept(tmp_path), pytest.raises(ConfigError, match=r"Another hub keeps its journal in .*--no-journal"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_a_journal_keeps_its_name_and_knows_when_its_hub_was_alive(tmp_path: Path) -> None:
    with kept(tmp_path) as hub:
        name, died_ns = hub.journal.id, hub.journal.died_ns
        hub.journal.mark_up()
    with kept(tmp_path) as after:
        assert after.journal.id == name
        assert died_ns == 0 < after.journal.died_ns <= time.time_ns()
    with kept(tmp_path) as again:  # the one before was never up
        assert again.journal.died_ns == after.journal.died_ns


@pytest.mark.parametrize("content", ['{"format": 2, "id": "' + "0" * 32 + '"}', "junk", "[]", '{"format": 1, "id": 5}'])
def test_a_journal_of_another_version_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "journal.lock").write_text(content)
    with pytest.raises(ConfigError, match="of another version of aishark, or damaged"):
        Journal(tmp_path)
    assert (tmp_path / "journal.lock").read_text() == content


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "journal", Path("/proc/journal")):
        with pytest.raises(ConfigError, match="cannot make its folder"):
            Journal(folder)
    (tmp_path / "journal.lock").mkdir()
    with pytest.raises(ConfigError, match="cannot keep its journal"):
        Journal(tmp_path)


def test_a_deleted_session_leaves_nothing(tmp_path: Path) -> None:
    with kept(tmp_path) as hub:
        hub.take(batch(1))
        hub.wait_durable(1)
        hub.take(batch(2))
        hub.writer.forget()
        hub.take(batch(3))
    assert [path.name for path in tmp_path.iterdir()] == ["journal.lock"]


def test_a_session_is_deleted_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def full(*_: object) -> None:
        writing.set()
        go_on.wait(20)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fdatasync", full)
    with kept(tmp_path) as hub:
        hub.take(batch(1))
        assert writing.wait(20)
        hub.writer.forget()
        go_on.set()
    assert hub.journal.waiting_bytes == 0


def test_a_session_whose_hub_died_while_it_was_deleted_is_removed(tmp_path: Path) -> None:
    with kept(tmp_path) as hub:
        hub.take(batch(1))
    (tmp_path / SESSION).rename(tmp_path / f"{SESSION}.deleted")
    with kept(tmp_path) as after:
        assert after.journal.remove_deleted() == [SESSION]
        assert after.session.packets == 0
    assert [path.name for path in tmp_path.iterdir()] == ["journal.lock"]


def test_an_agent_that_counts_too_far_harms_nobody(tmp_path: Path) -> None:
    with kept(tmp_path) as hub:
        run = hub.run(msgspec.structs.replace(OTHER, counters={"delivered": 10**30}))
        run.counters = {"captured": 10**30, "matched": -(10**30), "outbox": 7}
        run.lost_in_hub_crash = hub.session.lost_in_hub_crash = 10**30
        hub.take(batch(1))
        hub.wait_durable(1)
    with kept(tmp_path) as after:
        assert after.contents() == expected(1, 1)
        assert after.run(OTHER).counters == run.counters


def test_gaps_come_back(tmp_path: Path) -> None:
    gap = Gap(what="agent", agent="edge", start_ns=5, end_ns=9)
    with kept(tmp_path) as hub:
        hub.writer.gap(gap)
        hub.take(batch(1))
    with kept(tmp_path) as after:
        assert list(after.session.gaps) == [gap]
        assert after.contents() == expected(1, 1)


def test_the_files_are_closed_to_others(tmp_path: Path) -> None:
    with kept(tmp_path / "made") as hub:
        hub.take(batch(1))
    for path in (tmp_path / "made", tmp_path / "made" / SESSION, *paths(tmp_path / "made")):
        assert path.stat().st_mode & 0o077 == 0
