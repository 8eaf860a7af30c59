"""Ring: bounded memory, exact numbering, frames that stay what they were, readers that are left in peace."""

import threading

import numpy as np
import pytest

from aishark_panel.dissect import dissect
from aishark_panel.streams.ring import MIN_LIMIT_BYTES, Ring
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from tests.traffic import frames, udp_frame

LINK_TYPES = np.array([1], np.int32)
CODES = np.array([0], np.uint16)


def dns_query(name: str) -> bytes:
    """A DNS message that asks for the A record of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def contents(ring: Ring, first: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """(packet number, number in the payload) of each packet, read back from the frame's own bytes."""
    with ring.read(first, end) as views:
        return [
            (v.packets.first_number + row, int.from_bytes(v.packets.frame(row)[42:50], "big"))
            for v in views
            for row in range(v.start, v.stop)
        ]


def test_packets_are_numbered_from_one_and_keep_their_bytes() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    ring.append(frames(10), LINK_TYPES, CODES)
    ring.append(frames(5, first=10), LINK_TYPES, CODES)
    assert contents(ring) == [(i + 1, i) for i in range(15)]
    assert contents(ring, 3, 5) == [(3, 2), (4, 3)]
    assert (ring.first, ring.end) == (1, 16)


def test_a_frame_of_no_bytes_may_be_the_first_of_a_block() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    ring.append(Frames.from_list([b"", b"x"], [1, 2], [60, 60]), LINK_TYPES, CODES)
    with ring.read() as views:
        assert [packets.frame(row) for packets, start, stop in views for row in range(start, stop)] == [b"", b"x"]


@pytest.mark.parametrize("size", [0, 1_400, 60_000])
def test_memory_stays_below_the_limit_and_the_newest_packets_stay(size: int) -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    total = 3 * MIN_LIMIT_BYTES // (size + 400)
    for first in range(0, total, 1_000):
        ring.append(frames(min(1_000, total - first), first=first, size=size), LINK_TYPES, CODES)
        assert ring.size_bytes <= MIN_LIMIT_BYTES
    assert ring.evicted > 0
    assert ring.end == total + 1
    assert ring.first == ring.evicted + 1
    kept = contents(ring)
    assert kept == [(number, number - 1) for number in range(ring.first, ring.end)]
    assert len(kept) > total // 8


def test_a_batch_larger_than_a_block_is_split_without_loss() -> None:
    ring = Ring(4 * MIN_LIMIT_BYTES)
    views = ring.append(frames(70_000, size=0), LINK_TYPES, CODES)
    assert sum(v.stop - v.start for v in views) == 70_000
    assert len(contents(ring)) == 70_000


def test_a_text_pool_that_fills_up_starts_a_new_block() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    label = "x" * 60
    queries = [dns_query(f"{i:08d}.{label}.{label}.{label}") for i in range(6_000)]
    content = [udp_frame("10.0.0.1", "10.0.0.2", 1_000, 53, query) for query in queries]
    ring.append(Frames.from_list(content, list(range(6_000))), LINK_TYPES, CODES)
    names = []
    with ring.read() as views:
        assert len(views) > 1
        for packets, start, stop in views:
            names += [packets.text(int(c)) for c in packets.columns.dns_query[start:stop]]
    assert [int(n.split(".")[0]) for n in names] == list(range(6_000))


def test_a_reader_keeps_its_packets_while_they_are_evicted() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    ring.append(frames(1_000), LINK_TYPES, CODES)
    with ring.read() as views:
        first = 1_000
        while not ring.evicted:
            ring.append(frames(5_000, first=first), LINK_TYPES, CODES)
            first += 5_000
        packets, start, stop = views[0]
        kept = [int.from_bytes(packets.frame(r)[42:50], "big") for r in range(start, stop)]
        assert kept[:1_000] == list(range(1_000))


def test_readers_and_the_writer_do_not_disturb_each_other() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    failures: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen = contents(ring, max(ring.end - 300, 1))
            if any(payload != number - 1 for number, payload in seen):
                failures.append(f"wrong bytes in {seen[:3]}")

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for first in range(0, 150_000, 2_500):
        ring.append(frames(2_500, first=first, size=200), LINK_TYPES, CODES)
    done.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert ring.evicted


def test_clear_counts_what_it_throws_away_and_numbering_goes_on() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    ring.append(frames(10), LINK_TYPES, CODES)
    ring.clear()
    assert (ring.cleared, ring.first, ring.end) == (10, 11, 11)
    ring.append(frames(1, first=10), LINK_TYPES, CODES)
    assert contents(ring) == [(11, 10)]


def test_rows_are_shown_only_after_the_analysis(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    analyse = ring.dissector.conversations.add
    seen: list[int] = []

    def add(packets: Packets, start: int, stop: int) -> None:
        with ring.read(1, 1_000) as views:
            seen.append(sum(view.stop - view.start for view in views))
        analyse(packets, start, stop)

    monkeypatch.setattr(ring.dissector.conversations, "add", add)
    ring.append(frames(10), LINK_TYPES, CODES)
    ring.append(frames(5, first=10), LINK_TYPES, CODES)
    assert seen == [0, 10]


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        Ring(1_000_000)


def test_readers_at_once_see_each_text_once() -> None:
    packets = Packets(4_000)
    content = [udp_frame("10.0.0.1", "10.0.0.2", 1_000, 53, dns_query(f"host{i}.example")) for i in range(4_000)]
    dissect(Frames.from_list(content, list(range(4_000))), 0, LINK_TYPES, CODES, packets)
    found: list[list[str]] = []
    start = threading.Barrier(4)

    def read() -> None:
        start.wait()
        found.append(packets.text_values())

    for _ in range(10):
        packets._text_cache = [""]
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert all(texts == ["", *(f"host{i}.example" for i in range(4_000))] for texts in found)
