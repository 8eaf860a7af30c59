"""Every capture file by others, as tshark reads it: frames, lengths, times, interfaces, and what is said of damage.

Where we differ from tshark 4.0, a table below names the file and says who is right; a difference that is not there, or
is gone, is an error.
"""

import csv
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import CaptureFileError

UNSUPPORTED = {"other_formats/solaris.snoop": "Solaris snoop"}
"""of another format, which is named"""
RED_HAT = {"PcapPlusPlus/crash-exception-cast-constructed-record": 2}
"""tshark takes this for the variant of Red Hat 6.1, whose records are longer, and stops in the second; libpcap and we
read the records the magic number stands for"""
WRAPPED_TIME = {
    "PcapPlusPlus/crash-eec28dafde1f1ac2299674a75a914ae16d4046fa",
    "tcpdump/atm-oam-loopback-print-overrun.pcap",
    "tcpdump/timestamp_invalid_micro.pcap",
}
"""microseconds beyond a second: tshark's nanoseconds wrap at 32 bits, ours are carried into the seconds"""
NO_PSEUDO_HEADER = {"tcpdump/atm-oam-loopback-print-overrun.pcap": 4}
"""SUNATM: tshark takes the link layer's first bytes off both lengths; we keep the frame as it was captured"""
READ_BY_LIBPCAP = {
    "PcapPlusPlus__clusterfuzz-testcase-minimized-FuzzTarget-5766899836387328": 1,  # again taken for Red Hat 6.1
    "tcpdump__brcm-tag-prepend.pcap": 15,  # from here on: link types that tshark 4.0 does not know
    "tcpdump__brcm-tag.pcap": 23,
    "tcpdump__dsa-high-vid.pcap": 4,
    "tcpdump__edsa-high-vid.pcap": 4,
    "tcpdump__juniper_es_oobr.pcap": 1,
    "tcpdump__juniper_monitor_invalid_cookie_length.pcap": 1,
    "tcpdump__vtp_asan.pcap": 5,
}
"""packets of files in broken/ that tshark reads nothing of"""


@dataclass
class Read:
    """A file as we read it: (ts, wire length, captured length, interface) of each frame."""

    rows: list[tuple[int, int, int, int]]
    sections: int
    untimed: int
    warning: str | None


def read(path: Path) -> Read:
    rows: list[tuple[int, int, int, int]] = []
    with open_capture(path) as file:
        for f in file:
            cap_len = f.offsets[1:] - f.offsets[:-1]
            rows += zip(f.ts.tolist(), f.orig_len.tolist(), cap_len.tolist(), f.iface.tolist(), strict=True)
        return Read(rows, file.notes.sections, file.notes.untimed, file.warning)


@pytest.fixture(scope="module")
def oracle(shared_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """tshark's frames by file; what it numbers like frames but is none (pcapng Custom Blocks) left out."""
    columns = ["file", "time_epoch", "frame_len", "cap_len", "encap_type", "interface_id"]
    frames: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in pq.read_table(shared_dir / "oracle" / "oracle.parquet", columns=columns).to_pylist():
        if row["encap_type"] is not None:
            frames[row["file"]].append(row)
    return frames


@pytest.fixture(scope="module")
def messages(shared_dir: Path) -> dict[str, str]:
    """What tshark said of each file that is not broken altogether; empty where it had nothing to say."""
    with (shared_dir / "oracle" / "oracle.parquet.files.tsv").open(newline="") as table:
        return {row["file"]: row["message"] or "" for row in csv.DictReader(table, dialect="excel-tab")}


def test_every_frame_has_tsharks_lengths_time_and_interface(
    shared_captures: Path, oracle: dict[str, list[dict[str, Any]]]
) -> None:
    wrong: list[object] = []
    red_hat, wrapped, compared_times = {}, set(), 0
    for name in sorted(oracle.keys() - UNSUPPORTED.keys()):
        got = read(shared_captures / name)
        if len(got.rows) != len(oracle[name]):
            red_hat[name] = len(got.rows)
            continue
        off = NO_PSEUDO_HEADER.get(name, 0)
        untimed = 0
        for i, (ours, row) in enumerate(zip(got.rows, oracle[name], strict=True), 1):
            ts, orig_len, cap_len, iface = ours
            time = re.fullmatch(r"(\d+)\.(\d{9})", row["time_epoch"] or "")
            untimed += row["time_epoch"] is None
            if time:
                compared_times += 1
                if ts != min(int(time[1] + time[2]), 2**63 - 1):
                    wrapped.add(name)
            if (min(orig_len, 2**31 - 1) - off, cap_len - off) != (row["frame_len"], row["cap_len"]):
                wrong.append((name, i, "lengths", ours, row))
            # tshark 4.0 counts interfaces anew in each section
            if got.sections < 2 and row["interface_id"] not in (None, iface):
                wrong.append((name, i, "interface", ours, row))
        if untimed != got.untimed:
            wrong.append((name, "without a time", got.untimed, untimed))
    assert wrong == []
    assert red_hat == RED_HAT
    assert wrapped == WRAPPED_TIME
    assert compared_times > 55_000


def test_files_without_frames_are_read_as_such(
    shared_captures: Path, oracle: dict[str, list[dict[str, Any]]], messages: dict[str, str]
) -> None:
    empty = [name for name in messages if not oracle.get(name) and not name.startswith("broken/")]
    assert len(empty) > 10
    for name in empty:
        got = read(shared_captures / name)
        assert (name, got.rows, got.warning) == (name, [], None)


def test_what_tshark_finds_cut_or_damaged_is_a_warning_that_says_where_and_nothing_else_is(
    shared_captures: Path, oracle: dict[str, list[dict[str, Any]]], messages: dict[str, str]
) -> None:
    wrong = []
    cut = 0
    for name in sorted(oracle.keys() - UNSUPPORTED.keys()):
        said, warning = messages[name], read(shared_captures / name).warning or ""
        number = len(oracle[name]) + 1
        if name in RED_HAT:
            expected = (
                r"packet 3, at byte \d+, claims to be longer than 262,144 bytes; the 2 packets before it were read"
            )
        elif "cut short" in said:
            cut += 1
            expected = (
                rf"it ends at byte [\d,]+, in the middle of packet {number:,}, which begins at byte [\d,]+; .* read"
            )
        elif "bigger than maximum" in said:
            expected = rf"packet {number:,}, at byte [\d,]+, claims to be longer than 262,144 bytes; .* read"
        elif "unknown SHB version" in said:
            expected = r"pcapng version 2.0 is unknown; .* read"
        else:
            expected = "" if not said else "a message of tshark's that this test does not know"
        if not re.fullmatch(expected, warning):
            wrong.append((name, said, warning))
    assert wrong == []
    assert cut > 8


def test_files_in_which_tshark_reads_nothing_give_one_sentence_or_what_libpcap_reads(shared_captures: Path) -> None:
    for path in sorted((shared_captures / "broken").iterdir()):
        if path.name in READ_BY_LIBPCAP:
            assert (path.name, len(read(path).rows)) == (path.name, READ_BY_LIBPCAP[path.name])
        else:
            with pytest.raises(CaptureFileError, match=r"^cannot read .*: .*(type|claims|byte)") as raised:
                read(path)
            assert "\n" not in str(raised.value)


def test_another_format_is_refused_by_its_name(shared_captures: Path) -> None:
    for name, what in UNSUPPORTED.items():
        with pytest.raises(CaptureFileError, match=f"neither pcap nor pcapng .{what}, a format not read here"):
            read(shared_captures / name)
