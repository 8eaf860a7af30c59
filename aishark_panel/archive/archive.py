"""One archive: a folder or URL of Parquet that recorders wrote, asked in SQL and by rules."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.compute as pc

from aishark_panel.alerts.rule import Rule, parse_rule
from aishark_panel.alerts.tally import MAX_LISTED, Tally, about_rule
from aishark_panel.archive.files import ArchiveFile, Files, find_files, open_file
from aishark_panel.archive.split import TABLE, split
from aishark_panel.archive.workers import workers_at
from aishark_panel.errors import ConfigError
from aishark_panel.export.partitions import HOUR_NS, Span
from aishark_panel.query import compile_expression
from aishark_panel.wire.packets import ARROW_NAMES, LAYERS, Packets

__all__ = ["Archive", "Progress"]

Progress = Callable[[int, int], None]
"""called with pieces of work that are done, and all of them"""

_PIECES_EACH: Final = 4
"""Pieces of work for each worker, so that none waits long for the last."""
_PARTITIONS: Final = "{'session': VARCHAR, 'date': DATE, 'hour': BIGINT}"


class Archive:
    """The packets below a folder or URL. `options` are fsspec's for that URL (key, secret, endpoint_url ...).

    `scheduler` is that of a Dask cluster that does the work, such as tcp://host:8786; "": this process does.
    """

    def __init__(
        self, url: str | os.PathLike[str], *, scheduler: str = "", options: dict[str, Any] | None = None
    ) -> None:
        self.url = os.fspath(url)
        self.scheduler = scheduler
        self.options = options or {}
        self.warnings: list[str] = []
        """what was left out of the last answer, in sentences"""

    def files(self, span: Span | None = None, session: str = "") -> list[ArchiveFile]:
        """The files of a session ("": all) and a time. Raises ConfigError where there are none."""
        found: Files = find_files(self.url, self.options, span, session)
        self.warnings = found.warnings
        return found.files

    def sql(
        self,
        query: str,
        *,
        where: str = "",
        span: Span | None = None,
        session: str = "",
        progress: Progress = lambda done, total: None,
    ) -> pa.Table:
        """What an SQL query (DuckDB's dialect) says of the table `packets`: of those that `where` selects (docs/
        expressions.md), of a time, of a session. It has the columns of docs/schema.md, and session, date and hour.

        Raises ConfigError, with DuckDB's words, for a query that it refuses; ExpressionError.
        """
        compile_expression(where)
        files = self.files(span, session)
        share = functools.partial(_share, options=self.options, where=where, span=span)
        if not self.scheduler:
            return share((files, query))
        with workers_at(self.scheduler) as workers:
            known = share((files[:1], f"SELECT * FROM {TABLE} LIMIT 0"))
            parted = split(query, known.column_names)
            names = _ask(query, known).column_names
            pieces = [(piece, parted.share) for piece in _pieces(files, workers.count * _PIECES_EACH)]
            tables = list(_counted(workers.map(share, pieces), len(pieces), progress))
        return _ask(parted.answer, pa.concat_tables(tables, promote_options="permissive")).rename_columns(names)

    def rules(
        self,
        rules: Sequence[Rule],
        *,
        span: Span | None = None,
        session: str = "",
        progress: Progress = lambda done, total: None,
    ) -> dict[str, Any]:
        """Which alerts rules would have raised: as `aishark rules test` tells it, each alert with its session.

        Rules watch each session by itself, and do not see each other: so workers share sessions and rules.
        """
        by_session = {
            name: list(files) for name, files in itertools.groupby(self.files(span, session), key=lambda f: f.session)
        }
        with workers_at(self.scheduler) as workers:
            groups = _dealt([dict(rule.content) for rule in rules], -(-workers.count // len(by_session)))
            work = [_Watch(name, files, group, span) for name, files in by_session.items() for group in groups]
            watch = functools.partial(_watched, options=self.options)
            found = list(_counted(workers.map(watch, work), len(work), progress))
        return _merged(found, [rule.name for rule in rules])


def _counted(results: Iterator[Any], total: int, progress: Progress) -> Iterator[Any]:
    progress(0, total)
    for done, result in enumerate(results, 1):
        progress(done, total)
        yield result


def _pieces(files: Sequence[ArchiveFile], count: int) -> list[list[ArchiveFile]]:
    """Files that follow each other, in at most so many pieces of about the same size."""
    most = sum(file.size_bytes for file in files) / count
    pieces: list[list[ArchiveFile]] = [[]]
    size = 0
    for file in files:
        if pieces[-1] and size + file.size_bytes > most * len(pieces):
            pieces.append([])
        pieces[-1].append(file)
        size += file.size_bytes
    return pieces


def _dealt(rules: list[dict[str, Any]], count: int) -> list[list[dict[str, Any]]]:
    return [part for k in range(max(1, count)) if (part := rules[k :: max(1, count)])]


def _share(
    work: tuple[Sequence[ArchiveFile], str], *, options: dict[str, Any], where: str, span: Span | None
) -> pa.Table:
    """On a worker: what a query says of some files."""
    files, query = work
    with _database() as database:
        if where:
            database.register("chosen", _chosen(files, options, where, span))
            source = "chosen"
        else:
            if "://" in files[0].url:
                database.register_filesystem(fsspec.filesystem(files[0].url.partition("://")[0], **options))
            urls = ", ".join("'" + file.url.replace("'", "''") + "'" for file in files)
            is_hive = all(file.session for file in files)
            hive = f"hive_partitioning = true, hive_types = {_PARTITIONS}" if is_hive else "hive_partitioning = false"
            source = f"read_parquet([{urls}], union_by_name = true, {hive})"
        within = f" WHERE epoch_ns(ts) >= {span[0]} AND epoch_ns(ts) < {span[1]}" if span else ""
        return _run(database, f"CREATE TEMP VIEW {TABLE} AS SELECT * FROM {source}{within}", query)


@contextlib.contextmanager
def _database() -> Iterator[Any]:
    """DuckDB in memory, with times in UTC."""
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        yield database


def _ask(query: str, packets: pa.Table) -> pa.Table:
    """What a query says of a table."""
    with _database() as database:
        database.register(TABLE, packets)
        return _run(database, query)


def _run(database: Any, *statements: str) -> pa.Table:
    try:
        for statement in statements[:-1]:
            database.execute(statement)
        found = database.sql(statements[-1])
        if found is None:
            raise ConfigError(f"this is no query: {statements[-1]:.60}")
        table: pa.Table = found.to_arrow_table()
    except duckdb.Error as error:
        raise ConfigError(str(error)) from None
    return table


def _chosen(
    files: Sequence[ArchiveFile], options: dict[str, Any], where: str, span: Span | None
) -> pa.RecordBatchReader:
    """The packets that an expression selects, as they are read."""
    names = (*ARROW_NAMES, LAYERS)
    schema = _with_session(Packets(1).to_arrow((), names), "").schema
    predicate = compile_expression(where)

    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            with open_file(file, options) as opened:
                for packets, rows in opened.blocks(predicate, span):
                    if len(rows):
                        batch = packets.to_arrow(opened.interfaces, names, rows)
                        yield _with_session(batch, file.session).cast(schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _with_session(batch: pa.RecordBatch, session: str) -> pa.RecordBatch:
    """With the columns that the folders give: session, date, hour."""
    moments = batch["ts"].cast(pa.int64())
    hours = pc.divide(moments, HOUR_NS)
    more = {
        "session": pa.array([session] * batch.num_rows, pa.string()),
        "date": pc.divide(hours, 24).cast(pa.int32()).cast(pa.date32()),
        "hour": pc.subtract(hours, pc.multiply(pc.divide(hours, 24), 24)),
    }
    arrays = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays([*arrays, *more.values()], names=[*batch.schema.names, *more])


class _Watch(NamedTuple):
    """What a worker watches: one session's files with some rules."""

    session: str
    files: list[ArchiveFile]
    rules: list[dict[str, Any]]
    span: Span | None


class _Watched(NamedTuple):
    session: str
    packets: int
    first_ts: int
    last_ts: int
    rules: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    more: int


def _watched(work: _Watch, *, options: dict[str, Any]) -> _Watched:
    """On a worker: what rules say of a session."""
    tally = Tally([parse_rule(content, "these rules") for content in work.rules])
    for file in work.files:
        with open_file(file, options) as opened:
            for packets, rows in opened.blocks(within=work.span):
                tally.take(packets, 0, len(rows), opened.interfaces)
    tally.finish()
    alerts: list[dict[str, Any]] = [{**alert, "session": work.session} for alert in tally.alerts]
    return _Watched(work.session, tally.packets, tally.first_ts, tally.last_ts, tally.rules(), alerts, tally.more)


def _merged(found: Sequence[_Watched], names: Sequence[str]) -> dict[str, Any]:
    """What all workers found: packets, first_ts, last_ts, rules, alerts, more."""
    whole = {each.session: each for each in found}  # all that watch a session see the same packets
    alerts = sorted(
        (alert for each in found for alert in each.alerts),
        key=lambda alert: (alert["fired_ns"], alert["session"], alert["rule"], alert["number"]),
    )
    for number, alert in enumerate(alerts, 1):
        alert["number"] = number
    span_s = sum(each.last_ts - each.first_ts for each in whole.values()) / 1e9
    return {
        "packets": sum(each.packets for each in whole.values()),
        "first_ts": min(each.first_ts for each in whole.values()),
        "last_ts": max(each.last_ts for each in whole.values()),
        "rules": [_merged_line([x for each in found for x in each.rules if x["rule"] == n], span_s) for n in names],
        "alerts": alerts[:MAX_LISTED],
        "more": sum(each.more for each in found) + max(0, len(alerts) - MAX_LISTED),
    }


def _merged_line(lines: Sequence[dict[str, Any]], span_s: float) -> dict[str, Any]:
    """What is told of one rule, of what it did in each session."""
    alerts, keys = sum(line["alerts"] for line in lines), sum(line["keys"] for line in lines)
    problems = dict.fromkeys(line["problem"] for line in lines if line["problem"])
    return about_rule(
        lines[0]["rule"], alerts, keys, sum(line["firing_s"] for line in lines), span_s, "; ".join(problems)
    )
