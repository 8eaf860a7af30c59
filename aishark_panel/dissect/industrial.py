"""Control systems: EtherNet/IP, and the Common Industrial Protocol in it."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Texts

__all__ = ["enip"]

_ENIP_HEADER_BYTES: Final = 24
_LIST, _SESSION, _SEND_REQUEST, _SEND_UNIT = (0x04, 0x63, 0x64), (0x65, 0x66), 0x6F, 0x70
_CONNECTED, _UNCONNECTED = 0xB1, 0xB2
_MAX_ITEMS: Final = 4
_EXECUTE_PCCC, _PCCC_CLASS = 0x4B, 0x67
_FORWARD_OPEN, _FORWARD_CLOSE, _LARGE_FORWARD_OPEN, _UNCONNECTED_SEND = 0x54, 0x4E, 0x5B, 0x52


@called_part
def enip(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """EtherNet/IP: a known command, and in its items a CIP message (ODVA, EtherNet/IP Specification chapter 2)."""
    if end - pos < _ENIP_HEADER_BYTES:
        return 0
    command = _little(data, pos)
    if command not in _LIST and command not in _SESSION and command not in (_SEND_REQUEST, _SEND_UNIT):
        return 0
    at = pos + _ENIP_HEADER_BYTES + 8  # interface handle, timeout, number of items
    if command not in (_SEND_REQUEST, _SEND_UNIT) or end - at < 4:
        return protocols.ENIP
    for _ in range(_MAX_ITEMS):
        if end - at < 4:
            break
        kind, size = _little(data, at), _little(data, at + 2)
        at += 4
        if kind == _UNCONNECTED:
            return _cip(data, at, min(end, at + size))
        if kind == _CONNECTED:  # a sequence number comes before
            return _cip(data, at + 2, min(end, at + size))
        at += size
    return protocols.ENIP


@kernel_part
def _cip(data: Bytes, at: int, end: int) -> int:
    """A CIP request or reply; a reply to a PCCC command repeats the requestor's id, after a status."""
    if end - at < 2:
        return protocols.ENIP
    service = u8(data, at)
    if service == _EXECUTE_PCCC:
        return protocols.CIP_PCCC if end - at >= 4 and u16(data, at + 2) == 0x2000 | _PCCC_CLASS else protocols.CIP
    if service == 0x80 | _EXECUTE_PCCC:
        return protocols.CIP_PCCC
    manages = service & 0x7F in (_FORWARD_OPEN, _FORWARD_CLOSE, _LARGE_FORWARD_OPEN, _UNCONNECTED_SEND)
    return protocols.CIP_CM if manages else protocols.CIP


@kernel_part
def _little(data: Bytes, pos: int) -> int:
    return u8(data, pos) | u8(data, pos + 1) << 8
