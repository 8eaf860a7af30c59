"""The audit: who did what, when. The database itself refuses to change or delete its entries."""

import time
from typing import Any, Final

import msgspec
from sqlalchemy import insert, select

from aishark_panel.streams.store import schema
from aishark_panel.streams.store.database import Database

__all__ = ["MAX_AUDIT_ENTRIES", "AuditRecords"]

MAX_AUDIT_ENTRIES: Final = 1_000
"""Most entries of one answer."""


class AuditRecords(Database):
    """The audit's entries."""

    def record(self, who: str, action: str, subject: str, **details: object) -> None:
        """Write down that somebody did something to something, now."""
        text = msgspec.json.encode({k: v for k, v in details.items() if v not in (None, "")}).decode()
        entry = {"ts_ns": time.time_ns(), "who": who, "action": action, "subject": subject, "details": text}
        self.execute(insert(schema.audit).values(entry))

    def audit(self, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
        """The newest entries, newest first: number, ts_ns, who, action, subject, details.

        At most `limit` of them, or MAX_AUDIT_ENTRIES; those with a number below `before`, if one is given.
        """
        newest_first = select(schema.audit).order_by(schema.audit.c.number.desc())
        if before is not None:
            newest_first = newest_first.where(schema.audit.c.number < before)
        rows = self.execute(newest_first.limit(max(0, min(limit, MAX_AUDIT_ENTRIES)))).mappings()
        return [{**row, "details": msgspec.json.decode(row["details"])} for row in rows]
