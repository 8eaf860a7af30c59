"""Deep links: what a page shows, as the query of its address, and back. Pure.

Who opens such an address sees the same, as far as they may: it names things and holds no token. People write addresses
by hand too, so a session is found by its name as well (views/address.py), and what cannot be read is told.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

__all__ = ["Link", "link_query", "read_link"]

_MAX_CHARS: Final = 2_000
_MAX_VIEWS: Final = 12
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_NUMBER: Final = re.compile(r"[1-9]\d{0,15}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a page shows. Empty or None: as it is without a word."""

    session: str = ""
    """id or name"""
    where: str = ""
    """the display filter"""
    range: tuple[int, int] | None = None
    """the chosen time, [start, end) in ns since 1970"""
    window: str = ""
    """the charts' window"""
    until: int | None = None
    """where a window that was moved back ends, ns since 1970"""
    tab: str = ""
    packet: int | None = None
    """number of the packet that is looked at"""
    kiosk: bool = False
    """only `views`, for a screen on a wall"""
    views: tuple[str, ...] = ()


def link_query(link: Link) -> str:
    """The query of an address, without its question mark."""
    start, end = map(_instant, link.range) if link.range else ("", "")
    parts = {
        "session": link.session,
        "filter": link.where,
        "from": start,
        "to": end,
        "window": link.window,
        "until": _instant(link.until) if link.until is not None else "",
        "tab": link.tab,
        "packet": str(link.packet or ""),
        "kiosk": "1" if link.kiosk else "",
        "views": ",".join(link.views),
    }
    return urlencode({name: value for name, value in parts.items() if value})


def read_link(arguments: Mapping[str, Sequence[str]]) -> tuple[Link, list[str]]:
    """The link of an address' query (values by name; other names are somebody else's), and a sentence about each part
    that says nothing."""
    said = {name: values[-1][:_MAX_CHARS].strip() for name, values in arguments.items() if values}
    problems: list[str] = []
    link = Link(
        session=said.get("session", ""),
        where=said.get("filter", ""),
        window=said.get("window", ""),
        tab=said.get("tab", ""),
        kiosk=said.get("kiosk", "") not in ("", "0"),
        views=tuple(filter(None, (view.strip() for view in said.get("views", "").split(",")[:_MAX_VIEWS]))),
    )
    if number := said.get("packet"):
        if _NUMBER.fullmatch(number):
            link = replace(link, packet=int(number))
        else:
            problems.append(f"{number!r:.40} is no packet number.")
    if said.get("until"):
        link = replace(link, until=_nanoseconds(said["until"]))
        if link.until is None:
            problems.append(f"{said['until']!r:.40} is no time for the window to end.")
    if said.get("from") or said.get("to"):
        start, end = (_nanoseconds(said.get(name, "")) for name in ("from", "to"))
        if start is None or end is None or start >= end:
            problems.append("The time range of this address makes no sense; all of the time is shown.")
        else:
            link = replace(link, range=(start, end))
    return link, problems


def _instant(ns: int) -> str:
    seconds, rest = divmod(ns, 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _nanoseconds(text: str) -> int | None:
    found = _TIME.fullmatch(text)
    try:
        seconds = datetime.fromisoformat(f"{found[1]}+00:00").timestamp() if found else None
    except ValueError:
        return None
    if found is None or seconds is None:
        return None
    return int(seconds) * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))
