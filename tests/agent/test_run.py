"""A run outlives its process: identity, numbers and counters, wherever a kill cuts in, and nothing is counted twice."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.agent.outbox import Outbox
from aishark_panel.agent.run import Run, open_run
from aishark_panel.agent.tally import PARTS
from aishark_panel.errors import ConfigError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, CaptureSettings, InterfaceInfo

HUB = "http://hub:1"
OPERATIONS = ["capture", "capture", "put", "put", "spool", "send", "send", "send", "acknowledge", "sample", "drop"]


def adds_up(run: Run) -> bool:
    counts = run.tally.counters()
    assert min(counts.values()) >= 0, counts
    return counts["captured"] == sum(counts[name] for name in PARTS)


class Hub:
    """Takes batches in order; what it took survives, it says so later."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.durable = 0

    def take(self, envelope: bytes) -> None:
        batch = Batch.unpack(envelope)
        assert len(batch.content()) == batch.rows
        assert batch.sequence <= len(self.rows) + 1, "a gap"
        if batch.sequence == len(self.rows) + 1:
            self.rows.append(batch.rows)

    def copy(self) -> "Hub":
        other = Hub()
        other.rows, other.durable = list(self.rows), self.durable
        return other


class Agent:
    """What an agent does with its run, one step at a time."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder, self.hub = folder, hub
        self.run = open_run(folder, HUB, "s")
        self.outbox = Outbox("none", self.run)
        self.outbox.settle(len(hub.rows))
        self.outbox.release(hub.durable)
        self.sent = hub.durable

    def step(self, operation: str, n: int) -> None:
        tally = self.run.tally
        match operation:
            case "capture":
                tally.move(captured=n, in_encoder=n)
            case "sample":
                tally.move(captured=n, sampled_out=n)
            case "put" if waiting := tally["in_encoder"]:
                self.outbox.put(Frames.from_list([b"frame"] * waiting, [0] * waiting), {})
            case "drop" if waiting := tally["in_encoder"]:
                tally.move(in_encoder=-waiting, dropped_outbox_full=waiting)
            case "spool":
                self.outbox._spool_oldest()
            case "send" if self.sent + 1 < self.outbox.next_sequence:
                self.sent += 1
                self.hub.take(self.outbox.get(self.sent) or self.outbox.load(self.sent, dict))
            case "acknowledge":
                self.hub.durable = min(len(self.hub.rows), self.hub.durable + n)
                self.outbox.release(min(self.hub.durable, self.sent))

    def finish(self) -> None:
        self.step("put", 0)
        while self.sent + 1 < self.outbox.next_sequence:
            self.step("send", 0)
        self.step("acknowledge", 10**6)


def live(agent: Agent, operations: list[tuple[str, int]], cut: int, left: Path) -> Hub:
    """Do all that; a kill after `cut` writes to the disk, or at the end, leaves the folder `left` and this hub."""
    real, writes, at_kill = os.pwrite, 0, None
    folder = agent.folder

    def counted(fd: int, data: Any, place: int) -> int:
        nonlocal writes, at_kill
        count = real(fd, data, place)
        writes += 1
        if writes == cut:
            shutil.copytree(folder, left)
            at_kill = agent.hub.copy()
        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", counted)
        for operation, n in operations:
            agent.step(operation, n)
            assert adds_up(agent.run)
    if at_kill is None:
        shutil.copytree(folder, left)
        at_kill = agent.hub.copy()
    return at_kill


@settings(max_examples=150, deadline=None)
@given(
    lives=st.lists(
        st.tuples(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(1, 9)), max_size=25), st.integers(0, 60)),
        min_size=1,
        max_size=4,
    )
)
def test_every_packet_is_accounted_for_wherever_a_kill_cuts_in(
    tmp_path_factory: pytest.TempPathFactory, lives: list[tuple[list[tuple[str, int]], int]]
) -> None:
    folder = tmp_path_factory.mktemp("run") / "0"
    hub, run_ids = Hub(), set()
    for life, (operations, cut) in enumerate(lives, 1):
        agent = Agent(folder, hub)
        run_ids.add(agent.run.id)
        folder = folder.with_name(str(life))
        hub = live(agent, operations, cut, folder)
        agent.run.close()
    assert len(run_ids) == 1
    agent = Agent(folder, hub)
    assert adds_up(agent.run)
    agent.finish()
    counts = agent.run.tally.counters()
    assert adds_up(agent.run)
    assert (counts["in_encoder"], counts["outbox"], counts["spooled"]) == (0, 0, 0)
    assert counts["delivered"] == sum(hub.rows)
    agent.run.close()


def open_with(folder: Path, run: Callable[[Run], object]) -> Run:
    opened = open_run(folder, HUB, "s")
    run(opened)
    opened.close()
    return opened


def batch(run: Run) -> None:
    run.tally.move(captured=3, in_encoder=3)
    outbox = Outbox("none", run)
    outbox.put(Frames.from_list([b"frame"] * 3, [0] * 3), {})
    outbox.spool_all()


def test_a_new_folder_begins_a_run_and_remembers_what_a_later_life_needs(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    interfaces = (InterfaceInfo(name="eth0", link_type=1), InterfaceInfo(name="tun0", link_type=101))
    asked = CaptureSettings(filter="udp")
    first = open_with(folder, lambda run: run.remember(interfaces, capturing=True, asked=asked))
    assert (first.goes_on, first.down_since_ns) == (False, 0)
    again = open_with(folder, lambda _: None)
    assert (again.id, again.interfaces, again.capturing, again.asked) == (first.id, interfaces, True, asked)
    assert again.goes_on
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_second_agent_on_the_folder_is_refused(tmp_path: Path) -> None:
    run = open_run(tmp_path, HUB, "s")
    with pytest.raises(ConfigError, match=rf"in use by another agent \(process {os.getpid()}\)"):
        open_run(tmp_path, HUB, "s")
    run.close()
    open_run(tmp_path, HUB, "s").close()


@pytest.mark.parametrize(("hub", "session"), [("http://other", "s"), (HUB, "another")])
def test_packets_for_another_hub_or_session_are_not_sent_there(tmp_path: Path, hub: str, session: str) -> None:
    first = open_with(tmp_path, batch)
    with pytest.raises(ConfigError, match=f"holds 3 packets for {HUB}, session s. Start the agent with these"):
        open_run(tmp_path, hub, session)
    run = open_run(tmp_path, HUB, "s")
    Outbox("none", run).release(1)
    run.close()
    fresh = open_run(tmp_path, hub, session)
    assert fresh.id != first.id
    assert fresh.tally["captured"] == 0
    assert fresh.interfaces == ()
    fresh.close()


def test_a_hub_is_the_same_with_a_slash_behind_its_address(tmp_path: Path) -> None:
    first = open_with(tmp_path, batch)
    again = open_run(tmp_path, HUB + "/", "s")
    assert again.id == first.id
    again.close()


def test_after_a_power_cut_the_spool_goes_on_as_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tmp_path / "before"
    first = open_run(before, HUB, "s")
    batch(first)
    batch(first)
    shutil.copytree(before, tmp_path / "after")
    first.close()
    boot = tmp_path / "boot_id"
    boot.write_text("another start of the kernel")
    monkeypatch.setattr("aishark_panel.agent.run._BOOT", boot)
    run = open_run(tmp_path / "after", HUB, "s")
    assert run.id != first.id
    outbox = Outbox("none", run)
    assert (outbox.first_sequence, outbox.next_sequence) == (1, 3)
    assert adds_up(run)
    assert (run.tally["captured"], run.tally["spooled"], run.tally["matched"]) == (6, 6, 6)
    assert [Batch.unpack(outbox.load(n, dict)).rows for n in (1, 2)] == [3, 3]
    run.close()
    ended_well = open_run(before, HUB, "s")
    assert ended_well.id == first.id
    ended_well.close()


def test_counters_that_are_damaged_cost_no_spooled_packet(tmp_path: Path) -> None:
    first = open_with(tmp_path, batch)
    (tmp_path / "counters").write_bytes(b"")
    run = open_run(tmp_path, HUB, "s")
    assert run.id != first.id
    assert run.tally["spooled"] == 3
    run.close()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]"])
def test_a_folder_whose_description_is_damaged_is_left_alone(tmp_path: Path, content: bytes) -> None:
    open_with(tmp_path, batch)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"run.json is damaged .*move the folder away"):
        open_run(tmp_path, HUB, "s")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"The spool folder .* cannot be used: Not a directory"):
        open_run(tmp_path / "file" / "spool", HUB, "s")


def test_a_disk_too_small_for_the_counters_is_told_at_the_start(tmp_path: Path) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pathlib import Path; from aishark_panel.agent.run import open_run\n"
        "open_run(Path(sys.argv[1]), 'http://h', '')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert "cannot be used: File too large" in done.stderr


def test_a_folder_that_is_open_to_others_is_closed_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "spool"
    open_with(folder, batch)
    folder.chmod(0o755)
    open_run(folder, HUB, "s").close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "was open to other users (mode 0755)" in caplog.text
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "somebody's").touch()
    with pytest.raises(ConfigError, match="open to other users"):
        open_run(shared, HUB, "s")
    assert shared.stat().st_mode & 0o7777 == 0o1777
