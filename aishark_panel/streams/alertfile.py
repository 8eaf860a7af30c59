"""What is kept of a session's alerts beside its journal, so that a hub that is started again goes on with them.

It is a file of lines, each a JSON object (`KeptAlerts`) with what changed since the line before. A line that was cut
short when the hub was killed counts as not written; the file is replaced by a short one before it grows long.
"""

import logging
import os
from pathlib import Path
from typing import Final

import msgspec

from aishark_panel.alerts.kept import KeptAlerts
from aishark_panel.alerts.log import AlertLog
from aishark_panel.alerts.silences import Silence
from aishark_panel.streams.partfile import PART, sync_folder
from aishark_panel.streams.segments import write_all

__all__ = ["AlertFile"]

log = logging.getLogger(__name__)

_SHORT_BYTES: Final = 4 * 2**20
"""A file is not replaced before it is this long."""


class AlertFile:
    """The alerts of one session in a file, which its folder is made for when there is something to keep.

    Used by one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cursor = 0
        """the last change that is kept"""
        self._silences: tuple[Silence, ...] = ()
        self._size_bytes = 0
        self._short_bytes = 0
        """how long the file was when it was replaced"""
        self._torn = False
        """whether there may be something half written at its end"""

    def read(self) -> KeptAlerts | None:
        """What it has; None if there is nothing. What cannot be read is left out, and the log says so."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the alerts in %s cannot be read: %s", self._path, error.strerror)
            return None
        kept = KeptAlerts(changes=0, raised=0, forgotten=0, numbers=[], alerts=[], silences=())
        damaged = 0
        for line in lines:
            try:
                if line:
                    kept.add(msgspec.json.decode(line, type=KeptAlerts))
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                damaged += 1
        if damaged:
            log.warning("%d lines of the alerts in %s are damaged, and left out", damaged, self._path)
        self._size_bytes = sum(len(line) + 1 for line in lines)
        self._torn = bool(lines[-1])
        self._silences = kept.silences
        return kept

    def keep(self, alerts: AlertLog) -> None:
        """Have the disk keep what changed since the last time. Raises OSError; then it is kept the next time."""
        if alerts.changes == self.cursor and alerts.silences.kept == self._silences:
            return
        # What an earlier hub wrote is written anew, in one line: all of it counts as changed.
        is_long = self._size_bytes > max(_SHORT_BYTES, 4 * self._short_bytes)
        anew = self._size_bytes > 0 and (is_long or not self.cursor)
        kept = alerts.to_keep(0 if anew else self.cursor)
        if anew:
            self._replace(kept)
        else:
            self._append(kept)
        self.cursor, self._silences = kept.changes, kept.silences

    def _append(self, changed: KeptAlerts) -> None:
        line = msgspec.json.encode(changed) + b"\n"
        if self._torn:
            line = b"\n" + line
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._torn = True
            write_all(fd, [line])
            os.fdatasync(fd)
            self._torn = False
        finally:
            os.close(fd)
        if not self._size_bytes:
            sync_folder(self._path.parent)
        self._size_bytes += len(line)

    def _replace(self, everything: KeptAlerts) -> None:
        """Put a file of one line in the place of the one there is, which stays where that fails."""
        line = msgspec.json.encode(everything) + b"\n"
        part = self._path.with_name(self._path.name + PART)
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, [line])
            os.fsync(fd)
        finally:
            os.close(fd)
        part.rename(self._path)
        sync_folder(self._path.parent)
        self._torn = False
        self._size_bytes = self._short_bytes = len(line)
