"""DNS (RFC 1035), and mDNS, LLMNR and NBNS, which share its message format: header, first question, first answer."""

from typing import Final

from aishark_panel.dissect.addresses import put_ipv4, put_ipv6
from aishark_panel.dissect.load import Bytes, note_short, u8, u16
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.signatures import OWN
from aishark_panel.dissect.texts import intern, intern_slice, lower, put
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["dns", "dns_anywhere", "dns_over_tcp"]

_HEADER_BYTES: Final = 12
_MAX_NAME_BYTES: Final = 253
"""as text; 255 octets in a message (RFC 1035 section 2.3.4)"""
_MAX_SKIPPED: Final = 8
"""Questions stepped over to reach the first answer: more than one is hardly ever seen."""
_RAN_OUT: Final = -1
_BAD: Final = -2

_A, _NS, _CNAME, _PTR, _MX, _TXT, _AAAA, _SRV, _DNAME = 1, 2, 5, 12, 15, 16, 28, 33, 39
_NB: Final = 32
"""NetBIOS's address record (RFC 1002 section 4.2.13); DNS has given the number to SRV's forerunner"""
_INTERNET: Final = 1

_NETBIOS_PORT: Final = 137
_NETBIOS_LABEL: Final = 32
_NETBIOS_NAME: Final = 15

_DNS_BIT: Final = int(Layer.DNS)
_QUESTION_BIT: Final = int(Layer.DNS_QUESTION)
_RESPONSE_BIT: Final = int(Layer.DNS_RESPONSE)


@called_part
def dns(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The message at `pos`, of DNS, multicast DNS (RFC 6762), link-local name resolution (RFC 4795) or NetBIOS."""
    _message(data, pos, end, wire_end, row, texts, seed)
    return OWN


@called_part
def dns_over_tcp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The message after a length (RFC 1035 section 4.2.2), unless the segment goes on with an earlier one."""
    start = pos + 2
    if end - start < _HEADER_BYTES or (u8(data, start + 2) >> 3 & 15) > 6 or u16(data, start + 4) > 1:
        return 0
    message_end = start + u16(data, pos)
    malformed = row.malformed
    stop = min(wire_end, message_end)
    _message(data, start, min(end, stop), stop, row, texts, seed)
    if message_end > wire_end:  # the rest is in the next segment
        row.malformed = malformed
    return protocols.DNS


@called_part
def dns_anywhere(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A message on a port that is not DNS's: one whole question of the Internet class, a sound header."""
    if end - pos < _HEADER_BYTES + 5 or u16(data, pos + 4) != 1:
        return 0
    flags, answers, authorities = u16(data, pos + 2), u16(data, pos + 6), u16(data, pos + 8)
    if flags & 0x7840 or u16(data, pos + 10) > 8 or answers > 64 or authorities > 64:  # opcode 0, reserved bit 0
        return 0
    if not flags & 0x8000 and (answers or authorities or flags & 15):
        return 0
    length, at = _name(data, pos, pos + _HEADER_BYTES, end, texts)
    if length < 3 or end - at < 4 or u16(data, at + 2) != _INTERNET or not 0 < u16(data, at) < 258:
        return 0
    for i in range(length):
        byte = u8(texts.data, texts.counts[1] + i)
        if not (0x61 <= byte <= 0x7A or 0x30 <= byte <= 0x39 or byte in (0x2D, 0x2E, 0x5F)):
            return 0
    _message(data, pos, end, wire_end, row, texts, seed)
    return protocols.DNS


@called_part
def _message(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    if end - pos < _HEADER_BYTES:
        note_short(row, end, wire_end)
        return
    flags = u16(data, pos + 2)
    row.layers |= _DNS_BIT
    if flags & 0x8000:
        row.layers |= _RESPONSE_BIT
        row.dns_rcode = flags & 15
    questions = u16(data, pos + 4)
    at = pos + _HEADER_BYTES
    if questions:
        at = _question(data, pos, end, wire_end, row, texts, seed)
    if at > 0 and u16(data, pos + 6) and questions <= _MAX_SKIPPED:
        for _ in range(1, questions):
            at = _skip_name(data, at, end) + 4
        _answer(data, pos, at, end, wire_end, row, texts, seed)


@kernel_part
def _question(data: Bytes, message: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """Read the first question; where it ends, or an error."""
    length, at = _name(data, message, message + _HEADER_BYTES, end, texts)
    if length == _NETBIOS_LABEL and _is_netbios(row):  # RFC 1002: in one label of 32 letters
        length = _decode_netbios(texts)
    if length == _BAD:
        row.malformed = 1
        return _BAD
    if length == _RAN_OUT or end - at < 4:
        note_short(row, end, wire_end)
        return _RAN_OUT
    row.layers |= _QUESTION_BIT
    row.dns_query = intern(texts, length, seed)
    row.dns_qtype = u16(data, at)
    return at + 4


@kernel_part
def _answer(data: Bytes, message: int, at: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """Read the first answer, whose name is at `at`: its data as text, where that is an address, a name or a string."""
    at = _skip_name(data, at, end)
    if end - at < 10:
        if end < wire_end:
            row.truncated = 1
        return
    kind, size = u16(data, at), u16(data, at + 8)
    at += 10
    if end - at < size:
        note_short(row, end, wire_end)
        return
    if kind == _A and size == 4:
        row.dns_answer = intern(texts, put_ipv4(data, at, texts), seed)
    elif kind == _AAAA and size == 16:
        row.dns_answer = intern(texts, put_ipv6(data, at, texts), seed)
    elif _is_netbios(row):
        if kind == _NB and size >= 6:  # after flags
            row.dns_answer = intern(texts, put_ipv4(data, at + 2, texts), seed)
    elif kind == _TXT and size:
        row.dns_answer = intern_slice(texts, data, at + 1, min(at + size, at + 1 + u8(data, at)), False, seed)
    else:
        skipped = -1  # numbers before the name
        if kind in (_NS, _CNAME, _PTR, _DNAME):
            skipped = 0
        elif kind == _MX:
            skipped = 2
        elif kind == _SRV:
            skipped = 6
        if 0 <= skipped < size:
            length, _ = _name(data, message, at + skipped, at + size, texts)
            if length > 0:
                row.dns_answer = intern(texts, length, seed)
            elif length == _BAD:
                row.malformed = 1


@kernel_part
def _is_netbios(row: Row) -> bool:
    return bool(row.dst_port == _NETBIOS_PORT or row.src_port == _NETBIOS_PORT)


@kernel_part
def _skip_name(data: Bytes, at: int, end: int) -> int:
    """Where the name at `at` ends; `end` or more if it does not fit."""
    while at < end:
        label = u8(data, at)
        if label >= 0xC0:
            return at + 2
        at += 1 + label
        if label == 0:
            return at
    return at


@called_part
def _name(data: Bytes, message: int, at: int, end: int, texts: Texts) -> tuple[int, int]:
    """Stage the name at `at`, in lower case with dots ("." for the root); (its length or an error, after it).

    A compression pointer must point before all that was read so far, as any that a name server wrote does; so the
    loop ends.
    """
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
