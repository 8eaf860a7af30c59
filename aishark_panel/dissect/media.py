"""Real-time media: RTP and RTCP (RFC 3550), told by heuristics as they have no port and no signature."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Texts

__all__ = ["rtcp", "rtp"]

_RTP_HEADER_BYTES: Final = 12
_LAST_STATIC_TYPE, _FIRST_DYNAMIC_TYPE, _LAST_TYPE = 34, 96, 127
_MIN_PORT: Final = 1024
_MAX_COMPOUND: Final = 16
_SENDER_REPORT, _RECEIVER_REPORT, _LAST_RTCP_TYPE = 200, 201, 207


@called_part
def rtp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """Version 2 without padding, extension and contributors, an assigned type, a source, between even high ports.

    Some 1 in 2,000 of random datagrams with such ports passes; streams that use the options are not found.
    """
    if (
        end - pos <= _RTP_HEADER_BYTES
        or (row.src_port | row.dst_port) & 1
        or min(row.src_port, row.dst_port) < _MIN_PORT
    ):
        return 0
    kind = u8(data, pos + 1) & 0x7F
    if _LAST_STATIC_TYPE < kind < _FIRST_DYNAMIC_TYPE or u32(data, pos + 8) == 0 or u32(data, pos + 4) == 0:
        return 0
    return protocols.RTP


@called_part
def rtcp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A compound packet: a report first, and lengths in words that add up to the datagram's."""
    if min(row.src_port, row.dst_port) < _MIN_PORT:
        return 0
    at = pos
    for _ in range(_MAX_COMPOUND):
        if end - at < 8 or u8(data, at) >> 6 != 2 or not _SENDER_REPORT <= u8(data, at + 1) <= _LAST_RTCP_TYPE:
            return 0
        at += 4 * (u16(data, at + 2) + 1)
        if at == wire_end:
            return protocols.RTCP
    return 0
