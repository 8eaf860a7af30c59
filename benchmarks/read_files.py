"""How fast capture files become frames, on one core: 1,000,000 mixed frames (~700 bytes) and 2,000,000 of 64 bytes.

    python benchmarks/read_files.py [--mixed 1000000] [--small 2000000] [--rounds 5] [--folder DIR]

Both traces are made from a seed and written as pcap and pcapng; the page cache is warm. Beside our reader, in turns
with it, run `dd bs=512k` (the kernel's share: copying the file out of the page cache) and, where they are installed,
capinfos and tcpdump, which walk the same records in C. CPU seconds, user and system. Programs of others include
their start, ours does not.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from peers import Reader, bytes_alone, here, program, rounds_of
from results import Result, Table, arguments, finish, progress

from aishark_panel.agent.synthetic import make_trace
from aishark_panel.capturefile import open_capture
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.pcapheaders import CaptureInterface
from aishark_panel.wire.pcapwrite import PcapngWriter, PcapWriter

CPU_NS = "CPU, ns a packet"


def small_frames(packets: int) -> Iterator[Frames]:
    rng = np.random.default_rng(1)
    for start in range(0, packets, 8192):
        count = min(8192, packets - start)
        ts = 1_700_000_000_000_000_000 + 1000 * np.arange(start, start + count, dtype=np.int64)
        data = rng.integers(0, 256, 64 * count, np.uint8)
        offsets = np.arange(0, 64 * count + 1, 64, dtype=np.int32)
        yield Frames(ts, np.full(count, 64, np.uint32), np.zeros(count, np.uint16), offsets, data)


def write_files(folder: Path, name: str, batches: Iterator[Frames]) -> list[Path]:
    paths = [folder / f"{name}.pcap", folder / f"{name}.pcapng"]
    pcap, pcapng = PcapWriter(1), PcapngWriter([CaptureInterface(link_type=1, name="eth0")])
    with paths[0].open("wb") as first, paths[1].open("wb") as second:
        first.write(pcap.header())
        second.write(pcapng.header())
        for frames in batches:
            first.write(pcap.frames(frames))
            second.write(pcapng.frames(frames))
    return paths


def our_reader(path: Path) -> None:
    with open_capture(path) as file:
        for _ in file:
            pass


READERS: dict[str, Reader] = {
    "ours": here(our_reader),
    "read + sum": here(bytes_alone),
    "dd bs=512k": program("dd", "if=FILE", "of=/dev/null", "bs=512k"),
    "capinfos -c": program("capinfos", "-c", "FILE"),
    "tcpdump -w": program("tcpdump", "-r", "FILE", "-w", "/dev/null"),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--mixed", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the files are made; default: the temporary folder")
    options = parser.parse_args()
    tables = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        traces = ("mixed", options.mixed, make_trace(options.mixed, seed=1)), ("64 bytes", options.small, None)
        for name, packets, batches in traces:
            for path in write_files(Path(folder), name, batches or small_frames(packets)):
                progress(path.name)
                with open_capture(path) as file:
                    assert sum(map(len, file)) == packets  # warms the cache and compiles, too
                size = path.stat().st_size
                title = f"{path.name}, {size / 1e6:.0f} MB"
                table = Table(title, "reader", ["MB/s", CPU_NS], base="dd bs=512k", of=CPU_NS)
                for reader, seconds in rounds_of(READERS, path, options.rounds).items():
                    each_ns = [1e9 * each / packets for each in seconds]
                    table.add(reader, size / 1e6 / statistics.median(seconds), each_ns)
                tables.append(table)
                path.unlink()
    finish(Result("read_files", tables), options.json)


if __name__ == "__main__":
    main()
