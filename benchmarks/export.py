"""How fast packets become files and DataFrames, in how much memory, beside what others do with the same packets.

    python benchmarks/export.py [files] [df] [--packets 10000000] [--snaplen 128] [--rounds 5] [--folder DIR]

Without a part named both run. For a first look: `--packets 200000`.

*files*: so many packets of made-up traffic (Ethernet, each cut to --snaplen bytes) pass through a ring of 64 MiB, 8,192
rows at a time, as in the hub, and are written:

- `pcapng`, `parquet`: by our writer, as exports and recordings are. Parquet has all columns.
- `columns made`: the Arrow columns that Parquet is written of, not written.
- `pyarrow`: the same columns, as plain tables of 131,072 rows that are there before its clock starts, written by
  pyarrow.parquet with zstd and its defaults otherwise. Ours less `columns made` is what compares with it.
- `editcap -F pcapng`: our pcapng file copied. It reads the file too, and its start counts.
- `tshark -T fields`: the fields that our columns answer to, of the first 100,000 packets of our pcapng file, as text.
  It dissects, which is not counted in ours; `feed` is making the packets up (half a second before the first) and
  dissecting them.

Each runs in a process of its own, once with a tenth of the packets and --rounds times with all. Memory is the most of
the whole process (ru_maxrss), and what that is above `feed`, which must not grow with the packets. That of `feed`
grows until the table of conversations is full, at 262,144 of them. Seconds and CPU are those of the writing alone in
ours, of the whole program in others. Nothing waits for the disk: files go to the page cache, as far as the system lets
them. MB is of the file written.

*df*: `ais.read(FILE).df` of up to 1,000,000 packets, the file already read, beside `to_pandas()` of the same
columns, in turns.

Others that are not installed are left out.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from peers import TSHARK_FIELDS
from processes import cost_of
from results import Result, Table, arguments, finish, progress
from traces import INTERFACES, blocks

from aishark_panel.export.writer import open_writer
from aishark_panel.notebook.table import ALL_COLUMNS, read
from aishark_panel.notebook.table import Table as PacketTable
from aishark_panel.streams.ring import BlockView
from aishark_panel.wire.packets import LAYERS

PARTS = ("files", "df")
PPS = "packets/s"
OURS = ("feed", "columns made", "pcapng", "parquet", "pyarrow")
NAMES = {
    "feed": "packets made up and dissected, which is in none of the others",
    "parquet": "Parquet, its columns made and written",
    "columns made": "its columns made only",
    "pyarrow": "the same columns written by pyarrow",
    "tshark -T fields": "tshark -T fields, which dissects too",
    "editcap -F pcapng": "editcap -F pcapng, which reads a file too",
}
WARM_UP_PACKETS = 20_000
TSHARK_PACKETS = 100_000
DF_PACKETS = 1_000_000
GROUP_ROWS = 131_072
"""Rows of a table that pyarrow is given: as many as our row groups have."""


class Clock:
    """Adds up what the steps cost that it is asked to time."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __call__(self, work: Callable[[], Any]) -> Any:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        result = work()
        self.wall_s += time.perf_counter() - wall_s
        self.cpu_s += time.process_time() - cpu_s
        return result


class Line(NamedTuple):
    """One of the table of files."""

    case: str
    packets: int
    wall_s: float
    cpu_s: float
    file_bytes: int
    peak_mib: float


def arrow(view: BlockView) -> pa.RecordBatch:
    return view.packets.to_arrow(INTERFACES, ALL_COLUMNS, np.arange(view.start, view.stop))


def write_ours(suffix: str, views: Iterator[BlockView], path: Path, clock: Clock) -> None:
    with path.open("wb") as file:
        writer = open_writer(file, suffix, INTERFACES)
        for packets, start, stop in views:
            clock(lambda: writer.write(packets, np.arange(start, stop)))  # noqa: B023
        clock(writer.close)


def plain(batches: list[pa.RecordBatch]) -> pa.Table:
    """A table of the batches, without dictionaries."""
    table = pa.Table.from_batches(batches).unify_dictionaries()
    kinds = [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(kinds)).combine_chunks()


def plain_tables(views: Iterator[BlockView]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for view in views:
        held.append(arrow(view))
        if sum(batch.num_rows for batch in held) >= GROUP_ROWS:
            yield plain(held)
            held = []
    if held:
        yield plain(held)


def write_pyarrow(views: Iterator[BlockView], path: Path, clock: Clock) -> None:
    writer = None
    for table in plain_tables(views):
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        clock(lambda: writer.write_table(table))  # noqa: B023
    if writer:
        clock(writer.close)


def run_case(case: str, packets: int, snaplen: int, path: Path) -> Clock:
    """One of OURS, in this process."""
    clock, views = Clock(), blocks(packets, snaplen=snaplen)
    if case == "feed":
        clock(lambda: [None for _ in views])
    elif case == "columns made":
        for view in views:
            clock(lambda: arrow(view))  # noqa: B023
    elif case == "pyarrow":
        write_pyarrow(views, path, clock)
    else:
        write_ours(f".{case}", views, path, clock)
    return clock


def other_programs(packets: int, ours: Path, folder: Path) -> Iterator[tuple[str, int, Path, list[str]]]:
    """Programs that handle our pcapng file: name, packets, the file they write, command."""
    copied, fields = folder / "editcap.pcapng", folder / "tshark.tsv"
    yield "editcap -F pcapng", packets, copied, ["editcap", "-F", "pcapng", str(ours), str(copied)]
    some = min(packets, TSHARK_PACKETS)
    command = ["tshark", "-n", "-Q", "-r", str(ours), "-c", str(some), "-T", "fields", *TSHARK_FIELDS]
    yield "tshark -T fields", some, fields, command


def file_lines(packets: int, snaplen: int, folder: Path) -> Iterator[Line]:
    """Each case in a process of its own."""
    said = folder / "said"
    for case in OURS:
        path = folder / f"file.{case}"
        asked = ["--case", case, "--packets", str(packets), "--snaplen", str(snaplen), "--folder", str(folder)]
        cost = cost_of([sys.executable, __file__, *asked], said)
        wall_s, cpu_s = json.loads(said.read_text())
        yield Line(case, packets, wall_s, cpu_s, path.stat().st_size if path.exists() else 0, cost.peak_mib)
        if case != "pcapng":
            path.unlink(missing_ok=True)
    for name, count, path, command in other_programs(packets, folder / "file.pcapng", folder):
        if shutil.which(command[0]):
            cost = cost_of(command, path if command[0] == "tshark" else said)
            yield Line(name, count, cost.wall_s, cost.cpu_s, path.stat().st_size, cost.peak_mib)
            path.unlink()
    (folder / "file.pcapng").unlink()


def measure_files(packets: int, snaplen: int, rounds: int, folder: Path) -> list[Table]:
    """A table for a tenth of the packets, in one round, and one for all of them."""
    tables = []
    for count, times in ((max(1, packets // 10), 1), (packets, rounds)):
        found: dict[str, list[Line]] = {}
        feeds: list[float] = []
        for number in range(times):
            for line in file_lines(count, snaplen, folder):
                progress(f"{count:,} packets, round {number + 1}: {line.case} is done")
                found.setdefault(line.case, []).append(line)
            feeds.append(found["feed"][-1].peak_mib)
        heads = [PPS, "CPU, µs a packet", "bytes a packet", "memory above the feed's, MiB", "of the whole process, MiB"]
        table = Table(f"{count:,} packets", "", heads, base="pcapng", of=PPS)
        for case, lines in found.items():
            above = [line.peak_mib - feed for line, feed in zip(lines, feeds, strict=True)]
            table.add(
                NAMES.get(case, case),
                [line.packets / line.wall_s for line in lines],
                [1e6 * line.cpu_s / line.packets for line in lines],
                lines[0].file_bytes / lines[0].packets if lines[0].file_bytes else [],
                above if case in OURS[1:] else [],
                [line.peak_mib for line in lines],
            )
        tables.append(table)
    return tables


def measure_df(packets: int, snaplen: int, rounds: int, folder: Path) -> Table:
    """What `ais.read(FILE).df` takes, and pyarrow alone."""
    path = folder / "df.pcapng"
    write_ours(".pcapng", blocks(packets, snaplen=snaplen), path, Clock())
    table = read(path).arrow
    path.unlink()
    ways: dict[str, Callable[[], object]] = {
        "`ais.read(FILE).df`, the file read before": lambda: PacketTable(table).df,
        "pyarrow's `to_pandas()`": table.drop_columns([LAYERS]).to_pandas,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            clock = Clock()
            clock(way)
            seconds[name].append(clock.wall_s)
    table = Table(f"A file of {packets:,} packets as a DataFrame", "", ["seconds", "first, s"])
    for name, took in seconds.items():
        table.add(name, took, took[0])
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all of them")
    parser.add_argument("--packets", type=int, default=10_000_000)
    parser.add_argument("--snaplen", type=int, default=128, help="bytes of a frame that are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the files are made, and deleted; default: the temporary folder")
    parser.add_argument("--case", choices=OURS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {min(unknown)}; there are {', '.join(PARTS)}")
    if options.case:
        path = Path(options.folder, f"file.{options.case}")
        run_case(options.case, WARM_UP_PACKETS, options.snaplen, path)
        clock = run_case(options.case, options.packets, options.snaplen, path)
        print(json.dumps([clock.wall_s, clock.cpu_s]))
        return
    parts = options.parts or PARTS
    tables = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        if "files" in parts:
            tables += measure_files(options.packets, options.snaplen, options.rounds, folder)
        if "df" in parts:
            tables.append(measure_df(min(options.packets, DF_PACKETS), options.snaplen, options.rounds, folder))
    finish(Result("export", tables), options.json)


if __name__ == "__main__":
    main()
