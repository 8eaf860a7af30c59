"""Part files: named when whole, locked while written, finished by the next hub."""

from pathlib import Path

import pytest

from aishark_panel.streams.partfile import PartFile, recover_parts
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapwrite import PcapngWriter
from tests.traffic import frames


def pcapng() -> bytes:
    writer = PcapngWriter([CaptureInterface(link_type=1)])
    return writer.header() + writer.frames(frames(3))


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "a.pcapng")
    assert part.write(b"abc") == 3
    part.write(b"def")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pcapng.part"]
    part.cut(4)
    part.write(b"x")
    part.finish()
    assert (tmp_path / "a.pcapng").read_bytes() == b"abcdx"
    assert part.size_bytes == 5
    with pytest.raises(FileExistsError):
        PartFile(tmp_path / "a.pcapng")


def test_nothing_is_left_of_a_discarded_file(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "a.pcapng")
    part.write(b"abc")
    part.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [1, 27, 28, 100, -1, None])
def test_an_abandoned_pcapng_is_cut_after_its_last_whole_block(tmp_path: Path, kept: int | None) -> None:
    whole = pcapng()
    left = whole[:kept]
    (tmp_path / "a.pcapng.part").write_bytes(left)
    recover_parts(tmp_path)
    writer = PcapngWriter([CaptureInterface(link_type=1)])
    ends = [0, len(PcapngWriter().header()), len(writer.header())]
    ends += [len(writer.header() + writer.frames(frames(n))) for n in (1, 2, 3)]
    end = max(e for e in ends if e <= len(left))
    if end:
        assert (tmp_path / "a.pcapng").read_bytes() == whole[:end]
    assert [p.name for p in tmp_path.iterdir()] == (["a.pcapng"] if end else [])


@pytest.mark.parametrize("content", [b"", bytes(100), b"\xff" * 100])
def test_an_abandoned_part_of_no_use_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pcapng.part").write_bytes(content)
    (tmp_path / "b.parquet.part").write_bytes(content)
    (tmp_path / "other.txt").write_bytes(content)
    recover_parts(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["other.txt"]


def test_a_part_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "a.parquet")
    part.write(b"abc")
    recover_parts(tmp_path)
    part.finish()
    assert (tmp_path / "a.parquet").read_bytes() == b"abc"


def test_a_finished_file_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.pcapng").write_text("older")
    (tmp_path / "a.pcapng.part").write_bytes(pcapng())
    recover_parts(tmp_path)
    assert (tmp_path / "a.pcapng").read_text() == "older"
    assert (tmp_path / "a.pcapng.part").read_bytes() == pcapng()


def test_links_are_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "a.parquet.part").symlink_to(target)
    recover_parts(folder)
    assert target.read_text() == "precious"


def test_a_folder_that_is_not_there_has_nothing_to_recover(tmp_path: Path) -> None:
    recover_parts(tmp_path / "nowhere")
