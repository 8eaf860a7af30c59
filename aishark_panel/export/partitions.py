"""Partitions: the folders of an archive, `session=NAME/date=YYYY-MM-DD/hour=HH`, as DuckDB, Polars, Spark and Dask read
them (Hive's layout). Date and hour are those of the packets' `ts` in UTC, of every packet in the folder, so a query may
choose by them.
"""

import calendar
import re
import time
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["HOUR_NS", "NULL", "Partitions", "Span", "hour_of", "may_hold", "name_part"]

Span = tuple[int, int]
"""[start, end) in ns since 1970"""

HOUR_NS: Final = 3_600 * 10**9
NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""Hive's name for a value that is null"""
_NAME_CHARACTERS: Final = 60
_SHORT_PACKETS: Final = 1_000
_MAX_SHORT: Final = 64
"""So many files of few packets are begun anew because of the hour; then times jump to and fro, and files have none."""


class Partitions:
    """Which folder each packet of one recording belongs to."""

    def __init__(self, session: str) -> None:
        self._session = f"session={name_part(session)}"
        self._short = 0

    def next(self, ts: npt.NDArray[np.int64]) -> tuple[str, int]:
        """The folder of the first of these packets (times in ns), and how many from it on belong there."""
        if self._short > _MAX_SHORT:
            return f"{self._session}/date={NULL}/hour={NULL}", len(ts)
        hours = ts // HOUR_NS
        others = np.flatnonzero(hours != hours[0])
        day = time.strftime("date=%Y-%m-%d/hour=%H", time.gmtime(int(hours[0]) * 3_600))
        return f"{self._session}/{day}", int(others[0]) if len(others) else len(ts)

    def ended(self, packets: int) -> None:
        """A file of so many packets ended because the next one has another hour."""
        self._short += packets < _SHORT_PACKETS


def hour_of(path: str) -> int | None:
    """The hour of a file's folder, in ns since 1970; None where its folder names none."""
    keys = dict(part.split("=", 1) for part in PurePosixPath(path).parts if "=" in part)
    try:
        day = time.strptime(f"{keys['date']} {keys['hour']}", "%Y-%m-%d %H")
    except (KeyError, ValueError):
        return None
    return calendar.timegm(day) * 10**9


def may_hold(hour_ns: int | None, span: Span) -> bool:
    """Whether a file of that hour (None: unknown) may have packets of a time."""
    return hour_ns is None or (hour_ns < span[1] and hour_ns + HOUR_NS > span[0])


def name_part(text: str) -> str:
    """A text as part of a file's name: nothing in it leads out of a folder or means something to a shell."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:_NAME_CHARACTERS].strip("-") or "session"
