"""Segments: what was written is read back, up to the first byte that is not as it was."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.streams.segments import (
    ClearMark,
    Gap,
    Kind,
    RunNote,
    Totals,
    decode_note,
    encode_note,
    read_segment,
    record_head,
    segment_head,
    segment_path,
    segments_of,
    write_all,
)
from tests.traffic import hello

RUN = "ab" * 16
PAYLOADS = [b"", b"x", os.urandom(5_000), b"\0" * 300]


def written(payloads: list[bytes], kind: Kind = Kind.BATCH) -> bytes:
    """A segment with a record of each payload."""
    pieces = [segment_head()]
    for number, payload in enumerate(payloads, 1):
        pieces += [record_head(kind, payload, at_ns=number * 10, run=RUN, sequence=number), payload]
    return b"".join(pieces)


def read(path: Path, data: bytes) -> list[tuple[int, bytes]]:
    path.write_bytes(data)
    segment = read_segment(path)
    assert 0 <= segment.whole_bytes <= segment.size_bytes == len(data)
    return [(record.sequence, bytes(record.payload)) for record in segment.records]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = segment_path(tmp_path, 7)
    path.write_bytes(written(PAYLOADS))
    segment = read_segment(path)
    assert [r.payload.tobytes() for r in segment.records] == PAYLOADS
    assert [(r.kind, r.run, r.sequence, r.at_ns) for r in segment.records][1] == (Kind.BATCH, RUN, 2, 20)
    assert segment.whole_bytes == segment.size_bytes
    assert segments_of(tmp_path) == [(7, path)]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_segment_that_is_cut_or_damaged_gives_the_records_before(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.journal"
    whole = written(PAYLOADS)
    at = data.draw(st.integers(0, len(whole) - 1))
    end_of_whole = [len(written(PAYLOADS[:n])) for n in range(len(PAYLOADS) + 1)]
    expected = list(enumerate(PAYLOADS, 1))[: sum(end <= at for end in end_of_whole[1:])]
    assert read(path, whole[:at]) == (expected if at >= end_of_whole[0] else [])
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    found = read(path, bytes(flipped))
    # Bytes 12 to 15 of the head mean nothing yet.
    assert found == (list(enumerate(PAYLOADS, 1)) if 12 <= at < 16 else [] if at < 12 else expected)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2_000), st.booleans())
def test_random_bytes_do_no_harm(tmp_path_factory: pytest.TempPathFactory, junk: bytes, headed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.journal"
    assert read(path, segment_head() + junk if headed else junk) == []


def test_a_segment_of_another_version_is_none(tmp_path: Path) -> None:
    data = bytearray(written(PAYLOADS))
    data[8] += 1
    path = tmp_path / "other"
    path.write_bytes(data)
    assert read_segment(path).whole_bytes == 0


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(written(PAYLOADS))
    link = segment_path(tmp_path, 1)
    link.symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        read_segment(link)


def test_notes_are_read_back_and_nonsense_is_none(tmp_path: Path) -> None:
    notes: list[Totals | RunNote | ClearMark | Gap] = [
        Totals(packets=10, bytes=600, cleared=1, lost=2, first_ts=3),
        RunNote(hello=hello(), interfaces=hello().interfaces, sequence=4, packets=9, counters={"captured": 9}),
        ClearMark(packets={RUN: 3}),
        Gap(what="hub", start_ns=1, end_ns=2),
    ]
    path = tmp_path / "notes"
    path.write_bytes(written([encode_note(note) for note in notes] + [b'{"packets": -1}', b"\xff", b"[" * 9_000]))
    *good, negative, binary, deep = read_segment(path).records
    assert [decode_note(record, type(note)) for record, note in zip(good, notes, strict=True)] == notes
    assert [decode_note(record, Totals) for record in (negative, binary, deep)] == [None] * 3


def test_all_buffers_are_written_however_many(tmp_path: Path) -> None:
    pieces = [os.urandom(i % 7) for i in range(5_000)]
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), pieces)
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
