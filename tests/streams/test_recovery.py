"""Recovery: what a hub finds in a journal that is not whole, or lacks something."""

import os
from pathlib import Path

import msgspec
import pytest

from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.segments import read_segment, segment_head
from aishark_panel.wire.messages import Batch
from tests.ledgers import identities
from tests.streams.journals import HELLO, OTHER, RECORD_HEAD, batch, expected, kept, overflowing, paths
from tests.traffic import frames


@pytest.mark.parametrize("moved", [False, True])
def test_what_there_was_no_memory_for_and_comes_no_more_is_in_the_book_of_the_next_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    with kept(tmp_path) as hub:
        with overflowing(hub, monkeypatch) as last_written:
            pass
        if moved:  # the agent fed another session up to batch 30, and forgot what that had
            hub.run().go_on_after(30)
            hub.take(batch(31))
            hub.wait_durable(31)
        else:  # the agent was killed, and had these in memory only
            for sequence in range(last_written + 1, 21):
                hub.take(Batch.unpack(Batch.pack(sequence, frames(0), "none", {"captured": 2_000})))
            hub.wait_durable(20)
        packets, missing = hub.session.packets, 100 * (20 - last_written)
        assert packets == 2_000 + 100 * moved
    with kept(tmp_path) as after:
        assert (after.session.packets, after.session.lost_in_hub_crash) == (packets - missing, missing)
        assert after.run().counters["captured"] == (3_100 if moved else 2_000)
        others = msgspec.structs.replace(HELLO, run="ef" * 16)
        after.run().others = [AgentRun(others, arrived=1_000)] if moved else []
        assert identities(ledger(after.session)) == []


def test_a_segment_is_damaged_and_what_it_costs_is_in_the_book(tmp_path: Path, small_segments: None) -> None:
    with kept(tmp_path) as before:
        for sequence in range(1, 11):
            before.take(batch(sequence))
    damaged = paths(tmp_path)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    for _ in range(2):
        with kept(tmp_path) as after:
            lost = after.session.lost_in_hub_crash
            assert lost > 0
            assert after.session.packets + lost == 1_000
            assert set(after.contents()) < set(expected(1, 10))
            assert after.run().durable == 10
            assert identities(ledger(after.session)) == []


def test_a_hub_that_is_killed_at_the_head_of_a_segment_knows_what_it_has(tmp_path: Path) -> None:
    with kept(tmp_path) as before:
        for sequence in (1, 2):
            before.take(batch(sequence))
        before.take(batch(1), OTHER)
    with kept(tmp_path) as again:
        again.take(batch(3))
    newest = paths(tmp_path)[-1]
    totals = read_segment(newest).records[0]
    os.truncate(newest, len(segment_head()) + RECORD_HEAD + len(totals.payload))
    with kept(tmp_path) as after:
        assert (after.run().received, after.run(OTHER).received) == (2, 1)


def test_a_session_goes_on_counting_bytes_when_the_segments_of_before_are_gone(
    tmp_path: Path, small_segments: None
) -> None:
    with kept(tmp_path) as before:
        before.take(batch(1))
    first = paths(tmp_path)
    with kept(tmp_path) as again:
        again.take(batch(2))
        size_bytes = again.session.bytes
    for path in first:
        path.unlink()
    with kept(tmp_path) as after:
        assert (after.session.packets, after.session.bytes) == (200, size_bytes)


def test_what_a_run_lost_before_it_came_into_the_journal_is_in_the_book(tmp_path: Path) -> None:
    with kept(tmp_path) as before:
        before.take(batch(1))
        run = before.run(OTHER)
        run.lost_in_hub_crash = before.session.lost_in_hub_crash = 70
        before.take(batch(1), OTHER)
        run.lost_in_hub_crash = before.session.lost_in_hub_crash = 90
        before.writer.note(run)
    for _ in range(2):
        with kept(tmp_path) as after:
            assert (after.run(OTHER).lost_in_hub_crash, after.session.lost_in_hub_crash) == (90, 90)
            book = ledger(after.session)
            hubs = [stage for agent in book["agents"] for stage in agent["stages"] if stage["stage"] == "hub"]
            assert sum(stage["parts"]["ingested"] for stage in hubs) == book["ring"]["packets"]
            after.take(batch(2))


def test_a_batch_that_was_refused_by_an_earlier_hub_is_counted_once(tmp_path: Path) -> None:
    with kept(tmp_path) as before:
        before.take(batch(1))
        run = before.run()
        run.reject(2, "failed", 100)
        run.arrived += 100
        before.writer.note(run)
    with kept(tmp_path) as after:  # it is refused still ...
        assert (after.run().rejected, after.run().arrived) == ({"failed": 100}, 200)
        refused = after.run().refused
        assert refused is not None
        assert refused.sequence == 2
        after.take(batch(2))  # ... and then it is not; the hub dies before it writes down anything else
    with kept(tmp_path) as last:
        assert (last.run().rejected, last.run().arrived, last.session.packets) == ({"failed": 0}, 200, 200)
        assert identities(ledger(last.session)) == []
