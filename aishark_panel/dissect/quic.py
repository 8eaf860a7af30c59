"""QUIC (RFC 9000, RFC 9369), and the protocol of Google's that it came from."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["gquic", "quic"]

_NEGOTIATION, _VERSION_1, _VERSION_2 = 0, 0x00000001, 0x6B3343CF
_DRAFTS: Final = 0xFF0000
_RESERVED: Final = 0x0A0A0A0A
"""The pattern of versions that exercise negotiation (RFC 9000 section 15)."""
_MAX_ID_BYTES: Final = 20
_PORT: Final = 443

_LONG_BIT: Final = int(Layer.QUIC_LONG)


@called_part
def quic(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A long header (RFC 9000 section 17.2) of a known version; on QUIC's port, of a negotiation of versions too."""
    if end - pos < 7:
        return 0
    version, id_bytes = u32(data, pos + 1), u8(data, pos + 5)
    if id_bytes > _MAX_ID_BYTES or not (
        _is_known(version) or (version == _NEGOTIATION and _PORT in (row.src_port, row.dst_port))
    ):
        return 0
    row.layers |= _LONG_BIT
    row.quic_version = version
    return protocols.QUIC


@called_part
def gquic(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """Google's QUIC up to version 43: flags, 8 bytes of connection id, then a client names its version as Q043."""
    if end - pos < 13 or u8(data, pos + 9) != 0x51 or u16(data, pos + 10) >> 8 != 0x30:
        return 0
    return protocols.GQUIC


@kernel_part
def _is_known(version: int) -> bool:
    return version in (_VERSION_1, _VERSION_2) or version >> 8 == _DRAFTS or version & 0x0F0F0F0F == _RESERVED
