"""Payload policies: what leaves the host is what the policy says, and the hub sees the same columns."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.payload import Columns, Cutter, Payload
from aishark_panel.dissect.heads import Heads
from aishark_panel.streams.ring import MIN_LIMIT_BYTES, Ring
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PayloadPolicy
from aishark_panel.wire.packets import ARROW_NAMES, Interface
from tests.dissect.samples import SAMPLES
from tests.dissect.test_hellos import hello, pieces
from tests.fuzz.mutate import LINKS, Pool, made_frames, mutated
from tests.segments import frames_of
from tests.traffic import tcp_frame, udp_frame

ETHERNET = np.ones(1, np.int32)
INTERFACES = [Interface("edge", "eth0", 1)]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The kernels are ready before hypothesis looks at the clock."""
    Payload("headers", batch_rows=8)
    Payload("none", batch_rows=8)


def of_batches(*batches: ColumnBatch) -> Ring:
    """What a hub that gets these column batches, as messages, holds."""
    ring = Ring(MIN_LIMIT_BYTES)
    for batch in batches:
        received = ColumnBatch.from_message(batch.to_message())
        ring.append_columns(received, np.arange(len(LINKS), dtype=np.uint16))
    return ring


def rows(ring: Ring, names: tuple[str, ...], interfaces: list[Interface]) -> list[dict[str, object]]:
    with ring.read() as views:
        batches = [packets.to_arrow(interfaces, names, slice(start, stop)) for packets, start, stop in views]
    return [row for batch in batches for row in batch.to_pylist()]


@given(st.lists(st.binary(max_size=90), max_size=30), st.integers(1, 100))
def test_any_bytes_are_cut_within_their_frame(content: list[bytes], payload_bytes: int) -> None:
    frames = Frames.from_list(content, list(range(len(content))), [len(each) + 5 for each in content])
    lengths, _ = Heads().find(frames, ETHERNET)
    for keep in (0, payload_bytes):
        cut = Cutter(keep).cut(frames, ETHERNET)
        assert [cut.frame(i) for i in range(len(cut))] == [
            frame[: head + keep] for frame, head in zip(content, lengths.tolist(), strict=True)
        ]
        assert cut.orig_len.tolist() == frames.orig_len.tolist()
        assert cut.ts.tolist() == frames.ts.tolist()


def test_so_many_bytes_of_payload_stay() -> None:
    whole = tcp_frame("10.0.0.1", "10.0.0.2", 1, 2, b"payload")
    frames = Frames.from_list([whole, whole[:50]], [1, 2], [len(whole)] * 2)
    assert [Payload(3, batch_rows=8).cut(frames, ETHERNET).frame(i) for i in (0, 1)] == [whole[:-4], whole[:50]]
    assert Payload("full", batch_rows=8).cut(frames, ETHERNET) is frames


@pytest.mark.parametrize("policy", ["full", "headers", 7])
def test_frames_stay_frames(policy: PayloadPolicy) -> None:
    frames = Frames.from_list([udp_frame("10.0.0.1", "10.0.0.2", 1, 2, b"payload")], [1])
    (content,) = Payload(policy, batch_rows=8).contents(frames, ETHERNET)
    assert content is frames


def test_the_hub_sees_the_columns_it_would_have_made_of_the_frames() -> None:
    content = [sample.frame for sample in SAMPLES]
    frames = Frames.from_list(content, list(range(1, 1 + len(content))))
    whole = Ring(MIN_LIMIT_BYTES)
    whole.append(frames, ETHERNET, np.zeros(1, np.uint16))
    sent = of_batches(*Columns().dissect(frames, ETHERNET))
    names = tuple(name for name in ARROW_NAMES if name != "cap_len")
    assert rows(sent, names, INTERFACES) == rows(whole, names, INTERFACES)
    assert [row["cap_len"] for row in rows(sent, ("cap_len",), INTERFACES)] == [0] * len(content)
    ours, theirs = sent.dissector.conversations.rows(), whole.dissector.conversations.rows()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch_rows", [1, 64, 5_000])
def test_columns_do_not_depend_on_how_packets_are_batched(batch_rows: int) -> None:
    frames = mutated(Pool(made_frames()), 5_000, np.random.default_rng(2))
    columns = Columns(rows=batch_rows)
    ring = Ring(MIN_LIMIT_BYTES)
    for start in range(0, len(frames), batch_rows):
        for batch in columns.dissect(frames.slice(start, min(start + batch_rows, len(frames))), LINKS):
            received = ColumnBatch.from_message(batch.to_message())
            ring.append_columns(received, np.arange(len(LINKS), dtype=np.uint16))
    interfaces = [Interface("edge", f"i{k}", int(link)) for k, link in enumerate(LINKS)]
    expected = Ring(MIN_LIMIT_BYTES)
    expected.append(frames, LINKS, np.arange(len(LINKS), dtype=np.uint16))
    names = tuple(name for name in ARROW_NAMES if name != "cap_len")
    assert rows(ring, names, interfaces) == rows(expected, names, interfaces)


def test_no_byte_of_a_frame_is_in_what_is_sent() -> None:
    secret = b"correct horse battery staple"
    frames = Frames.from_list(
        [tcp_frame("10.0.0.1", "10.0.0.2", 40_000, 9_999, secret), udp_frame("10.0.0.1", "10.0.0.2", 1, 2, secret)],
        [1, 2],
    )
    for policy in ("headers", "none"):
        payload = Payload(policy, batch_rows=8)
        for content in payload.contents(payload.cut(frames, ETHERNET), ETHERNET):
            assert secret[:4] not in content.to_message().to_pybytes()


def test_a_client_hello_in_two_segments_has_its_name_as_at_the_hub() -> None:
    frames = frames_of(pieces(hello("www.example"), 600))
    assert len(frames) == 2
    columns = Columns()
    ring = Ring(MIN_LIMIT_BYTES)
    for i in (0, 1):
        for batch in columns.dissect(frames.slice(i, i + 1), ETHERNET):
            ring.append_columns(ColumnBatch.from_message(batch.to_message()), np.zeros(1, np.uint16))
    assert [row["tls_sni"] for row in rows(ring, ("tls_sni",), INTERFACES)] == [None, "www.example"]


def test_texts_that_fill_a_block_go_on_in_the_next() -> None:
    """Every text of a batch is new and long: the ring opens blocks early and loses nothing."""
    count, length = 3_000, 250
    texts = np.frombuffer(b"".join(i.to_bytes(4, "big") + bytes([65]) * (length - 4) for i in range(count)), np.uint8)
    ends = np.arange(count + 1, dtype=np.int32) * np.int32(length)
    values: dict[str, npt.NDArray[np.generic]] = {
        "ts": np.arange(count, dtype=np.int64),
        "orig_len": np.ones(count, np.uint32),
        "iface": np.zeros(count, np.uint16),
        "layers": np.zeros(count, np.int64),
        "http_path": np.arange(1, count + 1, dtype=np.uint32),
    }
    ring = Ring(MIN_LIMIT_BYTES)
    for _ in range(3):
        ring.append_columns(ColumnBatch(count, values, ends, texts), np.zeros(1, np.uint16))
    found = [str(row["http_path"])[-1] for row in rows(ring, ("http_path",), INTERFACES)]
    assert ring.end - 1 == 3 * count
    assert len(found) == ring.end - ring.first
    assert set(found) == {"A"}
    times = [row["ts"].value for row in rows(ring, ("ts",), INTERFACES)]  # type: ignore[attr-defined]
    assert times == (list(range(count)) * 3)[-len(found) :]


def test_frames_and_columns_take_turns_in_one_ring() -> None:
    frames = Frames.from_list([udp_frame("10.0.0.1", "10.0.0.2", 5, 6, b"abc"), b""], [1, 2])
    ring = of_batches(*Columns().dissect(frames, ETHERNET))
    ring.append(frames, ETHERNET, np.zeros(1, np.uint16))
    ring.append_columns(next(Columns().dissect(frames, ETHERNET)), np.zeros(1, np.uint16))
    with ring.read() as views:
        got = [packets.frame(row) for packets, start, stop in views for row in range(start, stop)]
    assert got == [b"", b"", frames.frame(0), b"", b"", b""]
