"""Exports that were asked for: how far each is, and how it ended.

Whoever made the ticket of an export asks by that ticket, which opens nothing any more once the export has begun.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

from aishark_panel.errors import NotFoundError
from aishark_panel.streams.people import Person

__all__ = ["ExportLog", "ExportProgress"]

MAX_KEPT: Final = 1_000
"""Most exports that are remembered, the newest."""

ExportState = Literal["waiting", "writing", "done", "failed", "cancelled"]


@dataclass(slots=True)
class ExportProgress:
    """How far one export is. Packets, but for `bytes`; those looked at are written, missed or did not match."""

    session: str
    person: str
    format: str
    where: str
    state: ExportState = "waiting"
    reason: str = ""
    """why it failed or was cancelled, in words"""
    total: int = 0
    """to look at; with `follow`, so far"""
    looked_at: int = 0
    written: int = 0
    missed: int = 0
    """evicted before their turn"""
    bytes: int = 0
    """handed to the reader"""

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "writing")

    def end(self, state: ExportState, reason: str = "") -> None:
        """Note how it ended; what ended already stays as it is."""
        if self.goes_on:
            self.state, self.reason = state, reason

    def status(self) -> dict[str, Any]:
        """All of it, for whoever asked for the export; docs/protocol.md names every field."""
        names = ("state", "reason", "format", "where", "total", "looked_at", "written", "missed", "bytes")
        return {name: getattr(self, name) for name in names}


class ExportLog:
    """The newest exports, by their tickets."""

    def __init__(self) -> None:
        self._kept: dict[str, ExportProgress] = {}

    def add(self, ticket: str, progress: ExportProgress) -> None:
        """An export was asked for."""
        self._kept[ticket] = progress
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def get(self, ticket: str, session: str, person: Person) -> ExportProgress:
        """The export of a ticket that this person got for this session; NotFoundError if there is none, or no more."""
        progress = self._kept.get(ticket)
        if progress is None or progress.session != session or progress.person != person.name:
            raise NotFoundError("no such export; it may have been forgotten")
        return progress
