"""Databases: MySQL's greeting and PostgreSQL's messages; Redis is known by its first bytes alone."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Texts

__all__ = ["mysql_greeting"]

_SHORTEST_VERSION: Final = 3


@called_part
def mysql_greeting(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A server's first packet (HandshakeV10): length, number 0, protocol 10, and a version made of digits and dots."""
    length = u8(data, pos) | u8(data, pos + 1) << 8
    if length + 4 != wire_end - pos:
        return 0
    at = pos + 5
    while at < end and (0x30 <= u8(data, at) <= 0x39 or u8(data, at) == 0x2E):
        at += 1
    return protocols.MYSQL if at - pos - 5 >= _SHORTEST_VERSION else 0
