"""HTTP/1 (RFC 9112) start lines and the Host header; SSDP, SIP and RTSP have lines of the same form."""

from typing import Final

import numpy as np

from aishark_panel.dissect.load import Bytes, u8, u32, word
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.texts import intern_slice
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["http", "sip", "ssdp"]

_MAX_METHOD_BYTES: Final = 20
_LF, _CR, _SPACE, _TAB, _COLON, _HYPHEN, _SLASH, _UNDERSCORE = 10, 13, 32, 9, 58, 45, 47, 95


def _ascii(text: str) -> int:
    return int.from_bytes(text.encode(), "big")


_HTTP: Final = _ascii("HTTP")
_SIP: Final = _ascii("SIP/")
_RTSP: Final = _ascii("RTSP")
_HOST: Final = _ascii("host")
_METHODS: Final = np.frombuffer(b"GET POSTHEADPUT DELEOPTIPATCCONNTRACPROPREPONOTIM-SESUBSUNSU", ">u4").astype(np.int64)
"""First four bytes of the methods recognised in a request line that goes on in a later segment."""

_REQUEST_BIT: Final = int(Layer.HTTP_REQUEST)
_RESPONSE_BIT: Final = int(Layer.HTTP_RESPONSE)


@called_part
def http(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The protocol of the message that starts at `pos`: HTTP, SIP or RTSP, whose start lines differ in the version."""
    if end - pos < 4:
        return 0
    start = u32(data, pos)
    if start == _HTTP:
        return _response(data, pos, end, wire_end, row)
    if start in (_SIP, _RTSP):  # responses
        blank = 7 if start == _SIP else 8  # after SIP/2.0, RTSP/1.0
        if end - pos <= blank or u8(data, pos + blank) != _SPACE:
            return 0
        return protocols.SIP if start == _SIP else protocols.RTSP
    return _request(data, pos, end, wire_end, row, texts, seed)


@called_part
def ssdp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """HTTP over UDP: discovery by the Simple Service Discovery Protocol."""
    return protocols.SSDP if http(data, pos, end, wire_end, row, texts, seed) == protocols.HTTP else 0


@called_part
def sip(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """SIP over UDP, which carries no HTTP."""
    if end - pos < 4 or u32(data, pos) == _HTTP:
        return 0
    if u32(data, pos) != _SIP:
        _, _, line_end, target_end = _request_line(data, pos, end)
        if line_end - target_end <= 4 or u32(data, target_end + 1) != _SIP:
            return 0
    return protocols.SIP


@kernel_part
def _response(data: Bytes, pos: int, end: int, wire_end: int, row: Row) -> int:
    """A status line: HTTP/1.1 200 OK."""
    if end - pos < 12:
        if end < wire_end:
            row.truncated = 1
            return protocols.HTTP
        return 0
    status = 0
    for i in range(9, 12):
        digit = u8(data, pos + i) - 0x30
        if not 0 <= digit <= 9:
            return 0
        status = 10 * status + digit
    if u8(data, pos + 4) != _SLASH or u8(data, pos + 8) != _SPACE:
        return 0
    row.layers |= _RESPONSE_BIT
    row.http_status = status
    return protocols.HTTP


@called_part
def _request_line(data: Bytes, pos: int, end: int) -> tuple[int, int, int, int]:
    """(where the method ends, where the target starts, where the line ends, where the target ends), all `end` if none.

    The line ends at its LF, or at `end`; so does a target without a blank after it.
    """
    method_end = pos
    limit = min(end, pos + _MAX_METHOD_BYTES)
    while method_end < limit and _is_method_byte(u8(data, method_end)):
        method_end += 1
    if method_end == limit or method_end - pos < 3 or u8(data, method_end) != _SPACE:
        return end, end, end, end
    target = method_end + 1
    line_end = _find(data, target, end, _LF)
    return method_end, target, line_end, _find(data, target, line_end, _SPACE)


@kernel_part
def _is_method_byte(byte: int) -> bool:
    return 0x41 <= byte <= 0x5A or byte in (_HYPHEN, _UNDERSCORE)


@called_part
def _request(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A request line, GET /path HTTP/1.1, and the Host header after it."""
    method_end, target, line_end, target_end = _request_line(data, pos, end)
    if method_end == end:
        return 0
    if line_end - target_end > 4:
        version = u32(data, target_end + 1)
        if version != _HTTP:
            return protocols.SIP if version == _SIP else protocols.RTSP if version == _RTSP else 0
    elif line_end < end or not _is_known_method(u32(data, pos)):
        return 0
    row.layers |= _REQUEST_BIT
    row.http_method = intern_slice(texts, data, pos, method_end, False, seed)
    row.http_path = intern_slice(texts, data, target, target_end, False, seed)
    at, stop, complete = _host(data, line_end + 1, end)
    row.http_host = intern_slice(texts, data, at, stop, True, seed)
    if not complete and end < wire_end:
        row.truncated = 1
    return protocols.HTTP


@kernel_part
def _is_known_method(start: int) -> bool:
    for method in _METHODS:
        if start == method:
            return True
    return False


@kernel_part
def _host(data: Bytes, pos: int, end: int) -> tuple[int, int, bool]:
    """(start, stop, True) of the Host header's value among the lines from `pos` on; (0, 0, were all of them there?)."""
    while pos < end:
        line_end = _find(data, pos, end, _LF)
        if line_end == end:
            return 0, 0, False
        if line_end - pos <= 1:  # the empty line that ends the headers
            return 0, 0, True
        if line_end - pos > 5 and u8(data, pos + 4) == _COLON and u32(data, pos) | 0x2020_2020 == _HOST:
            pos += 5
            while pos < line_end and u8(data, pos) in (_SPACE, _TAB):
                pos += 1
            while line_end > pos and u8(data, line_end - 1) in (_SPACE, _TAB, _CR):
                line_end -= 1
            return pos, line_end, True
        pos = line_end + 1
    return 0, 0, False


@kernel_part
def _find(data: Bytes, pos: int, end: int, byte: int) -> int:
    """Position of the first such byte in data[pos:end]; `end` if there is none."""
    ones = np.uint64(0x0101010101010101)
    pattern = np.uint64(byte) * ones
    while end - pos >= 8:  # a word has a zero byte where this leaves a bit (Bit Twiddling Hacks, "haszero")
        difference = word(data, pos) ^ pattern
        if (difference - ones) & ~difference & np.uint64(0x8080808080808080):
            break
        pos += 8
    while pos < end and u8(data, pos) != byte:
        pos += 1
    return pos
