"""Exports of a session, read back by others' tools: tshark, capinfos, DuckDB, pandas, Polars."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.export.info import capture_info
from aishark_panel.streams.exportlog import MAX_KEPT, ExportLog, ExportProgress
from aishark_panel.streams.exports import export_chunks
from aishark_panel.streams.people import OWNER, Person
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import InterfaceInfo
from tests.traffic import frames, hello, udp_frame

START_NS = 1_700_000_000_123_456_789
COUNT = 300


@pytest.fixture
def session() -> Session:
    """Packets of two agents, one of them with two interfaces of different link types, taken in turns."""
    session = Session("5e55", "night watch", ring_bytes=MIN_LIMIT_BYTES)
    edge = session.runs.attach(
        msgspec.structs.replace(
            hello(),
            agent="edge",
            os="Linux 6.1",
            interfaces=(InterfaceInfo(name="eth0", link_type=1, snaplen=96, filter="not port 22"),),
            sampling=10,
        )
    )
    core = session.runs.attach(
        msgspec.structs.replace(
            hello(),
            agent="core",
            run="c" * 32,
            interfaces=(InterfaceInfo(name="eth0", link_type=1), InterfaceInfo(name="tun0", link_type=101)),
        )
    )
    for k in range(3):
        times = START_NS + 1_000_003 * np.arange(k * COUNT, (k + 1) * COUNT)
        content = [udp_frame(f"10.0.{k}.{i % 250}", "192.0.2.9", 1_000 + i, 53, b"x" * (i % 40)) for i in range(COUNT)]
        if k == 2:
            content = [frame[14:] for frame in content]
        batch = Frames.from_list(content, times.tolist(), [1_400] * COUNT)
        iface = np.full(COUNT, max(0, k - 1), np.uint16)
        counters = {"matched": 310, "kernel_dropped": 10} if k == 0 else {}
        run = core if k else edge
        session.ingest(run, Frames(batch.ts, batch.orig_len, iface, batch.offsets, batch.data), max(1, k), counters)
    return session


def progress_of(session: Session, export_format: str, where: str = "") -> ExportProgress:
    return ExportProgress(session=session.id, person="", format=export_format, where=where)


def export(
    session: Session, path: Path, where: str = "", between: Callable[[], object] = lambda: None
) -> ExportProgress:
    """Write a session to a file, as it goes to a reader; `between` is called after each chunk."""
    export_format = path.suffix[1:]
    progress = progress_of(session, export_format, where)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool, path.open("wb") as file:
            async for chunk in export_chunks(
                session, export_format, where, follow=False, executor=pool, progress=progress
            ):
                file.write(chunk)
                between()

    asyncio.run(run())
    return progress


def expected(session: Session) -> list[tuple[int, int, int, bytes]]:
    """Time, length on the wire, interface, frame of each packet, as the ring has them."""
    with session.ring.read() as views:
        return [
            (int(p.columns.ts[r]), int(p.columns.orig_len[r]), int(p.columns.iface[r]), p.frame(r))
            for p, start, stop in views
            for r in range(start, stop)
        ]


def said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_tshark_finds_every_frame_time_and_interface_in_pcapng(
    session: Session, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    path = tmp_path / "out.pcapng"
    export(session, path)
    fields = ["frame.time_epoch", "frame.len", "frame.interface_id", "frame.interface_name", "frame.cap_len"]
    listed = said([require_tool("tshark"), "-r", str(path), "-T", "fields", *(x for f in fields for x in ("-e", f))])
    names = ["edge/eth0", "core/eth0", "core/tun0"]
    rows = expected(session)
    assert len(rows) == 3 * COUNT
    assert [line.split("\t") for line in listed.splitlines()] == [
        [_epoch(ts), str(length), str(iface), names[iface], str(len(frame))] for ts, length, iface, frame in rows
    ]
    dump = said([require_tool("tshark"), "-r", str(path), "-T", "json", "-x", "-j", "none"])
    bytes_of = [bytes.fromhex(packet["_source"]["layers"]["frame_raw"][0]) for packet in json.loads(dump)]
    assert bytes_of == [frame for *_, frame in rows]


def _epoch(ts: int) -> str:
    return f"{ts // 10**9}.{ts % 10**9:09d}"


def test_capinfos_finds_what_an_interface_block_and_its_statistics_say(
    session: Session, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    path = tmp_path / "out.pcapng"
    export(session, path, "udp")
    report = said([require_tool("capinfos"), str(path)])
    first = report[report.index("Interface #0") : report.index("Interface #1")]
    for fact in (
        "Name = edge/eth0",
        "Encapsulation = Ethernet",
        "Filter string = not port 22",
        "Operating system = Linux 6.1",
        "Capture length = 96",
        "Time precision = nanoseconds (9)",
        "Number of packets = 300",
        "Number of stat entries = 1",
    ):
        assert fact in first, report
    assert "Encapsulation = Raw IP" in report[report.index("Interface #2") :]
    for fact in ("session: night watch", "display filter: udp", "edge: 1 packet in 10 sent"):
        assert fact in report
    counters = capture_info(str(path)).interfaces[0].counters
    assert counters is not None
    assert (counters.accepted, counters.dropped_by_system) == (310, 10)


@pytest.mark.parametrize("where", ["", "src_port < 1010 and ip.src == 10.0.1.0/24"])
def test_pandas_duckdb_and_polars_read_the_same_from_parquet(session: Session, tmp_path: Path, where: str) -> None:
    path = tmp_path / "out.parquet"
    export(session, path, where)
    count = 10 if where else 3 * COUNT
    by_pandas = pd.read_parquet(path)
    assert len(by_pandas) == count
    assert by_pandas["ts"].is_monotonic_increasing
    by_polars = pl.read_parquet(path)
    relation = duckdb.sql(f"select * replace (epoch_ns(ts) as ts) from '{path}'")
    assert relation is not None
    by_duckdb = relation.pl()
    assert list(by_pandas.columns) == by_polars.columns == by_duckdb.columns
    for name in by_polars.columns:
        values = by_polars[name].dt.timestamp("ns") if name == "ts" else by_polars[name]
        assert values.to_list() == by_duckdb[name].to_list(), name
        ours = by_pandas[name].astype("int64") if name == "ts" else by_pandas[name].astype(object)
        assert [None if pd.isna(x) else x for x in ours] == values.to_list(), name
    times = [ts for ts, _, iface, frame in expected(session) if not where or iface == 1][:count]
    assert by_duckdb["ts"].to_list() == times


def test_parquet_says_where_its_packets_come_from(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    export(session, path, "udp")
    metadata = pq.read_metadata(path)
    said = {key.decode(): value.decode() for key, value in metadata.metadata.items() if key.startswith(b"aishark.")}
    assert said["aishark.session"] == "night watch"
    assert said["aishark.filter"] == "udp"
    assert said["aishark.schema_version"] == "1"
    assert json.loads(said["aishark.sampling"]) == [10]
    assert json.loads(said["aishark.loss"]) == {"lost": 10, "left_out": 0, "evicted": 0, "missed": 0}
    edge, core = json.loads(said["aishark.agents"])
    assert edge["interfaces"] == [{"name": "eth0", "link_type": 1, "filter": "not port 22", "snaplen": 96}]
    assert [interface["name"] for interface in core["interfaces"]] == ["eth0", "tun0"]
    group = metadata.row_group(0)
    assert group.sorting_columns[0].column_index == metadata.schema.names.index("ts")
    place = metadata.schema.names.index("src_ip")
    assert (group.column(place).compression, "RLE_DICTIONARY" in group.column(place).encodings) == ("ZSTD", True)


def test_progress_counts_up_to_the_total_while_packets_come_in(session: Session, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    _, run = session.runs
    batch = frames(20_000)
    session.ingest(run, batch, 3, {})
    progress = ExportProgress(session=session.id, person="", format="csv", where="")

    async def read() -> bytes:
        data = b""
        with ThreadPoolExecutor(1) as pool:
            async for chunk in export_chunks(session, "csv", "", follow=False, executor=pool, progress=progress):
                data += chunk
                heard.append((progress.looked_at, progress.total))
                if len(heard) == 1:
                    session.ingest(run, frames(10), 4, {})
        return data

    data = asyncio.run(read())
    assert [total for _, total in heard] == [20_900] * len(heard)  # what came meanwhile is not in it
    assert len(heard) > 3
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert (progress.looked_at, progress.written, progress.missed) == (20_900, 20_900, 0)
    assert progress.bytes == len(data)
    assert len(data.splitlines()) == 20_901


def test_packets_that_are_evicted_while_it_is_written_are_counted(session: Session, tmp_path: Path) -> None:
    _, run = session.runs
    session.ingest(run, frames(20_000), 3, {})
    cleared = iter([session.clear])
    progress = export(session, tmp_path / "out.pcapng", between=lambda: next(cleared, lambda: None)())
    assert progress.written + progress.missed == progress.looked_at == progress.total == 20_900
    assert progress.missed > 0


def test_one_export_is_known_to_who_asked_for_it_only(session: Session) -> None:
    exports, ann = ExportLog(), Person(name="ann", capabilities=frozenset(("view", "export")))
    progress = ExportProgress(session=session.id, person="ann", format="csv", where="")
    exports.add("ticket", progress)
    assert exports.get("ticket", session.id, ann) is progress
    for ticket, session_id, person in (
        ("other", session.id, ann),
        ("ticket", "f00", ann),
        ("ticket", session.id, OWNER),
    ):
        with pytest.raises(NotFoundError):
            exports.get(ticket, session_id, person)
    for k in range(MAX_KEPT):
        exports.add(f"newer {k}", progress)
    with pytest.raises(NotFoundError):
        exports.get("ticket", session.id, ann)


def test_what_has_ended_stays_as_it_ended() -> None:
    progress = ExportProgress(session="5e55", person="", format="csv", where="")
    progress.end("cancelled", "It was cancelled.")
    progress.end("done")
    assert (progress.status()["state"], progress.status()["reason"]) == ("cancelled", "It was cancelled.")


def test_a_second_link_type_fails_a_pcap_in_words(session: Session, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several link types"):
        export(session, tmp_path / "out.pcap")
