"""Frames: the Arrow message in both directions, and what a hostile one is told."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.schema import FRAMES

frame_lists = st.lists(st.binary(max_size=200), max_size=50)


@given(frame_lists, st.data())
def test_what_is_emitted_is_parsed(frames: list[bytes], data: st.DataObject) -> None:
    ts = data.draw(st.lists(st.integers(0, 2**62), min_size=len(frames), max_size=len(frames)))
    sent = Frames.from_list(frames, ts, iface=3)
    start = data.draw(st.integers(0, len(frames)))
    received = Frames.from_message(sent.slice(start, len(frames)).to_message())
    assert [received.frame(i) for i in range(len(received))] == frames[start:]
    assert received.ts.tolist() == ts[start:]
    assert received.iface.tolist() == [3] * (len(frames) - start)
    assert received.captured_bytes == sum(map(len, frames[start:]))


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frames.from_message(junk)


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_leaves_well_formed_frames(position: int, value: int) -> None:
    message = bytearray(Frames.from_list([b"abc", b"", b"x" * 40], [1, 2, 3]).to_message().to_pybytes())
    message[position % len(message)] = value
    try:
        frames = Frames.from_message(bytes(message))
    except ProtocolError:
        return
    assert (np.diff(frames.offsets) >= 0).all()
    assert frames.offsets[0] >= 0
    assert frames.offsets[-1] <= len(frames.data)


def test_every_cut_message_is_refused() -> None:
    message = Frames.from_list([b"abc", b"defg"], [1, 2]).to_message().to_pybytes()
    for size in range(len(message) - 8):
        with pytest.raises(ProtocolError):
            Frames.from_message(message[:size])


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_ipc_compression_is_refused_before_arrow_reads_it(codec: str) -> None:
    batch = Frames.from_list([b"a" * 1000], [1]).to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, FRAMES, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()
    with pytest.raises(ProtocolError, match="compression"):
        Frames.from_message(reader.read_next_message().serialize())


def test_a_schema_message_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not an Arrow record-batch"):
        Frames.from_message(FRAMES.serialize())


def test_another_schema_is_refused() -> None:
    batch = pa.RecordBatch.from_pydict({"x": pa.array([1, 2, 3], pa.int64())})
    with pytest.raises(ProtocolError):
        Frames.from_message(batch.serialize())


def test_nulls_are_refused() -> None:
    columns = [
        pa.array([1], pa.timestamp("ns", tz="UTC")),
        pa.array([None], pa.uint32()),
        pa.array([0], pa.uint16()),
        pa.array([b"x"], pa.binary()),
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=FRAMES.names)
    with pytest.raises(ProtocolError, match="null"):
        Frames.from_message(batch.serialize())


def test_a_frame_longer_than_any_real_one_is_refused() -> None:
    with pytest.raises(ProtocolError, match="longer than"):
        Frames.from_message(Frames.from_list([b"x" * 300_000], [1]).to_message())
