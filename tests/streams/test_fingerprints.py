"""What a packet's answer says of its conversation."""

from typing import Any

from aishark_panel.dissect.fingerprint import parse_client_hello
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from tests.dissect.test_tls import HELLO, record
from tests.traffic import hello, tcp_frame, udp_frame

HOSTS = ("10.0.0.1", "10.0.0.2")


def packet(session: Session, number: int) -> dict[str, Any]:
    return METHODS["packet"](session, {"number": number})[0]


def test_every_packet_of_a_conversation_tells_its_hello() -> None:
    session = Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)
    content = [
        tcp_frame(*HOSTS, 4_000, 443, flags=2),
        tcp_frame(*HOSTS, 4_000, 443, record(HELLO)),
        tcp_frame(*HOSTS[::-1], 443, 4_000, b"answer"),
        tcp_frame(*HOSTS, 4_001, 443, b"another conversation"),
        udp_frame(*HOSTS, 4_000, 443),
    ]
    session.ingest(session.runs.attach(hello()), Frames.from_list(content, [1, 2, 3, 4, 5]), 1, {})
    expected = parse_client_hello(HELLO, "t")
    assert expected is not None
    answers = [packet(session, number) for number in range(1, 6)]
    assert [answer["ja4"] for answer in answers] == [expected.ja4()] * 3 + [None] * 2
    assert [answer["ja3"] for answer in answers] == [expected.ja3()] * 3 + [None] * 2
    assert len({answer["community_id"] for answer in answers[:3]}) == 1
    assert len({answer["community_id"] for answer in answers}) == 3
