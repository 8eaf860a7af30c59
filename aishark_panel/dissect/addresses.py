"""Texts of addresses, staged in a block's pool (dissect.texts) as the standard library's inet_ntop writes them."""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16
from aishark_panel.dissect.texts import put
from aishark_panel.jit import kernel_part
from aishark_panel.wire.packets import Texts

__all__ = ["put_ipv4", "put_ipv6"]

_GROUPS: Final = 8
_DOT, _COLON, _ZERO = 0x2E, 0x3A, 0x30


@kernel_part
def put_ipv4(data: Bytes, pos: int, texts: Texts) -> int:
    """Stage the four bytes at `pos` as a.b.c.d; the length of the text."""
    return _dotted(data, pos, 0, texts)


@kernel_part
def put_ipv6(data: Bytes, pos: int, texts: Texts) -> int:
    """Stage the sixteen bytes at `pos` in RFC 5952's form; the length of the text."""
    zeros, count = _longest_zeros(data, pos)
    length = 0
    group = 0
    while group < _GROUPS:
        if group == zeros:
            put(texts, length, _COLON)
            put(texts, length + 1, _COLON)
            length += 2
            group += count
            continue
        if group and group != zeros + count:
            put(texts, length, _COLON)
            length += 1
        if group == 6 and zeros == 0 and (count == 6 or (count == 5 and u16(data, pos + 10) == 0xFFFF)):
            return _dotted(data, pos + 12, length, texts)  # IPv4 in IPv6 (RFC 4291 section 2.5.5)
        length = _hexadecimal(u16(data, pos + 2 * group), length, texts)
        group += 1
    return length


@kernel_part
def _longest_zeros(data: Bytes, pos: int) -> tuple[int, int]:
    """(first, count) of the first longest run of two or more zero groups; (-1, 0) if there is none."""
    best, best_count, count = -1, 1, 0
    for group in range(_GROUPS):
        count = 0 if u16(data, pos + 2 * group) else count + 1
        if count > best_count:
            best, best_count = group + 1 - count, count
    return (best, best_count) if best >= 0 else (-1, 0)


@kernel_part
def _dotted(data: Bytes, pos: int, length: int, texts: Texts) -> int:
    for i in range(4):
        if i:
            put(texts, length, _DOT)
            length += 1
        byte = u8(data, pos + i)
        if byte >= 100:
            put(texts, length, _ZERO + byte // 100)
            length += 1
        if byte >= 10:
            put(texts, length, _ZERO + byte // 10 % 10)
            length += 1
        put(texts, length, _ZERO + byte % 10)
        length += 1
    return length


@kernel_part
def _hexadecimal(value: int, length: int, texts: Texts) -> int:
    started = False
    for shift in (12, 8, 4, 0):
        digit = value >> shift & 15
        started = started or digit > 0 or shift == 0
        if started:
            put(texts, length, digit + (0x30 if digit < 10 else 0x57))
            length += 1
    return length
