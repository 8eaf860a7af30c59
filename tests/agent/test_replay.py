"""Replay: pacing with time as an argument, and the source's promises on real files and pipes."""

import os
import threading
import time
from pathlib import Path

import pytest

from aishark_panel.agent.replay import Pacer, ReplaySource, parse_speed
from aishark_panel.agent.source import Source
from aishark_panel.errors import CaptureFileError, ConfigError
from aishark_panel.wire.frames import Frames
from tests.wire.capture_bytes import interface, packet, pcap, section

MS = 1_000_000


def at(*times_ms: float) -> Frames:
    return Frames.from_list([b"x"] * len(times_ms), [int(t * MS) for t in times_ms])


def test_the_first_frames_are_due_when_the_last_of_their_window_is() -> None:
    pacer = Pacer(1.0)
    assert pacer.next(at(1000, 1020, 1050, 1051), now_s=10.0) == pytest.approx((3, 0.05))
    assert pacer.next(at(1051), now_s=10.05) == pytest.approx((1, 0.001))


def test_speed_divides_waiting_and_widens_the_window() -> None:
    pacer = Pacer(10.0)
    assert pacer.next(at(1000, 1020, 1500, 1501), now_s=0.0) == pytest.approx((3, 0.05))
    assert pacer.next(at(2000), now_s=0.05) == pytest.approx((1, 0.05))


def test_late_frames_and_times_that_go_back_are_due_at_once() -> None:
    pacer = Pacer(1.0)
    assert pacer.next(at(1000), now_s=0.0) == (1, 0.0)
    assert pacer.next(at(1500), now_s=2.0) == (1, 0.0)
    assert pacer.next(at(500, 400), now_s=2.0) == (2, 0.0)


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("1", 1.0), ("0.5", 0.5), ("100", 100.0)])
def test_speeds_are_factors_or_max(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", ""])
def test_other_speeds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a factor above 0 nor 'max'"):
        parse_speed(text)


def drain(source: Source) -> list[int]:
    times: list[int] = []
    while not source.exhausted:
        frames = source.read(10.0)
        if frames is not None:
            times += frames.ts.tolist()
    return times


def test_without_pacing_a_file_is_read_through(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap([(i, 0, 60, bytes(60)) for i in range(10_000)]))
    source = ReplaySource(path, snaplen=20)
    assert [(i.name, i.link_type, i.snaplen) for i in source.interfaces] == [("some.pcap", 1, 20)]
    assert drain(source) == [i * 10**9 for i in range(10_000)]
    assert source.counters() == {"matched": 10_000}
    assert source.warning is None
    assert source.progress == (path.stat().st_size, path.stat().st_size)
    source.close()
    source.wake()


def test_interfaces_described_later_appear_before_their_frames(tmp_path: Path) -> None:
    path = tmp_path / "some.pcapng"
    later = b"".join(packet(i, b"y", iface=1) for i in range(2))
    path.write_bytes(
        section()
        + interface(options={2: b"eth0", 11: b"\0tcp"})
        + b"".join(packet(i, b"x") for i in range(10_000))
        + interface(link=101)
        + later
    )
    source = ReplaySource(path)
    assert [(i.name, i.filter) for i in source.interfaces] == [("eth0", "tcp")]
    while not source.exhausted:
        frames = source.read(10.0)
        assert frames is None or int(frames.iface.max()) < len(source.interfaces)
    assert [(i.name, i.link_type) for i in source.interfaces] == [("eth0", 1), ("some.pcapng #1", 101)]
    source.close()


def test_a_paced_replay_takes_the_time_the_capture_took(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap([(0, 20_000 * i, 60, bytes(60)) for i in range(11)]))
    source = ReplaySource(path, speed=1.0)
    started = time.monotonic()
    assert len(drain(source)) == 11
    assert time.monotonic() - started >= 0.2
    source.close()


def test_read_returns_nothing_before_frames_are_due_and_wake_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    path.write_bytes(pcap([(0, 0, 60, bytes(60)), (3600, 0, 60, bytes(60))]))
    source = ReplaySource(path, speed=1.0)
    first = source.read(10.0)
    assert first is not None
    assert len(first) == 1
    assert source.read(0.01) is None
    threading.Timer(0.05, source.wake).start()
    assert source.read(600.0) is None
    assert not source.exhausted
    source.close()


def test_a_file_that_is_no_capture_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"no capture at all")
    with pytest.raises(CaptureFileError, match="neither pcap nor pcapng"):
        ReplaySource(path)


def test_standard_input_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb") as pipe:
        monkeypatch.setattr("sys.stdin", stdin)
        source = ReplaySource("-")
        assert source.interfaces == []
        pipe.write(pcap([(1, 0, 60, bytes(60))]))
        pipe.close()
        assert drain(source) == [10**9]
        assert source.interfaces[0].name == "standard input"
        source.close()


def test_a_file_that_is_followed_never_ends_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "growing.pcap"
    whole = pcap([(i, 0, 3, b"abc") for i in range(10)])
    path.write_bytes(whole[:-60])
    source = ReplaySource(path, follow=True)
    got: list[int] = []
    while len(got) < 6:
        frames = source.read(1.0)
        got += frames.ts.tolist() if frames is not None else []
    assert source.read(0.01) is None
    assert not source.exhausted
    with path.open("ab") as file:
        file.write(whole[-60:])
    while len(got) < 10:
        frames = source.read(1.0)
        got += frames.ts.tolist() if frames is not None else []
    assert got == [i * 10**9 for i in range(10)]
    assert not source.exhausted
    threading.Timer(0.05, source.wake).start()
    assert source.read(60.0) is None
    source.close()
