"""Match sets: no packet is skipped, whatever arrives while they look."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from aishark_panel.query import compile_expression
from aishark_panel.streams.matches import MatchSet
from aishark_panel.streams.ring import MIN_LIMIT_BYTES, BlockView, Ring
from tests.traffic import frames

LINK_TYPES = np.array([1], np.int32)
CODES = np.array([0], np.uint16)


class BusyRing(Ring):
    """A ring that takes a batch just before and just after each snapshot."""

    more = True

    def feed(self) -> None:
        if self.more:
            self.append(frames(100, first=self.end - 1), LINK_TYPES, CODES)

    @contextmanager
    def read(self, first: int = 0, end: int | None = None) -> Iterator[Sequence[BlockView]]:
        self.feed()
        with super().read(first, end) as views:
            self.feed()
            yield views


def test_packets_that_arrive_while_it_looks_are_looked_at_the_next_time() -> None:
    ring, matches = BusyRing(MIN_LIMIT_BYTES), MatchSet(compile_expression("udp"))
    for _ in range(20):
        known = matches.update(ring, [], budget_rows=10**9)
        assert known.end == known.scanned_to - 1
    ring.more = False
    known = matches.update(ring, [], budget_rows=10**9)
    assert known.end == ring.end - 1 == 4_000
    assert matches.numbers(0, 10_000).tolist() == list(range(1, 4_001))


def test_a_budget_leaves_the_rest_for_later() -> None:
    ring, matches = Ring(MIN_LIMIT_BYTES), MatchSet(compile_expression("src_port == 10_000"))
    ring.append(frames(20_000, size=0), LINK_TYPES, CODES)
    known = matches.update(ring, [], budget_rows=7_001)
    assert (known.scanned_to, known.end) == (7_002, 29)
    while known.scanned_to < ring.end:
        known = matches.update(ring, [], budget_rows=999)
    assert known.end == 80


def test_an_empty_ring_is_looked_through_at_once() -> None:
    ring = Ring(MIN_LIMIT_BYTES)
    ring.append(frames(10), LINK_TYPES, CODES)
    ring.clear()
    known = MatchSet(compile_expression("udp")).update(ring, [], budget_rows=100)
    assert (known.first, known.end, known.scanned_to) == (0, 0, 11)
