"""QUIC (RFC 9000, RFC 9369), and the protocol of Google's that it came from."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Texts
from aishark_panel.wire.schema import Layer

__all__ = ["gquic", "quic", "quic_anywhere"]

_NEGOTIATION, _VERSION_1, _VERSION_2 = 0, 0x00000001, 0x6B3343CF
_DRAFTS: Final = 0xFF0000
_RESERVED: Final = 0x0A0A0A0A
"""The pattern of versions that exercise negotiation (RFC 9000 section 15)."""
_MAX_ID_BYTES: Final = 20
_SHORTEST: Final = 21
"""A packet with a short header has at least so many bytes, lest a reset be told from it (RFC 9000 section 10.3)."""

_LONG_BIT: Final = int(Layer.QUIC_LONG)


@called_part
def quic_anywhere(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A long header (RFC 9000 section 17.2) of a version that is known."""
    if end - pos < 7:
        return 0
    version, id_bytes = u32(data, pos + 1), u8(data, pos + 5)
    if id_bytes > _MAX_ID_BYTES or not _is_known(version):
        return 0
    row.layers |= _LONG_BIT
    row.quic_version = version
    return protocols.QUIC


@called_part
def quic(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A long header, or on QUIC's own port what may be a short one; that has nothing to know it by but a set bit."""
    first = u8(data, pos)
    if first & 0xC0 == 0x40:
        return protocols.QUIC if wire_end - pos >= _SHORTEST else 0
    if first & 0x80 and end - pos >= 7 and u32(data, pos + 1) == _NEGOTIATION:
        row.layers |= _LONG_BIT
        return protocols.QUIC
    return quic_anywhere(data, pos, end, wire_end, row, texts, seed)


@called_part
def gquic(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """Google's QUIC up to version 43: flags, 8 bytes of connection id, then a client names its version as Q043."""
    if end - pos < 13 or u8(data, pos + 9) != 0x51 or u16(data, pos + 10) >> 8 != 0x30:
        return 0
    return protocols.GQUIC


@kernel_part
def _is_known(version: int) -> bool:
    return version in (_VERSION_1, _VERSION_2) or version >> 8 == _DRAFTS or version & 0x0F0F0F0F == _RESERVED
