"""Exports that a page begins: a ticket for the file, which the browser fetches by itself, and how far each is.

File bytes never pass through here: the browser gets an address at the page's own origin (views/routes.py), or, where
the page's server has no such routes as in a notebook, at the hub's.
"""

import sys
from typing import Any, Final

from aishark_panel.errors import AisharkError, ConfigError, HubUnreachableError, NotFoundError
from aishark_panel.views.feed import Feed

__all__ = ["FORMATS", "Exports", "at_page", "file_address"]

FORMATS: Final = {
    "pcapng": "whole frames, with interfaces and their drops: for Wireshark",
    "pcap": "whole frames of one link type: for anything that reads captures",
    "parquet": "columns, packed and sorted by time: for pandas, DuckDB, Polars",
    "csv": "columns as text: for spreadsheets",
}
"""What one can export, by the hub's names, and what for."""

_MAX_LISTED: Final = 4
_GOES_ON: Final = ("waiting", "writing")


def at_page() -> bool:
    """Whether the page's server has our routes (views/routes.py): a notebook's has none."""
    return "aishark_panel.views.routes" in sys.modules


def file_address(feed: Feed, ticket: str) -> str:
    """Where a browser fetches what a ticket is for."""
    return f"files/{ticket}" if at_page() else f"{feed.client.url}/api/export/{ticket}"


class Exports:
    """The exports of one page, newest first; those that go on are asked for with `pull`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._known: dict[str, dict[str, Any]] = {}
        """by ticket: session, format, and what the hub says"""

    def lines(self) -> list[dict[str, Any]]:
        """What is shown of each: ticket, session (its name), and what HubClient.export_status tells."""
        return [{"ticket": ticket, **known} for ticket, known in reversed(self._known.items())]

    async def begin(self, export_format: str, *, shown: bool) -> str:
        """A file of all packets that are kept, or of those that the page shows; the address to fetch it from."""
        if export_format not in FORMATS:
            raise ConfigError(f"There is no export format {export_format!r:.20}; choose one of {', '.join(FORMATS)}.")
        feed = self._feed
        ticket = await feed.client.export_ticket(
            feed.reach if shown else feed.session, export_format, feed.query if shown else ""
        )
        begun = {"state": "waiting", "reason": "", "total": 0, "looked_at": 0, "written": 0, "missed": 0, "bytes": 0}
        name = next((s["name"] for s in feed.sessions if s["id"] == feed.session), "")
        self._known[ticket] = {"id": feed.session, "session": name, "format": export_format, **begun}
        while len(self._known) > _MAX_LISTED:
            ended = (t for t, known in self._known.items() if known["state"] not in _GOES_ON)
            del self._known[next(ended, next(iter(self._known)))]
        return file_address(feed, ticket)

    async def pull(self) -> None:
        """Ask how far those are that go on."""
        for ticket, known in list(self._known.items()):
            if known["state"] in _GOES_ON:
                try:
                    known.update(await self._feed.client.export_status(known["id"], ticket))
                except HubUnreachableError:
                    return  # it may be back in a moment; the page says that it is away
                except NotFoundError:
                    known.update(state="failed", reason="The hub was restarted, or the session deleted.")
                except AisharkError as error:
                    known.update(state="failed", reason=str(error))

    async def cancel(self, ticket: str) -> None:
        """Break one off, or forget one that has ended."""
        known = self._known.get(ticket)
        if known is None:
            return
        if known["state"] in _GOES_ON:
            known.update(await self._feed.client.export_cancel(known["id"], ticket))
        else:
            del self._known[ticket]
