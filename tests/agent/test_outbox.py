"""Outbox: numbering, bound, release."""

import threading

from aishark_panel.agent.outbox import Outbox
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch

FRAMES = Frames.from_list([b"x" * 100] * 10, list(range(10)))


def test_batches_are_numbered_from_one_and_stay_until_durable() -> None:
    outbox = Outbox("none")
    for _ in range(3):
        outbox.put(FRAMES, {})
    assert [Batch.unpack(outbox.get(n) or b"").sequence for n in (1, 2, 3)] == [1, 2, 3]
    assert (outbox.get(4), outbox.next_sequence, outbox.rows) == (None, 4, 30)
    outbox.release(2)
    assert (outbox.get(2), outbox.first_sequence, outbox.rows) == (None, 3, 10)
    outbox.release(3)
    assert (outbox.size_bytes, outbox.rows, outbox.next_sequence) == (0, 0, 4)


def test_a_full_outbox_says_so_and_wakes_who_waits_for_room() -> None:
    outbox = Outbox("none", limit_bytes=1_000)
    outbox.put(FRAMES, {})
    assert outbox.is_full
    assert not outbox.wait_for_room(0.0)
    timer = threading.Timer(0.05, outbox.release, [1])
    timer.start()
    assert outbox.wait_for_room(10.0)
    timer.join()


def test_small_batches_are_not_compressed() -> None:
    outbox = Outbox("zstd", compress_from_rows=11)
    outbox.put(FRAMES, {})
    assert Batch.unpack(outbox.get(1) or b"").codec == "none"
