"""Outbox: numbering, bound, release; what moves to the spool, and what is counted."""

import errno
import threading
from pathlib import Path

import pytest

from aishark_panel.agent.outbox import SPOOL_AFTER_S, Outbox
from aishark_panel.agent.run import Run, open_run
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch
from tests.integration.conftest import wait_for

FRAMES = Frames.from_list([b"x" * 100] * 10, list(range(10)))


def put(outbox: Outbox, run: Run, counters: dict[str, int] | None = None) -> None:
    """Ten packets are captured, and come from the encoder."""
    run.tally.move(captured=len(FRAMES), in_encoder=len(FRAMES))
    outbox.put(FRAMES, counters or {})


def test_batches_are_numbered_from_one_and_stay_until_durable() -> None:
    run = Run()
    outbox = Outbox("none", run)
    for _ in range(3):
        put(outbox, run)
    assert [Batch.unpack(outbox.get(n) or b"").sequence for n in (1, 2, 3)] == [1, 2, 3]
    assert (outbox.get(4), outbox.next_sequence, outbox.rows) == (None, 4, 30)
    outbox.release(2)
    assert (outbox.get(2), outbox.first_sequence, outbox.rows) == (None, 3, 10)
    outbox.release(3)
    assert (outbox.size_bytes, outbox.rows, outbox.next_sequence) == (0, 0, 4)


def test_a_full_outbox_says_so_and_wakes_who_waits_for_room() -> None:
    run = Run()
    outbox = Outbox("none", run, limit_bytes=1_000)
    put(outbox, run)
    assert outbox.is_full
    assert not outbox.wait_for_room(0.0)
    timer = threading.Timer(0.05, outbox.release, [1])
    timer.start()
    assert outbox.wait_for_room(10.0)
    timer.join()


def test_small_batches_are_not_compressed() -> None:
    run = Run()
    outbox = Outbox("zstd", run, compress_from_rows=11)
    put(outbox, run)
    assert Batch.unpack(outbox.get(1) or b"").codec == "none"


def test_what_waits_moves_to_the_spool_and_comes_back_from_there(tmp_path: Path) -> None:
    now_s = [0.0]
    run = open_run(tmp_path / "spool", "http://hub", "s")
    outbox = Outbox("none", run, clock=lambda: now_s[0])
    spooler = threading.Thread(target=outbox.keep_spooling)
    spooler.start()
    try:
        for _ in range(3):
            put(outbox, run)
        outbox.release(1)
        assert run.spool is not None
        assert run.spool.numbers() == []  # the hub keeps up: nothing is written
        now_s[0] = SPOOL_AFTER_S + 0.1
        wait_for(lambda: outbox.is_older(3), "the spool has it")
    finally:
        outbox.stop_spooling()
        spooler.join()
    assert (outbox.size_bytes, outbox.rows, run.tally["spooled"]) == (0, 20, 20)
    assert (outbox.get(3), outbox.is_older(1), outbox.is_older(4)) == (None, False, False)
    assert Batch.unpack(outbox.load(3, dict)).sequence == 3
    outbox.release(3)
    assert (run.spool.numbers(), outbox.rows, run.tally["delivered"]) == ([], 0, 30)


def test_memory_that_fills_up_is_emptied_into_the_spool_at_once(tmp_path: Path) -> None:
    run = open_run(tmp_path / "spool", "http://hub", "s")
    outbox = Outbox("none", run, limit_bytes=10_000, clock=lambda: 0.0)
    spooler = threading.Thread(target=outbox.keep_spooling)
    spooler.start()
    try:
        for _ in range(40):
            assert outbox.wait_for_room(10)
            put(outbox, run)
    finally:
        outbox.stop_spooling()
        spooler.join()
    assert run.tally["spooled"] >= 300
    assert [Batch.unpack(outbox.get(n) or outbox.load(n, dict)).sequence for n in range(1, 41)] == list(range(1, 41))


def test_a_batch_that_became_unreadable_is_counted_and_an_empty_one_sent(tmp_path: Path) -> None:
    run = open_run(tmp_path / "spool", "http://hub", "s")
    outbox = Outbox("none", run)
    for _ in range(2):
        put(outbox, run)
    assert outbox.spool_all() == 0
    (path,) = (tmp_path / "spool").glob("*.segment")
    path.write_bytes(path.read_bytes()[:-5])
    assert [Batch.unpack(outbox.load(n, dict)).rows for n in (1, 2, 2)] == [10, 0, 0]
    outbox.release(2)
    counts = run.tally.counters()
    assert (counts["delivered"], counts["dropped_spool_unreadable"], counts["spooled"]) == (10, 10, 0)


def test_the_disk_is_full_while_batches_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path / "spool", "http://hub", "s")
    outbox = Outbox("none", run, limit_bytes=5_000)
    put(outbox, run)
    assert run.spool is not None

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run.spool, "append", full)
    assert outbox.spool_all() == 10
    assert outbox.trouble == "the spool cannot be written: No space left on device"
    assert outbox.fill == outbox.size_bytes / 5_000
    monkeypatch.undo()
    assert outbox.spool_all() == 0
    assert (outbox.trouble, outbox.fill) == ("", run.spool.fill)


def test_what_is_given_up_at_the_end_is_counted() -> None:
    run = Run()
    outbox = Outbox("none", run)
    run.tally.move(captured=10, in_encoder=10)
    put(outbox, run)
    assert (outbox.drop_all(), outbox.rows, run.tally["dropped_at_exit"]) == (10, 0, 10)


def test_a_batch_carries_counters_that_count_it() -> None:
    run = Run()
    outbox = Outbox("none", run)
    run.tally.move(captured=2, sampled_out=2)
    put(outbox, run, {"matched": 13})
    told = Batch.unpack(outbox.get(1) or b"").counters
    assert {name: count for name, count in told.items() if count} == {
        "matched": 13, "captured": 12, "sampled_out": 2, "outbox": 10,
    }  # fmt: skip
