"""ais.read and what a table is made of."""

import datetime
from pathlib import Path

import pandas as pd
import pytest

import aishark_panel as ais
from aishark_panel.errors import CaptureFileError, ConfigError, ExpressionError
from aishark_panel.notebook.table import Table
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapwrite import PcapWriter
from tests.notebook.conftest import PACKETS
from tests.traffic import START_NS, frames


def test_a_file_becomes_a_frame_with_the_types_people_expect(capture_file: Path) -> None:
    table = ais.read(capture_file)
    df = table.df
    assert len(table) == len(df) == PACKETS
    assert df["number"].tolist() == list(range(1, PACKETS + 1))
    assert df["ts"].dtype == pd.DatetimeTZDtype("ns", datetime.UTC)
    assert df["ts"].iloc[7].value == START_NS + 7_000_000
    assert df["src_ip"].cat.categories.size == 250
    assert df["src_ip"].iloc[3] == "10.0.0.4"
    assert df["protocol"].value_counts().to_dict() == {"UDP": PACKETS}
    assert df["dst_port"].dtype == pd.UInt16Dtype()
    assert df["orig_len"].dtype == "uint32"
    assert df["tcp_flags"].isna().all()


def test_numbers_of_64_bits_stay_exact_beside_missing_ones(tmp_path: Path) -> None:
    writer = PcapWriter(link_type=1)
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    mixed = frames(1).from_list([arp, *[bytes(frames(1).data)]], [0, 1])
    (tmp_path / "mixed.pcap").write_bytes(writer.header() + writer.frames(mixed))
    table = ais.read(tmp_path / "mixed.pcap")
    assert table.df["conversation_id"].isna().tolist() == [True, False]
    assert int(table.df["conversation_id"].iloc[1]) == table.arrow["conversation_id"][1].as_py() > 2**53


def test_where_selects_while_the_file_is_read(capture_file: Path) -> None:
    table = ais.read(capture_file, where="ip.src == 10.0.0.1")
    assert set(table.df["src_ip"]) == {"10.0.0.1"}
    assert len(table) == PACKETS // 250
    assert len(ais.read(capture_file, where="dns")) == 0
    assert ais.read(capture_file, where="dns").df.columns.tolist() == table.df.columns.tolist()


def test_the_summary_says_what_is_there_and_is_safe_to_show(capture_file: Path, tmp_path: Path) -> None:
    assert repr(ais.read(capture_file)).splitlines() == [
        "numbered.pcap",
        "  packets    10,000",
        "  time       2023-11-14 22:13:20 to 2023-11-14 22:13:29 UTC",
        "  duration   9.999 s",
        "  bytes      700,000 on the wire",
        "  protocols  UDP 10,000",
    ]
    hostile = tmp_path / "<b>.pcap"
    hostile.write_bytes(capture_file.read_bytes()[:-1])
    table = ais.read(hostile)
    assert "in the middle of packet 10,000" in table.warning
    assert table.warning in repr(table)
    assert "<b>&lt;b&gt;.pcap</b>" in table._repr_html_()


def test_what_cannot_be_read_is_said_in_a_sentence(capture_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match="cannot open"):
        ais.read(tmp_path / "nowhere.pcap")
    with pytest.raises(ExpressionError, match="did you mean src_port"):
        ais.read(capture_file, where="srcport == 1")


def test_a_table_is_asked_in_sql(capture_file: Path) -> None:
    table = ais.read(capture_file)
    found = table.sql("select src_ip, count(*) as n, min(ts) as first from packets group by 1 order by 1 limit 2")
    assert found["src_ip"].tolist() == ["10.0.0.1", "10.0.0.10"]
    assert found["n"].tolist() == [40, 40]
    assert found["first"].dt.tz is datetime.UTC or str(found["first"].dt.tz) == "UTC"
    assert found["first"].iloc[0].value == START_NS
    assert table.sql("select tcp_flags from packets limit 1")["tcp_flags"].isna().all()
    with pytest.raises(ConfigError, match="srcip"):
        table.sql("select srcip from packets")


def test_a_table_is_narrowed_by_the_language_of_the_filter_box(capture_file: Path) -> None:
    table = ais.read(capture_file)
    some = table.where("ip.src == 10.0.0.1 and udp")
    assert len(some) == PACKETS // 250
    read = ais.read(capture_file, where="ip.src == 10.0.0.1 and udp")
    pd.testing.assert_frame_equal(some.df, read.df, check_categorical=False)
    assert set(some.df["src_ip"].cat.categories) == {"10.0.0.1"}
    assert some.where("number > 5_000").df["number"].tolist() == list(range(5_001, PACKETS + 1, 250))
    assert len(some.where("tcp")) == 0
    with pytest.raises(ExpressionError, match="did you mean src_port"):
        table.where("srcport == 1")
    with pytest.raises(ConfigError, match="looks into packets"):
        table.where("frame contains 'x'")
    with pytest.raises(ConfigError, match="this one has no"):
        Table(table.arrow.drop_columns(["layers"])).where("udp")


def test_a_table_shows_its_packets_over_time(capture_file: Path) -> None:
    shown = ais.read(capture_file)._repr_html_()
    assert shown.count("<rect") == 120
    assert "up to 84 packets in 83.3 ms" in shown
    assert "2023-11-14 22:13:20 UTC" in shown
    assert "<svg" not in ais.read(capture_file, where="number == 7")._repr_html_()


def test_a_clock_that_went_back_is_no_trouble(tmp_path: Path) -> None:
    seconds = [50, 10, 40, 10, 0]
    content = Frames.from_list([frames(1).frame(0)] * 5, [START_NS + each * 10**9 for each in seconds])
    writer = PcapWriter(link_type=1)
    (tmp_path / "back.pcap").write_bytes(writer.header() + writer.frames(content))
    table = ais.read(tmp_path / "back.pcap")
    assert [(moment.value - START_NS) // 10**9 for moment in table.df["ts"]] == seconds
    assert dict(table.summary())["duration"] == "50.000 s"
    assert "<svg" in table._repr_html_()
    assert len(table.where("ts >= '2023-11-14 22:13:50'")) == 2
