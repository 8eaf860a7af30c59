"""The driver: whatever the bytes, each frame gives its own row and nothing else."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.dissect import dissect
from aishark_panel.dissect.packet import CHUNK_ROWS, dissect_rows
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.schema import COLUMNS, Kind
from tests.dissect.rows import append, dissect_frames
from tests.dissect.seeds import LINK_TYPES, SEEDS

LINK = np.array(LINK_TYPES, np.int32)
CODES = np.arange(len(LINK), dtype=np.uint16)


@st.composite
def hostile_frames(draw: st.DrawFn) -> bytes:
    """Random bytes, or a good frame with some bytes changed, cut, or padded."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=120))
    frame = bytearray(draw(st.sampled_from(SEEDS)))
    if draw(st.booleans()):
        del frame[: draw(st.sampled_from([14, 18, 22]))]  # so that other link types find something too
    for _ in range(draw(st.integers(0, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))]) + draw(st.binary(max_size=8))


def stored(packets: Packets, row: int) -> dict[str, Any]:
    """The stored values of a row, texts resolved; of the columns that are the dissector's."""
    values = {}
    for column in COLUMNS:
        if column.name in ("frame_pos", "ts", "iface"):
            continue
        value = getattr(packets.columns, column.name)[row]
        values[column.name] = packets.text(int(value)) if column.kind is Kind.TEXT else value.tolist()
    return values


def batch(frames: list[bytes], iface: int = 0, more_bytes: int = 0) -> Frames:
    """Frames of one interface that were `more_bytes` longer on the wire."""
    return Frames.from_list(frames, list(range(len(frames))), [len(f) + more_bytes for f in frames], iface)


@settings(max_examples=400, deadline=None)
@given(
    frame=hostile_frames(),
    before=hostile_frames(),
    after=st.binary(min_size=64, max_size=200),
    iface=st.integers(0, len(LINK) - 1),
    more_bytes=st.sampled_from([0, 0, 40]),
)
def test_a_frame_gives_the_same_row_alone_as_between_others(
    frame: bytes, before: bytes, after: bytes, iface: int, more_bytes: int
) -> None:
    alone, between = Packets(8), Packets(8)
    assert dissect(batch([frame], iface, more_bytes), 0, LINK, CODES, alone) == 1
    assert dissect(batch([before, frame, after], iface, more_bytes), 0, LINK, CODES, between) == 3
    assert stored(alone, 0) == stored(between, 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(hostile_frames(), min_size=1, max_size=8))
def test_every_column_is_rewritten_when_a_block_is_used_again(frames: list[bytes]) -> None:
    fresh, used = Packets(16), Packets(16)
    for column in used.columns:
        column.view(np.uint8).fill(0xA5)
    used.clear()
    assert append(fresh, batch(frames)) == append(used, batch(frames)) == len(frames)
    for row in range(len(frames)):
        assert stored(fresh, row) == stored(used, row)
    assert fresh.values("ts").tolist() == used.values("ts").tolist()
    assert fresh.values("iface").tolist() == used.values("iface").tolist()


@settings(max_examples=200, deadline=None)
@given(frame=hostile_frames(), iface=st.integers(0, len(LINK) - 1))
def test_a_whole_frame_is_never_truncated_and_lengths_stay_within_it(frame: bytes, iface: int) -> None:
    packets = Packets(8)
    dissect(batch([frame], iface), 0, LINK, CODES, packets)
    assert not packets.columns.truncated[0]
    assert packets.columns.payload_len[0] <= len(frame)
    assert packets.columns.cap_len[0] == packets.columns.orig_len[0] == len(frame)


@pytest.mark.parametrize("count", [1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS + 5])
def test_any_number_of_frames_is_dissected_in_order(count: int) -> None:
    packets = dissect_frames(*(SEEDS[i % len(SEEDS)] for i in range(count)))
    assert packets.length == count
    assert packets.values("ts").tolist() == [1_000 + i for i in range(count)]
    alone = [stored(dissect_frames(seed), 0) for seed in SEEDS]
    assert all(stored(packets, i) == alone[i % len(SEEDS)] for i in range(count))


def test_a_block_takes_as_many_frames_as_it_has_rows_and_the_rest_goes_on_from_start() -> None:
    frames = batch([SEEDS[1]] * 10)
    first, second = Packets(4), Packets(20)
    assert append(first, frames) == 4
    assert append(first, frames, 4) == 0
    assert append(second, frames, 4) == 6
    assert append(second, frames, 10) == 0
    assert first.values("ts").tolist() + second.values("ts").tolist() == list(range(10))


def test_a_block_whose_texts_are_full_takes_no_more_frames_until_it_is_cleared() -> None:
    request = SEEDS[2]
    at = request.index(b"/Index")
    frames = batch([request[:at] + b"/%05d" % i + request[at + 6 :] for i in range(1000)])
    packets = Packets(1000, text_bytes=500)
    taken = append(packets, frames)
    assert 20 < taken < 40
    assert append(packets, frames, taken) == 0
    assert [packets.text(int(code))[:6] for code in packets.values("http_path")] == [f"/{i:05d}" for i in range(taken)]
    packets.clear()
    assert append(packets, frames, taken) in (taken - 1, taken, taken + 1)
    assert packets.text(int(packets.columns.http_path[0]))[:6] == f"/{taken:05d}"


def test_an_empty_block_of_one_row_takes_the_packet_with_the_most_texts() -> None:
    method, path, host = b"X" * 19, b"/" + b"y" * 300, b"z" * 300
    request = SEEDS[2][:54] + method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    header = bytearray(request)
    header[16:18] = (len(request) - 14).to_bytes(2, "big")
    packets = Packets(1, text_bytes=1)
    assert append(packets, batch([bytes(header)])) == 1
    assert packets.text(int(packets.columns.http_host[0])) == "z" * 255


def test_the_interface_column_holds_the_session_s_code() -> None:
    frames = Frames.from_list([SEEDS[1], SEEDS[1]], [1, 2])
    frames.iface[:] = [1, 0]
    packets = Packets(4)
    dissect(frames, 0, np.array([101, 1], np.int32), np.array([7, 9], np.uint16), packets)
    assert packets.values("iface").tolist() == [9, 7]
    assert packets.columns.eth_src[0] != 0
    assert packets.columns.eth_src[1] == 0


def test_an_interface_nobody_described_is_refused() -> None:
    packets = Packets(4)
    with pytest.raises(ValueError, match="beyond the 2 that are known"):
        dissect(batch([b"x"], iface=2), 0, LINK[:2], CODES, packets)
    assert packets.length == 0


def test_all_callers_share_one_compiled_signature() -> None:
    good = batch([SEEDS[1]] * 3)
    writable = Frames(*(np.array(getattr(good, name)) for name in ("ts", "orig_len", "iface", "offsets", "data")))
    unaligned = np.frombuffer(b"\0" + good.data.tobytes(), np.uint8)[1:]
    for frames in (
        good,
        writable,
        good.slice(1, 3),
        Frames(good.ts, good.orig_len, good.iface, good.offsets, unaligned),
    ):
        append(Packets(4), frames)
    assert len(dissect_rows.signatures) == 1  # type: ignore[attr-defined]
