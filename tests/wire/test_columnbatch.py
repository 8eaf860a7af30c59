"""Column batches: the message in both directions, and what a hostile one is told."""

import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.columnbatch import MAX_COLUMN_ROWS, SENT_COLUMNS, ColumnBatch
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.messages import MAX_BATCH_BYTES, Batch, CodecName
from aishark_panel.wire.packets import MAX_TEXT_BYTES
from aishark_panel.wire.protocols import protocol_code
from aishark_panel.wire.schema import COLUMNS, Kind, column

ALWAYS = ("ts", "orig_len", "iface", "layers")


def made(rows: int, texts: tuple[bytes, ...] = (b"a.example", b"\xff\xfe"), **columns: object) -> ColumnBatch:
    """A batch of `rows` packets; of the columns not given, those that every batch has are 1."""
    values = {name: np.ones(rows, column(name).dtype) for name in ALWAYS}
    values |= {name: np.array(each, column(name).dtype) for name, each in columns.items()}
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    return ColumnBatch(rows, values, ends, np.frombuffer(b"".join(texts), np.uint8))


def assert_same(one: ColumnBatch, other: ColumnBatch) -> None:
    assert len(one) == len(other)
    assert list(one.columns) == list(other.columns)
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, other.columns[name], err_msg=name)
    assert one.text_ends.tolist() == other.text_ends.tolist()
    assert one.text_data.tobytes() == other.text_data.tobytes()


@given(st.integers(0, 40), st.lists(st.binary(min_size=1, max_size=MAX_TEXT_BYTES), max_size=9), st.randoms())
def test_what_is_emitted_is_parsed(rows: int, texts: list[bytes], random: object) -> None:
    texts = texts[: 3 * rows]
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    columns = {}
    for name in SENT_COLUMNS:
        spec = column(name)
        most = {Kind.TEXT: len(texts), Kind.MAC: 2**48 - 1, Kind.PROTOCOL: 3, Kind.BOOLEAN: 1}.get(spec.kind, 100)
        columns[name] = rng.integers(0, most, (rows, *spec.shape), endpoint=True)
    columns["layers"] = rng.choice([int(layer) for layer in Layer], rows)
    columns["ip_version"] = rng.choice([0, 4, 6], rows)
    sent = made(rows, tuple(texts), **columns)
    assert_same(sent, ColumnBatch.from_message(sent.to_message()))


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd", "gzip"])
def test_an_envelope_says_that_it_holds_columns(codec: CodecName) -> None:
    sent = made(300, protocol=[protocol_code("DNS")] * 300, dns_query=[1, 2, 0] * 100)
    batch = Batch.unpack(Batch.pack(7, sent, codec, {"captured": 300}))
    assert (batch.sequence, batch.rows, batch.has_frames) == (7, 300, False)
    received = batch.content()
    assert isinstance(received, ColumnBatch)
    assert_same(sent, received)


def test_the_largest_batch_fits_an_envelope() -> None:
    columns = {name: np.ones((MAX_COLUMN_ROWS, *column(name).shape), column(name).dtype) for name in SENT_COLUMNS}
    most_text_bytes = 64 * MAX_COLUMN_ROWS + 1_024
    texts = ColumnBatch(
        MAX_COLUMN_ROWS,
        columns,
        np.arange(0, most_text_bytes + 1, 64, dtype=np.int32),
        np.zeros(most_text_bytes, np.uint8),
    )
    message = texts.to_message()
    assert message.size < MAX_BATCH_BYTES
    ColumnBatch.from_message(message)


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        (made(2, layers=[1 << 60, 0]), "layers"),
        (made(2, eth_src=[1 << 48, 0]), "eth_src"),
        (made(2, dns_query=[3, 0]), "dns_query"),
        (made(2, ip_version=[7, 4]), "ip_version"),
        (made(2, truncated=[2, 0]), "truncated"),
        (made(2, (b"a" * (MAX_TEXT_BYTES + 1),)), "text"),
        (made(2, (b"a", b"")), "text"),
        (made(1, (b"a",) * 4), "4 texts"),
        (made(MAX_COLUMN_ROWS + 1), "rows"),
    ],
)
def test_values_that_mean_nothing_are_refused(batch: ColumnBatch, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        ColumnBatch.from_message(batch.to_message())


def forged(
    types: dict[str, str], arrays: list[pa.Array], protocols: tuple[str, ...] = (), *, said: int | None = None
) -> bytes:
    """A message whose head and columns are what somebody likes them to be."""
    columns: bytes = (
        pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))]).serialize().to_pybytes()
    )
    columns += bytes(-len(columns) % 8)
    size = len(columns) if said is None else said
    head = json.dumps({"columns": types, "protocols": protocols, "bytes": size}).encode()
    head += b" " * (-(4 + len(head)) % 8)
    texts: bytes = pa.RecordBatch.from_arrays([pa.array([], pa.binary())], names=["text"]).serialize().to_pybytes()
    return struct.pack("<I", len(head)) + head + columns + texts


GOOD = {
    "ts": pa.array([1], pa.timestamp("ns", tz="UTC")),
    "orig_len": pa.array([1], pa.uint32()),
    "iface": pa.array([0], pa.uint16()),
    "layers": pa.array([1], pa.int64()),
}


TYPES = {name: column(name).dtype for name in GOOD}


def forged_with(protocols: tuple[str, ...] = (), **columns: tuple[str, pa.Array]) -> bytes:
    types = TYPES | {name: kind for name, (kind, _) in columns.items()}
    return forged(types, [*GOOD.values(), *(array for _, array in columns.values())], protocols)


def test_a_forger_who_forges_nothing_is_believed() -> None:
    received = ColumnBatch.from_message(forged_with(("UDP",), protocol=("u2", pa.array([0], pa.uint16()))))
    assert received.columns["protocol"].tolist() == [protocol_code("UDP")]


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (forged_with(password=("u1", pa.array([1], pa.uint8()))), "password"),
        (forged_with(cap_len=("u4", pa.array([1], pa.uint32()))), "cap_len"),
        (forged_with(frame_pos=("u8", pa.array([1], pa.uint64()))), "frame_pos"),
        (forged_with(src_port=("U1", pa.array(["a"], pa.string()))), "src_port of type 'U1'"),
        (forged_with(src_port=("u2", pa.array([None], pa.uint16()))), "nulls"),
        (forged_with(src_ip=("u8", pa.array([b"x" * 4], pa.binary(4)))), "not as its head says"),
        (forged_with(("NoSuchProtocol",), protocol=("u2", pa.array([0], pa.uint16()))), "NoSuchProtocol"),
        (forged_with(("UDP",), protocol=("u2", pa.array([1], pa.uint16()))), "without a name"),
        (forged({"ts": "i8"}, [GOOD["ts"]]), "lacks"),
        (forged({**TYPES, "src_port": "u2"}, list(GOOD.values())), "not as its head says"),
        (forged(TYPES, list(GOOD.values()), said=2**40), "disagree"),
        (forged(TYPES, list(GOOD.values()), said=8), "cut|not as its head says|continuation"),
    ],
)
def test_columns_that_are_not_as_agreed_are_refused(message: bytes, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        ColumnBatch.from_message(message)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_ipc_compression_is_refused_before_arrow_reads_it(codec: str) -> None:
    batch = pa.RecordBatch.from_arrays(list(GOOD.values()), names=list(GOOD))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch)
    reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()
    compressed = reader.read_next_message().serialize().to_pybytes()
    head = json.dumps({"columns": TYPES, "protocols": [], "bytes": len(compressed)}).encode()
    head += b" " * (-(4 + len(head)) % 8)
    with pytest.raises(ProtocolError, match="compression"):
        ColumnBatch.from_message(struct.pack("<I", len(head)) + head + compressed)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        ColumnBatch.from_message(junk)


SMALL = made(
    3, src_port=[1, 2, 3], src_ip=np.ones((3, 2)), tls_sni=[1, 2, 0], protocol=[1, 2, 2], eth_src=[5, 6, 7]
).to_message()


def test_every_cut_message_is_refused() -> None:
    message = SMALL.to_pybytes()
    for size in range(len(message) - 8):
        with pytest.raises(ProtocolError):
            ColumnBatch.from_message(message[:size])


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_leaves_well_formed_columns(position: int, value: int) -> None:
    message = bytearray(SMALL.to_pybytes())
    message[position % len(message)] = value
    try:
        batch = ColumnBatch.from_message(bytes(message))
    except ProtocolError:
        return
    for name, values in batch.columns.items():
        assert values.dtype == column(name).dtype
        assert values.shape == (len(batch), *column(name).shape)
        if column(name).kind is Kind.TEXT:
            assert int(values.max(initial=0)) < len(batch.text_ends)
    assert (np.diff(batch.text_ends) > 0).all()
    assert batch.text_ends[0] == 0
    assert batch.text_ends[-1] == len(batch.text_data)


def test_what_is_not_sent_is_not_for_agents_to_say() -> None:
    assert {c.name for c in COLUMNS} - set(SENT_COLUMNS) == {"cap_len", "frame_pos", "tcp_problem"}
