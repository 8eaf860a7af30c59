"""The archive in a cell: what recorders wrote, as frames."""

import html
import os
from collections import Counter
from typing import Any

import pandas as pd

from aishark_panel.alerts.load import read_rules
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.archive import Archive
from aishark_panel.errors import ConfigError
from aishark_panel.notebook.alerts import TriedRules
from aishark_panel.notebook.table import answer_frame
from aishark_panel.notebook.times import Moment, nanoseconds

__all__ = ["PacketArchive", "open_archive"]


def open_archive(url: str | os.PathLike[str], scheduler: str = "", **options: Any) -> "PacketArchive":
    """The recordings below a folder, or a URL such as s3://bucket/recordings; `options` are fsspec's for it.

    `scheduler` is that of a Dask cluster that does the work, tcp://host:8786; else this process does. Raises
    ConfigError where there are no files.
    """
    return PacketArchive(Archive(url, scheduler=scheduler, options=options))


class PacketArchive:
    """An archive; showing it in a cell gives its sessions. Times are in UTC unless they say otherwise."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        archive.files()

    def sql(
        self,
        query: str,
        where: str = "",
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        session: str = "",
    ) -> pd.DataFrame:
        """What an SQL query (DuckDB's dialect) says of the table `packets`: `select protocol, count(*) from packets
        group by 1`. `where` is an expression as in the display filter.

        Raises ConfigError or ExpressionError.
        """
        return answer_frame(self.archive.sql(query, where=where, span=_span(start, end), session=session))

    def rules(
        self, rules: str = "", *, start: Moment | None = None, end: Moment | None = None, session: str = ""
    ) -> TriedRules:
        """Which alerts rules would have raised. `rules` is YAML as a rules file has it (docs/rules.md); "": those that
        are built in."""
        wanted = parse_rules(rules, "these rules") if rules else read_rules("builtin")
        return TriedRules(self.archive.rules(wanted, span=_span(start, end), session=session))

    def _sessions(self) -> list[tuple[str, str]]:
        files = self.archive.files()
        sizes = Counter[str]()
        for file in files:
            sizes[file.session] += file.size_bytes
        count = Counter(file.session for file in files)
        return [(name or "without a session", f"{count[name]:,} files, {sizes[name] / 1e6:,.1f} MB") for name in sizes]

    def __repr__(self) -> str:
        return "\n".join([f"archive {self.archive.url}", *(f"  {name}: {text}" for name, text in self._sessions())])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left'>{text}</td></tr>"
            for name, text in self._sessions()
        )
        return f"<b>archive {html.escape(self.archive.url)}</b><table>{rows}</table>"


def _span(start: Moment | None, end: Moment | None) -> tuple[int, int] | None:
    if start is None and end is None:
        return None
    span = (0 if start is None else nanoseconds(start), 2**63 - 1 if end is None else nanoseconds(end))
    if span[0] >= span[1]:
        raise ConfigError("start= is not before end=, so there is nothing in between.")
    return span
