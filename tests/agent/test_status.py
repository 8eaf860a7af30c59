"""Statuses: what is written is read again, what is old says so, and people get lines they can act on."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aishark_panel.agent.manager import ServiceManager
from aishark_panel.agent.reporter import Reporter
from aishark_panel.agent.status import (
    LinkReport,
    Refusal,
    Report,
    Status,
    StatusFile,
    is_well,
    read_statuses,
    status_folder,
    status_folders,
    status_text,
)
from aishark_panel.wire.messages import InterfaceInfo

NOW_NS = 1_700_000_000_000_000_000
REPORT = Report(
    state="capturing",
    source="live",
    interfaces=(InterfaceInfo(name="eth0", link_type=1, filter="not port 22"),),
    sampling=10,
    max_packets_per_second=5_000,
    hub=LinkReport(url="https://hub:8765", connected=True, round_trip_ms=1.25),
    refused=Refusal(reason="The owner of this host allows ...", at_ns=NOW_NS - 90 * 10**9),
    counters={"matched": 1_200, "kernel_dropped": 3, "gaps": 2, "gap_ms": 1_500},
    outbox_bytes=4_096,
)
STATUS = Status(
    name="edge",
    pid=os.getpid(),
    version="1.2",
    started_ns=NOW_NS - 7_300 * 10**9,
    written_ns=NOW_NS - 10**9,
    agent=REPORT,
    captured_per_s=1_234.4,
    delivered_per_s=1_200.0,
)
NOBODY = 2**22 + 1
"""a process id beyond all that Linux gives"""


def changed(state: str = "capturing", reason: str = "", hub: LinkReport = REPORT.hub, **more: int) -> Status:
    report = msgspec.structs.replace(REPORT, state=state, reason=reason, hub=hub)
    return msgspec.structs.replace(STATUS, agent=report, **more)


def test_people_read_all_of_it() -> None:
    assert status_text(STATUS, NOW_NS).splitlines() == [
        "edge: capturing",
        f"  process   {os.getpid()}, version 1.2, started 2 h ago",
        "  hub       https://hub:8765 connected, 1.2 ms round trip",
        "  capture   live eth0 (filter 'not port 22'), one packet in 10, at most 5,000 packets/s",
        "  rates     1,234 packets/s captured, 1,200 delivered",
        "  memory    4,096 bytes wait for the hub",
        "  packets   matched 1,200, kernel_dropped 3",
        "  gaps      2, together 1.5 s",
        "  refused   90 s ago: The owner of this host allows ...",
    ]


AWAY = LinkReport(url="http://h", connected=False, reason="[Errno 111] Connection refused")


@pytest.mark.parametrize(
    ("status", "well", "line"),
    [
        (STATUS, True, "edge: capturing"),
        (changed("paused", "stopped by the user"), True, "edge: paused: stopped by the user"),
        (changed("hung", "The capture thread"), False, "edge: hung: The capture thread"),
        (changed("ended", "the key was revoked"), False, "edge: ended 1 s ago: the key was revoked"),
        (changed(hub=AWAY), False, "  hub       http://h not connected: [Errno 111] Connection refused"),
        (
            changed(written_ns=NOW_NS - 25 * 10**9),
            False,
            f"edge: stale: nothing was written for 25 s; process {os.getpid()} is there but hangs",
        ),
        (
            changed(written_ns=NOW_NS - 25 * 10**9, pid=NOBODY),
            False,
            f"edge: stale: nothing was written for 25 s; process {NOBODY} is gone",
        ),
        (changed("ended", "escape \x1b[31m\n"), False, "edge: ended 1 s ago: escape ?[31m?"),
    ],
    ids=["well", "paused", "hung", "ended", "no hub", "stale", "gone", "escape"],
)
def test_what_is_wrong_comes_first(status: Status, well: bool, line: str) -> None:
    assert is_well(status, NOW_NS) is well
    assert line in status_text(status, NOW_NS).splitlines()


def test_what_is_written_is_read_again_by_name(tmp_path: Path) -> None:
    for name in ("edge", "../other name"):
        StatusFile(tmp_path / "made", name).write(msgspec.structs.replace(STATUS, name=name))
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["_other_name.json", "edge.json"]
    assert read_statuses([tmp_path / "made", tmp_path / "not there"], "edge") == [STATUS]
    assert {s.name for s in read_statuses([tmp_path / "made"])} == {"edge", "../other name"}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "made").iterdir()} == {0o600}


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"name": "edge"'])
def test_what_is_no_status_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "edge.json").write_bytes(content)
    assert read_statuses([tmp_path]) == []
    assert StatusFile(tmp_path, "edge").path.name == "edge.json"


def test_those_of_others_are_left_out_unless_there_is_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours", "others"):
        StatusFile(tmp_path, name).write(msgspec.structs.replace(STATUS, name=name))
    really_open = Path.open

    def guarded(path: Path, *arguments: Any) -> Any:  # root may read everything
        if path.name == "others.json":
            raise PermissionError(13, "Permission denied", str(path))
        return really_open(path, *arguments)

    monkeypatch.setattr(Path, "open", guarded)
    assert [s.name for s in read_statuses([tmp_path])] == ["ours"]
    with pytest.raises(PermissionError):
        read_statuses([tmp_path], "others")


def test_a_second_agent_of_a_name_has_a_file_of_its_own_and_a_later_one_takes_the_place(tmp_path: Path) -> None:
    def path_after(status: Status) -> str:
        (tmp_path / "edge.json").write_bytes(msgspec.json.encode(status))
        return StatusFile(tmp_path, "edge").path.name

    now_ns = time.time_ns()
    assert path_after(changed(written_ns=now_ns, pid=os.getppid())) == f"edge-{os.getpid()}.json"
    assert path_after(changed(written_ns=now_ns - 60 * 10**9)) == "edge.json"
    assert path_after(changed("ended", written_ns=now_ns)) == "edge.json"


def test_where_statuses_are() -> None:
    user = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert status_folder("/told", user) == Path("/told")
    assert status_folder("", {**user, "RUNTIME_DIRECTORY": "/run/aishark/a:/run/b"}) == Path("/run/aishark/a")
    assert status_folder("", user) == Path("/run/user/7/aishark")
    assert status_folder("", {"XDG_STATE_HOME": "/s"}) == Path("/s/aishark/agents")
    assert status_folders("/told", user) == [Path("/told")]
    assert status_folders("", user)[0] == Path("/run/user/7/aishark")


class Agent:
    turns = 0

    def __init__(self) -> None:
        self.captured = 0

    def report(self) -> Report:
        return msgspec.structs.replace(REPORT, counters={"captured": self.captured, "delivered": self.captured // 2})


def test_rates_are_those_of_the_last_seconds(tmp_path: Path) -> None:
    now_s, agent = 0.0, Agent()
    reporter = Reporter("edge", "http://h", folder=tmp_path, manager=ServiceManager({}), clock=lambda: now_s)
    for second in range(20):
        now_s, agent.captured = second, agent.captured + (0 if second < 10 else 100)
        reporter.beat(agent)
    (status,) = read_statuses([tmp_path])
    assert (status.captured_per_s, status.delivered_per_s) == (100, 50)


def test_an_agent_that_failed_leaves_its_reason_and_one_that_ended_leaves_nothing(tmp_path: Path) -> None:
    reporter = Reporter("edge", "http://h", folder=tmp_path, manager=ServiceManager({}))
    assert [s.agent.state for s in read_statuses([tmp_path])] == ["waiting"]
    reporter.beat(Agent())
    reporter.failed("disk on fire")
    (status,) = read_statuses([tmp_path])
    assert (status.agent.state, status.agent.reason, status.agent.hub.connected) == ("ended", "disk on fire", False)
    reporter.ended()
    assert read_statuses([tmp_path]) == []


def test_a_folder_that_cannot_be_used_is_said_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    reporter = Reporter("edge", "http://h", folder=tmp_path / "file", manager=ServiceManager({}))
    reporter.beat(Agent())
    assert "no status file in" in caplog.text
    lost = Reporter("edge", "http://h", folder=tmp_path / "lost", manager=ServiceManager({}))
    (tmp_path / "lost" / "edge.json").unlink()
    (tmp_path / "lost").rmdir()
    for _ in range(3):
        lost.beat(Agent())
    assert caplog.text.count("cannot be written") == 1


def test_nobody_reads_half_a_status(tmp_path: Path) -> None:
    file = StatusFile(tmp_path, "edge")
    status = changed(reason="r" * 100_000)
    file.write(status)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            file.write(status)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline_s = time.monotonic() + 0.5
        while time.monotonic() < deadline_s:
            assert read_statuses([tmp_path]) == [status]
    finally:
        stop.set()
        writer.join()
