"""Common values of the newest packets, against a plain count."""

from collections import Counter

import pytest

from aishark_panel.errors import ConfigError, ExpressionError
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.values import LOOK_ROWS, MAX_VALUES, common_values
from aishark_panel.wire.frames import Frames
from tests.traffic import hello, tcp_frame, udp_frame

PORTS = [443, 443, 443, 80, 80, 8443, 53]


@pytest.fixture
def session() -> Session:
    made = Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)
    run = made.runs.attach(hello())
    packets = [tcp_frame("10.0.0.1", f"10.0.1.{k}", 50_000, port) for k, port in enumerate(PORTS[:-1])]
    packets.append(udp_frame("10.0.0.1", "10.0.9.9", 50_000, PORTS[-1], b""))
    made.ingest(run, Frames.from_list(packets, list(range(1, len(packets) + 1))), 1, {})
    return made


def test_the_most_common_come_first(session: Session) -> None:
    counted = Counter(map(str, PORTS))
    values, packets = common_values(session, ["dst_port"], "", "", 20)
    assert dict(values) == counted
    assert [count for _, count in values] == sorted(counted.values(), reverse=True)
    assert packets == len(PORTS)


def test_those_that_begin_with_the_text_come_before_those_that_hold_it(session: Session) -> None:
    assert [value for value, _ in common_values(session, ["dst_port"], "", "44", 20)[0]] == ["443", "8443"]
    assert common_values(session, ["dst_ip"], "", "10.0.9", 20)[0] == [("10.0.9.9", 1)]


def test_two_columns_and_a_condition_are_counted_together(session: Session) -> None:
    assert dict(common_values(session, ["src_port", "dst_port"], "udp", "", 20)[0]) == {"50000": 1, "53": 1}


def test_an_answer_looks_at_the_newest_packets_only(session: Session) -> None:
    (run,) = session.runs
    frame = tcp_frame("10.0.0.2", "10.0.0.3", 1, 7_777)
    session.ingest(run, Frames.from_list([frame] * LOOK_ROWS, list(range(100, 100 + LOOK_ROWS))), 2, {})
    assert common_values(session, ["dst_port"], "", "", 20) == ([("7777", LOOK_ROWS)], LOOK_ROWS)
    assert len(common_values(session, ["number"], "", "", 10_000)[0]) == MAX_VALUES


def test_what_makes_no_sense_is_refused_in_words(session: Session) -> None:
    with pytest.raises(ConfigError, match="no column"):
        METHODS["values"](session, {"columns": ["nothing"]})
    with pytest.raises(ExpressionError):
        METHODS["values"](session, {"columns": ["dst_port"], "where": "src_prt == 1"})
