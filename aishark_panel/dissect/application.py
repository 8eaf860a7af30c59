"""Application layers: what a transport carries, found by content first and by port second (dissect.table).

`over_tcp` and `over_udp` look at the payload data[pos:end], which has at least one byte; the headers said that it
goes on to `wire_end`.
"""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.signatures import Parser, finder
from aishark_panel.dissect.table import TCP_TABLE, UDP_TABLE
from aishark_panel.dissect.tls import tls
from aishark_panel.jit import kernel_part
from aishark_panel.wire.packets import Texts

__all__ = ["over_tcp", "over_udp"]

_find_over_tcp: Final[Parser] = finder(TCP_TABLE)
_find_over_udp: Final[Parser] = finder(UDP_TABLE)


@kernel_part
def over_tcp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """The payload of a TCP segment. One that starts inside a message has only its port to go by."""
    protocol = 0
    if 20 <= u8(data, pos) <= 24:
        protocol = tls(data, pos, end, wire_end, row, texts, seed)
    if protocol == 0:
        protocol = _find_over_tcp(data, pos, end, wire_end, row, texts, seed)
    if protocol:
        row.protocol = protocol


@kernel_part
def over_udp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """The payload of a UDP datagram."""
    protocol = _find_over_udp(data, pos, end, wire_end, row, texts, seed)
    if protocol:
        row.protocol = protocol
