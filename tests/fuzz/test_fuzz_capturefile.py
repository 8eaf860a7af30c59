"""Mutated capture files, cut anywhere: only CaptureFileError may come out, soon, in bounded memory, and the same
whether the bytes come at once, in pieces, or from a packed file.

    AISHARK_FUZZ_CASES=100000 AISHARK_FUZZ_SEED=7 pytest tests/fuzz/test_fuzz_capturefile.py --timeout 0

A failure names its case; the same seed makes the same cases. With NUMBA_BOUNDSCHECK=1 and a NUMBA_CACHE_DIR of its own,
a read outside the bytes is an IndexError.
"""

import bz2
import gzip
import os
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames
from aishark_panel.wire.pcapfile import CaptureReader
from aishark_panel.wire.pcapheaders import CaptureInterface, InterfaceCounters
from aishark_panel.wire.pcapnotes import CaptureNotes
from aishark_panel.wire.pcapwrite import PcapngWriter, PcapWriter
from tests.wire.capture_bytes import block, interface, obsolete, packet, pcap, section, simple

CASES = int(os.environ.get("AISHARK_FUZZ_CASES", "400"))
SEED = int(os.environ.get("AISHARK_FUZZ_SEED", "1"))
MOST_SEED_BYTES = 20_000
MOST_S = 2.0
"""CPU time of reading one case once; a few milliseconds are usual"""
MOST_MEMORY_BYTES = 8 * 2**20
"""beside what the case itself takes: the batch's 2 MiB, and some for everything else"""
INTERESTING = (
    0,
    1,
    3,
    4,
    5,
    6,
    12,
    16,
    20,
    28,
    32,
    2**16,
    2**18,
    2**18 + 1,
    2**20,
    2**20 + 4,
    2**31,
    2**32 - 4,
    2**32 - 1,
)
WORDS = (0x0A0D0D0A, 0x1A2B3C4D, 0x4D3C2B1A, 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34, 0xD4C3B2A1, 10, 0x0BAD, 2, 14, 9)

Row = tuple[int, int, int, bytes]
Outcome = tuple[list[Row], list[CaptureInterface], CaptureNotes | None, str | None]
"""(frames, interfaces, notes, warning or error)"""


def made_up() -> list[bytes]:
    """A file of each kind, with everything the format knows."""
    records = [(i, 999_999 - i, 60 + i, bytes(range(i * 3 % 200))) for i in range(12)]
    files = [
        pcap(records, order=order, magic=magic, extra=bytes(extra))
        for order in "<>"
        for magic, extra in ((0xA1B2C3D4, 0), (0xA1B23C4D, 0), (0xA1B2CD34, 8))
    ]
    for order in "<>":
        name = struct.pack(order + "HH", 1, 10) + b"\x0a\0\0\x01host\0\0" + bytes(2) + bytes(4)
        counters = struct.pack(order + "IIIHHQHHQI", 0, 1, 2, 4, 8, 77, 7, 8, 5, 0)
        comment = struct.pack(order + "IIIIIIHH", 0, 0, 9, 4, 4, 0x61626364, 1, 5) + b"words\0\0\0" + bytes(4)
        body = [
            interface(order, snaplen=96, options={2: b"eth0", 9: b"\x09", 14: struct.pack(order + "q", -3)}),
            interface(order, link=101, options={9: b"\x9e"}),
            *(packet(10**12 * i, bytes(i * 7), order, iface=i % 2) for i in range(6)),
            *(obsolete(5 * i, bytes(i), order, drops=i) for i in range(4)),
            simple(bytes(30), 200, order),
            *(block(kind, data, order) for kind, data in ((4, name), (6, comment), (10, bytes(40)), (5, counters))),
        ]
        files.append(section(order) + b"".join(body) + section("<") + interface("<") + packet(3, b"other order"))
    frames = Frames.from_list([bytes(100)] * 40, [10**18 + i for i in range(40)])
    writer = PcapngWriter([CaptureInterface(link_type=1, name="a", filter="tcp")])
    files.append(writer.header() + writer.frames(frames) + writer.counters(0, InterfaceCounters(dropped=4), 10**18))
    plain = PcapWriter(1)
    return [*files, plain.header() + plain.frames(frames)]


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    """Made-up files, and the small ones of those by others where they are."""
    files = made_up()
    folder = Path(__file__).resolve().parents[3] / "shared" / "captures"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".tsv":
            data = path.read_bytes()
            files.append((gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)[:MOST_SEED_BYTES])
    return files


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A file with some damage of the kinds that lengths, counts and kinds of blocks suffer from."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 20))):
        if not data:
            break
        at = rng.randrange(len(data))
        near_start = rng.randrange(min(len(data), 64))
        match rng.randrange(9):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[near_start] ^= 1 << rng.randrange(8)
            case 2 | 3:
                aligned = at & ~3 if rng.random() < 0.8 else at
                value = rng.choice(INTERESTING) if rng.random() < 0.7 else rng.choice(WORDS)
                data[aligned : aligned + 4] = struct.pack(rng.choice("<>") + "I", value)
            case 4:
                del data[at : at + rng.choice((1, 4, 16, 100))]
            case 5:
                data[at:at] = rng.randbytes(rng.choice((1, 4, 12, 100)))
            case 6:
                other = rng.choice(seeds)
                start = rng.randrange(len(other) + 1)
                data[at:] = other[start:]
            case 7:
                data[at:at] = data[at & ~3 : (at & ~3) + rng.choice((16, 32, 64, 2000))]
            case 8:
                del data[at:]
    return bytes(data[: 4 * MOST_SEED_BYTES])


def rows_of(frames: Frames, interfaces: int, snaplen: int) -> list[Row]:
    lengths = np.diff(frames.offsets)
    assert (lengths >= 0).all()
    assert (lengths <= min(snaplen, MAX_FRAME_BYTES)).all()
    assert int(frames.offsets[-1]) <= len(frames.data)
    assert int(frames.iface.max()) < interfaces
    return [
        (int(frames.ts[i]), int(frames.orig_len[i]), int(frames.iface[i]), frames.frame(i)) for i in range(len(frames))
    ]


def read_pieces(pieces: list[bytes], snaplen: int, batch_rows: int) -> Outcome:
    reader = CaptureReader(snaplen=snaplen, batch_rows=batch_rows)
    rows: list[Row] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (frames := reader.frames()) is not None:
                rows += rows_of(frames, len(reader.interfaces), snaplen)
        said = reader.finish()
    except CaptureFileError as error:
        said = str(error)
    assert sum(len(row[3]) for row in rows) <= sum(map(len, pieces))
    assert "\n" not in (said or "")
    return rows, reader.interfaces, reader.notes, said


def chopped(rng: random.Random, data: bytes) -> list[bytes]:
    if rng.random() < 0.1:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 3, 20))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_damaged_files_are_read_alike_however_they_are_cut(seeds: list[bytes]) -> None:
    slowest_s = 0.0
    read_pieces([seeds[0]], 100, 10)  # compiled from here on
    read_pieces([seeds[6]], 100, 10)
    for case in range(CASES):
        rng = random.Random(f"{SEED}/{case}")
        data = mutated(rng, seeds)
        snaplen = rng.choice((MAX_FRAME_BYTES, MAX_FRAME_BYTES, 64, 0))
        try:
            began = time.thread_time()
            whole = read_pieces([data], snaplen, 8_192)
            slowest_s = max(slowest_s, time.thread_time() - began)
            pieces = read_pieces(chopped(rng, data), snaplen, rng.choice((1, 2, 8_192)))
            # What is neither pcap nor pcapng is named by what has come of its start by then.
            assert pieces == whole or (not whole[0] and "neither pcap nor" in (pieces[3] or "") and not pieces[0])
        except BaseException as error:
            raise AssertionError(f"case {case} of seed {SEED}: {data[:200].hex()} ({len(data)} bytes)") from error
    assert slowest_s < MOST_S


def test_memory_stays_within_bounds(seeds: list[bytes]) -> None:
    tracemalloc.start()
    try:
        for case in range(CASES // 10):
            data = mutated(random.Random(f"memory {SEED}/{case}"), seeds)
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            reader = CaptureReader()
            try:
                reader.feed(data)
                while reader.frames() is not None:
                    pass
                reader.finish()
            except CaptureFileError:
                pass
            grown = tracemalloc.get_traced_memory()[1] - before
            assert grown < MOST_MEMORY_BYTES + 4 * len(data), f"case {case} of seed {SEED}"
    finally:
        tracemalloc.stop()


def packed_zlib(data: bytes) -> bytes:
    return zlib.compress(data, wbits=31)


def packed_by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        out = pa.BufferOutputStream()
        with pa.CompressedOutputStream(out, codec) as stream:
            stream.write(data)
        return bytes(out.getvalue())

    return pack


def test_damaged_files_on_disk_packed_or_not_give_frames_or_one_sentence(seeds: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "case"
    packers = (bytes, packed_zlib, packed_by_arrow("zstd"), packed_by_arrow("lz4"), bz2.compress)
    for case in range(CASES // 4):
        rng = random.Random(f"disk {SEED}/{case}")
        inner = mutated(rng, seeds)
        pack = rng.choice(packers)
        damaged = rng.random() < 0.5
        path.write_bytes(mutated(rng, [pack(inner)]) if damaged else pack(inner))
        rows: list[Row] = []
        try:
            with open_capture(path) as file:
                for frames in file:
                    rows += rows_of(frames, len(file.interfaces), MAX_FRAME_BYTES)
            said = file.warning
        except CaptureFileError as error:
            said = str(error).removeprefix(f"cannot read {path}: ")
        try:
            assert "\n" not in (said or "")
            if not damaged:
                expected = read_pieces([inner], MAX_FRAME_BYTES, 8_192)
                assert rows == expected[0]
                assert said == expected[3] or "neither pcap" in (said or "") or "unpacked" in (said or "")
        except BaseException as error:
            raise AssertionError(f"case {case} of seed {SEED}: {said}") from error
