"""What Windows networks speak: datagrams of NetBIOS, ISO transport with remote desktops."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Texts

__all__ = ["netbios_datagram", "tpkt"]

_SMB: Final = 0xFF534D42
_MAILSLOT_AT: Final = 150
"""Where the name \\MAILSLOT\\... is at the earliest: after NetBIOS's header and names, and SMB's header."""
_MAILSLOT: Final = int.from_bytes(b"\\MAI", "big")
_BROWSE: Final = int.from_bytes(b"BROW", "big")
_LANMAN: Final = int.from_bytes(b"LANM", "big")

_TPKT_HEADER_BYTES: Final = 4
_COTP_CONNECT, _COTP_CONFIRM, _COTP_DATA = 0xE0, 0xD0, 0xF0
_COTP_TYPES: Final = (_COTP_CONNECT, _COTP_CONFIRM, _COTP_DATA, 0x80, 0x70, 0x10, 0x20)
_RDP_PORT: Final = 3389
_S7: Final = 0x32


@called_part
def tpkt(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """ISO transport over TCP (RFC 1006, RFC 2126), and what is known to lie on it."""
    if end - pos < 7 or u8(data, pos) != 3:
        return 0
    length, header = u16(data, pos + 2), u8(data, pos + 4)
    kind = u8(data, pos + 5) & 0xF0
    if not length >= 7 or header + 5 > length or kind not in _COTP_TYPES or pos + length > wire_end:
        return 0
    if row.src_port == _RDP_PORT or row.dst_port == _RDP_PORT:
        return protocols.RDP
    after = pos + _TPKT_HEADER_BYTES + 1 + header
    if kind == _COTP_DATA and after < end and u8(data, after) == _S7:
        return protocols.S7COMM
    return protocols.COTP


@called_part
def netbios_datagram(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A datagram of NetBIOS (RFC 1002 section 4.4): mostly an SMB message to a mailslot of the browser service."""
    kind = u8(data, pos)
    if not 0x10 <= kind <= 0x16:
        return 0
    at = pos + 82
    if kind > 0x12 or end - at < 4 or u32(data, at) != _SMB:
        return protocols.NBDS
    at = pos + _MAILSLOT_AT
    while end - at >= 16 and at - pos < 2 * _MAILSLOT_AT:
        if u32(data, at) == _MAILSLOT:
            name = u32(data, at + 10)
            return protocols.BROWSER if name in (_BROWSE, _LANMAN) else protocols.SMB
        at += 1
    return protocols.SMB
