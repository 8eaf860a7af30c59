"""The tally: it always adds up, and its file is whole after any kill."""

from pathlib import Path

import pytest

from aishark_panel.agent.tally import MAX_UNSPOOLED, Tally, TallyFile


def opened(path: Path) -> TallyFile:
    return TallyFile(path, lambda: 17)


def test_what_does_not_add_up_is_refused_and_changes_nothing() -> None:
    tally = Tally()
    tally.move(captured=5, sampled_out=2, in_encoder=3)
    for wrong in ({"captured": 1}, {"in_encoder": -1}, {"outbox": 1, "spooled": -2}, {"matched": 0}):
        with pytest.raises(ValueError, match="do not add up"):
            tally.move(**wrong)
    assert {name: count for name, count in tally.counters().items() if count} == {
        "captured": 5, "sampled_out": 2, "in_encoder": 3,
    }  # fmt: skip


def test_the_numbers_outlive_the_process(tmp_path: Path) -> None:
    tally = Tally(opened(tmp_path / "counters"))
    tally.move(captured=7, in_encoder=7)
    tally.move(in_encoder=-7, outbox=7)
    tally.made(1, 7)
    tally.saw({"matched": 9, "kernel_dropped": 1, "gaps": 2, "gap_ms": 700})
    numbers = opened(tmp_path / "counters").read()
    assert numbers is not None
    assert {name: count for name, count in numbers.items() if count} == {
        "captured": 7, "outbox": 7, "next_sequence": 2, "matched": 9, "kernel_dropped": 1, "gaps": 2, "gap_ms": 700,
        "alive_ns": 17,
    }  # fmt: skip
    assert opened(tmp_path / "counters").rows(1) == 7
    tally.close()
    assert (opened(tmp_path / "counters").read() or {})["closed"] == 1


def test_a_write_that_was_cut_anywhere_leaves_the_numbers_before_it(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    tally = Tally(opened(path))
    tally.move(captured=1, outbox=1)
    before = path.read_bytes()
    tally.move(captured=1, outbox=1)
    after = path.read_bytes()
    changed = [at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    found = set()
    for cut in range(changed[0], changed[-1] + 2):
        path.write_bytes(after[:cut] + before[cut:])
        numbers = opened(path).read()
        assert numbers is not None
        assert numbers["captured"] == numbers["outbox"]
        found.add(numbers["captured"])
    assert found == {1, 2}


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    Tally(opened(path)).move(captured=1, outbox=1)
    path.write_bytes(bytes(b ^ 0x40 for b in path.read_bytes()))
    assert opened(path).read() is None


def test_packets_of_a_batch_are_known_until_its_place_is_needed(tmp_path: Path) -> None:
    file = opened(tmp_path / "counters")
    tally = Tally(file)
    for sequence in (1, 2, MAX_UNSPOOLED + 1):
        tally.made(sequence, 10 + sequence)
    assert [file.rows(n) for n in (1, 2, 3, MAX_UNSPOOLED + 1)] == [0, 12, 0, MAX_UNSPOOLED + 11]
    tally.write_off(2)
    tally.write_off(1)  # whose place another has
    assert [file.rows(n) for n in (2, MAX_UNSPOOLED + 1)] == [0, MAX_UNSPOOLED + 11]
