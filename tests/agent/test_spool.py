"""The spool's segments: whatever happens to the files, every whole record before the damage is there."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.agent.spool import MIN_SPOOL_BYTES, Spool

ID = b"i" * 16
HEAD_BYTES, RECORD_BYTES = 24, 20


def envelope(number: int, size: int = 1_000) -> bytes:
    return number.to_bytes(8, "big") * (size // 8)


def filled(folder: Path, numbers: range, size: int = 1_000, limit_bytes: int = MIN_SPOOL_BYTES) -> Spool:
    spool = Spool(folder, ID, limit_bytes)
    for number in numbers:
        spool.append(number, envelope(number, size), number % 7)
    return spool


def contents(spool: Spool) -> dict[int, bytes | None]:
    return {number: spool.read(number) for number in spool.numbers()}


def test_what_was_written_is_there_after_a_kill(tmp_path: Path) -> None:
    filled(tmp_path, range(5, 9))  # never closed
    spool = Spool(tmp_path, ID)
    assert contents(spool) == {number: envelope(number) for number in range(5, 9)}
    assert [spool.rows(n) for n in (4, 5, 6, 8, 9)] == [0, 5, 6, 1, 0]
    assert (spool.read(4), spool.read(9)) == (None, None)
    spool.append(9, b"more", 3)
    assert Spool(tmp_path, ID).read(9) == b"more"


def test_segments_go_once_all_in_them_is_durable(tmp_path: Path) -> None:
    spool = filled(tmp_path, range(1, 41), size=200_000)
    files = len(list(tmp_path.iterdir()))
    assert files == 4
    spool.forget(10)
    assert len(list(tmp_path.iterdir())) == files
    spool.forget(25)
    assert spool.numbers()[0] > 11
    assert spool.read(26) == envelope(26, 200_000)
    assert spool.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    spool.forget(40)
    assert (list(tmp_path.iterdir()), spool.size_bytes, spool.numbers()) == ([], 0, [])
    spool.append(41, b"next", 1)
    assert contents(spool) == {41: b"next"}


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    spool = filled(tmp_path, range(1, 9), size=2**21)
    assert spool.is_full
    assert spool.fill == 1.0
    spool.forget(1)
    assert not spool.is_full


def test_numbers_may_have_gaps(tmp_path: Path) -> None:
    spool = filled(tmp_path, range(1, 3))
    spool.append(7, b"seven", 1)
    for each in (spool, Spool(tmp_path, ID)):
        assert contents(each) == {1: envelope(1), 2: envelope(2), 7: b"seven"}


def test_segments_of_another_folder_are_put_aside_not_sent_or_deleted(tmp_path: Path) -> None:
    filled(tmp_path, range(1, 3))
    assert Spool(tmp_path, b"j" * 16).numbers() == []
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


@settings(max_examples=300, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_every_whole_record_before_the_damage_survives(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, ID)
    ends = [HEAD_BYTES]
    for number, size in enumerate(sizes, 1):
        spool.append(number, bytes([number]) * size, size)
        ends.append(ends[-1] + RECORD_BYTES + size)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1), "damage at")
    noise = data.draw(st.binary(max_size=80), "bytes there")
    damaged = whole[:at] + noise + whole[at + len(noise) :] if noise else whole[:at]
    path.write_bytes(damaged)
    first_changed = next((i for i, (a, b) in enumerate(zip(whole, damaged, strict=False)) if a != b), len(damaged))
    again = Spool(folder, ID)
    survivors = {n: bytes([n]) * size for n, size in enumerate(sizes, 1) if ends[n] <= first_changed}
    found = contents(again)
    assert {n: found.get(n) for n in survivors} == survivors
    if damaged[: len(whole)] == whole:
        assert len(found) == len(sizes)
    # What is found is true, and the spool goes on.
    assert all(body == bytes([n]) * sizes[n - 1] for n, body in found.items())
    again.append(len(sizes) + 1, b"on", 1)
    assert contents(Spool(folder, ID)) == {**found, len(sizes) + 1: b"on"}


def test_damage_while_it_runs_costs_one_batch(tmp_path: Path) -> None:
    spool = filled(tmp_path, range(1, 4))
    (path,) = tmp_path.iterdir()
    with path.open("r+b") as file:
        file.seek(HEAD_BYTES + 2 * RECORD_BYTES + 1_500)
        file.write(b"?")
    assert contents(spool) == {1: envelope(1), 2: None, 3: envelope(3)}
    path.unlink()
    assert spool.read(1) is None


def test_a_disk_without_room_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, range(1, 3))
    real = os.pwrite
    room = [1_010]

    def short(fd: int, data: memoryview, place: int) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = real(fd, data[: room[0]], place)
        room[0] -= count
        return count

    monkeypatch.setattr(os, "pwrite", short)
    with pytest.raises(OSError, match="No space"):
        spool.append(3, envelope(3), 1)
    assert spool.numbers() == [1, 2]
    monkeypatch.undo()
    spool.append(3, envelope(3), 1)
    assert contents(Spool(tmp_path, ID)) == {n: envelope(n) for n in (1, 2, 3)}
