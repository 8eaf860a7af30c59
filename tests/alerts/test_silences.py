"""Silences: which alerts they cover, until when, and how many there may be."""

import pytest

from aishark_panel.alerts.silences import MAX_SILENCES, Silences
from aishark_panel.errors import ConfigError, NotFoundError

NOW_NS = 1_700_000_000 * 10**9
SCAN = {"rule": "port_scan", "key": {"src_ip": "10.0.0.1", "dst_port": 80}}


@pytest.mark.parametrize(
    ("rule", "key", "covers"),
    [
        (None, None, True),
        ("port_scan", None, True),
        ("syn_flood", None, False),
        (None, {"src_ip": "10.0.0.1"}, True),
        ("port_scan", {"src_ip": "10.0.0.1", "dst_port": 80}, True),
        ("port_scan", {"src_ip": "10.0.0.1", "dst_port": 81}, False),
        ("port_scan", {"dst_ip": None}, False),
        ("syn_flood", {"src_ip": "10.0.0.1"}, False),
    ],
)
def test_a_silence_covers_what_it_names(rule: str | None, key: dict[str, object] | None, covers: bool) -> None:
    silences = Silences()
    silences.add(rule, key, 60, "", "ann", NOW_NS)
    assert silences.cover(SCAN, NOW_NS + 59 * 10**9) is covers
    assert not silences.cover(SCAN, NOW_NS + 60 * 10**9)


def test_a_silence_ends_by_itself_or_when_somebody_ends_it() -> None:
    silences = Silences()
    first = silences.add("a", None, 10, "", "ann", NOW_NS)
    second = silences.add("b", None, 20, "works", "bob", NOW_NS)
    assert silences.good(NOW_NS + 10 * 10**9) == (second,)
    silences.remove(second.id)
    assert silences.good(NOW_NS) == (first,)
    with pytest.raises(NotFoundError, match="may be over"):
        silences.remove(second.id)


def test_there_are_only_so_many_and_none_for_ever() -> None:
    silences = Silences()
    for _ in range(MAX_SILENCES):
        silences.add(None, None, 10, "", "", NOW_NS)
    with pytest.raises(ConfigError, match="end one first"):
        silences.add(None, None, 10, "", "", NOW_NS)
    silences.add(None, None, 10, "", "", NOW_NS + 11 * 10**9)  # the others are over
    for for_s in (0.0, -1.0, 1e12, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="from 1 second"):
            silences.add(None, None, for_s, "", "", NOW_NS)
