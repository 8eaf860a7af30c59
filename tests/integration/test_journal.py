"""A hub that is killed at any moment, and started again on its journal: every packet is there once, in order."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for, wait_until_ready
from tests.ledgers import identities, is_drained
from tests.traffic import frames

N = 10_000
KILLS = 6
pytestmark = pytest.mark.timeout(300)  # hubs die and come back many times
AISHARK = [sys.executable, "-m", "aishark_panel"]


def numbered() -> list[bytes]:
    """The frames of the capture file."""
    made = frames(N)
    return [made.frame(i) for i in range(N)]


class Hubs:
    """A hub on one port and one journal, which dies and comes back."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._options = ("--ring-mib", "48", "--journal", str(folder), *options)
        self.hub = start_hub("--port", "0", *self._options)

    def restart(self, *options: str) -> None:
        """Kill it, and start it again."""
        self.hub.process.kill()
        self.hub.close()
        port = self.hub.url.rpartition(":")[2]
        self.hub = start_hub("--port", port, *self._options, *options, token=self.hub.token)


@contextlib.contextmanager
def hubs(folder: Path, *options: str) -> Iterator[Hubs]:
    made = Hubs(folder, *options)
    try:
        wait_until_ready(made.hub)  # an agent that began before it could be through before the first kill
        yield made
    finally:
        made.hub.close()


def agent(hub: EmbeddedHub, *options: str) -> "subprocess.Popen[str]":
    """An agent that comes back soon after its hub did."""
    return subprocess.Popen(
        [*AISHARK, "agent", "--hub", hub.url, *options],
        env={**os.environ, "AISHARK_TOKEN": hub.token, "AISHARK_SERVER__RECONNECT_MAX": "300ms"},
        stderr=subprocess.PIPE,
        text=True,
    )


def exported(hub: EmbeddedHub, session: str, folder: Path) -> list[bytes]:
    """All frames of a session, by its pcapng export."""
    status, content = call(hub, "GET", f"/api/stream/{session}/export?format=pcapng")
    assert status == 200
    path = folder / "export.pcapng"
    path.write_bytes(content)
    with open_capture(path) as capture:
        return [block.frame(i) for block in capture for i in range(len(block))]


def recovered(hub: EmbeddedHub, session: str) -> dict[str, Any]:
    """Statistics once the session is read back."""
    return stats_when(
        hub, session, lambda s: "journal" not in s["reason"] and "Getting ready" not in s["reason"], "recovery"
    )


def ledger_when_drained(hub: EmbeddedHub, session: str) -> dict[str, Any]:
    book: dict[str, Any] = {}

    def look() -> bool:
        nonlocal book
        book = ask(hub, lambda c: c.ledger(session))
        return is_drained(book)

    try:
        wait_for(look, "a drained session")
    except pytest.fail.Exception:
        pytest.fail(f"{identities(book)}\n{book}")
    return book


def test_a_hub_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path, capture_file: Path) -> None:
    rng = random.Random(5)
    expected = numbered()
    with hubs(tmp_path / "journal") as each:
        sending = agent(each.hub, "-r", str(capture_file), "--speed", "0.4", "--batch-size", "37")
        session = session_of(each.hub, "live")
        wait_for(lambda: ask(each.hub, lambda c: c.stats(session))["packets"], "first packets", timeout_s=100.0)
        kills = 0
        while kills < KILLS and sending.poll() is None:  # a slow machine restarts a hub less often in these 25 s
            time.sleep(rng.uniform(0, 1.5))  # the moment is what this test is about
            each.restart()
            kills += 1
        _, said = sending.communicate(timeout=90)
        assert sending.returncode == 0, said
        assert "all packets sent" in said
        stats_when(each.hub, session, lambda s: s["state"] == "ended", "end of the run")
        book = ledger_when_drained(each.hub, session)
        assert book["ring"]["parts"]["in_ring"] == book["ring"]["packets"] == N
        # A hub that dies before it has read all back prolongs the gap that was there.
        assert 1 <= [gap["what"] for gap in book["gaps"]].count("hub") <= kills
        assert all(gap["start_ns"] < gap["end_ns"] for gap in book["gaps"])
        assert exported(each.hub, session, tmp_path) == expected
        each.restart()
        recovered(each.hub, session)
        assert exported(each.hub, session, tmp_path) == expected
        assert identities(ask(each.hub, lambda c: c.ledger(session))) == []
        assert ask(each.hub, lambda c: c.stats(session))["state"] == "ended"


def test_sessions_come_back_as_they_were(tmp_path: Path, capture_file: Path) -> None:
    with hubs(tmp_path / "journal") as each:
        for name in ("kept", "cleared", "deleted", "stopped"):
            assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max", "--session", name).returncode == 0
        ids = {name: session_of(each.hub, name) for name in ("kept", "cleared", "deleted", "stopped")}
        ask(each.hub, lambda c: c.clear(ids["cleared"]))
        ask(each.hub, lambda c: c.stop(ids["stopped"]))
        assert call(each.hub, "DELETE", f"/api/stream/{ids['deleted']}")[0] == 204
        before = views(each.hub, ids["kept"])
        wait_for(lambda: journal_of(each.hub, ids["cleared"])["waiting_bytes"] == 0, "the last sync")
        each.restart()
        names = [s["name"] for s in ask(each.hub, lambda c: c.sessions())]
        assert names == ["live", "kept", "cleared", "stopped"]
        for name in ("kept", "cleared", "stopped"):
            recovered(each.hub, ids[name])
            assert identities(ask(each.hub, lambda c, s=ids[name]: c.ledger(s))) == []  # type: ignore[misc]
        assert views(each.hub, ids["kept"]) == before
        cleared = ask(each.hub, lambda c: c.stats(ids["cleared"]))
        assert (cleared["packets"], cleared["cleared"], cleared["first"], cleared["end"]) == (N, N, N + 1, N + 1)
        assert ask(each.hub, lambda c: c.stats(ids["stopped"]))["state"] == "stopped"
        assert sorted(p.name for p in (tmp_path / "journal").iterdir() if p.is_dir()) == sorted(
            ids[name] for name in ("kept", "cleared", "stopped")
        )
        # A file that is sent once more is another run, and goes on behind what there is.
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max", "--session", "kept").returncode == 0
        assert ask(each.hub, lambda c: c.stats(ids["kept"]))["end"] == 2 * N + 1


def views(hub: EmbeddedHub, session: str) -> list[object]:
    """What people see of a session."""
    stats = ask(hub, lambda c: c.stats(session))
    rollup, _ = ask(hub, lambda c: c.traffic(session, 1_000))
    conversations, _ = ask(hub, lambda c: c.conversations(session, 500))
    rows, _ = ask(hub, lambda c: c.rows(session, 5_000, 100))
    kept = ("name", "owner", "state", "reason", "packets", "bytes", "first", "end", "first_ts", "last_ts")
    return [{k: stats[k] for k in kept}, *(b.to_pylist() for b in (rollup, conversations, rows))]


def journal_of(hub: EmbeddedHub, session: str) -> dict[str, Any]:
    journal: dict[str, Any] = ask(hub, lambda c: c.stats(session))["journal"]
    return journal


RULE = """
rules:
  - {name: port_7000, where: dst_port == 7000, over: 1s, having: "count('dst_port == 7000') > 500"}
"""


def test_alerts_are_not_told_again(tmp_path: Path, capture_file: Path, told: tuple[str, list[dict[str, Any]]]) -> None:
    address, messages = told
    (tmp_path / "rules.yaml").write_text(RULE)
    options = ("--rules", str(tmp_path / "rules.yaml"), "--no-builtin-rules", "--webhook", address)
    with hubs(tmp_path / "journal", *options) as each:
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max", "--session", "alerts").returncode == 0
        session = session_of(each.hub, "alerts")
        wait_for(lambda: [m["state"] for m in messages] == ["firing", "resolved"], "both messages")
        each.restart()
        recovered(each.hub, session)
        # New packets do fire: the hub had every chance to tell of the old ones before.
        assert run_agent(each.hub, "-r", str(capture_file), "--speed", "max", "--session", "again").returncode == 0
        wait_for(lambda: len(messages) >= 4, "messages on the new session")
        assert {m["session"]["name"] for m in messages[2:]} == {"again"}
        (alert,) = ask(each.hub, lambda c: c.alerts(session))["alerts"]  # it is still listed
        assert alert["state"] == "resolved"


def test_what_a_hub_without_a_journal_takes_with_it_is_in_the_book(capture_file: Path) -> None:
    first = start_hub("--port", "0", "--ring-mib", "48")
    sending = agent(first, "-r", str(capture_file), "--speed", "2")
    session = session_of(first, "live")
    stats_when(first, session, lambda s: s["packets"] > 1_000, "first packets")
    assert journal_of(first, session)["state"] == "off"
    first.process.kill()
    first.close()
    second = start_hub("--port", first.url.rpartition(":")[2], "--ring-mib", "48", token=first.token)
    try:
        session = session_of(second, "live")
        assert sending.wait(60) == 0
        stats_when(second, session, lambda s: s["state"] == "ended", "end of the run")
        book = ledger_when_drained(second, session)
        lost = book["ring"]["parts"]["lost_in_hub_crash"]
        assert 1_000 <= lost < N
        assert book["ring"]["parts"]["in_ring"] + lost == N == book["agents"][0]["stages"][-2]["packets"]
        assert ask(second, lambda c: c.stats(session))["lost"] == lost
    finally:
        assert sending.stderr is not None
        sending.stderr.close()
        second.close()


class SmallDisk:
    """Hubs whose journal is on a disk of 6 MiB, in a mount namespace that outlives them."""

    def __init__(self, folder: Path) -> None:
        script = f"mount -t tmpfs -o size=6m none {folder} && echo ready && exec sleep 1000"
        self._holder = subprocess.Popen(["unshare", "-Urm", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        self._folder = folder
        self.inside = Path(f"/proc/{self._holder.pid}/root{folder}")
        """the disk, from here"""

    def start(self, port: str = "0") -> EmbeddedHub:
        enter = ["nsenter", f"--target={self._holder.pid}", "--user", "--mount", "--preserve-credentials"]
        options = ["--embedded", "--port", port, "--ring-mib", "48", "--journal", str(self._folder / "journal")]
        process = subprocess.Popen(
            [*enter, *AISHARK, "hub", *options],
            env={**os.environ, "AISHARK_TOKEN": "t"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return EmbeddedHub(json.loads(process.stdout.readline())["url"], "t", process)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    (tmp_path / "small").mkdir()
    made = SmallDisk(tmp_path / "small")
    yield made
    made.close()


def test_a_full_disk_stops_durable_and_nothing_else(disk: SmallDisk, tmp_path: Path, capture_file: Path) -> None:
    hub = disk.start()
    wait_until_ready(hub)
    sending = agent(hub, "-r", str(capture_file), "--speed", "1", "--batch-size", "50")
    try:
        session = session_of(hub, "live")
        wait_for(lambda: ask(hub, lambda c: c.stats(session))["packets"], "first packets", timeout_s=100.0)
        filler = disk.inside / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4_096))
        failing = stats_when(hub, session, lambda s: s["journal"]["state"] == "failing", "the disk to be full")
        assert failing["journal"]["reason"] == "The disk of the hub's journal is full."
        assert "would not survive a crash" in failing["reason"]
        assert failing["state"] == "capturing"
        # The capture and the view go on; what is not safe stays with the agent as well.
        stats_when(hub, session, lambda s: s["packets"] == N, "all packets")
        delivered = ask(hub, lambda c: c.stats(session))["agents"][0]["counters"]["delivered"]
        assert delivered < N
        assert sending.poll() is None
        filler.unlink()
        _, said = sending.communicate(timeout=30)
        assert sending.returncode == 0, said
        stats_when(hub, session, lambda s: s["journal"]["state"] == "on", "the journal to be written again")
        ledger_when_drained(hub, session)
        os.kill(_child_or_self(hub.process.pid), signal.SIGKILL)
        hub.close()
        hub = disk.start(hub.url.rpartition(":")[2])
        assert recovered(hub, session)["packets"] == N
        assert exported(hub, session, tmp_path) == numbered()
    finally:
        sending.kill()
        sending.communicate()
        hub.close()


def _child_or_self(pid: int) -> int:
    """The process that nsenter became, or started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def test_a_second_hub_on_the_same_journal_is_refused(tmp_path: Path) -> None:
    with hubs(tmp_path / "journal"):
        command = [*AISHARK, "hub", "--port", "0", "--journal", str(tmp_path / "journal"), "--state", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 2
    assert f"Another hub keeps its journal in {tmp_path / 'journal'}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--no-journal"], "packets are kept in memory only"),
        ([], "packets are written to {data}/aishark/journal, at most 4 GiB a session"),
        (["--journal-size", "1.5GiB"], "at most 1.5 GiB a session"),
        (["--journal-size", "1kB"], "--journal-size must be a size with its unit"),
        (["--journal", "{data}/j", "--no-journal"], "--journal and --no-journal exclude each other"),
        (["--journal", "/proc/journal"], "cannot make its folder"),
    ],
)
def test_a_hub_says_where_packets_are_kept(tmp_path: Path, options: list[str], words: str) -> None:
    filled = [option.format(data=tmp_path) for option in options]
    process = subprocess.Popen(
        [*AISHARK, "hub", "--port", "0", "--state", str(tmp_path / "state"), *filled],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert any(words.format(data=tmp_path) in line for line in process.stdout)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
    kept = not any(option.startswith(("--no", "--journal")) for option in options) or "1.5GiB" in options
    assert (tmp_path / "aishark" / "journal").exists() == kept
