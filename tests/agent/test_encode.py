"""Encoder: nothing lost, nothing reordered, every limit kept."""

from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.agent.encode import BatchLimits, Encoder
from aishark_panel.wire.frames import Frames

LIMITS = BatchLimits(max_rows=7, max_bytes=300, max_age_s=0.05)


def copy(batch: Frames) -> list[tuple[int, bytes]]:
    return [(int(batch.ts[i]), batch.frame(i)) for i in range(len(batch))]


@given(st.lists(st.lists(st.binary(max_size=120), max_size=20), max_size=10), st.lists(st.floats(0, 0.1), min_size=10))
def test_every_frame_leaves_once_in_order_within_the_limits(chunks: list[list[bytes]], gaps_s: list[float]) -> None:
    encoder = Encoder(LIMITS)
    sent: list[tuple[int, bytes]] = []
    received: list[tuple[int, bytes]] = []
    now_s = 0.0
    for chunk, gap_s in zip(chunks, gaps_s, strict=False):
        now_s += gap_s
        frames = Frames.from_list(chunk, list(range(len(sent), len(sent) + len(chunk))))
        sent += copy(frames)
        for batch in encoder.add(frames, now_s):
            assert len(batch) <= LIMITS.max_rows
            assert batch.captured_bytes <= LIMITS.max_bytes
            received += copy(batch)
        if (aged := encoder.poll(now_s)) is not None:
            received += copy(aged)
    if (rest := encoder.flush()) is not None:
        received += copy(rest)
    assert received == sent[: len(received)]
    assert len(received) == len(sent)


def test_a_lonely_frame_leaves_when_it_is_old_enough() -> None:
    encoder = Encoder(LIMITS)
    assert list(encoder.add(Frames.from_list([b"x"], [1]), now_s=10.0)) == []
    assert encoder.poll(10.04) is None
    assert encoder.due_s(10.04) <= 0.0101
    batch = encoder.poll(10.05)
    assert batch is not None
    assert copy(batch) == [(1, b"x")]
    assert encoder.poll(99.0) is None


def test_a_chunk_that_fills_a_batch_is_not_copied() -> None:
    frames = Frames.from_list([b"y" * 30] * 7, list(range(7)))
    (batch,) = Encoder(LIMITS).add(frames, 0.0)
    assert batch.data is frames.data
