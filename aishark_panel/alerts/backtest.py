"""Try rules on a capture file: the alerts they would have raised."""

import os
from collections.abc import Callable, Iterator, Sequence

from aishark_panel.alerts.engine import AlertEvent, Engine, RuleStatus
from aishark_panel.alerts.rule import Rule
from aishark_panel.capturefile import open_capture
from aishark_panel.export.read import CaptureTable

__all__ = ["Backtest"]


class Backtest:
    """Rules and a capture file; iterate for every change of an alert, in the order of packet time."""

    def __init__(
        self,
        rules: Sequence[Rule],
        path: str | os.PathLike[str],
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """`progress` is called with the bytes done and in all (None: unknown)."""
        self._engine = Engine(rules)
        self._path = path
        self._progress = progress
        self.packets = 0
        self.warning: str | None = None
        """a sentence where the end of the file is damaged or cut; set at the end"""

    def __iter__(self) -> Iterator[AlertEvent]:
        """Raises CaptureFileError where not one packet can be read."""
        with open_capture(self._path) as file:
            table = CaptureTable(file)
            for packets, _ in table.blocks():
                yield from self._engine.take(packets, 0, packets.length, table.interfaces)
                self.packets += packets.length
                self._progress(file.bytes_done, file.bytes_total)
            yield from self._engine.finish()
            self.warning = file.warning

    def status(self) -> list[RuleStatus]:
        """How each rule fared."""
        return self._engine.status()
