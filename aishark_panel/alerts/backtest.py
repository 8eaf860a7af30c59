"""Try rules on files of packets: the alerts they would have raised."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aishark_panel.alerts.engine import AlertEvent
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.tally import Tally
from aishark_panel.errors import CaptureFileError
from aishark_panel.export.read import open_packets
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["Backtest", "blocks_of", "captures_in"]


class Backtest:
    """Rules and files of packets, which follow each other; iterate for every change of an alert, in the order of packet
    time."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *paths: str | os.PathLike[str],
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """`progress` is called with the bytes done and in all (None: unknown)."""
        self._paths = paths
        self._progress = progress
        self.tally = Tally(rules)
        self.warnings: list[str] = []
        """a sentence for each file that is damaged or cut at its end"""

    def __iter__(self) -> Iterator[AlertEvent]:
        """Raises CaptureFileError where not one packet of a file can be read."""
        for packets, interfaces, done, total in blocks_of(self._paths, self.warnings):
            yield from self.tally.take(packets, 0, packets.length, interfaces)
            self._progress(done, total)
        yield from self.tally.finish()


def blocks_of(
    paths: Sequence[str | os.PathLike[str]], warnings: list[str]
) -> Iterator[tuple[Packets, Sequence[Interface], int, int | None]]:
    """The packets of files that follow each other, with their interfaces and the bytes done and in all (None:
    unknown). `warnings` gets a sentence for each file that is damaged or cut at its end."""
    sizes = [_size(path) for path in paths]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    before = 0
    for path, size in zip(paths, sizes, strict=True):
        with open_packets(path) as file:
            for packets, _ in file.blocks():
                yield packets, file.interfaces, before + file.bytes_done, total
            if file.warning:
                warnings.append(file.warning)
        before += size or 0


def _size(path: str | os.PathLike[str]) -> int | None:
    return os.stat(path).st_size if os.path.isfile(path) else None


def captures_in(folder: Path) -> tuple[list[Path], list[str]]:
    """Files of packets in a folder and below it, by the time of their first packet; and those that are none, each with
    the reason."""
    found: list[tuple[int, Path]] = []
    passed_over: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            with open_packets(path) as file:
                first = next(file.blocks(), None)
            if first is not None:
                found.append((int(first[0].columns.ts[0]), path))
        except CaptureFileError as error:
            passed_over.append(str(error))
    return [path for _, path in sorted(found)], passed_over
