"""What rings may take of the memory."""

import pytest

from aishark_panel.errors import ConfigError
from aishark_panel.streams.ringshares import RingShares, memory_bytes

MIB = 2**20
SHARES = RingShares(total_bytes=400 * MIB, each_bytes=200 * MIB)


def test_one_person_leaves_some_for_others() -> None:
    anns = [("ann", 100 * MIB)] * 2
    SHARES.check(anns[:1], "ann", 100 * MIB)
    with pytest.raises(ConfigError, match=r"sessions of ann may take 200 MiB .* have 200 MiB; a new one takes 100 MiB"):
        SHARES.check(anns, "ann", 100 * MIB)
    SHARES.check(anns, "bob", 100 * MIB)
    SHARES.check([("", 100 * MIB)] * 3, "", 100 * MIB)  # the hub's owner may have all


def test_all_together_have_an_end() -> None:
    full = [(name, 100 * MIB) for name in ("ann", "bob", "carl", "")]
    for owner in ("dora", ""):
        with pytest.raises(ConfigError, match=r"this hub may take 400 MiB .* have 400 MiB"):
            SHARES.check(full, owner, 100 * MIB)
    RingShares(total_bytes=1, each_bytes=1).check([], "", 100 * MIB)  # there is always room for a first one


def test_bounds_follow_the_machine_unless_they_are_given() -> None:
    assert memory_bytes() > 2**28
    half = memory_bytes() // 2
    assert RingShares.of_machine(MIB) == RingShares(total_bytes=half, each_bytes=half // 2)
    assert RingShares.of_machine(half) == RingShares(total_bytes=4 * half, each_bytes=2 * half)
    assert RingShares.of_machine(MIB, 30 * MIB, 7 * MIB) == RingShares(total_bytes=30 * MIB, each_bytes=7 * MIB)
