"""Session: what goes in is what can be asked for."""

import numpy as np
import pytest

from aishark_panel.errors import ConfigError, ExpressionError, NotFoundError, ProtocolError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.wire.frames import Frames
from tests.arrow import read_stream
from tests.segments import ACK, SYN, Segment, frames_of
from tests.traffic import frames, hello, tcp_frame, udp_frame

DNS = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"


def test_ingest_counts_packets_bytes_and_conversations(session: Session, run: AgentRun) -> None:
    session.ingest(run, frames(500), 1, {"captured": 500})
    told = stats(session)
    assert (told["packets"], told["end"], told["conversations"]) == (500, 501, 250)
    assert told["bytes"] == sum(len(frames(500).frame(i)) for i in range(500))
    assert told["agents"][0]["counters"] == {"captured": 500}
    assert told["state"] == "capturing"


def test_both_directions_are_one_conversation(session: Session, run: AgentRun) -> None:
    there = tcp_frame("10.0.0.1", "10.0.0.2", 1_000, 443, b"x" * 10)
    back = tcp_frame("10.0.0.2", "10.0.0.1", 443, 1_000)
    session.ingest(run, Frames.from_list([there, there, back], [1, 2, 3]), 1, {})
    _, body = METHODS["conversations"](session, {})
    (row,) = read_stream(body).to_pylist()
    assert (row["addr_a"], row["port_b"], row["packets_ab"], row["packets_ba"]) == ("10.0.0.1", 443, 2, 1)
    assert (row["bytes_ab"], row["bytes_ba"]) == (2 * len(there), len(back))


@pytest.mark.parametrize("first", ["10.0.0.1", "10.0.0.9"])
def test_side_a_sent_the_first_packet(session: Session, run: AgentRun, first: str) -> None:
    second = {"10.0.0.1": "10.0.0.9", "10.0.0.9": "10.0.0.1"}[first]
    content = [tcp_frame(first, second, 5_000, 443), tcp_frame(second, first, 443, 5_000)]
    session.ingest(run, Frames.from_list(content, [1, 2]), 1, {})
    _, body = METHODS["conversations"](session, {})
    (row,) = read_stream(body).to_pylist()
    assert (row["addr_a"], row["port_a"], row["packets_ab"], row["packets_ba"]) == (first, 5_000, 1, 1)


def test_a_connection_has_round_trip_times_and_its_problems_are_counted(session: Session, run: AgentRun) -> None:
    shake = [Segment(True, 99, 0, SYN), Segment(False, 499, 100, SYN | ACK, at_ns=7), Segment(True, 100, 500, at_ns=9)]
    data = [Segment(True, 100, 500, payload=b"x" * 50, at_ns=10), Segment(False, 500, 150, at_ns=15)]
    session.ingest(run, frames_of([*shake, *data, data[0]]), 1, {})
    _, body = METHODS["conversations"](session, {})
    (row,) = read_stream(body).to_pylist()
    assert (row["handshake_rtt_ns"], row["rtt_ab_ns"], row["rtt_ba_ns"]) == (9, 5, None)
    assert (row["retransmissions_ab"], row["retransmissions_ba"], row["duplicate_acks_ba"]) == (1, 0, 0)
    _, body = METHODS["rows"](session, {"where": "tcp.analysis.retransmission", "first": 0, "columns": ["number"]})
    assert read_stream(body).column("number").to_pylist() == [6]
    session.clear()
    session.ingest(run, frames_of(data), 2, {})
    assert session.conversations.rows().retransmissions.sum() == 0


def test_conversations_are_bounded_and_what_is_forgotten_is_counted(
    session: Session, run: AgentRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aishark_panel.dissect.conversations.MAX_CONVERSATIONS", 4_096)
    content = [udp_frame(f"10.{i >> 8}.{i & 255}.1", "10.0.0.2", 1, 2) for i in range(10_000)]
    session.ingest(run, Frames.from_list(content, list(range(10_000))), 1, {})
    conversations = session.conversations
    assert len(conversations) <= 4_096
    assert len(conversations) + conversations.forgotten == 10_000
    assert int(conversations.rows().last_ts.max()) == 9_999
    assert int(conversations.rows().packets.sum()) == len(conversations)


def test_a_page_is_cut_from_the_ring_by_number(session: Session, run: AgentRun) -> None:
    session.ingest(run, frames(500), 1, {})
    info, body = METHODS["rows"](session, {"first": 491, "count": 50, "columns": ["number", "src_ip", "info"]})
    rows = read_stream(body).to_pylist()
    assert [r["number"] for r in rows] == list(range(491, 501))
    assert rows[0]["src_ip"] == "10.0.0.241"
    assert "7000" in rows[0]["info"]
    assert (info["first"], info["end"]) == (1, 501)


def test_a_filtered_page_is_cut_by_rank_and_grows_with_the_ring(session: Session, run: AgentRun) -> None:
    query = {"where": "src_ip == '10.0.0.7'", "first": 0, "count": 10, "columns": ["number"]}
    for batch in range(4):
        session.ingest(run, frames(500, first=500 * batch), batch + 1, {})
        info, body = METHODS["rows"](session, query)
        numbers = [r["number"] for r in read_stream(body).to_pylist()]
        assert numbers == [7 + 250 * k for k in range(2 * (batch + 1))]
        assert info["end"] == len(numbers)


def test_ranks_stay_when_older_matches_are_evicted(session: Session, run: AgentRun) -> None:
    query = {"where": "src_port == 10_006", "first": 0, "count": 1, "columns": ["number"]}
    sequence = 0
    while not session.ring.evicted:
        sequence += 1
        session.ingest(run, frames(5_000, first=5_000 * (sequence - 1), size=1_000), sequence, {})
        info, _ = METHODS["rows"](session, query)
    assert info["first"] > 0
    assert info["end"] == 20 * sequence
    _, body = METHODS["rows"](session, {**query, "first": info["end"] - 1})
    assert read_stream(body).to_pylist() == [{"number": 5_000 * sequence - 250 + 7}]


def test_a_packet_is_found_with_its_bytes_until_it_is_evicted(session: Session, run: AgentRun) -> None:
    frame = udp_frame("10.0.0.1", "10.0.0.2", 4_000, 53, DNS)
    session.ingest(run, Frames.from_list([frame], [1_700_000_000_123_456_789]), 1, {})
    values, body = METHODS["packet"](session, {"number": 1})
    assert body == frame
    assert (values["ts"], values["dns_query"], values["protocol"]) == (1_700_000_000_123_456_789, "example.com", "DNS")
    assert (values["tcp_seq"], values["link_type"], values["agent"]) == (None, 1, "edge")
    with pytest.raises(NotFoundError, match="packet 2 is not in the ring"):
        METHODS["packet"](session, {"number": 2})


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("rows", {"where": "src_prt == 1"}, ExpressionError),
        ("rows", {"columns": ["nonsense"]}, ConfigError),
        ("rows", {"columns": [["number"]]}, ConfigError),
        ("rows", {"columns": 5}, ConfigError),
        ("table", {"columns": "number"}, ConfigError),
        ("rows", {"first": "1"}, ConfigError),
        ("rows", {"first": 2**70}, ConfigError),
        ("rollup", {"resolution_ms": 7}, ConfigError),
        ("packet", {"number": True}, ConfigError),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    session: Session, method: str, params: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        METHODS[method](session, params)


@pytest.mark.parametrize("method", ["rows", "table"])
def test_a_column_asked_for_again_and_again_is_told_once(session: Session, run: AgentRun, method: str) -> None:
    session.ingest(run, frames(3), 1, {})
    _, body = METHODS[method](session, {"first": 1, "columns": ["number", "orig_len"] * 10_000})
    assert read_stream(body).column_names == ["number", "orig_len"]


def test_info_can_be_the_only_column(session: Session, run: AgentRun) -> None:
    session.ingest(run, frames(3), 1, {})
    _, body = METHODS["rows"](session, {"first": 1, "columns": ["info"]})
    assert ["7000" in row["info"] for row in read_stream(body).to_pylist()] == [True] * 3


def test_a_batch_of_an_undeclared_interface_is_refused(session: Session, run: AgentRun) -> None:
    bad = Frames.from_list([b"x" * 60], [1], iface=1)
    with pytest.raises(ProtocolError, match="interface"):
        session.ingest(run, bad, 1, {})


def test_clear_forgets_everything_but_the_numbering(session: Session, run: AgentRun) -> None:
    session.ingest(run, frames(10), 1, {})
    session.clear()
    told = stats(session)
    assert (told["cleared"], told["first"], told["end"], told["conversations"]) == (10, 11, 11, 0)


def test_rows_that_their_own_batch_pushes_out_are_counted_when_they_were(session: Session, run: AgentRun) -> None:
    letters = np.random.default_rng(1).integers(128, 256, (22_000, 4, 60), np.uint8)
    names = [b"".join(b"\x3c" + label.tobytes() for label in name) + b"\0" for name in letters]
    head, tail = DNS[:12], DNS[-4:]
    queries = [udp_frame("10.0.0.1", "10.0.0.2", 4_000, 53, head + name + tail) for name in names]
    second = 1_700_000_000
    times = [second * 10**9 + 10**6 * i for i in range(len(queries))]
    session.ingest(run, Frames.from_list(queries, times), 1, {})
    assert session.ring.evicted > 0
    counts = session.rollups.since(1_000, 0)
    assert dict(zip(counts.bin.tolist(), counts.packets.tolist(), strict=True)) == {
        second + i: 1_000 for i in range(22)
    }


def test_packets_are_counted_by_interface(session: Session) -> None:
    alone = session.runs.attach(hello(run="1" * 32))
    several = session.runs.attach(hello("eth0", "eth1", "wg0", run="2" * 32))
    batch = frames(90)
    sizes = batch.orig_len
    session.ingest(alone, batch, 1, {})
    iface = np.array([0, 2, 2] * 30, np.uint16)
    for sequence in (1, 2):
        session.ingest(several, Frames(batch.ts, sizes, iface, batch.offsets, batch.data), sequence, {})
    session.ingest(several, Frames.from_list([], []), 3, {})
    assert alone.seen == {"eth0": (90, int(sizes.sum()))}
    by_hand = {
        name: (2 * int((iface == k).sum()), 2 * int(sizes[iface == k].sum())) for k, name in ((0, "eth0"), (2, "wg0"))
    }
    assert several.seen == by_hand
