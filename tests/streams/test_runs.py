"""Runs of agents: who comes back is known, and who left makes room."""

import msgspec
import pytest

from aishark_panel.errors import ProtocolError
from aishark_panel.streams.agentrun import AgentRun
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import Hello, InterfaceInfo
from tests.traffic import frames, hello


def test_a_run_survives_its_reconnection(session: Session, run: AgentRun) -> None:
    session.ingest(run, frames(10), 1, {})
    run.connected = False
    again = session.runs.attach(hello("eth0", "eth1"))
    assert (again.taken, again.packets, again.iface_codes.tolist()) == (1, 10, [0, 1])
    assert len(session.interfaces) == 2


def test_a_run_that_may_come_back_is_remembered_longer_than_those_that_ended(session: Session, run: AgentRun) -> None:
    run.connected, run.left_ns = False, 1
    for number in range(150):
        other = session.runs.attach(hello(run=f"{number:032x}"))
        other.connected, other.ended = False, True
    assert session.runs.attach(hello("eth0", "eth1")) is run


def _with_filters(run: int, *filters: str) -> Hello:
    interfaces = tuple(InterfaceInfo(name="eth0", link_type=1, filter=text) for text in filters)
    return msgspec.structs.replace(hello(agent=f"agent {run}", run=f"{run:032x}"), interfaces=interfaces)


def test_agents_cannot_fill_the_memory_with_what_they_say_of_interfaces(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aishark_panel.streams.interfaces.MAX_CHARACTERS", 20_000)
    for number in range(2):
        session.runs.attach(_with_filters(number, "x" * 8_000))
    with pytest.raises(ProtocolError, match="20,000 characters"):
        session.runs.attach(_with_filters(2, "x" * 8_000))
    assert session.runs.attach(_with_filters(1, "x" * 8_000)).iface_codes.tolist() == [1]


@pytest.mark.parametrize(("most", "left"), [(100, 3), (7, 1)])
def test_runs_that_left_make_room_for_newer_ones_and_are_counted(
    session: Session, monkeypatch: pytest.MonkeyPatch, most: int, left: int
) -> None:
    monkeypatch.setattr("aishark_panel.streams.runs.MAX_GONE_RUNS", 3)
    monkeypatch.setattr("aishark_panel.streams.runs.MAX_GONE_CHARACTERS", most)
    for number in range(6):
        session.runs.attach(msgspec.structs.replace(hello("if", run=f"{number:032x}"), agent="abc")).connected = False
    session.runs.attach(hello("if", run=f"{9:032x}"))
    assert [int(run.hello.run, 16) for run in session.runs] == [*range(6 - left, 6), 9]
    assert session.runs.forgotten == 6 - left


def test_runs_may_come_while_others_ask_how_the_session_is(session: Session) -> None:
    """A session is read back on the ingest worker meanwhile."""

    class Passing(AgentRun):
        @property
        def connected(self) -> bool:
            session.runs.add(AgentRun(hello(run=f"{len(list(session.runs)):032x}")))
            return False

        @connected.setter
        def connected(self, _: bool) -> None: ...

        @property
        def left_ns(self) -> int:
            return int(self.connected)

        @left_ns.setter
        def left_ns(self, _: int) -> None: ...

    session.runs.add(Passing(hello()))
    session.runs.add(AgentRun(hello(run="ef" * 16)))
    assert session.state in ("capturing", "waiting")
    assert session.runs.end_of_gap(AgentRun(hello()), 1, since_ns=0) is None
    session.runs.attach(hello(run="cd" * 16))
