"""What a benchmark found, in the one shape that all of them give: tables, whose cells hold a value for each round.

A script prints its tables as text, and writes the result as JSON where `--json FILE` names a file; run.py reads that
and makes Markdown of it. Whole numbers are counts and shown exactly; others were measured and have three digits. A cell
is the median of its rounds, with the least and the most in brackets where there were several.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

__all__ = ["Cell", "Result", "Table", "arguments", "finish", "number", "progress"]

Cell = Sequence[int | float]
"""a value for each round; none where there is nothing to tell"""


class Table(msgspec.Struct):
    """Rows of cells; with `base`, the name of a row, a last column compares the cells below `of` with that row's."""

    title: str
    what: str
    """head of the column of names"""
    heads: list[str]
    """of the others, with their units"""
    rows: dict[str, list[list[int | float]]] = {}
    base: str = ""
    of: str = ""

    def add(self, name: str, *cells: int | float | Cell) -> None:
        """A row; a cell may be one value."""
        if len(cells) != len(self.heads):
            raise ValueError(f"{self.title}: {name} has {len(cells)} cells for {len(self.heads)} heads")
        self.rows[name] = [[cell] if isinstance(cell, int | float) else list(cell) for cell in cells]

    def median(self, name: str, head: str) -> float | None:
        """Of the rounds of one cell; None where it or its row is not there."""
        cell = self.rows.get(name, [[] for _ in self.heads])[self.heads.index(head)]
        return statistics.median(cell) if cell else None

    def texts(self) -> list[list[str]]:
        """Heads and rows as they are shown."""
        lines = [[self.what, *self.heads] + [f"{self.of.rsplit(', ', 1)[0]}, times {self.base}"] * bool(self.base)]
        for name, cells in self.rows.items():
            lines.append([name, *map(cell_text, cells)])
            if self.base:
                ours, theirs = self.median(self.base, self.of), self.median(name, self.of)
                lines[-1].append(number(theirs / ours) if ours and theirs is not None else "")
        return lines

    def text(self) -> str:
        """For a terminal."""
        lines = self.texts()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = (
            line[0].ljust(widths[0]) + "".join(f"  {c:>{w}}" for c, w in zip(line[1:], widths[1:], strict=True))
            for line in lines
        )
        return "\n".join([self.title, *rows])

    def markdown(self) -> str:
        """For a page."""
        heads, *rows = self.texts()
        lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{table}"


class Result(msgspec.Struct):
    """Of one benchmark."""

    benchmark: str
    tables: list[Table]
    notes: list[str] = []
    """sentences: what was left out and why, what a table has no place for"""


def number(value: float) -> str:
    """A count exactly, anything else with three digits."""
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    exponent = int(f"{rounded:e}".partition("e")[2])
    return f"{rounded:,.{min(max(0, 2 - exponent), 6)}f}"


def cell_text(cell: Cell) -> str:
    if not cell:
        return ""
    middle = statistics.median(cell)
    exact = all(isinstance(value, int) for value in cell) and middle == int(middle)
    text, least, most = number(int(middle) if exact else middle), number(min(cell)), number(max(cell))
    return text if least == most else f"{text} ({least} to {most})"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser that has what all benchmarks take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, too")
    return parser


def progress(what: str) -> None:
    """Say what is being measured now; run.py shows the last line."""
    print(what, file=sys.stderr, flush=True)


def finish(result: Result, json: Path | None) -> None:
    """Print the tables and write the JSON that was asked for."""
    for table in result.tables:
        print(table.text(), end="\n\n")
    for note in result.notes:
        print(note)
    if json:
        json.write_bytes(msgspec.json.encode(result))
