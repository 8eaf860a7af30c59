"""`aishark archive`: ask what recorders wrote, here or on a cluster.

Heavy imports happen inside the commands, as in aishark_panel.cli.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aishark_panel.errors import ConfigError
from aishark_panel.hub_commands import time_of_option
from aishark_panel.rules_commands import show_tried

if TYPE_CHECKING:
    import pyarrow as pa

    from aishark_panel.archive import Archive
    from aishark_panel.archive.archive import Progress

__all__ = ["archive_app"]

archive_app = typer.Typer(no_args_is_help=True, help="Ask the archive: what recordings in Parquet hold.")

Url = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="Folder of recordings, or its URL (s3://bucket/path, gs://, ...).")
]
Scheduler = Annotated[
    str,
    typer.Option(help="Scheduler of a Dask cluster that does the work: tcp://host:8786.", envvar="AISHARK_SCHEDULER"),
]
SessionName = Annotated[str, typer.Option("--session", help="Only this session, by the name in its folder.")]
From = Annotated[
    str, typer.Option("--from", help="Only packets from that time on: 2026-11-26, '2026-11-26 18:00' (UTC).")
]
Until = Annotated[str, typer.Option("--to", help="Only packets before that time.")]


@archive_app.command("query")
def query(
    url: Url,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="A query over the table packets, in DuckDB's dialect.")],
    where: Annotated[str, typer.Option(help="Of packets that this expression selects: tcp.port == 443.")] = "",
    session: SessionName = "",
    since: From = "",
    until: Until = "",
    scheduler: Scheduler = "",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the answer here: .parquet .csv .json .arrow")
    ] = None,
) -> None:
    """Answer an SQL query over the packets of an archive.

    aishark archive query recordings "select protocol, count(*) n from packets group by 1 order by n desc"

    The table has the columns of docs/schema.md, and session, date and hour. With --scheduler the workers of a Dask
    cluster share the files; the answer is the same.
    """
    archive = _archive(url, scheduler)
    with _progress(f"Asking {url}") as progress:
        found = archive.sql(sql, where=where, span=_span(since, until), session=session, progress=progress)
    for warning in archive.warnings:
        print(f"aishark: {warning}", file=sys.stderr)
    if output is None:
        _print(found)
    else:
        _write(found, output)


@archive_app.command("rules")
def rules(
    url: Url,
    rules_file: Annotated[str, typer.Argument(help="Rules file (YAML, docs/rules.md), or builtin.")] = "builtin",
    session: SessionName = "",
    since: From = "",
    until: Until = "",
    scheduler: Scheduler = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Say which alerts rules would have raised on an archive, each session by itself.

    Parquet keeps no bytes: rules that look into packets say so. With --scheduler the workers of a Dask cluster share
    sessions and rules; the alerts are the same.
    """
    from aishark_panel.alerts.load import read_rules

    wanted = read_rules(rules_file)
    archive = _archive(url, scheduler)
    with _progress(f"Looking at {url}") as progress:
        found = archive.rules(wanted, span=_span(since, until), session=session, progress=progress)
    show_tried(wanted, {**found, "warnings": archive.warnings}, as_json=as_json)


def _archive(url: str, scheduler: str) -> "Archive":
    try:
        from aishark_panel.archive import Archive
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The archive needs {error.name}, which is not installed: pip install 'aishark-panel[archive]'"
        ) from None
    return Archive(url, scheduler=scheduler)


def _span(since: str, until: str) -> tuple[int, int] | None:
    if not since and not until:
        return None
    start, end = time_of_option(since, "--from") if since else 0, time_of_option(until, "--to") if until else 2**63 - 1
    if start >= end:
        raise ConfigError("--from is not before --to, so there is nothing in between")
    return start, end


@contextmanager
def _progress(what: str) -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    terminal = Console(stderr=True)
    with Bar(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(found: "pa.Table") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from aishark_panel.wire.printable import printable

    table = Table(*found.column_names, box=None, pad_edge=False)
    for row in found.to_pylist():
        table.add_row(*(Text(printable("" if value is None else str(value))) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 240).print(table)
    print(f"{found.num_rows:,} row{'' if found.num_rows == 1 else 's'}", file=sys.stderr)


def _write(found: "pa.Table", path: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    try:
        match path.suffix:
            case ".parquet":
                pa.parquet.write_table(found, path, compression="zstd")
            case ".csv":
                pa.csv.write_csv(found, path)
            case ".arrow":
                with pa.ipc.new_file(path, found.schema) as out:
                    out.write_table(found)
            case ".json":
                path.write_text("".join(json.dumps(row, default=str) + "\n" for row in found.to_pylist()), "utf-8")
            case other:
                raise ConfigError(
                    f"there is no format for {other or 'a name without suffix'}; use .parquet .csv .json .arrow"
                )
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
