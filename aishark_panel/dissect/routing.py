"""Protocols of the network itself: BGP, WireGuard, remote procedure calls of two kinds."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Texts

__all__ = ["bgp", "rpc_call", "rx", "wireguard"]

_ONES: Final = 0xFFFFFFFF
_BGP_HEADER_BYTES, _LAST_BGP_TYPE = 19, 6
_MAX_BGP_BYTES: Final = 65_535
"""with RFC 8654; 4,096 without"""
_PORTMAP, _NFS, _MOUNT = 100_000, 100_003, 100_005
_ASSIGNED_PROGRAMS: Final = 1_000
_RX_HEADER_BYTES, _RX_TYPE_AT, _LAST_RX_TYPE, _RX_DATA = 28, 20, 13, 1
_WIREGUARD_BYTES: Final = (148, 92, 64)
"""of an initiation (type 1), a response, a cookie (wireguard.com/protocol)"""


@called_part
def bgp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A BGP message: sixteen bytes of ones, length, type (RFC 4271 section 4.1)."""
    if end - pos < _BGP_HEADER_BYTES or u32(data, pos + 8) != _ONES or u32(data, pos + 12) != _ONES:
        return 0
    known = u16(data, pos + 16) >= _BGP_HEADER_BYTES and 1 <= u8(data, pos + 18) <= _LAST_BGP_TYPE
    return protocols.BGP if known else 0


@called_part
def rpc_call(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A remote procedure call of RPC version 2 (RFC 5531) over UDP, by the program called."""
    if end - pos < 24 or u32(data, pos + 8) != 2:
        return 0
    program = u32(data, pos + 12)
    if not _PORTMAP <= program < _PORTMAP + _ASSIGNED_PROGRAMS:
        return 0
    if program == _NFS:
        return protocols.NFS
    if program == _PORTMAP:
        return protocols.PORTMAP
    return protocols.MOUNT if program == _MOUNT else protocols.RPC


@called_part
def rx(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """Rx, the remote calls of AFS: data packets carry its messages."""
    if end - pos < _RX_HEADER_BYTES or not 1 <= u8(data, pos + _RX_TYPE_AT) <= _LAST_RX_TYPE:
        return 0
    return protocols.AFS if u8(data, pos + _RX_TYPE_AT) == _RX_DATA else protocols.RX


@called_part
def wireguard(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The messages of a WireGuard handshake, which have fixed lengths."""
    return protocols.WIREGUARD if wire_end - pos == _WIREGUARD_BYTES[u8(data, pos) - 1] else 0
