"""Every format, read back with other libraries' readers; torn files, hostile texts and sinks that only take bytes."""

import csv
import io
import json
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scapy.utils import rdpcap

from aishark_panel.capturefile import open_capture
from aishark_panel.dissect import dissect
from aishark_panel.errors import ConfigError
from aishark_panel.export.capture import gather_frames
from aishark_panel.export.writer import SUFFIXES, open_writer
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import ARROW_NAMES, Interface, Packets
from tests import traffic
from tests.streams.journals import files_at_most
from tests.wire.capture_bytes import read_all

HOSTILE = '=cmd("x"),\r\n\x1b[31m\u202etxt'
INTERFACES = [Interface("web1", "eth0", 1), Interface("web2", HOSTILE, 1)]
TABLES = [".parquet", ".arrow", ".arrows", ".csv", ".json"]


def packets_of(frames: Frames, link_types: Sequence[int] = (1, 1)) -> Packets:
    packets = Packets(len(frames))
    codes = np.arange(len(link_types), dtype=np.uint16)
    assert dissect(frames, 0, np.array(link_types, np.int32), codes, packets) == len(frames)
    packets.columns.frame_pos[:] = frames.offsets[:-1]
    packets.arena = [frames.data]
    return packets


@pytest.fixture
def packets() -> Packets:
    content = [
        traffic.udp_frame("10.0.0.1", "10.0.0.2", 4000, 7000, b"hello"),
        traffic.tcp_frame("10.0.0.1", "10.0.0.2", 4000, 22, flags=2),
        bytes.fromhex("020000000002020000000001000500") + b"an 802.3 frame",
    ]
    plain = Frames.from_list(content, [1_700_000_000_123_456_789 + i for i in range(3)], [1500, 54, 60])
    return packets_of(Frames(plain.ts, plain.orig_len, np.array([0, 1, 1], np.uint16), plain.offsets, plain.data))


def export(packets: Packets, path: Path, columns: Sequence[str] = (), rows: Sequence[int] = (0, 1, 2)) -> Path:
    with open_writer(path, path.suffix, INTERFACES, columns) as writer:
        writer.write(packets, np.array(rows[:2], np.intp))
        writer.write(packets, np.array(rows[2:], np.intp))
        assert writer.packets == len(rows)
    return path


def table(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    return (pa.ipc.open_file if path.suffix == ".arrow" else pa.ipc.open_stream)(path.read_bytes()).read_all()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows"])
def test_tables_hold_what_the_packets_hold(packets: Packets, tmp_path: Path, suffix: str) -> None:
    written = table(export(packets, tmp_path / f"out{suffix}", (*ARROW_NAMES, "frame")))
    expected = packets.to_arrow(INTERFACES, (*ARROW_NAMES, "frame"))
    assert written.to_pylist() == expected.to_pylist()
    assert written["ts"].type == pa.timestamp("ns", tz="UTC")
    assert written["frame"][0].as_py() == packets.frame(0)


def test_parquet_keeps_dictionaries_and_is_packed_with_zstd(packets: Packets, tmp_path: Path) -> None:
    path = export(packets, tmp_path / "out.parquet")
    assert pa.types.is_dictionary(pq.read_table(path)["src_ip"].type)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    assert list(pd.read_parquet(path).columns) == [*ARROW_NAMES, "layers"]


def test_csv_is_read_back_by_the_standard_library_and_starts_no_formula(packets: Packets, tmp_path: Path) -> None:
    path = export(
        packets, tmp_path / "out.csv", ["number", "ts", "iface", "src_ip", "dst_port", "truncated", "tls_sni"]
    )
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["number"] for r in rows] == ["1", "2", "3"]
    assert rows[0]["ts"] == "2023-11-14T22:13:20.123456789Z"
    assert [r["iface"] for r in rows] == ["eth0", "'" + HOSTILE, "'" + HOSTILE]
    assert [r["src_ip"] for r in rows] == ["10.0.0.1", "10.0.0.1", ""]
    assert [r["dst_port"] for r in rows] == ["7000", "22", ""]
    assert {r["tls_sni"] for r in rows} == {""}
    assert rows[0]["truncated"] == "false"


@pytest.mark.parametrize("start", list("=+-@\t\r"))
def test_cells_that_a_spreadsheet_would_run_get_an_apostrophe(packets: Packets, start: str) -> None:
    sink = io.BytesIO()
    with open_writer(sink, ".csv", [Interface("", start + "1", 1)] * 2, ["iface"]) as writer:
        writer.write(packets, np.array([0]))
    assert next(csv.reader(io.StringIO(sink.getvalue().decode().partition("\r\n")[2], newline=""))) == [
        "'" + start + "1"
    ]


def test_json_lines_leave_out_what_is_null(packets: Packets, tmp_path: Path) -> None:
    path = export(packets, tmp_path / "out.json")
    objects = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    expected = packets.to_arrow(INTERFACES).to_pylist()
    for got, row in zip(objects, expected, strict=True):
        assert pd.Timestamp(got.pop("ts")) == row.pop("ts")
        assert got == {name: value for name, value in row.items() if value is not None}


def test_text_is_aligned_and_cannot_control_a_terminal(packets: Packets, tmp_path: Path) -> None:
    lines = export(packets, tmp_path / "out.txt", ["number", "protocol", "iface"]).read_text().splitlines()
    assert lines[0].split() == ["number", "protocol", "iface"]
    assert [line.index(word) for line, word in zip(lines, ["iface", "eth0", "=cmd"], strict=False)] == [20, 20, 20]
    assert not any(c in "".join(lines) for c in "\x1b\u202e\r")
    assert '=cmd("x"),\ufffd\ufffd\ufffd[31m\ufffdtxt' in lines[2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_selection_may_be_empty(packets: Packets, tmp_path: Path, suffix: str) -> None:
    path = export(packets, tmp_path / f"out{suffix}", rows=())
    if suffix in (".parquet", ".arrow", ".arrows"):
        assert table(path).num_rows == 0
        assert table(path).column_names == [*ARROW_NAMES, *(["layers"] if suffix == ".parquet" else [])]
    elif suffix in (".pcap", ".pcapng"):
        assert read_all(path.read_bytes()) == ([], None)
    else:
        assert len(path.read_text().splitlines()) == (0 if suffix == ".json" else 1)


class BytesOnly:
    """Takes bytes and can do nothing else, as a response that is streamed."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> int:
        self.data += bytes(data)
        return len(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sink_needs_no_more_than_write(packets: Packets, tmp_path: Path, suffix: str) -> None:
    sink = BytesOnly()
    with open_writer(sink, suffix, INTERFACES) as writer:
        writer.write(packets, np.arange(2))
        writer.write(packets, np.array([2]))
    assert sink.data == export(packets, tmp_path / f"out{suffix}").read_bytes()


def test_many_writes_make_few_row_groups(tmp_path: Path) -> None:
    packets = packets_of(traffic.frames(1000))
    path = tmp_path / "out.parquet"
    with open_writer(path, ".parquet", INTERFACES, ["number", "src_ip"]) as writer:
        for first in range(1, 140_000, 1000):
            packets.first_number = first
            writer.write(packets, np.arange(1000))
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups == 2
    assert pq.read_table(path)["number"].to_pylist() == list(range(1, 140_001))


def test_parquet_is_sorted_by_time_though_packets_come_late(tmp_path: Path) -> None:
    packets = packets_of(traffic.frames(1000))
    late = np.random.default_rng(7)
    times = np.arange(200_000) * 1_000 + late.integers(0, 20_000_000, 200_000)
    path = tmp_path / "out.parquet"
    with open_writer(path, ".parquet", INTERFACES, ["number", "ts", "src_ip"]) as writer:
        for first in range(0, 200_000, 1000):
            packets.first_number = first
            packets.columns.ts[:] = times[first : first + 1000]
            writer.write(packets, np.arange(1000))
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(k).num_rows for k in range(2)] == [131_072, 200_000 - 131_072]
    order = np.argsort(times, kind="stable")
    written = pq.read_table(path)
    assert (written["number"].to_numpy() == order).all()
    assert (written["ts"].cast(pa.int64()).to_numpy() == times[order]).all()
    assert written["src_ip"].to_pylist() == [f"10.0.0.{k % 1000 % 250 + 1}" for k in order]


def test_pcapng_has_an_interface_for_each_and_grows_with_the_session(packets: Packets, tmp_path: Path) -> None:
    interfaces = INTERFACES[:1]
    path = tmp_path / "out.pcapng"
    with open_writer(path, ".pcapng", interfaces) as writer:
        writer.write(packets, np.array([0]))
        interfaces.append(Interface("web2", "tun0", 1))
        writer.write(packets, np.array([2, 1]))
    rows, warning = read_all(path.read_bytes())
    assert warning is None
    assert [(r[1], r[2], r[3]) for r in rows] == [
        (1500, 0, packets.frame(0)),
        (60, 1, packets.frame(2)),
        (54, 1, packets.frame(1)),
    ]


def test_capinfos_finds_agent_and_interface_in_pcapng(
    packets: Packets, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    path = export(packets, tmp_path / "out.pcapng")
    command = [require_tool("capinfos"), str(path)]
    about = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Name = web1/eth0" in about
    assert "aishark_panel" in about
    assert "Number of packets:   3" in about


def test_scapy_reads_pcap(packets: Packets, tmp_path: Path) -> None:
    read = rdpcap(str(export(packets, tmp_path / "out.pcap")))
    assert [bytes(p) for p in read] == [packets.frame(i) for i in range(3)]
    assert [p.wirelen for p in read] == [1500, 54, 60]
    assert int(read[0].time * 10**9) == 1_700_000_000_123_456_789


def test_pcap_refuses_a_second_link_type_and_leaves_no_file(packets: Packets, tmp_path: Path) -> None:
    interfaces = [Interface("", "eth0", 1), Interface("", "tun0", 101)]
    path = tmp_path / "out.pcap"
    with pytest.raises(ConfigError, match=r"several link types \(1, 101\); .* write .pcapng"):  # noqa: SIM117
        with open_writer(path, ".pcap", interfaces) as writer:
            writer.write(packets, np.arange(3))
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_its_name_only_when_it_is_whole(packets: Packets, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("older")
    with open_writer(path, ".csv", INTERFACES) as writer:
        writer.write(packets, np.arange(3))
        assert path.read_text() == "older"
    assert path.read_text().startswith("number,")
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_nothing_is_left_and_the_older_file_stays(packets: Packets, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    path.write_text("older")
    writer = open_writer(path, ".parquet", INTERFACES)
    writer.write(packets, np.arange(3))
    with pytest.raises(IndexError), writer:
        writer.write(packets, np.array([99]))
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("suffix", "columns", "reason"),
    [
        (".xlsx", [], "no format for .xlsx; use .parquet"),
        ("", [], "no format for a name without suffix"),
        (".csv", ["source"], "no column 'source'"),
        (".csv", ["frame"], "frame bytes have no place"),
        (".pcap", ["ts"], "no columns can be chosen"),
    ],
)
def test_what_cannot_be_written_is_said_before_a_file_is_made(
    tmp_path: Path, suffix: str, columns: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        open_writer(tmp_path / "out", suffix, INTERFACES, columns)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*nowhere/out.csv: No such file or directory"):
        open_writer(tmp_path / "nowhere" / "out.csv", ".csv", INTERFACES)


@pytest.mark.parametrize("suffix", [".pcapng", ".parquet", ".csv"])
def test_of_a_file_that_a_full_disk_does_not_take_nothing_is_left(tmp_path: Path, suffix: str) -> None:
    packets = packets_of(traffic.frames(20_000))
    said = pytest.raises(ConfigError, match=rf"cannot write .*full{suffix}: File too large")
    with files_at_most(2**14), said, open_writer(tmp_path / f"full{suffix}", suffix, INTERFACES) as writer:
        writer.write(packets, np.arange(20_000))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("comment", ['"\r\n\t\x1b[31m', "\u202eevil", "\U0001f988 \u4e2d\u6587", "x" * 70_000])
def test_comments_may_hold_any_characters(
    packets: Packets, tmp_path: Path, comment: str, require_tool: Callable[[str], str]
) -> None:
    path = tmp_path / "said.pcapng"
    with open_writer(path, ".pcapng", INTERFACES, comment=comment) as writer:
        writer.write(packets, np.arange(3))
    with open_capture(path) as capture:
        assert sum(len(batch) for batch in capture) == 3
        assert comment.startswith(capture.notes.section.comment)
        assert len(capture.notes.section.comment) >= min(len(comment), 10_000)
    done = subprocess.run([require_tool("capinfos"), "-Mrc", "-T", path], capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout.split()[-1]) == ("", "3")


def test_frames_are_gathered_from_all_pieces_of_an_arena() -> None:
    frames = traffic.frames(6)
    packets = packets_of(frames)
    packets.arena_bits = 8
    packets.arena = [np.zeros(256, np.uint8) for _ in range(3)]
    for i in range(6):
        piece, at = i % 3, 10 + 100 * (i // 3)
        packets.arena[piece][at : at + len(frames.frame(i))] = np.frombuffer(frames.frame(i), np.uint8)
        packets.columns.frame_pos[i] = (piece << 8) + at
    rows = np.array([5, 0, 3, 1])
    (gathered,) = gather_frames(packets, rows)
    assert [gathered.frame(k) for k in range(4)] == [frames.frame(int(i)) for i in rows]
    assert gathered.ts.tolist() == frames.ts[rows].tolist()


def test_many_bytes_are_gathered_in_several_batches() -> None:
    frame = struct.pack("60s", b"x") * 2000
    packets = packets_of(Frames.from_list([frame] * 200, list(range(200))))
    batches = list(gather_frames(packets, np.arange(200)))
    assert len(batches) == 3
    assert [ts for b in batches for ts in b.ts.tolist()] == list(range(200))
    assert all(b.frame(i) == frame for b in batches for i in range(len(b)))
