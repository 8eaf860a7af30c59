"""DNS (RFC 1035), and mDNS, LLMNR and NBNS, which share its message format: header and first question."""

from typing import Final

from aishark_panel.dissect.load import Bytes, note_short, u8, u16
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.texts import intern, lower, put
from aishark_panel.jit import kernel_part
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["dns", "looks_like_dns", "nbns"]

_HEADER_BYTES: Final = 12
_MAX_NAME_BYTES: Final = 253
"""as text; 255 octets in a message (RFC 1035 section 2.3.4)"""
_RAN_OUT: Final = -1
_BAD: Final = -2

_NETBIOS_LABEL: Final = 32
_NETBIOS_NAME: Final = 15

_DNS_BIT: Final = int(Layer.DNS)
_QUESTION_BIT: Final = int(Layer.DNS_QUESTION)
_RESPONSE_BIT: Final = int(Layer.DNS_RESPONSE)


@kernel_part
def looks_like_dns(data: Bytes, pos: int, end: int) -> bool:
    """May a message start here? Over TCP one often does not: a segment can go on with an earlier one."""
    return end - pos >= _HEADER_BYTES and (u8(data, pos + 2) >> 3 & 15) <= 6 and u16(data, pos + 4) <= 1


@kernel_part
def dns(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """The message at `pos`."""
    if not _header(data, pos, end, wire_end, row):
        return
    length, at = _name(data, pos, end, texts)
    _question(data, at, end, wire_end, length, row, texts, seed)


@kernel_part
def nbns(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """The NetBIOS name service message at `pos` (RFC 1002): its names are encoded in one label of 32 letters."""
    if not _header(data, pos, end, wire_end, row):
        return
    length, at = _name(data, pos, end, texts)
    if length == _NETBIOS_LABEL:
        length = _decode_netbios(texts)
    _question(data, at, end, wire_end, length, row, texts, seed)


@kernel_part
def _header(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> bool:
    """Read the header; does a question follow?"""
    if end - pos < _HEADER_BYTES:
        note_short(row, end, wire_end)
        return False
    flags = u16(data, pos + 2)
    row.layers |= _DNS_BIT
    if flags & 0x8000:
        row.layers |= _RESPONSE_BIT
        row.dns_rcode = flags & 15
    return u16(data, pos + 4) > 0


@kernel_part
def _question(data: Bytes, at: int, end: int, wire_end: int, length: int, row: Row, texts: Texts, seed: int) -> None:
    """Store the first question: its name is staged with `length` bytes (or an error), its type is at `at`."""
    if length == _BAD:
        row.malformed = 1
    elif length == _RAN_OUT or end - at < 4:
        note_short(row, end, wire_end)
    else:
        row.layers |= _QUESTION_BIT
        row.dns_query = intern(texts, length, seed)
        row.dns_qtype = u16(data, at)


@kernel_part
def _name(data: Bytes, message: int, end: int, texts: Texts) -> tuple[int, int]:
    """Stage the name after the header, in lower case with dots ("." for the root); (its length or an error, after it).

    A compression pointer must point before all that was read so far, as any that a name server wrote does; so the
    loop ends.
    """
    at = message + _HEADER_BYTES
    lowest = at
    after = -1
    length = 0
    while True:
        if at >= end:
            return _RAN_OUT, at
        label = u8(data, at)
        at += 1
        if label == 0:
            break
        if label >= 0xC0:
            if at >= end:
                return _RAN_OUT, at
            if after < 0:
                after = at + 1
            at = message + ((label & 0x3F) << 8 | u8(data, at))
            if at >= lowest:
                return _BAD, at
            lowest = at
            continue
        if label > 63 or length + 1 + label > _MAX_NAME_BYTES:
            return _BAD, at
        if at + label > end:
            return _RAN_OUT, at
        if length:
            put(texts, length, 0x2E)
            length += 1
        for i in range(label):
            put(texts, length + i, lower(u8(data, at + i)))
        length += label
        at += label
    if length == 0:
        put(texts, 0, 0x2E)
        length = 1
    return length, after if after >= 0 else at


@kernel_part
def _decode_netbios(texts: Texts) -> int:
    """Decode the staged 32 letters (two a byte, RFC 1001 section 14.1) in place as Wireshark shows them: "name<1d>".

    Returns the new length; 32, and nothing changed, where they are not in the encoding.
    """
    start = texts.counts[1]
    for i in range(_NETBIOS_LABEL):
        if not 0x61 <= u8(texts.data, start + i) <= 0x70:
            return _NETBIOS_LABEL
    length = 0
    suffix = 0
    for i in range(_NETBIOS_NAME + 1):
        byte = u8(texts.data, start + 2 * i) - 0x61 << 4 | u8(texts.data, start + 2 * i + 1) - 0x61
        if i == _NETBIOS_NAME:
            suffix = byte
        else:
            put(texts, i, lower(byte))
            if byte not in (0x20, 0):  # names are padded with blanks
                length = i + 1
    put(texts, length, 0x3C)
    put(texts, length + 1, _hex_digit(suffix >> 4))
    put(texts, length + 2, _hex_digit(suffix & 15))
    put(texts, length + 3, 0x3E)
    return length + 4


@kernel_part
def _hex_digit(value: int) -> int:
    return value + (0x30 if value < 10 else 0x57)
