"""Own traffic whose VLAN tags are in the frame: instructions that drop it, for the front of a filter's program.

Mostly the kernel takes a frame's outermost tag out, and libpcap's program sees the packet where it looks for it. But
what a host sends by a device that cannot insert tags has them in the frame (IEEE 802.1Q: 0x8100, 802.1ad: 0x88a8, and
0x9100 of older devices), and so has the second tag of a frame that comes in. libpcap's `vlan` cannot exclude these: it
changes how all that follows it is read.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

from aishark_panel.agent.cooked import COOKED, COOKED_BYTES, Instruction

__all__ = ["Address", "drop_tagged"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ETHERNET: Final = 1
"""LINKTYPE_ETHERNET"""
_COOKED_HEADERS: Final = {COOKED: (0, COOKED_BYTES), 113: (14, 16)}
"""Where the protocol stands in the header of a cooked link type, and its length; 113 is LINKTYPE_LINUX_SLL."""
_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6

# linux/filter.h: what a code does. X is the index register.
_WORD, _HALF, _BYTE, _LENGTH = 0x20, 0x28, 0x30, 0x80
_HALF_AT_X: Final = 0x48
_HEADER_LENGTH_TO_X: Final = 0xB1
"""X = 4 * (byte & 15): the length of an IPv4 header"""
_JUMP, _IF_EQUAL, _IF_NOT_LESS, _IF_ANY_BIT, _AND, _RETURN = 0x05, 0x15, 0x35, 0x45, 0x54, 0x06
_LEAVE: Final = -1
"""in place of a jump's distance: to the end of the part"""


class _Place(NamedTuple):
    """Where an IP header may be."""

    offset: int
    layers_before: tuple[int, ...] = ()
    """offsets of the EtherTypes after the first tag; the last one is the IP header's, others are those of tags"""


def drop_tagged(link_type: int, exclude: Iterable[tuple[Address, int]]) -> list[Instruction]:
    """Instructions that drop the TCP packets of those addresses and ports behind one or two tags, and pass others on.

    They read the frame as libpcap's do, with a cooked header where the link type has it.
    """
    if link_type in _COOKED_HEADERS:
        # Depending on who put the tags there, the kernel takes the network layer to begin before or behind them.
        first, begin = _COOKED_HEADERS[link_type]
        places = [_Place(begin), _Place(begin + 4, (begin + 2,)), _Place(begin + 8, (begin + 2, begin + 6))]
        not_counted = begin
    elif link_type == _ETHERNET:
        first, not_counted = 12, 0
        places = [_Place(18, (16,)), _Place(22, (16, 20))]
    else:
        return []
    parts = [
        instruction
        for address, port in exclude
        for place in places
        for destination in (False, True)
        for instruction in _drop(place, address, port, destination, not_counted)
    ]
    if not parts:
        return []
    return [*_close(_is_one_of(_HALF, first, *_TAGS), skipped=1), (_JUMP, 0, 0, 1), (_JUMP, 0, 0, len(parts)), *parts]


def _drop(place: _Place, address: Address, port: int, destination: bool, not_counted: int) -> list[Instruction]:
    """Drop the packets from, or to, one address and port. `not_counted`: bytes of offsets that a length lacks."""
    at, side = place.offset, int(destination)
    least = at + (24 if address.version == 4 else 44)  # to read beyond the end drops a frame, whosever it is
    part = [(_LENGTH, 0, 0, 0), (_IF_NOT_LESS, 0, _LEAVE, least - not_counted)]
    for offset in place.layers_before[:-1]:
        part += _is_one_of(_HALF, offset, *_TAGS)
    for offset in place.layers_before[-1:]:
        part += _is_one_of(_HALF, offset, _IPV4 if address.version == 4 else _IPV6)
    part += [(_BYTE, 0, 0, at), (_AND, 0, 0, 0xF0), (_IF_EQUAL, 0, _LEAVE, address.version << 4)]
    if address.version == 4:
        part += _is_one_of(_BYTE, at + 9, _TCP)
        part += [(_HALF, 0, 0, at + 6), (_IF_ANY_BIT, _LEAVE, 0, 0x1FFF)]  # later fragments have no ports
        part += _is_one_of(_WORD, at + 12 + 4 * side, int(address))
        part += [(_HEADER_LENGTH_TO_X, 0, 0, at), *_is_one_of(_HALF_AT_X, at + 2 * side, port)]
    else:
        part += _is_one_of(_BYTE, at + 6, _TCP)
        for k in range(4):
            part += _is_one_of(_WORD, at + 8 + 16 * side + 4 * k, int(address) >> 96 - 32 * k & 0xFFFFFFFF)
        part += _is_one_of(_HALF, at + 40 + 2 * side, port)
    return _close([*part, (_RETURN, 0, 0, 0)])


def _is_one_of(load: int, offset: int, *values: int) -> list[Instruction]:
    """Go on where what is loaded is one of the values, else leave the part."""
    last = len(values) - 1
    tests = [(_IF_EQUAL, last - n, 0 if n < last else _LEAVE, value) for n, value in enumerate(values)]
    return [(load, 0, 0, offset), *tests]


def _close(part: list[Instruction], skipped: int = 0) -> list[Instruction]:
    """The part with its jumps that leave it, to behind it and `skipped` more."""
    closed = []
    for n, (code, *jumps, k) in enumerate(part):
        if_true, if_false = (len(part) - 1 - n + skipped if jump == _LEAVE else jump for jump in jumps)
        closed.append((code, if_true, if_false, k))
    return closed
