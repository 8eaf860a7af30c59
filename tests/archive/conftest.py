"""An archive of two sessions over three hours, with a port scan, and a cluster of real worker processes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aishark_panel.streams.recording import Recording, RecordingOptions
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from tests.alerts.blocks import scan, udp
from tests.traffic import hello

HOUR_S = 3_600.0


def record(folder: Path, name: str, traffic: list[Frames], **options: object) -> Session:
    """A recording of a session that saw this; the session."""
    session = Session(f"{len(name):012x}", name, ring_bytes=MIN_LIMIT_BYTES)
    run = session.runs.attach(hello())
    chosen = RecordingOptions.parse({"format": "parquet", "rotate_packets": 1_000, **options})
    recording = Recording("r", session, chosen, folder, now_ns=1_700_000_000_000_000_000)
    for sequence, frames in enumerate(traffic, 1):
        session.ingest(run, frames, sequence, {})
    while recording.cursor < session.ring.end:
        recording.advance(session.ring.end, 0.0)
        assert recording.state == "recording"
    recording.finish(session.ring.end)
    assert recording.written
    return session


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for name, scanner in (("office", "10.0.0.66"), ("lab", "10.0.0.77")):
        hours = [udp([HOUR_S * h + i / 10 for i in range(2_500)], source=f"10.0.{h}.5") for h in range(3)]
        record(folder, name, [hours[0], scan(scanner, "10.0.0.2", 400, start_s=3_000.0), *hours[1:]])
    return folder


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the scheduler of a Dask cluster with two workers, each a process of its own."""
    told = tmp_path_factory.mktemp("cluster") / "scheduler.json"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    common = ["--scheduler-file", str(told), "--no-dashboard"]
    commands = [["dask_scheduler", "--port", "0", "--host", "127.0.0.1"]]
    commands += [["dask_worker", "--nthreads", "1", "--no-nanny", "--name", name] for name in ("one", "two")]
    running = []
    try:
        for command in commands:
            argv = [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:], *common]
            running.append(subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        yield _address(told)
    finally:
        for process in running:
            process.kill()
            process.wait()


def _address(told: Path) -> str:
    from distributed import Client

    deadline_s = time.monotonic() + 60
    while not told.exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    with Client(scheduler_file=str(told), set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(2, timeout=60)
        return str(client.scheduler.address)
