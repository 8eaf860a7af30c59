"""Evidence: the packets of an alert around its moment, whole, bounded, and gone with what they belong to."""

from pathlib import Path

import pytest

from aishark_panel.alerts.rule import Rule
from aishark_panel.capturefile import open_capture
from aishark_panel.errors import NotFoundError
from aishark_panel.streams import evidence as module
from aishark_panel.streams.evidence import Evidence
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from tests.alerts.blocks import one_rule
from tests.traffic import START_NS, hello, udp_frame

SECOND_NS = 10**9
LATER_NS = 2**62


def burst(source: str = "10.0.0.1") -> Rule:
    return one_rule(where="udp", by="[src_ip]", over="10s", having="packets >= 5")


class Watched:
    """A session that is watched, and its evidence."""

    def __init__(self, folder: Path | None, rule: Rule | None = None) -> None:
        self.session = Session("0a", "watched", ring_bytes=MIN_LIMIT_BYTES, rules=[rule or burst()])
        self.evidence = Evidence(self.session, folder)
        self.run = self.session.runs.attach(hello())

    def take(self, *packets: tuple[float, str], size: int = 10) -> None:
        """Packets at seconds, from these hosts; the rules see them."""
        content = [udp_frame(source, "10.9.9.9", 1_000, 2_000, bytes(size)) for _, source in packets]
        times = [START_NS + round(second * SECOND_NS) for second, _ in packets]
        self.session.ingest(self.run, Frames.from_list(content, times), self.run.taken + 1, {})
        self.session.alerts.settle()

    def make(self) -> list[dict[str, object]]:
        """All evidence that is wanted, and what became of it."""
        while alert := self.evidence.due(LATER_NS):
            self.evidence.make(alert)
        return [alert["evidence"] or {} for alert in self.session.alerts.since(0)["alerts"]]


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "of a session" / "evidence" if request.param == "disk" else None


def seconds(data: bytes, tmp_path: Path) -> list[float]:
    path = tmp_path / "read.pcapng"
    path.write_bytes(data)
    with open_capture(path) as file:
        return [(int(ts) - START_NS) / SECOND_NS for frames in file for ts in frames.ts]


def test_it_has_the_packets_of_the_key_from_before_the_window_until_after_it_fired(
    folder: Path | None, tmp_path: Path
) -> None:
    watched = Watched(folder)
    mine, others = "10.0.0.1", "10.0.0.2"
    watched.take((0.0, mine), (14.0, mine), (17.0, mine), (20.0, others))
    watched.take(*((21.0 + i / 10, mine) for i in range(4)), (26.0, mine), (26.5, others), (40.0, mine))
    (state,) = watched.make()
    (alert,) = watched.session.alerts.since(0)["alerts"]
    window, fired = ((alert[name] - START_NS) / SECOND_NS for name in ("window_start_ns", "fired_ns"))
    expected = [t for t in (0.0, 14.0, 17.0, 21.0, 21.1, 21.2, 21.3, 26.0, 40.0) if window - 5 <= t <= fired + 5]
    assert len(expected) == 7
    data = watched.evidence.read(1)
    assert seconds(data, tmp_path) == expected
    assert state == {"state": "saved", "packets": 7, "bytes": len(data), "complete": True, "reason": ""}
    assert b"alert: tested" in data


def test_it_waits_for_packets_after_the_alert_but_not_for_ever() -> None:
    watched = Watched(None)
    watched.take(*((i / 10, "10.0.0.1") for i in range(5)), (3.0, "10.0.0.2"))
    alert, since_ns = watched.session.alerts.next_evidence() or pytest.fail("nothing fired")
    assert watched.evidence.due(since_ns) is None
    with pytest.raises(NotFoundError, match="ask again"):
        watched.evidence.read(1)
    assert watched.evidence.due(since_ns + module.PATIENCE_NS) == alert
    watched.take((10.0, "10.0.0.2"))
    assert watched.evidence.due(since_ns) == alert


def test_it_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "MAX_PACKETS", 8)
    watched = Watched(None)
    packets = [(100 + i / 10, "10.0.0.1") for i in range(4)] + [(106 + i / 1_000, "10.0.0.1") for i in range(6)]
    watched.take(*packets, (130.0, "10.0.0.2"))
    (state,) = watched.make()
    assert (state["packets"], state["complete"]) == (8, False)
    assert "At most 8 packets" in str(state["reason"])
    found = seconds(watched.evidence.read(1), tmp_path)
    (alert,) = watched.session.alerts.since(0)["alerts"]
    window = (alert["window_start_ns"] - START_NS) / SECOND_NS
    within = [t for t, _ in packets if t >= window]
    assert found[-min(8, len(within)) :] == within[:8]  # those of the window first
    monkeypatch.setattr(module, "MAX_PACKETS", 10_000)
    monkeypatch.setattr(module, "MAX_BYTES", 1_000)
    watched = Watched(None)
    watched.take(*((i / 100, "10.0.0.1") for i in range(9)), (20.0, "10.0.0.2"), size=200)
    (state,) = watched.make()
    assert (state["packets"], state["complete"]) == (1_000 // (200 + 42), False)


def test_what_had_left_the_ring_is_missing_and_that_is_said() -> None:
    watched = Watched(None)
    watched.take(*((i / 10, "10.0.0.1") for i in range(5)), (3.0, "10.0.0.2"))
    watched.session.clear_packets()
    watched.take((3.1, "10.0.0.1"), (9.0, "10.0.0.2"))
    (state,) = watched.make()
    assert (state["state"], state["packets"], state["complete"]) == ("saved", 1, False)
    assert "left the ring" in str(state["reason"])
    watched = Watched(None)
    watched.take(*((i / 10, "10.0.0.1") for i in range(5)), (3.0, "10.0.0.2"))
    watched.session.clear_packets()
    (state,) = watched.make()
    assert (state["state"], state["reason"]) == ("none", "Its packets had left the ring.")
    with pytest.raises(NotFoundError, match="no evidence of alert 1: Its packets had left the ring"):
        watched.evidence.read(1)


def three_alerts(watched: Watched) -> None:
    for host in range(1, 4):
        watched.take(*((100 * host + i / 10, f"10.0.0.{host}") for i in range(5)))
    watched.take((500.0, "10.0.0.9"))


def test_the_oldest_make_room(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 2)
    watched = Watched(folder)
    three_alerts(watched)
    assert [state["state"] for state in watched.make()] == ["none", "saved", "saved"]
    with pytest.raises(NotFoundError, match="made room"):
        watched.evidence.read(1)
    if folder:
        assert sorted(path.name for path in folder.iterdir()) == ["alert-2.pcapng", "alert-3.pcapng"]
    monkeypatch.setattr(module, "MAX_FILES", 200)
    room = 2 * len(watched.evidence.read(2)) + 10
    for name in ("MAX_FILES_BYTES", "MAX_MEMORY_BYTES"):
        monkeypatch.setattr(module, name, room)
    watched = Watched(folder and folder.with_name("another"))
    three_alerts(watched)
    states = watched.make()
    assert [state["state"] for state in states] == ["none", "saved", "saved"]


def test_it_goes_when_packets_are_cleared(folder: Path | None) -> None:
    watched = Watched(folder)
    three_alerts(watched)
    watched.make()
    assert not watched.evidence.is_stale
    watched.session.clear()
    assert watched.evidence.is_stale
    watched.evidence.sweep()
    assert not watched.evidence.is_stale
    if folder:
        assert list(folder.iterdir()) == []


def test_files_of_an_earlier_hub_are_known_and_what_it_left_half_done_is_removed(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "evidence")
    three_alerts(watched)
    watched.make()
    (tmp_path / "evidence" / "alert-4.pcapng.part").write_bytes(b"half")
    again = Evidence(watched.session, tmp_path / "evidence")
    assert again.read(2) == watched.evidence.read(2)
    watched.session.clear()
    again.sweep()
    assert list((tmp_path / "evidence").iterdir()) == []


def test_a_disk_that_fails_is_said(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("in the way")
    watched = Watched(tmp_path / "evidence")
    three_alerts(watched)
    assert [state["state"] for state in watched.make()] == ["failed"] * 3
    with pytest.raises(NotFoundError, match="could not be written"):
        watched.evidence.read(1)
