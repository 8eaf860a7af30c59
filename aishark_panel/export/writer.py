"""One way to write packets, whatever the format: `open_writer`, which goes by the suffix.

A file appears under its name when it is whole, never before: it is written beside, under a temporary name, and renamed
at the end. After an error nothing is left of it.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol

from aishark_panel.errors import ConfigError
from aishark_panel.export.capture import Described, PcapExport, PcapngExport, capture_interface
from aishark_panel.export.on_demand import NumbersOf
from aishark_panel.export.tables import (
    About,
    ArrowStream,
    ArrowTable,
    CsvTable,
    JsonTable,
    ParquetTable,
    Rows,
    Sink,
    TextTable,
    chosen_columns,
)
from aishark_panel.wire.packets import ARROW_NAMES, LAYERS, Interface, Packets
from aishark_panel.wire.pcapheaders import CaptureInterface

__all__ = ["CAPTURES", "SUFFIXES", "TEXT_COLUMNS", "Writer", "check_suffix", "open_writer"]

TEXT_COLUMNS: Final = ("number", "ts", "src_ip", "dst_ip", "protocol", "orig_len", "info")
"""columns of text for people, where none are asked for"""


class _Format(Protocol):
    def write(self, packets: Packets, rows: Rows) -> None: ...
    def close(self) -> None: ...


_TABLES: Final[dict[str, Callable[[Sink, Sequence[Interface], Sequence[str], NumbersOf | None], _Format]]] = {
    ".parquet": ParquetTable,
    ".arrow": ArrowTable,
    ".arrows": ArrowStream,
    ".csv": CsvTable,
    ".json": JsonTable,
    ".txt": TextTable,
}
CAPTURES: Final = (".pcap", ".pcapng")
"""formats of whole frames"""
SUFFIXES: Final = (*_TABLES, *CAPTURES)
"""Formats, by the suffix of their files."""


def check_suffix(suffix: str) -> str:
    """The suffix, if there is a format for it. Raises ConfigError."""
    if suffix not in SUFFIXES:
        raise ConfigError(f"there is no format for {suffix or 'a name without suffix'}; use {', '.join(SUFFIXES)}")
    return suffix


def open_writer(
    target: str | os.PathLike[str] | Sink,
    suffix: str,
    interfaces: Sequence[Interface],
    columns: Sequence[str] = (),
    *,
    capture_interfaces: Sequence[CaptureInterface] | Described | None = None,
    numbers_of: NumbersOf | None = None,
    about: About | None = None,
    comment: str = "",
) -> "Writer":
    """Open a writer in the format of `suffix`, one of SUFFIXES.

    `target` is a path, or anything with `write(bytes)`, which is not closed. `interfaces` are indexed by the packets'
    `iface`; the sequence may grow while packets are written. `columns` names columns (default: all, in Parquet `layers`
    too, so that packets can be made of it again; text: TEXT_COLUMNS); capture formats have none. `capture_interfaces`
    says more of the interfaces to capture formats; what was dropped at them is asked for when the file ends.
    `numbers_of` makes TCP's numbers in the column `info` relative. `about` is what a Parquet file is to say of its
    packets, in its metadata, and `comment` what a pcapng file does.
    Raises ConfigError where suffix, column or path cannot be used.
    """
    check_suffix(suffix)
    if suffix in CAPTURES:
        if columns:
            raise ConfigError(f"{suffix} holds whole frames, so no columns can be chosen; leave the columns out")

        def described() -> Sequence[CaptureInterface]:
            if capture_interfaces is None:
                return [capture_interface(i) for i in interfaces]
            return capture_interfaces() if callable(capture_interfaces) else capture_interfaces

        if suffix == ".pcapng":
            return Writer(target, lambda sink: PcapngExport(sink, described, comment))
        return Writer(target, lambda sink: PcapExport(sink, described))
    named = chosen_columns(columns, whole=suffix in (".parquet", ".arrow", ".arrows"))
    chosen = named or (TEXT_COLUMNS if suffix == ".txt" else ARROW_NAMES)
    if suffix == ".parquet":
        chosen = named or (*ARROW_NAMES, LAYERS)
        return Writer(target, lambda sink: ParquetTable(sink, interfaces, chosen, numbers_of, about))
    return Writer(target, lambda sink: _TABLES[suffix](sink, interfaces, chosen, numbers_of))


class Writer:
    """An export in progress; a context manager: leaving it completes the file, leaving it by an error discards it."""

    def __init__(self, target: str | os.PathLike[str] | Sink, make_format: Callable[[Sink], _Format]) -> None:
        self.packets = 0
        """packets written so far"""
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        if isinstance(target, str | os.PathLike):
            self._path = Path(target)
            self._part = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.part")
            try:
                self._file = self._part.open("xb")
            except OSError as error:
                raise ConfigError(f"cannot write {self._path}: {error.strerror}") from error
            self._outlet = _Outlet(self._file)
        else:
            self._outlet = _Outlet(target)
        self._format: _Format | None = None
        try:
            self._format = make_format(self._outlet)
        except BaseException:
            self.discard()
            raise

    def write(self, packets: Packets, rows: Rows) -> None:
        """Write these rows of a block, in this order. Raises ConfigError where the format cannot hold them."""
        if self._format is None:
            raise ValueError("the writer is closed")
        if len(rows):
            try:
                self._format.write(packets, rows)
            except OSError as error:
                raise self._explained(error) from error
            self.packets += len(rows)

    def close(self) -> None:
        """Complete the file and give it its name. Raises ConfigError where the disk does not let us."""
        if self._format is None:
            return
        try:
            self._format.close()
            self._format = None
            if self._file is not None and self._path is not None:
                self._file.close()
                self._part.replace(self._path)
                self._file = None
        except OSError as error:
            self.discard()
            raise self._explained(error) from error

    def discard(self) -> None:
        """Give up: what was written to a path is removed, and no more goes to a sink."""
        self._outlet.shut()
        if self._format is not None:
            with contextlib.suppress(OSError, ValueError):  # what the format holds back goes nowhere
                self._format.close()
            self._format = None
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk says so again
                self._file.close()
            self._part.unlink(missing_ok=True)
            self._file = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def _explained(self, error: OSError) -> Exception:
        # To a sink of the caller's (a pipe, a response) the error is the caller's to handle: BrokenPipeError, say.
        return error if self._path is None else ConfigError(f"cannot write {self._path}: {error.strerror or error}")


class _Outlet:
    """The sink as formats see it, with the little more that pyarrow asks of a file; once shut, bytes go nowhere."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink: Sink | None = sink

    def write(self, data: bytes, /) -> int:
        if self._sink is not None:
            self._sink.write(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    def shut(self) -> None:
        self._sink = None
