"""Agent process to hub process over a real WebSocket: all arrives, once, in order."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from aishark_panel.embedded import EmbeddedHub, start_hub
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when
from tests.traffic import frames

N = 10_000


def numbers_in(hub: EmbeddedHub, session: str) -> list[int]:
    """The numbers in the payloads of the session's packets, in the order of the ring."""
    status, content = call(hub, "GET", f"/api/stream/{session}/export?format=pcap")
    assert status == 200
    with RawPcapReader(io.BytesIO(content)) as reader:  # type: ignore[arg-type]  # it reads files, too
        return [int.from_bytes(data[42:50], "big") for data, _ in reader]


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd", "gzip"])
def test_a_replayed_file_arrives_whole(hub: EmbeddedHub, capture_file: Path, compression: str) -> None:
    name = f"replay {compression}"
    done = run_agent(hub, "-r", str(capture_file), "--speed", "max", "--compression", compression, "--session", name)
    assert done.returncode == 0, done.stderr
    session = session_of(hub, name)
    stats = ask(hub, lambda c: c.stats(session))
    expected = frames(N)
    assert stats["packets"] == N
    assert stats["bytes"] == expected.captured_bytes
    assert (stats["first_ts"], stats["last_ts"]) == (int(expected.ts[0]), int(expected.ts[-1]))
    assert (stats["state"], stats["source"], stats["lost"]) == ("ended", "replay", 0)
    assert stats["agents"][0]["counters"]["captured"] == N


def test_order_and_bytes_are_kept(hub: EmbeddedHub, capture_file: Path) -> None:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--session", "order", "--batch-size", "17")
    session = session_of(hub, "order")
    expected = frames(N)
    assert numbers_in(hub, session) == list(range(N))
    packet = ask(hub, lambda c: c.packet(session, N))
    assert packet["frame"] == expected.frame(N - 1)
    assert packet["ts"] == int(expected.ts[N - 1])


def test_snaplen_cuts_frames_but_not_their_length(hub: EmbeddedHub, capture_file: Path) -> None:
    run_agent(hub, "-r", str(capture_file), "--speed", "max", "--snaplen", "48", "--session", "cut")
    session = session_of(hub, "cut")
    packet = ask(hub, lambda c: c.packet(session, 5))
    assert len(packet["frame"]) == packet["cap_len"] == 48
    assert packet["orig_len"] == len(frames(N).frame(4))


def test_standard_input_is_replayed(hub: EmbeddedHub, capture_file: Path) -> None:
    with capture_file.open("rb") as file:
        done = run_agent(hub, "-r", "-", "--speed", "max", "--session", "stdin", stdin=file)
    assert done.returncode == 0, done.stderr
    session = session_of(hub, "stdin")
    assert ask(hub, lambda c: c.stats(session))["packets"] == N


def test_a_paced_replay_takes_its_time_and_can_be_stopped_and_started(hub: EmbeddedHub, capture_file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "-r", str(capture_file)]
        + ["--speed", "2", "--session", "paced"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    session = session_of(hub, "paced")
    stats_when(hub, session, lambda s: s["packets"] > 100, "first packets")
    ask(hub, lambda c: c.stop(session))
    stopped = stats_when(hub, session, lambda s: not s["agents"][0]["capturing"], "agent stopped")
    assert stopped["state"] == "stopped"
    assert stopped["packets"] < N
    ask(hub, lambda c: c.start(session))
    stats_when(hub, session, lambda s: s["packets"] == N, "whole file")
    assert process.wait(20) == 0


def test_an_agent_survives_the_restart_of_its_hub(capture_file: Path) -> None:
    first = start_hub("--port", "0", "--ring-mib", "48")
    port = first.url.rpartition(":")[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", first.url, "-r", str(capture_file), "--speed", "2"],
        env={**os.environ, "AISHARK_TOKEN": first.token},
    )
    session = session_of(first, "live")
    before = stats_when(first, session, lambda s: s["packets"] > 1_000, "first packets")
    first.process.kill()
    first.close()
    second = start_hub("--port", port, "--ring-mib", "48", token=first.token)
    try:
        session = session_of(second, "live")
        after = stats_when(second, session, lambda s: s["state"] == "ended", "rest of the file")
        assert process.wait(20) == 0
        assert before["packets"] < N
        # Without a journal the killed hub takes with it what it had acknowledged; the rest arrives once.
        rest = numbers_in(second, session)
        assert rest == list(range(N - after["packets"], N))
        assert after["agents"][0]["counters"]["captured"] == N
    finally:
        second.close()


def test_a_running_agent_has_loaded_no_pandas_and_no_front_end(hub: EmbeddedHub, capture_file: Path) -> None:
    program = (
        "import atexit, sys\n"
        "heavy = ('pandas', 'panel', 'bokeh', 'holoviews', 'scapy')\n"
        "atexit.register(lambda: print('LOADED', [m for m in heavy if m in sys.modules]))\n"
        "from aishark_panel.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "agent", "--hub", hub.url, "-r", str(capture_file), "--speed", "max"]
        + ["--session", "modules"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    session = session_of(hub, "modules")
    assert ask(hub, lambda c: c.stats(session))["packets"] == N
    assert "LOADED []" in done.stdout


def test_an_agent_says_what_its_file_lacks_at_the_end(hub: EmbeddedHub, capture_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    path.write_bytes(capture_file.read_bytes()[:-10])
    done = run_agent(hub, "-r", str(path), "--speed", "max", "--session", "ends early")
    session = session_of(hub, "ends early")
    stats = ask(hub, lambda c: c.stats(session))
    assert stats["packets"] == N - 1
    for said in (done.stderr, stats["reason"]):
        assert f"cut.pcap: all packets sent; it ends at byte {path.stat().st_size:,}, in the middle of packet" in said


def test_a_file_is_followed_while_it_is_written(hub: EmbeddedHub, capture_file: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "growing.pcap", capture_file.read_bytes()
    path.write_bytes(whole[:-1000])
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "-r", str(path), "--follow"]
        + ["--session", "followed"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
        stderr=subprocess.PIPE,
        text=True,
    )
    session = session_of(hub, "followed")
    before = stats_when(hub, session, lambda s: s["packets"] > N - 100, "what the file holds")
    assert before["packets"] < N
    with path.open("ab") as file:
        file.write(whole[-1000:])
    stats_when(hub, session, lambda s: s["packets"] == N, "what was added")
    path.unlink()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"it was moved, replaced or deleted while it was followed; all {N:,} packets were read" in said


def test_synthetic_traffic_flows_and_says_what_it_is(hub: EmbeddedHub) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--synthetic", "--session", "made up"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    try:
        stats = stats_when(hub, session_of(hub, "made up"), lambda s: s["packets"] > 5_000, "5,000 packets")
        assert stats["source"] == "synthetic"
        assert stats["conversations"] > 10
    finally:
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-r", "/nowhere.pcap"], "nowhere.pcap"),
        (["-r", __file__], "neither pcap nor pcapng"),
        (["--synthetic", "--follow"], "--follow needs the file"),
        ([], "Say what to capture"),
        (["-i", "lo", "--synthetic"], "Say what to capture"),
        (["--synthetic", "--hub", "http://127.0.0.1:9", "--max-retries", "0"], "No hub answers"),
        (["--synthetic", "--hub", "127.0.0.1:9"], "--hub must be an address"),
        (["-i", "nosuch0"], "nosuch0"),
        (["--ssh", "user@host"], "-i"),
    ],
)
def test_what_cannot_work_ends_in_one_clear_line(hub: EmbeddedHub, options: list[str], words: str) -> None:
    done = run_agent(hub, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 8


@pytest.mark.parametrize(
    "command",
    [
        ["agent", "--synthetic"],
        ["upload", "FILE"],
        ["record", "list", "session"],
        ["agents", "list"],
        ["agents", "start", "edge"],
        ["token", "list"],
        ["token", "issue", "ada"],
    ],
    ids=" ".join,
)
def test_a_wrong_token_ends_in_one_line_that_says_what_to_do(
    hub: EmbeddedHub, capture_file: Path, command: list[str]
) -> None:
    command = [str(capture_file) if word == "FILE" else word for word in command]
    done = subprocess.run(
        [sys.executable, "-m", "aishark_panel", *command, "--hub", hub.url],
        env={**os.environ, "AISHARK_TOKEN": "wrong"},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"aishark: The hub at {hub.url} refused the token; it may have expired or been revoked. Set AISHARK_TOKEN to "
        "the one that it printed at its start, or to one that its owner gives you with 'aishark token issue'.\n"
    )
