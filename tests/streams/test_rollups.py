"""Rollups: the counts of a bin are what a plain count gives, whatever the order of arrival."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.streams.rollups import RESOLUTIONS_MS, Rollups

packets = st.lists(st.tuples(st.integers(0, 250_000), st.integers(0, 5), st.integers(0, 2_000)), max_size=80)


def add(rollups: Rollups, rows: list[tuple[int, int, int]]) -> None:
    ts, protocol, length = (np.array([r[k] for r in rows]) for k in range(3))
    rollups.add(ts.astype(np.int64) * 1_000_000, protocol.astype(np.uint16), length.astype(np.uint32))


@given(packets, st.integers(0, 80), st.integers(0, 2_600))
def test_counts_are_those_of_a_plain_count(rows: list[tuple[int, int, int]], cut: int, since: int) -> None:
    rollups = Rollups()
    add(rollups, rows[:cut])
    add(rollups, rows[cut:])
    for resolution_ms in RESOLUTIONS_MS:
        expected_packets: Counter[tuple[int, int]] = Counter()
        expected_bytes: Counter[tuple[int, int]] = Counter()
        for ts_ms, protocol, length in rows:
            if ts_ms // resolution_ms >= since:
                expected_packets[ts_ms // resolution_ms, protocol] += 1
                expected_bytes[ts_ms // resolution_ms, protocol] += length
        found = rollups.since(resolution_ms, since)
        keys = list(zip(found.bin.tolist(), found.group.tolist(), strict=True))
        assert dict(zip(keys, found.packets.tolist(), strict=True)) == dict(expected_packets)
        assert dict(zip(keys, found.bytes.tolist(), strict=True)) == dict(expected_bytes)
        assert keys == sorted(keys)


def test_old_bins_make_room_and_late_packets_are_counted() -> None:
    rollups = Rollups()
    add(rollups, [(0, 1, 10), (300_000, 1, 10), (50, 1, 10), (299_950, 1, 10)])
    assert rollups.since(100, 0).bin.tolist() == [2_999, 3_000]
    assert int(rollups.late[0]) == 1
    rollups.clear()
    assert len(rollups.since(100, 0).bin) == 0


def test_times_before_1970_are_late_not_wrong() -> None:
    rollups = Rollups()
    add(rollups, [(-5, 1, 10)])
    assert (len(rollups.since(1_000, -100).bin), int(rollups.late[1])) == (0, 1)
