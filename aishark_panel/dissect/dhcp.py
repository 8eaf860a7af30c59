"""DHCP (RFC 2131), BOOTP without its options, and DHCPv6 (RFC 8415)."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u32
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.texts import intern_slice
from aishark_panel.jit import called_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["dhcp", "dhcpv6"]

_COOKIE_AT: Final = 236
_COOKIE: Final = 0x63825363
_PAD, _HOST_NAME, _MESSAGE_TYPE, _END = 0, 12, 53, 255
_LAST_DHCPV6_TYPE: Final = 36

_DHCP_BIT: Final = int(Layer.DHCP)


@called_part
def dhcp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """Message type and host name among the options; a message without a type is BOOTP."""
    if not 1 <= u8(data, pos) <= 2:
        return 0
    at = pos + _COOKIE_AT
    if end - at < 4:
        if end < wire_end:
            row.truncated = 1
        return protocols.BOOTP
    if u32(data, at) != _COOKIE:
        return protocols.BOOTP
    at += 4
    complete = False
    while at < end:
        option = u8(data, at)
        at += 1
        if option == _PAD:
            continue
        if option == _END or at == end:
            complete = option == _END
            break
        size = u8(data, at)
        at += 1
        if at + size > end:
            break
        if option == _MESSAGE_TYPE and size == 1:
            row.layers |= _DHCP_BIT
            row.dhcp_type = u8(data, at)
        elif option == _HOST_NAME and row.dhcp_host == 0:
            row.dhcp_host = intern_slice(texts, data, at, at + size, False, seed)
        at += size
    if not complete and end < wire_end:
        row.truncated = 1
    if not row.layers & _DHCP_BIT:
        row.dhcp_host = 0  # its layer is absent
        return protocols.BOOTP
    return protocols.DHCP


@called_part
def dhcpv6(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The message type of DHCPv6, which numbers them otherwise."""
    if not 1 <= u8(data, pos) <= _LAST_DHCPV6_TYPE:
        return 0
    row.layers |= _DHCP_BIT
    row.dhcp_type = u8(data, pos)
    return protocols.DHCPV6
