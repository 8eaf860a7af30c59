"""Columns made on demand: asked for by name, right across blocks, absent where there is nothing to tell."""

import csv
import io
from pathlib import Path

import pytest

from aishark_panel.dissect.fingerprint import parse_client_hello
from aishark_panel.errors import ConfigError
from aishark_panel.export.on_demand import ON_DEMAND
from aishark_panel.export.read import read_to
from tests import traffic
from tests.dissect.test_client_hello import segment
from tests.dissect.test_tls import HELLO, record
from tests.wire.capture_bytes import pcap

BLOCK = 8_192
DATA = record(HELLO)


def written(tmp_path: Path, frames: list[bytes], columns: list[str], where: str = "") -> list[dict[str, str]]:
    source, out = tmp_path / "some.pcap", tmp_path / "out.csv"
    source.write_bytes(pcap([(i, 0, len(frame), frame) for i, frame in enumerate(frames)]))
    read_to(source, out, columns=columns, where=where)
    return list(csv.DictReader(io.StringIO(out.read_text("utf-8"))))


def test_a_hello_that_began_in_the_block_before_is_told_where_it_ends(tmp_path: Path) -> None:
    between = [traffic.udp_frame("10.0.0.1", "10.0.0.2", 1, 2)] * (BLOCK - 1)
    rows = written(tmp_path, [*between, segment(DATA[:30], 1), segment(DATA[30:], 31)], ["number", "ja4", "ja3"])
    expected = parse_client_hello(HELLO, "t")
    assert expected is not None
    assert [row for row in rows if row["ja4"]] == [
        {"number": str(BLOCK + 1), "ja4": expected.ja4(), "ja3": expected.ja3()}
    ]


def test_packets_left_out_still_count_for_a_hello(tmp_path: Path) -> None:
    frames = [segment(DATA[:30], 1), segment(DATA[30:], 31)]
    (row,) = written(tmp_path, frames, ["ja4", "number"], where="number == 2")
    assert row["ja4"].startswith("t12d0203")


def test_they_may_stand_anywhere_between_stored_columns(tmp_path: Path) -> None:
    (row,) = written(
        tmp_path, [traffic.tcp_frame("10.0.0.1", "10.0.0.2", 5, 6)], ["community_id", "dst_port", "info", "ja4"]
    )
    assert list(row) == ["community_id", "dst_port", "info", "ja4"]
    assert row["community_id"].startswith("1:")
    assert (row["dst_port"], row["ja4"]) == ("6", "")


def test_the_refusal_of_a_column_names_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        written(tmp_path, [], ["fingerprint"])
    assert all(name in str(error.value) for name in ON_DEMAND)
