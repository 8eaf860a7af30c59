"""Values as people write them (times, MAC addresses, networks, bytes) to values as columns store them; and, by `quote`,
back.

Every other function raises ExpressionError at the literal's position, with an example of what is accepted.
"""

import ipaddress
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from aishark_panel.errors import ExpressionError
from aishark_panel.query.syntax import Bare, Literal, Number

__all__ = ["Network", "frame_bytes", "integer", "mac", "network", "quote", "string", "time_ns"]

_MAX_SECONDS: Final = 2**63 // 10**9
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?)? ?(Z|[-+]\d\d:\d\d)?", re.ASCII
)
_MAC: Final = re.compile(r"(?:[0-9A-Fa-f]{2}([:-]))(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")
_BYTES: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_IPV4_IN_IPV6: Final = 0xFFFF << 32
"""IPv4 addresses are kept as ::ffff:a.b.c.d."""


def quote(text: str) -> str:
    """A text as expressions take it. What a line cannot hold is escaped, because filters stand in boxes of one line."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'{}'".format(_CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", escaped))


class Network(NamedTuple):
    """The addresses that equal `value` where `mask` has ones; two uint64 each, as the columns store them."""

    value: tuple[np.uint64, np.uint64]
    mask: tuple[np.uint64, np.uint64]
    is_v6: bool


def network(literal: Literal) -> Network:
    """A network or a single address, IPv4 or IPv6; bits after the prefix are ignored, as Wireshark does."""
    text = literal.text
    try:
        parsed = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ExpressionError(
            f"{text[:50]!r} is no IP address or network; write '10.0.0.1', '10.0.0.0/8' or '2001:db8::/32'",
            literal.position,
        ) from None
    value, mask = int(parsed.network_address), int(parsed.netmask)
    if parsed.version == 4:
        value |= _IPV4_IN_IPV6
        mask |= (1 << 128) - (1 << 32)
    return Network(_words(value), _words(mask), parsed.version == 6)


def _words(value: int) -> tuple[np.uint64, np.uint64]:
    first, second = np.frombuffer(value.to_bytes(16, "big"), np.uint64)
    return first, second


def mac(literal: Literal) -> int:
    """A MAC address as stored: first byte on the wire most significant."""
    if isinstance(literal, Number) or not _MAC.fullmatch(literal.text):
        raise ExpressionError(f"{literal.text[:50]!r} is no MAC address; write '00:11:22:aa:bb:cc'", literal.position)
    return int(literal.text.replace("-", "").replace(":", ""), 16)


def time_ns(literal: Literal) -> int:
    """Nanoseconds since 1970 UTC, from ISO 8601 text (UTC unless it says otherwise) or a number of seconds."""
    if isinstance(literal, Number):
        if abs(literal.value) > _MAX_SECONDS:
            raise ExpressionError(f"{literal.text} seconds since 1970 is beyond the year 2262", literal.position)
        exact = Decimal(literal.text) if isinstance(literal.value, float) else Decimal(literal.value)
        return int(exact * 10**9)
    match = _TIME.fullmatch(literal.text)
    try:
        if match is None:
            raise ValueError
        day, clock, fraction, zone = match.groups()
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone or 'Z'}")
    except ValueError:
        raise ExpressionError(
            f"{literal.text[:50]!r} is no time; write '2024-05-31 14:00:00.5' (UTC), with '+02:00' for another zone",
            literal.position,
        ) from None
    return (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "").ljust(9, "0"))


def integer(literal: Literal, name: str) -> int | float:
    """A number to compare the numeric column `name` with; whole ones as int, so that 64 bits compare exactly."""
    if isinstance(literal, Number):
        value = literal.value
        return int(value) if isinstance(value, float) and value.is_integer() else value
    advice = "write the number without quotes"
    if name == "tcp_flags":
        advice = "write has(tcp_flags, 'SYN')"
    raise ExpressionError(f"{name} is a number and {literal.text[:50]!r} is not; {advice}", literal.position)


def string(literal: Literal, name: str) -> str:
    """The text to compare the text column `name` with; addresses may stand there without quotes."""
    if isinstance(literal, Number):
        raise ExpressionError(f"{name} is text; write {literal.text!r} with its quotes", literal.position)
    return literal.text


def frame_bytes(literal: Literal) -> bytes:
    """Bytes to look for in frames: a string's UTF-8, or bytes written as 47:45:54."""
    if isinstance(literal, Bare) and _BYTES.fullmatch(literal.text):
        return bytes.fromhex(literal.text.replace(":", ""))
    if isinstance(literal, Number):
        raise ExpressionError("frames contain 'text' or bytes such as 47:45:54", literal.position)
    return literal.text.encode()
