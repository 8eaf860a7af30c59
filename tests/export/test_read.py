"""Reading capture files without a hub: blocks, filters, output, and what is said of bad files."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import CaptureFileError, ConfigError, ExpressionError
from aishark_panel.export.read import CaptureTable, check_capture, read_file, read_to
from aishark_panel.query import compile_expression
from aishark_panel.wire.pcapwrite import PcapWriter
from tests import traffic
from tests.segments import ACK, SYN, Segment, frames_of
from tests.wire.capture_bytes import interface, packet, pcap, read_all, section

PACKETS = 20_000


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 UDP packets; every 250th goes from 10.0.0.1."""
    frames = traffic.frames(PACKETS)
    path = tmp_path_factory.mktemp("capture") / "some.pcap"
    path.write_bytes(pcap([(i, 0, 100, frames.frame(i)) for i in range(PACKETS)]))
    return path


def test_numbers_and_frames_run_on_over_blocks(capture: Path) -> None:
    frames = traffic.frames(PACKETS)
    seen = 0
    for packets, rows in read_file(capture):
        assert packets.first_number == seen + 1
        assert packets.frame(int(rows[-1])) == frames.frame(seen + int(rows[-1]))
        seen += len(rows)
    assert seen == PACKETS


def test_only_rows_that_match_are_given(capture: Path) -> None:
    numbers = [
        packets.first_number + int(row)
        for packets, rows in read_file(capture, compile_expression("ip.src == 10.0.0.1"))
        for row in rows
    ]
    assert numbers == list(range(1, PACKETS + 1, 250))


def test_interfaces_are_known_before_their_packets_and_filters_may_ask_for_them(tmp_path: Path) -> None:
    frame = traffic.udp_frame("10.0.0.1", "10.0.0.2", 1, 2)
    path = tmp_path / "some.pcapng"
    path.write_bytes(
        section()
        + interface(options={2: b"eth0"})
        + packet(1, frame)
        + interface(link=101, options={2: b"tun0"})
        + packet(2, frame[14:], iface=1)
    )
    with open_capture(path) as file:
        table = CaptureTable(file)
        found = [
            packets.text_values() and rows.tolist()
            for packets, rows in table.blocks(compile_expression("iface == 'tun0'"))
        ]
        assert found == [[1]]
        assert [(i.name, i.link_type) for i in table.interfaces] == [("eth0", 1), ("tun0", 101)]


@pytest.mark.parametrize("suffix", [".parquet", ".pcapng", ".pcap"])
def test_a_file_is_written_by_its_suffix(capture: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    steps: list[tuple[int, int | None]] = []
    warning = read_to(
        capture, path, where="ip.src == 10.0.0.1", progress=lambda done, total: steps.append((done, total))
    )
    assert warning is None
    expected = [i * 10**9 for i in range(0, PACKETS, 250)]
    if suffix == ".parquet":
        assert pq.read_table(path)["ts"].cast("int64").to_pylist() == expected
    else:
        assert [row[0] for row in read_all(path.read_bytes())[0]] == expected
    size = capture.stat().st_size
    assert steps == sorted(steps)
    assert steps[-1] == (size, size)


def test_pcapng_keeps_what_the_file_said_of_its_interfaces(tmp_path: Path) -> None:
    source, path = tmp_path / "some.pcapng", tmp_path / "out.pcapng"
    options = {2: b"eth0", 3: b"uplink", 11: b"\0tcp", 12: b"Linux"}
    source.write_bytes(section() + interface(snaplen=96, options=options) + packet(1, bytes(60)))
    read_to(source, path)
    with open_capture(path) as file:
        assert [len(frames) for frames in file] == [1]
        (written,) = file.interfaces
    assert (written.name, written.description, written.filter, written.os, written.snaplen) == (
        "eth0",
        "uplink",
        "tcp",
        "Linux",
        96,
    )


def test_it_is_said_which_link_types_are_not_dissected_and_their_packets_are_kept(tmp_path: Path) -> None:
    source, path = tmp_path / "some.pcapng", tmp_path / "out.parquet"
    source.write_bytes(section() + interface(link=127) + interface() + packet(0, bytes(60)) + packet(1, bytes(60)))
    assert read_to(source, path) == "link type 127 not dissected"
    assert pq.read_table(path)["protocol"].to_pylist()[0] == "?"


def test_text_goes_to_standard_output(capture: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    read_to(capture, where="number <= 2", columns=["number", "src_ip", "protocol"])
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [line.split() for line in lines] == [
        ["number", "src_ip", "protocol"],
        ["1", "10.0.0.1", "UDP"],
        ["2", "10.0.0.2", "UDP"],
    ]


def test_the_numbers_of_tcp_count_from_where_the_conversation_began_as_in_tshark(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    shakes = [Segment(True, 1_000, 0, SYN, scale=2), Segment(False, 9_000, 1_001, SYN | ACK, scale=3)]
    data = [Segment(True, 1_001, 9_001), Segment(True, 1_001, 9_001, ACK, b"?"), Segment(False, 9_001, 1_002)]
    path, out = tmp_path / "tcp.pcap", tmp_path / "tcp.txt"
    writer = PcapWriter(1)
    path.write_bytes(writer.header() + writer.frames(frames_of([*shakes, *data])))
    read_to(path, out, columns=("info",))
    ours = out.read_text().splitlines()[1:]
    assert [line.split("] ")[1].split(" Win=")[0] for line in ours if "Seq=" in line] == [
        *("Seq=0", "Seq=0 Ack=1", "Seq=1 Ack=1", "Seq=1 Ack=2")
    ]
    command = [require_tool("tshark"), "-n", "-r", str(path), "-T", "fields", "-e", "_ws.col.Info"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line for line in ours if "Seq=" in line] == [line for line in theirs if "Seq=" in line]


def test_a_cut_file_is_written_as_far_as_it_goes_with_a_warning(capture: Path, tmp_path: Path) -> None:
    source, path = tmp_path / "cut.pcap", tmp_path / "out.parquet"
    source.write_bytes(capture.read_bytes()[:-1])
    warning = read_to(source, path) or ""
    assert "in the middle of packet 20,000, which begins at byte 1,719,938; the 19,999 packets" in warning
    assert pq.read_metadata(path).num_rows == PACKETS - 1


def test_columns_may_be_named_as_wireshark_names_them(capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    read_to(capture, path, columns=["frame.number", "ip.src", "src_ip", "udp.dstport"])
    assert path.read_text().splitlines()[0] == "number,src_ip,dst_port"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--where", "src_prt == 1", "did you mean src_port?"),
        ("--where", "orig_len / 0 > 1", "by zero"),
        ("--columns", "ts,tcp.port", "tcp.port stands for two columns, src_port and dst_port"),
        ("--columns", "src_prt", "did you mean src_port?"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_printed(
    capture: Path, option: str, value: str, message: str
) -> None:
    command = [sys.executable, "-m", "aishark_panel", "read", str(capture), option, value]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr


def test_errors_leave_no_file(capture: Path, tmp_path: Path) -> None:
    source, path = tmp_path / "text", tmp_path / "out.parquet"
    source.write_text("no capture")
    with pytest.raises(CaptureFileError, match="neither pcap nor pcapng"):
        read_to(source, path)
    with pytest.raises(ExpressionError):
        read_to(capture, path, where="no such thing")
    with pytest.raises(ConfigError, match="no column 'nothing'"):
        read_to(capture, path, columns=["nothing"])
    with pytest.raises(ConfigError, match=r"no format for \.docx"):
        read_to(capture, tmp_path / "out.docx")
    assert list(tmp_path.iterdir()) == [source]


def test_check_capture_accepts_captures_and_names_what_is_wrong_with_others(capture: Path, tmp_path: Path) -> None:
    check_capture(capture)
    (tmp_path / "text").write_text("no capture")
    with pytest.raises(CaptureFileError, match=r"cannot read .*text: it is neither pcap nor pcapng"):
        check_capture(tmp_path / "text")
    with pytest.raises(CaptureFileError, match="cannot open"):
        check_capture(tmp_path / "nowhere")


def test_all_real_files_can_be_written_in_every_format(shared_captures: Path, tmp_path: Path) -> None:
    for path in sorted((shared_captures / "tcpdump").iterdir())[::4]:
        for suffix in (".csv", ".json", ".pcapng"):
            read_to(path, tmp_path / f"out{suffix}")
