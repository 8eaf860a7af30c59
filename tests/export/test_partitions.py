"""Partitions: the folder of each packet's hour, and back."""

import numpy as np
import pytest

from aishark_panel.export.partitions import HOUR_NS, NULL, Partitions, hour_of, name_part

NOON = 1_790_000_000 * 10**9 // HOUR_NS * HOUR_NS


def test_packets_go_to_the_folder_of_their_hour() -> None:
    partitions = Partitions("the office / 2")
    ts = np.array([NOON, NOON + HOUR_NS - 1, NOON + HOUR_NS, NOON + 5], np.int64)
    folder, together = partitions.next(ts)
    assert (folder, together) == ("session=the-office-2/date=2026-09-21/hour=14", 2)
    assert partitions.next(ts[2:]) == ("session=the-office-2/date=2026-09-21/hour=15", 1)
    assert partitions.next(ts[3:]) == (folder, 1)
    assert partitions.next(np.array([-1], np.int64)) == ("session=the-office-2/date=1969-12-31/hour=23", 1)


def test_where_times_jump_to_and_fro_hour_after_hour_files_have_none() -> None:
    partitions = Partitions("live")
    jumping = NOON + np.arange(100) % 2 * HOUR_NS
    for _ in range(100):
        folder, together = partitions.next(jumping)
        partitions.ended(1)
    assert (folder, together) == (f"session=live/date={NULL}/hour={NULL}", 100)
    assert hour_of(f"{folder}/x.parquet") is None


def test_long_files_that_end_with_the_hour_are_no_jumps() -> None:
    partitions = Partitions("live")
    for hour in range(1_000):
        folder, _ = partitions.next(np.array([NOON + hour * HOUR_NS]))
        assert hour_of(f"/archive/{folder}/x.parquet") == NOON + hour * HOUR_NS
        partitions.ended(1_000)


@pytest.mark.parametrize(
    "path", ["x.parquet", "date=2026-09-21/x.parquet", "date=2026-09-21/hour=25/x", "hour=1/date=x"]
)
def test_a_path_without_an_hour_has_none(path: str) -> None:
    assert hour_of(path) is None


@pytest.mark.parametrize(
    ("text", "name"), [("../../etc", "etc"), ("a b\n$(x)", "a-b-x"), ("", "session"), ("ü", "session")]
)
def test_names_lead_nowhere(text: str, name: str) -> None:
    assert name_part(text) == name
