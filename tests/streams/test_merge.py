"""Merging agents' packets by time: against a few lines of plain Python, in a session, and after a restart."""

import itertools
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.merge import MAX_WAITING_BYTES, WINDOW_NS, Merge, Piece
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, Hello
from tests.ledgers import identities
from tests.streams.journals import kept, paths
from tests.traffic import START_NS, hello, udp_frame

MS = 1_000_000
AGENTS = [hello(agent=name, run=name * 32) for name in "abc"]


class Row(NamedTuple):
    key: int
    source: int
    ident: int
    ts: int


def made(times: list[int], idents: list[int], *, iface: int = 0) -> Frames:
    content = [udp_frame("10.0.0.1", "10.0.0.2", 1, 2, ident.to_bytes(4, "big") * (1 + ident % 3)) for ident in idents]
    return Frames.from_list(content, times, iface=iface)


def columns_of(frames: Frames, idents: list[int]) -> ColumnBatch:
    """The same packets as columns; a text says which one each is."""
    texts = [b"%d" % ident for ident in idents]
    values: dict[str, Any] = {
        "ts": frames.ts,
        "orig_len": frames.orig_len,
        "iface": frames.iface,
        "layers": np.zeros(len(frames), np.int64),
        "dns_query": np.arange(1, len(frames) + 1, dtype=np.uint32),
    }
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return ColumnBatch(len(frames), values, ends, np.frombuffer(b"".join(texts), np.uint8))


def ident_of(content: Frames | ColumnBatch, row: int) -> int:
    if isinstance(content, Frames):
        return int.from_bytes(content.frame(row)[42:46], "big")
    code = int(content.columns["dns_query"][row])
    return int(content.text_data[content.text_ends[code - 1] : content.text_ends[code]].tobytes())


def unpacked(pieces: list[Piece]) -> list[tuple[int, int, int, int]]:
    """(ident, ts, interface's code in the session, its link type) of each packet."""
    return [
        (
            ident_of(piece.content, row),
            int(piece.content.ts[row]),
            int(piece.iface_codes[piece.content.iface[row]]),
            int(piece.link_types[piece.content.iface[row]]),
        )
        for piece in pieces
        for row in range(len(piece.content))
    ]


step = st.tuples(st.integers(0, 2), st.lists(st.integers(-300, 50), max_size=6), st.integers(0, 200), st.booleans())


@settings(deadline=None)
@given(
    st.lists(step, max_size=12),
    st.lists(st.integers(-1_000, 1_000), min_size=3, max_size=3),
    st.sampled_from(["frames", "columns"]),
)
def test_it_gives_what_plain_python_gives(
    steps: list[tuple[int, list[int], int, bool]], offsets: list[int], kind: str
) -> None:
    merge = Merge()
    waiting: dict[int, list[Row]] = {}
    """by source, those that have waited longest first"""
    newest, gone, late = [-(10**9)] * 3, -(10**9), 0
    now, count = 10_000, 0
    for source, past, pause, is_take in [*steps, (0, [], 10**6, True)]:
        now += pause
        idents = list(range(count, count + len(past)))
        count += len(past)
        stamps = [now + each - offsets[source] for each in past]
        for ident, each, ts in zip(idents, past, stamps, strict=True):
            newest[source] = max(newest[source], now + min(each, 0))
            waiting.setdefault(source, []).append(Row(newest[source], source, ident, ts))
        frames = made(stamps, idents, iface=1)
        content = frames if kind == "frames" else columns_of(frames, idents)
        codes, links = np.array([9, source + 3], np.uint16), np.array([0, source + 100], np.int32)
        merge.put(str(source), Piece(content, links, codes), offset_ns=offsets[source], arrived_ns=now)
        assert merge.rows == sum(map(len, waiting.values()))
        if is_take:
            until = now - 100
            due = [row for rows in waiting.values() for row in rows if row.key <= until]
            late += sum(row.key < gone for row in due)
            gone = max([gone, *(row.key for row in due)])
            left = {source: [row for row in rows if row.key > until] for source, rows in waiting.items()}
            waiting = {source: rows for source, rows in left.items() if rows}
            due.sort(key=lambda row: row.key)
            expected = [(row.ident, row.ts, row.source + 3, row.source + 100) for row in due]
            assert unpacked(merge.take(until)) == expected
    assert (merge.late, merge.rows, merge.waiting_bytes) == (late, 0, 0)


def test_frames_and_columns_take_turns() -> None:
    merge = Merge()
    for source, first in (("frames", 0), ("columns", 1)):
        idents = list(range(first, 400, 2))
        frames = made([ident * MS for ident in idents], idents)
        content = frames if source == "frames" else columns_of(frames, idents)
        merge.put(source, Piece(content, np.ones(1, np.int32), np.zeros(1, np.uint16)), offset_ns=0, arrived_ns=10**9)
    pieces = merge.take(10**9)
    times = [ts for _, ts, *_ in unpacked(pieces)]
    assert sorted(times) == [ident * MS for ident in range(400)]
    assert max(before - after for before, after in itertools.pairwise(times)) < 10 * MS
    assert len(pieces) <= 2 * 400 // 10 + 1


def test_what_is_merged_comes_in_pieces_of_bounded_size() -> None:
    merge, content = Merge(), [bytes(60_000)] * 100
    for source in ("a", "b"):
        frames = Frames.from_list(content, list(range(100)))
        merge.put(source, Piece(frames, np.ones(1, np.int32), np.zeros(1, np.uint16)), offset_ns=0, arrived_ns=10**9)
    pieces = [piece.content for piece in merge.take(10**9)]
    assert sum(map(len, pieces)) == 200
    assert all(isinstance(piece, Frames) and piece.captured_bytes <= 4 * 2**20 for piece in pieces)


def new_session(*agents: Hello) -> Session:
    session = Session("a", "b", ring_bytes=MIN_LIMIT_BYTES)
    for agent in agents:
        session.runs.attach(agent)
    return session


def order(session: Session) -> list[int]:
    """Payload numbers of the packets in the ring."""
    with session.ring.read() as views:
        return [ident_of_frame(block.frame(row)) for block, start, stop in views for row in range(start, stop)]


def ident_of_frame(frame: bytes) -> int:
    return int.from_bytes(frame[42:46], "big")


def test_packets_of_two_agents_are_in_the_order_of_the_hubs_clock() -> None:
    session = new_session(*AGENTS[:2])
    runs = list(session.runs)
    runs[1].offset_ns = -5_000 * MS  # its clock is 5 s ahead
    now = START_NS + 100 * MS
    times = [START_NS + each * MS for each in range(10)]
    session.ingest(runs[0], made(times[::2], [0, 2, 4, 6, 8]), 1, {}, now)
    session.ingest(runs[1], made([t + 5_000 * MS for t in times[1::2]], [1, 3, 5, 7, 9]), 1, {}, now)
    assert order(session) == []
    assert session.release(now) == times[8]  # what the other sends next may come before 9
    assert order(session) == list(range(9))
    book = ledger(session)["ring"]
    assert (book["parts"]["in_merge"], book["difference"]) == (1, 0)
    session.release(now + WINDOW_NS)
    assert order(session) == list(range(10))
    with session.ring.read() as views:
        assert views[0].packets.columns.ts[1] == times[1] + 5_000 * MS  # its own time stays
    assert stats(session)["late"] == 0


def test_who_is_alone_does_not_wait_and_who_leaves_keeps_nobody_waiting() -> None:
    session = new_session(AGENTS[0])
    (first,) = session.runs
    session.ingest(first, made([START_NS], [0]), 1, {}, START_NS)
    assert order(session) == [0]
    second = session.runs.attach(AGENTS[1])
    session.ingest(first, made([START_NS + MS], [1]), 2, {}, START_NS + MS)
    assert session.release(START_NS + MS) is None
    assert order(session) == [0]
    second.connected = False
    session.release(START_NS + MS)
    assert order(session) == [0, 1]
    session.ingest(first, made([START_NS + 2 * MS], [2]), 3, {}, START_NS + 2 * MS)
    assert order(session) == [0, 1, 2]


def test_what_comes_too_late_goes_at_once_and_is_counted() -> None:
    session = new_session(*AGENTS[:2])
    first, second = session.runs
    now = START_NS + 1_000 * MS
    session.ingest(first, made([START_NS + 900 * MS], [9]), 1, {}, now)
    session.release(now + WINDOW_NS)
    session.ingest(second, made([START_NS, START_NS + 2_000 * MS], [0, 20]), 1, {}, now + WINDOW_NS)
    session.release(now + WINDOW_NS)
    assert order(session) == [9, 0]
    assert (stats(session)["late"], ledger(session)["late"]) == (1, 1)


def test_files_wait_for_nobody() -> None:
    replay = hello(agent="file", run="ff" * 16, source="replay")
    session = new_session(*AGENTS[:2], replay)
    session.ingest(list(session.runs)[-1], made([1], [1]), 1, {}, START_NS)
    assert order(session) == [1]


def test_what_waits_is_bounded() -> None:
    session = new_session(*AGENTS[:2])
    first, _ = session.runs
    big = Frames.from_list([bytes(60_000)] * 200, [START_NS] * 200)
    for sequence in range(1, 12):
        session.ingest(first, big, sequence, {}, START_NS)
        session.release(START_NS)
        assert session.merge.waiting_bytes <= MAX_WAITING_BYTES
    assert session.ring.end > 1


def test_nothing_waits_for_a_clock_that_was_set_back() -> None:
    session = new_session(*AGENTS[:2])
    runs = list(session.runs)
    for ident, run in enumerate(runs):
        session.ingest(run, made([START_NS + ident * MS], [ident]), 1, {}, START_NS + ident * MS)
    session.release(START_NS + MS)
    now = START_NS - 3_600_000 * MS
    for ident, run in enumerate(runs, 2):
        session.ingest(run, made([now], [ident]), 2, {}, now)
    assert session.release(now) is not None
    assert order(session) == [0, 2, 1, 3]
    assert session.merge.rows == 0


def test_a_clear_takes_what_waits_too() -> None:
    session = new_session(*AGENTS[:2])
    first, _ = session.runs
    session.ingest(first, made([START_NS], [0]), 1, {}, START_NS)
    session.clear()
    session.release(START_NS + 10**10)
    book = ledger(session)["ring"]
    assert (order(session), book["parts"]["cleared"], book["difference"]) == ([], 1, 0)


def test_packets_that_cannot_be_merged_are_counted_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session(*AGENTS[:2])
    first, _ = session.runs

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(session.merge, "take", fail)
        session.ingest(first, made([START_NS], [0]), 1, {}, START_NS)
        session.release(START_NS + WINDOW_NS)
    session.ingest(first, made([START_NS + MS], [1]), 2, {}, START_NS + MS)
    session.release(START_NS + 2 * WINDOW_NS)
    book = ledger(session)["ring"]
    assert (order(session), book["parts"]["failed"], book["difference"]) == ([1], 1, 0)


def test_packets_that_cannot_be_dissected_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session(*AGENTS[:2])
    for number, run in enumerate(session.runs):
        session.ingest(run, made([START_NS], [number]), 1, {}, START_NS)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(session.ring, "append", fail)
        session.release(START_NS + WINDOW_NS)
    book = ledger(session)["ring"]
    assert (book["parts"]["failed"], book["difference"]) == (2, 0)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_restart_changes_no_number(tmp_path_factory: pytest.TempPathFactory, chance: random.Random) -> None:
    folder = tmp_path_factory.mktemp("journal")
    now, sequences, ident = START_NS, [0, 0, 0], 0
    with kept(folder) as before:
        runs = [before.session.runs.attach(agent) for agent in AGENTS]
        for _ in range(chance.randrange(40)):
            now += chance.randrange(150) * MS
            who = chance.randrange(3)
            match chance.randrange(12):
                case 0:
                    runs[who].connected = not runs[who].connected
                case 1:
                    runs[who].offset_ns = chance.randrange(-500, 500) * MS
                case 2:
                    before.release(now)
                case 3 if chance.random() < 0.3:
                    before.clear()
                case _:
                    rows = chance.randrange(1, 5)
                    times = sorted(now - chance.randrange(400) * MS for _ in range(rows))
                    sequences[who] += 1
                    frames = made(times, list(range(ident, ident + rows)))
                    ident += rows
                    before.take(Batch.unpack(Batch.pack(sequences[who], frames, "none", {})), AGENTS[who], now)
        assert identities(ledger(before.session)) == []
    with kept(folder) as after:
        assert order(after.session) == order(before.session)
        assert after.session.ring.end == before.session.ring.end
        assert identities(ledger(after.session)) == []
        after.release(now + 10**12)
        before.session.release(now + 10**12) if before.session.merge.rows else None
        assert after.session.packets == before.session.packets
        assert not after.session.merge.rows


def numbered(session: Session) -> dict[int, int]:
    """Payload numbers of the packets in the ring, by their own."""
    return dict(enumerate(order(session), session.ring.first))


@pytest.mark.parametrize("seed", range(2))
def test_packets_keep_their_numbers_though_segments_went_with_some_they_took_turns_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for module in ("journal", "sessionjournal"):
        monkeypatch.setattr(f"aishark_panel.streams.{module}.SEGMENT_BYTES", 4_000)
    chance, now = random.Random(seed), START_NS
    with kept(tmp_path) as before:
        for agent in AGENTS[:2]:
            before.session.runs.attach(agent)
        for number in range(120):
            now += chance.randrange(20) * MS
            who = number % 2
            times = sorted(now - chance.randrange(1, 100) * MS for _ in range(4))
            packed = Batch.pack(number // 2 + 1, made(times, list(range(4 * number, 4 * number + 4))), "none", {})
            before.take(Batch.unpack(packed), AGENTS[who], now)
        before.release(now + 10**12)
        known = numbered(before.session)
    assert len(paths(tmp_path)) > 8
    for _ in range(4):
        paths(tmp_path)[0].unlink()
        with kept(tmp_path) as after:
            found = numbered(after.session)
            assert found
            assert found.items() <= known.items()
            assert max(found) == max(known)
            assert identities(ledger(after.session)) == []
