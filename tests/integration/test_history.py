"""A time that the ring has let go, asked of a real hub: from the journal, from recordings, and across into the ring."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, HubError, NotFoundError
from aishark_panel.notebook.session import Hub, Session
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_for, wait_until_ready
from tests.traffic import START_NS, frames

PACKETS = 300_000
STEP_NS = 1_000_000


PIECE = 50_000


def header() -> bytes:
    return PcapWriter(link_type=1).header()


def piece(first: int) -> bytes:
    """Some of five minutes of UDP, a packet each millisecond: in all more than twice what the ring holds."""
    return PcapWriter(link_type=1).frames(frames(PIECE, first=first))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "long.pcap"
    path.write_bytes(header() + b"".join(piece(first) for first in range(0, PACKETS, PIECE)))
    return path


def create_session(hub: EmbeddedHub) -> str:
    wait_until_ready(hub)
    return str(ask(hub, lambda c: c.create_session("long"))["id"])


def assert_half_is_gone(hub: EmbeddedHub, session: str) -> None:
    stats = stats_when(hub, session, lambda s: s["state"] == "ended" and s["packets"] == PACKETS, "the end")
    assert stats["evicted"] > PACKETS // 3


@pytest.fixture(scope="module")
def journalled(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedHub, str]]:
    folder = tmp_path_factory.mktemp("kept")
    hub = start_hub("--port", "0", "--ring-mib", "48", "--journal", str(folder / "j"), "--state", str(folder / "s"))
    session = create_session(hub)
    assert run_agent(hub, "-r", str(file), "--speed", "max", "--session", "long").returncode == 0
    assert_half_is_gone(hub, session)
    yield hub, session
    hub.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedHub, str]]:
    """A hub without a journal; files of 20,000 packets. The file grows as fast as it is recorded."""
    hub = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(tmp_path_factory.mktemp("recordings")))
    session = create_session(hub)
    ask(hub, lambda c: c.record_start(session, export_format="parquet", rotate_packets=20_000, rotate_s=0.2))
    growing = tmp_path_factory.mktemp("captures") / "growing.pcap"
    growing.write_bytes(header())
    agent = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "-r", str(growing), "--follow"]
        + ["--session", "long"],
        env={**os.environ, "AISHARK_TOKEN": hub.token},
    )
    for first in range(0, PACKETS, PIECE):
        with growing.open("ab") as out:
            out.write(piece(first))
        wait_for(partial(is_recorded, hub, session, first + PIECE), "the recording", timeout_s=90)
    growing.unlink()
    assert agent.wait(timeout=60) == 0
    assert_half_is_gone(hub, session)
    yield hub, session
    hub.close()


def is_recorded(hub: EmbeddedHub, session: str, packets: int) -> bool:
    (recording,) = ask(hub, lambda c: c.recordings(session))
    assert recording["failed"] == 0
    return bool(recording["written"] == packets)


@pytest.fixture(params=["journalled", "recorded"])
def kept(request: pytest.FixtureRequest) -> tuple[EmbeddedHub, str]:
    found: tuple[EmbeddedHub, str] = request.getfixturevalue(request.param)
    return found


def moment(packet: int) -> int:
    """When packet `packet`, from 1 on, was captured."""
    return START_NS + (packet - 1) * STEP_NS


def within(session: str, first: int, last: int) -> tuple[str, str]:
    """A session at the time of some packets, and an expression for them."""
    start, end = (pd.Timestamp(moment(n)).isoformat() + "Z" for n in (first, last + 1))
    where = f"ts >= '{start}' and ts < '{end}'"
    return HubClient.within(session, moment(first), moment(last + 1)), where


def test_a_time_that_is_gone_is_read_back(kept: tuple[EmbeddedHub, str]) -> None:
    hub, session = kept
    past, where = within(session, 5_001, 9_000)
    assert ask(hub, lambda c: c.table(session, where)).num_rows == 0
    assert ask(hub, lambda c: c.read_back(past)) == ""
    table = ask(hub, lambda c: c.table(past, where))
    assert table["number"].to_pylist() == list(range(5_001, 9_001))
    batch, info = ask(hub, lambda c: c.rows(past, 10, 5, where, ["number", "src_port"]))
    assert batch["number"].to_pylist() == list(range(5_011, 5_016))
    assert batch["src_port"].to_pylist() == [10_000 + (n - 1) % 250 for n in range(5_011, 5_016)]
    assert (info["end"] - info["first"], info["reading"], info["missing"]) == (4_000, "", "")
    talks, _ = ask(hub, lambda c: c.conversations(past, 1_000, where))
    assert (talks.num_rows, sum(talks["packets_ab"].to_pylist())) == (250, 4_000)
    bins, known = ask(hub, lambda c: c.traffic(past, 1_000, 0, where, "agent"))
    assert (sum(bins["packets"].to_pylist()), known["complete"]) == (4_000, True)
    found = ask(hub, lambda c: c.seek(past, 1, where, "udp.srcport == 10100"))
    assert (found["number"], found["row"]) == (5_101, 100)


def exported(hub: EmbeddedHub, session: str, where: str) -> bytes:
    """The pcapng of what an expression selects."""
    parts: list[bytes] = []
    ask(hub, lambda c: c.export(session, "pcapng", where, parts.append))
    return b"".join(parts)


def test_bytes_come_from_the_journal_only(
    journalled: tuple[EmbeddedHub, str], recorded: tuple[EmbeddedHub, str], tmp_path: Path
) -> None:
    for (hub, session), has_bytes in ((journalled, True), (recorded, False)):
        past, where = within(session, 5_001, 6_000)
        ask(hub, lambda c, past=past: c.read_back(past))  # type: ignore[misc]
        packet = ask(hub, lambda c, past=past: c.packet(past, 5_500))  # type: ignore[misc]
        assert (packet["frame"] == frames(1, first=5_499).frame(0)) == has_bytes
        assert packet["src_port"] == 10_249
        path = tmp_path / f"{has_bytes}.pcapng"
        path.write_bytes(exported(hub, past, where))
        with open_capture(path) as capture:
            batches = list(capture)
        assert [int(ts) for batch in batches for ts in batch.ts] == [moment(n) for n in range(5_001, 6_001)]
        assert sum(batch.captured_bytes for batch in batches) == (1_000 * len(frames(1).frame(0)) if has_bytes else 0)
    hub, session = recorded
    past, where = within(session, 5_001, 6_000)
    with pytest.raises(HubError, match="without their bytes"):
        ask(hub, lambda c: c.rows(past, 0, 1, f"({where}) and payload contains 'x'"))


def test_a_time_may_begin_on_the_disk_and_end_in_the_ring(kept: tuple[EmbeddedHub, str]) -> None:
    hub, session = kept
    first = ask(hub, lambda c: c.stats(session))["first"]
    past, where = within(session, first - 3_000, first + 2_999)
    assert ask(hub, lambda c: c.read_back(past)) == ""
    table = ask(hub, lambda c: c.table(past, where, ["number", "ts"]))
    assert table["number"].to_pylist() == list(range(first - 3_000, first + 3_000))


def test_times_that_make_no_sense_are_refused(kept: tuple[EmbeddedHub, str]) -> None:
    hub, session = kept
    for nonsense in (f"{session}@5-4", f"{session}@1-{2**63}", f"{session}@x", f"{session}@-1-4"):
        with pytest.raises(NotFoundError):
            ask(hub, lambda c, nonsense=nonsense: c.rows(nonsense, 0, 1))  # type: ignore[misc]


def test_it_is_asked_over_rest_too(journalled: tuple[EmbeddedHub, str]) -> None:
    hub, session = journalled
    past, where = within(session, 101, 150)
    status, body = call(hub, "GET", f"/api/stream/{past}/packets?columns=number&limit=1000&where={quote(where)}")
    assert (status, body.count(b'"number"')) == (200, 50)


def test_a_notebook_reaches_back(kept: tuple[EmbeddedHub, str]) -> None:
    hub, session = kept
    with Hub(hub.url, hub.token) as connection:
        asked = Session(connection, session, "long")
        whole = asked.df(start="2023-11-14 22:13:25", end="2023-11-14 22:13:26")
        assert whole["number"].tolist() == list(range(5_001, 6_001))
        assert asked.df(last="290s", where="src_port == 10000", columns=["number"])["number"].iloc[0] == 10_001
        counted = asked.sql("select count(*) as n, min(number) as first from packets", last=299.0)
        assert counted.iloc[0].tolist() == [299_001, 1_000]
        with pytest.raises(ConfigError, match="is no time"):
            asked.df(start="noon")
        with pytest.raises(ConfigError, match="not before"):
            asked.df(start="2024-01-01", end="2023-01-01")
        with pytest.raises(ConfigError, match="not both"):
            asked.df(last="5s", start="2023-01-01")


def test_others_do_not_see_it_and_it_goes_with_the_session(recorded: tuple[EmbeddedHub, str]) -> None:
    hub, session = recorded
    past, where = within(session, 1_001, 2_000)
    other = start_hub("--port", "0", "--ring-mib", "48")
    try:
        with pytest.raises(NotFoundError):
            ask(other, lambda c: c.rows(past, 0, 1, where))
    finally:
        other.close()
    ask(hub, lambda c: c.clear(session))
    assert ask(hub, lambda c: c.rows(past, 0, 1, where))[0].num_rows == 0


def test_questions_at_once_share_one_history(journalled: tuple[EmbeddedHub, str]) -> None:
    hub, session = journalled
    past, where = within(session, 20_001, 21_000)

    async def many() -> list[int]:
        async with HubClient(hub.url, hub.token) as client:
            assert await asyncio.gather(*(client.read_back(past) for _ in range(5))) == [""] * 5
            tables = await asyncio.gather(*(client.table(past, where, ["number"]) for _ in range(5)))
            return [table.num_rows for table in tables]

    assert asyncio.run(many()) == [1_000] * 5
    assert session_of(hub, "long") == session
