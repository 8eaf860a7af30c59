"""Opening capture files: plain, packed, piped, cut, and none at all."""

import bz2
import gzip
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from aishark_panel import capturefile
from aishark_panel.capturefile import CaptureFile, open_capture
from aishark_panel.errors import CaptureFileError
from tests.wire.capture_bytes import pcap, read_all

PACKETS = 5_000
CAPTURE = pcap([(i, 0, 60, os.urandom(60)) for i in range(PACKETS)])
RECORD_BYTES = 76


def pack_with(codec: str, data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, codec) as stream:
        stream.write(data)
    return bytes(packed.getvalue())


def zstd(data: bytes) -> bytes:
    return pack_with("zstd", data)


def lz4(data: bytes) -> bytes:
    return pack_with("lz4", data)


def seconds(file: CaptureFile) -> list[int]:
    return [int(ts) // 10**9 for frames in file for ts in frames.ts]


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


class Writer(threading.Thread):
    """Opens a FIFO and writes pieces to it, the next one each time `go_on` is released."""

    def __init__(self, path: Path, *pieces: bytes) -> None:
        super().__init__(daemon=True)
        self.path, self.pieces, self.go_on = path, pieces, threading.Semaphore(0)
        self.start()

    def run(self) -> None:
        with self.path.open("wb", buffering=0) as pipe:
            for piece in self.pieces:
                assert self.go_on.acquire(timeout=30)
                pipe.write(piece)
            assert self.go_on.acquire(timeout=30)


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        zstd,
        lz4,
        bz2.compress,
        lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
        lambda data: zstd(data[:1000]) + zstd(data[1000:]),
        lambda data: bz2.compress(data[:1000]) + bz2.compress(data[1000:]),
    ],
    ids=["plain", "gzip", "zstd", "lz4", "bzip2", "gzip in two members", "zstd in two frames", "bzip2 in two streams"],
)
def test_plain_and_packed_files_give_the_same_packets(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pack(CAPTURE))
    with open_capture(path) as file:
        assert seconds(file) == list(range(PACKETS))
        assert file.warning is None
        assert file.packets == PACKETS
        assert file.bytes_total == file.bytes_done == path.stat().st_size
        assert file.interfaces[0].link_type == 1


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_what_unpacks_to_much_more_is_read_in_pieces(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pack(pcap([(i, 0, 60, bytes(60)) for i in range(100_000)])))
    with open_capture(path) as file:
        assert seconds(file) == list(range(100_000))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_a_pipe_gives_the_same_packets(fifo: Path, pack: type[bytes]) -> None:
    writer = Writer(fifo, pack(CAPTURE))
    with open_capture(fifo) as file:
        writer.go_on.release(2)
        assert seconds(file) == list(range(PACKETS))
        assert file.bytes_total is None
    writer.join(30)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_pipe_is_read_as_it_comes_and_waiting_for_it_ends_in_time(fifo: Path, pack: type[bytes]) -> None:
    half = len(CAPTURE) // 2
    writer = Writer(fifo, pack(CAPTURE[:half]), pack(CAPTURE[half:]))
    with open_capture(fifo) as file:
        assert file.read(timeout_s=0) is None
        writer.go_on.release()
        got = 0
        while got < (half - 24) // RECORD_BYTES:
            got += len(file.read(timeout_s=10) or ())
        assert file.read(timeout_s=0.001) is None
        assert not file.ended
        writer.go_on.release(2)
        assert got + len(seconds(file)) == PACKETS
    writer.join(30)


def test_wake_ends_a_wait_without_an_end(fifo: Path) -> None:
    writer = Writer(fifo)
    with open_capture(fifo) as file:
        threading.Timer(0.05, file.wake).start()
        assert file.read() is None
        assert not file.ended
        started = time.monotonic()
        assert file.read(timeout_s=0.05) is None
        assert time.monotonic() - started > 0.04  # that wake-up is used up
    file.wake()
    writer.go_on.release()
    writer.join(30)


class Growing:
    """A file that is written while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("wb", buffering=0)

    def add(self, data: bytes) -> None:
        self.file.write(data)


def read_until(file: CaptureFile, count: int, timeout_s: float = 20.0) -> list[int]:
    """At least so many seconds of packets, or what comes until the end."""
    got: list[int] = []
    until = time.monotonic() + timeout_s
    while len(got) < count and not file.ended:
        assert time.monotonic() < until
        frames = file.read(timeout_s=0.02)
        got += [int(ts) // 10**9 for ts in frames.ts] if frames is not None else []
    return got


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    growing = Growing(tmp_path / "growing.pcap")
    yield growing
    growing.file.close()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_file_that_is_followed_gives_what_is_added_however_it_is_cut(growing: Growing, packed: bool) -> None:
    packer = zlib.compressobj(wbits=31)

    def add(data: bytes) -> None:
        growing.add(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH) if packed else data)

    with open_capture(growing.path, follow=True) as file:
        assert file.read(timeout_s=0) is None  # still empty
        assert file.bytes_total is None
        add(CAPTURE[:10])
        assert file.read(timeout_s=0) is None
        add(CAPTURE[10 : 24 + 3 * RECORD_BYTES + 50])
        assert read_until(file, 3) == [0, 1, 2]
        assert file.read(timeout_s=0.001) is None  # the fourth is half there
        assert not file.ended
        add(CAPTURE[24 + 3 * RECORD_BYTES + 50 :])
        assert read_until(file, PACKETS - 3) == list(range(3, PACKETS))
        assert (file.ended, file.warning) == (False, None)


def test_wake_ends_the_wait_for_more_of_a_file(growing: Growing) -> None:
    growing.add(CAPTURE[:24])
    with open_capture(growing.path, follow=True) as file:
        threading.Timer(0.05, file.wake).start()
        while file.read() is not None:
            pass
        assert not file.ended


@pytest.mark.parametrize("what", ["deleted", "replaced", "moved"])
def test_a_followed_file_that_loses_its_name_ends_when_nothing_more_comes(
    growing: Growing, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capturefile, "_LINGER_S", 0.2)
    growing.add(CAPTURE[: 24 + RECORD_BYTES])
    with open_capture(growing.path, follow=True) as file:
        assert read_until(file, 1) == [0]
        if what == "deleted":
            growing.path.unlink()
        else:
            growing.path.rename(growing.path.with_suffix(".1"))
        if what == "replaced":
            growing.path.write_bytes(CAPTURE)
        growing.add(CAPTURE[24 + RECORD_BYTES : 24 + 3 * RECORD_BYTES])  # its writer does not know yet
        assert read_until(file, PACKETS) == [1, 2]
        assert file.warning == "it was moved, replaced or deleted while it was followed; all 3 packets were read"


def test_a_followed_file_that_becomes_shorter_ends(growing: Growing) -> None:
    growing.add(CAPTURE[:-1])
    with open_capture(growing.path, follow=True) as file:
        assert len(read_until(file, PACKETS - 1)) == PACKETS - 1
        growing.file.truncate(24)
        assert read_until(file, 1) == []
        assert "it became shorter while it was followed; it ends at byte" in (file.warning or "")


@pytest.mark.parametrize("pack", [zstd, lz4], ids=["zstd", "lz4"])
def test_a_packing_that_cannot_be_followed_is_refused(growing: Growing, pack: type[bytes]) -> None:
    growing.add(pack(CAPTURE))
    with (
        open_capture(growing.path, follow=True) as file,
        pytest.raises(CaptureFileError, match=r"packed with (zstd|lz4), and such a file cannot be followed"),
    ):
        file.read()


def test_a_file_that_becomes_shorter_while_it_is_read_ends_and_the_process_does_not(growing: Growing) -> None:
    growing.add(CAPTURE + CAPTURE[24:] * 40)
    with open_capture(growing.path) as file:
        first = file.read()
        assert first is not None
        growing.file.truncate(100)
        assert seconds(file) == []
        assert file.warning == f"it became shorter while it was read; {len(first):,} packets were read before"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_cut_file_gives_all_whole_packets_and_a_warning(tmp_path: Path, pack: type[bytes]) -> None:
    path = tmp_path / "cut"
    packed = pack(CAPTURE)
    path.write_bytes(packed[: len(packed) - RECORD_BYTES * 10 - 1])
    with open_capture(path) as file:
        got = seconds(file)
        assert got == list(range(len(got)))
        assert PACKETS - 20 < len(got) < PACKETS
        assert file.warning is not None


def test_damaged_packing_after_packets_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "damaged.gz"
    path.write_bytes(gzip.compress(CAPTURE)[:-8] + bytes(8))
    with open_capture(path) as file:
        got = len(seconds(file))
        assert 0 < got <= PACKETS
        assert f"unpacking failed after {got:,} packets" in (file.warning or "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\x1f\x8b", "cannot be unpacked"),
        (gzip.compress(CAPTURE)[:5], "cannot be unpacked"),
        (zstd(CAPTURE)[:6], "cannot be unpacked"),
        (lz4(CAPTURE)[:6], "cannot be unpacked"),
        (b"\xfd7zXZ\0\0\x04", "packed with xz, a format not read here"),
        (gzip.compress(b"no capture"), "neither pcap nor pcapng"),
        (b"no capture", "neither pcap nor pcapng"),
    ],
    ids=["empty", "gzip mark", "cut gzip", "cut zstd", "cut lz4", "xz", "packed text", "text"],
)
def test_what_cannot_be_read_names_the_file_and_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "some name"
    path.write_bytes(content)
    with open_capture(path) as file, pytest.raises(CaptureFileError, match=f"cannot read .*some name: .*{reason}"):
        seconds(file)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match=r"cannot open .*nowhere: No such file"):
        open_capture(tmp_path / "nowhere")
    with pytest.raises(CaptureFileError, match="it is a folder"):
        open_capture(tmp_path)


def test_only_the_snaplen_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(CAPTURE)
    with open_capture(path, snaplen=14) as file:
        assert all(frames.captured_bytes == 14 * len(frames) for frames in file)


def test_a_zstd_packed_file_by_others_is_read(shared_captures: Path) -> None:
    with open_capture(shared_captures / "other_formats" / "pcapng-example.pcapng.zst") as file:
        assert len(seconds(file)) == 159


def test_gzip_packed_files_by_others_are_read(shared_captures: Path) -> None:
    paths = [*shared_captures.rglob("*.gz")]
    for path in paths:
        with open_capture(path) as file:
            assert len(seconds(file)) == len(read_all(gzip.decompress(path.read_bytes()))[0])
    assert paths
