"""The files of an archive, wherever it is: a folder of this machine, or any URL that fsspec knows (s3://, gs://)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from aishark_panel.errors import ConfigError
from aishark_panel.export.parquet_read import ParquetFile
from aishark_panel.export.partitions import Span, hour_of, may_hold

__all__ = ["ArchiveFile", "Files", "find_files", "open_file"]

_SESSION: Final = re.compile(r"(?:^|/)session=([^/]+)/")
_NUMBERED: Final = re.compile(r"(.+-(\d{8}T\d{6}\.\d{3}Z))-(\d{4,})\.parquet")


class ArchiveFile(NamedTuple):
    """One file, as its path tells of it."""

    url: str
    size_bytes: int
    session: str
    """name; "" where no folder tells it"""
    hour_ns: int | None
    """beginning of the hour of its packets, ns since 1970; None: unknown"""
    recording: str
    """what the names of its recording's files begin with"""
    number: int
    """within the recording"""


@dataclass(slots=True)
class Files:
    """Files in the order of their sessions' packets, none of which is in two of them."""

    files: list[ArchiveFile]
    warnings: list[str] = field(default_factory=list)
    """a sentence for each recording that is left out"""


def find_files(url: str, options: dict[str, Any], span: Span | None = None, session: str = "") -> Files:
    """The Parquet files below a folder, of a session and a time. Raises ConfigError where there are none."""
    try:
        filesystem, root = url_to_fs(url, **options)
        found = filesystem.find(root, detail=True)
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(f"cannot look into {url}: {error}") from None
    is_local = isinstance(filesystem, LocalFileSystem)
    files = [
        _about(path if is_local else filesystem.unstrip_protocol(path), int(info.get("size") or 0))
        for path, info in found.items()
        if path.endswith(".parquet")
    ]
    if not files:
        raise ConfigError(f"{url}: there is no Parquet file in this folder; 'aishark record start' writes them")
    wanted = [f for f in files if (span is None or may_hold(f.hour_ns, span)) and session in ("", f.session)]
    if not wanted:
        known = ", ".join(sorted({f.session for f in files} - {""}))
        raise ConfigError(f"{url}: no file is of that session and time; there are files of the sessions {known:.300}")
    return _once(sorted(wanted, key=lambda f: (f.session, f.recording[-20:], f.recording, f.number, f.url)), options)


def open_file(file: ArchiveFile, options: dict[str, Any]) -> ParquetFile:
    """Open a file to read its packets. Raises CaptureFileError."""
    if "://" not in file.url:
        return ParquetFile(file.url)
    return ParquetFile(fsspec.open(file.url, "rb", **options).open(), file.url)


def _about(url: str, size_bytes: int) -> ArchiveFile:
    folder, _, name = url.rpartition("/")
    session, numbered = _SESSION.search(f"{folder}/"), _NUMBERED.fullmatch(name)
    recording, number = (numbered[1], int(numbered[3])) if numbered else (name, 0)
    return ArchiveFile(url, size_bytes, session[1] if session else "", hour_of(folder), recording, number)


def _once(files: Sequence[ArchiveFile], options: dict[str, Any]) -> Files:
    """Of recordings that were made of a session at the same time only the longest."""
    by_session: dict[str, dict[str, list[ArchiveFile]]] = {}
    for file in files:
        by_session.setdefault(file.session, {}).setdefault(file.recording, []).append(file)
    kept = Files([])
    for recordings in by_session.values():
        left_out = set(_overlapping(recordings, options)) if _may_overlap(recordings) else set()
        kept.files += [f for name, its in recordings.items() if name not in left_out for f in its]
        kept.warnings += [
            f"{name} was recorded at the same time as a longer recording of the session, and is left out"
            for name in sorted(left_out)
        ]
    return kept


def _may_overlap(recordings: dict[str, list[ArchiveFile]]) -> bool:
    """Whether two recordings have an hour in common."""
    hours: set[int] = set()
    for its in recordings.values():
        own = {f.hour_ns for f in its}
        if len(recordings) > 1 and (None in own or own & hours):
            return True
        hours |= {hour for hour in own if hour is not None}
    return False


def _overlapping(recordings: dict[str, list[ArchiveFile]], options: dict[str, Any]) -> Iterator[str]:
    about = {name: _extent(its, options) for name, its in recordings.items()}
    taken: list[tuple[str, int, int]] = []
    for name, (session_id, first, end) in sorted(about.items(), key=lambda item: item[1][1] - item[1][2]):
        if any(session_id == other and first < o_end and o_first < end for other, o_first, o_end in taken):
            yield name
        else:
            taken.append((session_id, first, end))


def _extent(files: Sequence[ArchiveFile], options: dict[str, Any]) -> tuple[str, int, int]:
    """Id of the session, and [first, end) of the numbers of a recording's packets."""
    with open_file(files[0], options) as first, open_file(files[-1], options) as last:
        return first.session_id, first.first_number, last.last[0] + 1
