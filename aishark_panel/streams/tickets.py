"""Tickets: the right to fetch one file once, soon, with no other credential (for a browser's download)."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aishark_panel.streams.exportlog import ExportProgress
from aishark_panel.streams.people import Person

__all__ = ["Ticket", "Tickets"]

_LIFE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket is good for: an export of a session, a `file` that a recording of it wrote, or the evidence of an
    `alert`."""

    session: str
    format: str
    where: str
    follow: bool
    person: Person
    """who asked for it"""
    progress: ExportProgress
    file: Path | None = None
    alert: int = 0
    """its number; 0: none"""


class Tickets:
    """The tickets that are good."""

    def __init__(self) -> None:
        self._tickets: dict[str, tuple[Ticket, float]] = {}
        """with the moment at which each ends"""

    def issue(self, ticket: Ticket) -> str:
        """The secret that stands for it."""
        now_s = time.monotonic()
        self._tickets = {k: kept for k, kept in self._tickets.items() if kept[1] > now_s}
        secret = secrets.token_urlsafe(24)
        self._tickets[secret] = ticket, now_s + _LIFE_S
        return secret

    def redeem(self, secret: str) -> Ticket | None:
        """The ticket, once; None if it is unknown, used or too old."""
        ticket, expires_s = self._tickets.pop(secret, (None, 0.0))
        return ticket if expires_s > time.monotonic() else None
