"""Room for recordings: the quota, whose files go first, and what is not ours."""

import os
from pathlib import Path

import pytest

from aishark_panel.streams.diskroom import DiskRoom

STEM = "live-20231114T221320.123Z"


def make(folder: Path, name: str, size_bytes: int, age_s: int) -> None:
    path = folder / name
    path.write_bytes(bytes(size_bytes))
    os.utime(path, (1_700_000_000 - age_s,) * 2)


def test_the_oldest_finished_files_go_first_and_nothing_else_goes(tmp_path: Path) -> None:
    make(tmp_path, f"{STEM}-0001.pcapng", 300, age_s=30)
    make(tmp_path, f"{STEM}-0002.pcapng", 300, age_s=50)
    make(tmp_path, f"other{STEM}-0001.parquet", 300, age_s=40)
    make(tmp_path, f"{STEM}-0003.pcapng.part", 300, age_s=90)
    make(tmp_path, "mine.pcapng", 5_000, age_s=99)
    removed: list[str] = []
    room = DiskRoom(tmp_path, 1_200, removed.append)
    room.ask(0)
    assert removed == []
    room.ask(500)
    assert removed == [f"{STEM}-0002.pcapng", f"other{STEM}-0001.parquet"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [f"{STEM}-0001.pcapng", f"{STEM}-0003.pcapng.part", "mine.pcapng"]
    )
    with pytest.raises(OSError, match="its quota is used up"):
        room.ask(1_000)


def test_links_neither_count_nor_go(tmp_path: Path) -> None:
    make(tmp_path, "precious", 5_000, age_s=0)
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / f"{STEM}-0001.pcapng").symlink_to(tmp_path / "precious")
    DiskRoom(folder, 1_000, lambda _: None).ask(500)
    assert (folder / f"{STEM}-0001.pcapng").is_symlink()


def test_some_of_the_disk_is_not_for_recordings(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    room = DiskRoom(tmp_path, None, lambda _: None)
    room.ask(1)
    with pytest.raises(OSError, match="No space left on device"):
        room.ask(disk.f_bavail * disk.f_frsize - 2**20)
