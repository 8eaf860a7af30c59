"""A time that the ring has let go, asked of a real hub: from the journal, from recordings, and across into the ring."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.client import EmbeddedHub, HubClient, start_hub
from aishark_panel.errors import ConfigError, HubError, NotFoundError
from aishark_panel.notebook.session import Hub, Session
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.integration.conftest import ask, call, run_agent, session_of, stats_when, wait_until_ready
from tests.traffic import START_NS, frames

PACKETS = 300_000
STEP_NS = 1_000_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five minutes of UDP, a packet each millisecond: more than twice what the ring holds."""
    path = tmp_path_factory.mktemp("captures") / "long.pcap"
    writer = PcapWriter(link_type=1)
    with path.open("wb") as out:
        out.write(writer.header())
        for first in range(0, PACKETS, 20_000):
            out.write(writer.frames(frames(20_000, first=first)))
    return path


def played(hub: EmbeddedHub, file: Path, **options: object) -> str:
    """The id of a session that took the file, and has let half of it go."""
    wait_until_ready(hub)
    session = str(ask(hub, lambda c: c.create_session("long"))["id"])
    if options:
        ask(hub, lambda c: c.record_start(session, **options))  # type: ignore[arg-type]
    speed = "75" if options else "max"  # a recording needs its time
    assert run_agent(hub, "-r", str(file), "--speed", speed, "--session", "long").returncode == 0
    stats = stats_when(hub, session, lambda s: s["state"] == "ended" and s["packets"] == PACKETS, "the end")
    assert stats["evicted"] > PACKETS // 3
    assert all(recording["failed"] == 0 for recording in ask(hub, lambda c: c.recordings(session)))
    return session


@pytest.fixture(scope="module")
def journalled(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedHub, str]]:
    folder = tmp_path_factory.mktemp("kept")
    hub = start_hub("--port", "0", "--ring-mib", "48", "--journal", str(folder / "j"), "--state", str(folder / "s"))
    yield hub, played(hub, file)
    hub.close()


@pytest.fixture(scope="module")
def recorded(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedHub, str]]:
    """A hub without a journal; files of 20,000 packets."""
    hub = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(tmp_path_factory.mktemp("recordings")))
    yield hub, played(hub, file, export_format="parquet", rotate_packets=20_000, rotate_s=0.2)
    hub.close()


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
    talks, _ = ask(hub, lambda c: c.talks(past, 1_000, where))
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
