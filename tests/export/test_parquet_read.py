"""Parquet that aishark wrote, read back as packets: what was written, in the order in which it was captured."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aishark_panel.alerts.backtest import Backtest, captures_in
from aishark_panel.alerts.engine import AlertEvent
from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import Rule, parse_rules
from aishark_panel.errors import CaptureFileError, ConfigError
from aishark_panel.export.parquet_read import ParquetFile, is_parquet
from aishark_panel.export.read import open_packets, read_to
from aishark_panel.export.writer import open_writer
from aishark_panel.query import compile_expression
from aishark_panel.wire.packets import ARROW_NAMES, Interface, Packets
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.alerts.blocks import scan


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "scan.pcap"
    writer = PcapWriter(link_type=1)
    path.write_bytes(writer.header() + writer.frames(scan("10.0.0.66", "10.0.0.2", 100)))
    return path


@pytest.fixture(scope="module")
def parquet(capture: Path) -> Path:
    path = capture.with_suffix(".parquet")
    read_to(capture, path)
    return path


def everything(path: Path) -> pa.Table:
    """All columns of all packets, and their layers; without agent and interface, whose names only some formats have."""
    names = [name for name in (*ARROW_NAMES, "layers") if name not in ("agent", "iface")]
    with open_packets(path) as file:
        batches = [packets.to_arrow(file.interfaces, names, rows) for packets, rows in file.blocks()]
        assert file.warning or file.bytes_done == file.bytes_total
    table = pa.Table.from_batches([Packets(1).to_arrow((), names), *batches])
    plain = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in table.schema]
    return table.cast(pa.schema(list(zip(table.schema.names, plain, strict=True))))


def test_captures_come_back_as_they_were(shared_captures: Path, tmp_path: Path) -> None:
    path, compared = tmp_path / "out.parquet", 0
    rules = read_rules(BUILTIN)
    for capture in sorted(path for path in shared_captures.rglob("*") if path.is_file())[::16]:
        try:
            read_to(capture, path)
        except CaptureFileError:
            continue  # not one packet of it can be read
        compared += 1
        assert everything(path).equals(everything(capture)), capture
        assert changes(rules, path) == changes(rules, capture), capture
    assert compared > 20


def changes(rules: tuple[Rule, ...], path: Path) -> list[tuple[str, str, int, dict[str, object]]]:
    def told(event: AlertEvent) -> tuple[str, str, int, dict[str, object]]:
        return event.rule.name, event.state, event.at_ns, event.key

    return [told(event) for event in Backtest(rules, path)]


def test_packets_come_in_the_order_of_their_numbers_though_the_file_is_sorted_by_time(tmp_path: Path) -> None:
    frames = scan("10.0.0.66", "10.0.0.2", 50)
    frames.ts[:] = frames.ts[::-1].copy()
    writer = PcapWriter(link_type=1)
    backwards, path = tmp_path / "backwards.pcap", tmp_path / "out.parquet"
    backwards.write_bytes(writer.header() + writer.frames(frames))
    read_to(backwards, path)
    assert pq.read_table(path)["number"][0].as_py() == 50
    assert everything(path).equals(everything(backwards))


def test_agents_and_interfaces_come_back(capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    interfaces = [Interface("web-1", "eth0", 1), Interface("web-2", "eth0", 1)]
    with open_packets(capture) as file, open_writer(path, ".parquet", interfaces) as writer:
        for packets, rows in file.blocks():
            packets.columns.iface[: packets.length] = np.arange(packets.length) % 2
            writer.write(packets, rows)
    with open_packets(path) as again:
        for packets, rows in again.blocks(compile_expression("agent == 'web-2'")):
            assert rows.tolist() == list(range(1, 100, 2))
            assert set(packets.to_arrow(again.interfaces, ["agent"])["agent"].to_pylist()) == {"web-1", "web-2"}
        assert again.interfaces == interfaces


def test_payloads_are_found_where_the_bytes_were_written_too(shared_captures: Path, tmp_path: Path) -> None:
    capture = shared_captures / "ja4" / "http1.pcapng"
    path = tmp_path / "out.parquet"
    read_to(capture, path, columns=[*ARROW_NAMES, "layers", "frame"])
    where = compile_expression("payload contains 'HTTP/1.'")
    found = []
    for source in (capture, path):
        with open_packets(source) as file:
            found.append([packets.first_number + int(row) for packets, rows in file.blocks(where) for row in rows])
    assert found[0] == found[1] != []


def test_what_needs_bytes_is_refused_where_there_are_none(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"looks into packets: .* Parquet keeps the columns"):
        read_to(parquet, tmp_path / "out.csv", where="frame contains 'x'")
    with pytest.raises(ConfigError, match=r"\.pcapng holds whole frames, and .* has none"):
        read_to(parquet, tmp_path / "out.pcapng")
    rules = parse_rules("rules: [{name: bytes, where: frame contains 'x'}, {name: syn, where: tcp.flags.syn}]", "")
    backtest = Backtest(rules, parquet)
    assert {event.rule.name for event in backtest} == {"syn"}
    problems = {line["rule"]: line["problem"] for line in backtest.tally.rules()}
    assert problems["bytes"] == (
        "switched off by an error: these packets were kept without their bytes, so nothing can be looked for in them"
    )
    assert problems["syn"] == ""


def test_a_folder_may_hold_captures_and_parquet(capture: Path, parquet: Path, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet.read_bytes())
    (tmp_path / "b.pcap").write_bytes(capture.read_bytes())
    (tmp_path / "c.parquet").write_bytes(parquet.read_bytes()[:-20])
    (tmp_path / "d.txt").write_text("no packets")
    found, passed_over = captures_in(tmp_path)
    assert [path.name for path in found] == ["a.parquet", "b.pcap"]
    assert len(passed_over) == 2
    assert "c.parquet" in passed_over[0]


def test_files_of_others_are_refused_with_the_reason(parquet: Path, tmp_path: Path) -> None:
    table = pq.read_table(parquet)
    path = tmp_path / "other.parquet"
    pq.write_table(table.drop_columns(["layers"]), path)
    with pytest.raises(CaptureFileError, match=r"other\.parquet as packets: it has no column layers; write it with"):
        ParquetFile(path)
    pq.write_table(table.replace_schema_metadata({"aishark.schema_version": "99"}), path)
    with pytest.raises(CaptureFileError, match=r"another version of aishark \(schema 99; this one reads 1\)"):
        ParquetFile(path)
    place = table.schema.names.index("protocol")
    odd = table.set_column(place, "protocol", pa.array(["no such protocol"] * len(table)))
    pq.write_table(odd, path)
    with ParquetFile(path) as file, pytest.raises(CaptureFileError, match="cannot read"):
        list(file.blocks())
    assert not is_parquet(tmp_path)
    assert not is_parquet(tmp_path / "missing")


def test_what_others_wrote_of_it_is_read_too(parquet: Path, tmp_path: Path) -> None:
    """DuckDB, Polars and pandas write plain strings."""
    path = tmp_path / "plain.parquet"
    everything_there = pq.read_table(parquet)
    plain = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in everything_there.schema]
    pq.write_table(
        everything_there.cast(pa.schema(list(zip(everything_there.schema.names, plain, strict=True)))),
        path,
        store_schema=False,
    )
    assert everything(path).equals(everything(parquet))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("src_ip", pa.array([1] * 100)),
        ("src_ip", pa.array(["10.0.0.1x"] * 100)),
        ("eth_src", pa.array(["ff:ff:ff:ff:ff:ff:ff:ff"] * 100)),
        ("dns_query", pa.array([True] * 100)),
        ("protocol", pa.array([b"TCP"] * 100)),
        ("src_port", pa.array([70_000] * 100)),
        ("ts", pa.array(["soon"] * 100)),
        ("frame", pa.array([1] * 100)),
    ],
)
def test_columns_that_hold_what_no_packet_has_are_refused(
    parquet: Path, tmp_path: Path, column: str, values: pa.Array
) -> None:
    table = pq.read_table(parquet)
    place = table.schema.get_field_index(column)
    odd = table.append_column(column, values) if place < 0 else table.set_column(place, column, values)
    pq.write_table(odd, tmp_path / "odd.parquet")
    with ParquetFile(tmp_path / "odd.parquet") as file, pytest.raises(CaptureFileError, match=r"cannot read .*odd"):
        list(file.blocks())
    assert captures_in(tmp_path)[0] == []


def test_metadata_that_makes_no_sense_costs_link_types_only(parquet: Path, tmp_path: Path) -> None:
    agents = '[{"name": "a", "interfaces": [{"name": "b", "link_type": 1e999}]}]'
    for said in ({b"\xff": b"x"}, {"aishark.agents": agents}, {"aishark.agents": "[" * 200_000}):
        pq.write_table(pq.read_table(parquet).replace_schema_metadata(said), tmp_path / "odd.parquet")
        assert len(everything(tmp_path / "odd.parquet")) == 100
