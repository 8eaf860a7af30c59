"""The condition of a session: its state, and the reason in words."""

from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from tests.traffic import hello


def test_the_reason_says_why_nothing_moves() -> None:
    session = Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)
    assert session.reason == "Waiting for an agent to connect."
    run = session.runs.attach(hello())
    assert session.reason == ""
    session.condition.wanted = False
    assert session.state == "stopped"
    session.condition.wanted = True
    run.capturing, run.reason = False, "stopped by the user"
    assert (session.state, session.reason) == ("waiting", "stopped by the user")
    run.connected, run.reason = False, "Its connection was lost."
    assert session.reason == "Agent edge is not connected. Its connection was lost."
    run.ended, run.reason = True, "web.pcap: all packets sent"
    assert (session.state, session.reason) == ("ended", "web.pcap: all packets sent")
