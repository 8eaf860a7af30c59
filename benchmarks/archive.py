"""How long questions to an archive of Parquet files take: ours, here and on a cluster, beside DuckDB and Dask alone.

    python benchmarks/archive.py [--packets 50000000] [--workers 1 2] [--rounds 3] [--folder DIR]

The archive is written by our Parquet writer, with all columns, from made-up traffic that passes through a ring of
64 MiB: some 50 hours of it, whatever the number of packets, in one file for each hour (UTC) below
`session=benchmark/date=YYYY-MM-DD/hour=HH/`. No hour is a copy of another.

Questions: packets and bytes by protocol; the ten addresses that sent most bytes; the DNS names of one hour. `DuckDB`
has as many threads as `workers` says and finds the files of the hour by its filter; `dask.dataframe` is given their
folder. `ours` is `aishark archive query` (DuckDB in this process, a thread for each processor of the machine),
`ours, a cluster` the same call with `--scheduler`. Clusters are a LocalCluster of so many processes with one thread
each, whose start does not count. All have to give equal answers.

Then the rules that are built in, over --hours of it, by `Archive.rules` here and on the clusters: all have to raise the
same alerts.

The files were just written, so they come from the page cache, as far as it holds them. Seconds on the clock of
rounds that follow one another. An engine that is not installed is left out.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from results import Result, Table, arguments, finish, progress
from traces import INTERFACES, RATE_PPS, START_NS, blocks

from aishark_panel.alerts.load import read_rules
from aishark_panel.archive import Archive
from aishark_panel.export.writer import Writer, open_writer

HOURS = 50
HOUR_NS = 3_600_000_000_000
TOP = 10


class Query(NamedTuple):
    """A question, in the words of each engine; `hour` is of the archive's folders."""

    name: str
    sql: str
    columns: tuple[str, ...]
    group: str
    one_hour: bool = False
    """of HOUR_ASKED alone; else of all"""
    top: int = 0
    """only those with most; 0: all"""


HOUR_ASKED = pd.Timestamp(START_NS, unit="ns") + pd.Timedelta(hours=HOURS // 2)
DATE, HOUR = f"{HOUR_ASKED:%Y-%m-%d}", f"{HOUR_ASKED:%H}"
QUERIES = (
    Query(
        "packets and bytes by protocol",
        "select protocol, count(*) as packets, sum(orig_len) as bytes from packets group by 1",
        ("protocol", "orig_len"),
        "protocol",
    ),
    Query(
        f"top {TOP} src_ip by bytes",
        "select src_ip, count(*) as packets, sum(orig_len) as bytes from packets where src_ip is not null "
        f"group by 1 order by bytes desc limit {TOP}",
        ("src_ip", "orig_len"),
        "src_ip",
        top=TOP,
    ),
    Query(
        "DNS names of one hour",
        "select dns_query, count(*) as packets, sum(orig_len) as bytes from packets "
        f"where date = '{DATE}' and hour = '{HOUR}' and dns_query is not null group by 1",
        ("dns_query", "orig_len"),
        "dns_query",
        one_hour=True,
    ),
)

Run = Callable[[Query], pd.DataFrame]
"""answers a question: a row for each group, with its `packets` and `bytes`"""


def make_archive(root: Path, packets: int) -> tuple[int, int]:
    """Write it; returns files and bytes."""
    stretch = max(1, HOURS * 3600 * RATE_PPS // packets)
    with ExitStack() as stack:
        open_hour, writer = -1, None
        for view in blocks(packets, stretch=stretch):
            hours = view.packets.columns.ts[view.start : view.stop] // HOUR_NS
            for hour in np.unique(hours):
                if hour != open_hour or writer is None:
                    stack.close()
                    open_hour, writer = hour, stack.enter_context(hour_writer(root, int(hour)))
                writer.write(view.packets, view.start + np.flatnonzero(hours == hour))
    sizes = [path.stat().st_size for path in root.rglob("*.parquet")]
    return len(sizes), sum(sizes)


def hour_writer(root: Path, hour: int) -> Writer:
    """Of the file of an hour since 1970."""
    begin = pd.Timestamp(hour * HOUR_NS, unit="ns")
    folder = root / "session=benchmark" / f"date={begin:%Y-%m-%d}" / f"hour={begin:%H}"
    folder.mkdir(parents=True, exist_ok=True)
    return open_writer(folder / "packets.parquet", ".parquet", INTERFACES)


@contextlib.contextmanager
def duckdb_engine(root: Path, workers: int) -> Iterator[Run]:
    import duckdb

    with duckdb.connect() as database:
        database.execute(f"set threads = {workers}")
        files = f"read_parquet('{root}/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
        database.execute(f"create view packets as select * from {files}")
        yield lambda query: database.sql(query.sql).df()


@contextlib.contextmanager
def dask_engine(root: Path, workers: int) -> Iterator[Run]:
    import dask.dataframe as dd
    from distributed import Client

    def run(query: Query) -> pd.DataFrame:
        path = root / "session=benchmark" / f"date={DATE}" / f"hour={HOUR}" if query.one_hour else root
        frame = dd.read_parquet(str(path), columns=list(query.columns))
        found = frame.groupby(query.group, observed=True)["orig_len"].agg(["count", "sum"])
        found = found.rename(columns={"count": "packets", "sum": "bytes"})
        if query.top:
            found = found.nlargest(query.top, "bytes")
        return found.compute().reset_index()

    with scheduler(workers) as address, Client(address):
        yield run


@contextlib.contextmanager
def archive_engine(root: Path, workers: int) -> Iterator[Run]:
    if workers > 1:
        raise ModuleNotFoundError("this process is one")
    archive = Archive(root)
    yield lambda query: archive.sql(query.sql).to_pandas()


@contextlib.contextmanager
def cluster_engine(root: Path, workers: int) -> Iterator[Run]:
    with scheduler(workers) as address:
        archive = Archive(root, scheduler=address)
        yield lambda query: archive.sql(query.sql).to_pandas()


@contextlib.contextmanager
def scheduler(workers: int) -> Iterator[str]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(workers)
        yield cluster.scheduler_address


UNITS = {"DuckDB": "threads", "dask.dataframe": "workers", "ours, a cluster": "workers"}
ENGINES: dict[str, Callable[[Path, int], AbstractContextManager[Run]]] = {
    "DuckDB": duckdb_engine,
    "ours": archive_engine,
    "dask.dataframe": dask_engine,
    "ours, a cluster": cluster_engine,
}


def measure(run: Run, query: Query, rounds: int) -> tuple[list[float], pd.DataFrame]:
    """Seconds of each round, and the answer, sorted by group."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        answer = run(query)
        seconds.append(time.perf_counter() - began)
    answer = answer.astype({query.group: "str", "packets": "int64", "bytes": "int64"})
    return seconds, answer.sort_values(query.group, ignore_index=True)


def measure_archive(packets: int, rounds: int, folder: Path, workers: tuple[int, ...], hours: int) -> Result:
    """Make the archive, and ask."""
    root = folder / "archive"
    progress(f"an archive of {packets:,} packets is made")
    began = time.perf_counter()
    files, size = make_archive(root, packets)
    took_s = time.perf_counter() - began
    notes = [
        f"{packets:,} packets in {files} files, {size / 1e6:,.0f} MB, {size / packets:.1f} bytes a packet; made up, "
        f"dissected and written in {took_s:.0f} s."
    ]
    table = Table("Questions: seconds", "", [query.name for query in QUERIES])
    answers: dict[str, pd.DataFrame] = {}
    for engine, count in ((engine, count) for engine in ENGINES for count in workers):
        progress(f"{engine}, {count}")
        try:
            with ENGINES[engine](root, count) as run:
                cells = []
                for query in QUERIES:
                    seconds, answer = measure(run, query, rounds)
                    pd.testing.assert_frame_equal(answer, answers.setdefault(query.name, answer))
                    cells.append(seconds)
                table.add(engine if engine == "ours" else f"{engine}, {UNITS[engine]}: {count}", *cells)
        except ModuleNotFoundError as error:
            if engine != "ours":
                notes.append(f"{engine} is left out: {error}.")
    return Result("archive", [table, measure_rules(root, hours, workers)], notes)


def measure_rules(root: Path, hours: int, workers: tuple[int, ...]) -> Table:
    """How long the built-in rules take over some hours."""
    rules, found = read_rules("builtin"), None
    begin = START_NS // HOUR_NS * HOUR_NS
    span = (begin, begin + hours * HOUR_NS)
    table = Table(f"{len(rules)} rules over {hours} hours", "", ["packets", "seconds", "packets/s", "alerts"])
    for count in (0, *workers):
        progress(f"rules, {count} workers")
        with contextlib.nullcontext("") if count == 0 else scheduler(count) as address:
            began = time.perf_counter()
            answer = Archive(root, scheduler=address).rules(rules, span=span)
            took_s = time.perf_counter() - began
        found = found or answer
        assert answer == found
        alerts = len(answer["alerts"]) + answer["more"]
        name = f"ours, a cluster, workers: {count}" if count else "ours"
        table.add(name, answer["packets"], took_s, answer["packets"] / took_s, alerts)
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--packets", type=int, default=50_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=int, default=4, help="that the rules look at")
    parser.add_argument("--folder", help="where the archive is made, and deleted; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, workers = Path(name), tuple(options.workers)
        result = measure_archive(options.packets, options.rounds, folder, workers, options.hours)
    finish(result, options.json)


if __name__ == "__main__":
    main()
