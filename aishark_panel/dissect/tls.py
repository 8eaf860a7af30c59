"""TLS records (RFC 8446, RFC 5246) and the hello messages that open a connection.

The protocol column names a version only where this very packet proves it: a TLS 1.3 connection shows 1.2 in its
records, and a ClientHello offers versions but does not choose.
"""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.texts import intern_slice
from aishark_panel.jit import kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["tls"]

_RECORD_HEADER_BYTES: Final = 5
_MAX_RECORD_BYTES: Final = 16_384 + 2_048
_HELLO_START_BYTES: Final = 6
"""type, length and version of a hello; an encrypted message seldom has a hello's type and the major version 3"""
_CHANGE_CIPHER_SPEC, _HANDSHAKE, _LAST_CONTENT_TYPE = 20, 22, 24
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_SERVER_NAME, _SUPPORTED_VERSIONS = 0, 43
_TLS_1_0, _TLS_1_1, _TLS_1_2, _TLS_1_3 = 0x0301, 0x0302, 0x0303, 0x0304
_SSL_3: Final = 0x0300
_ABSENT: Final = -1

_TLS_BIT: Final = int(Layer.TLS)
_HANDSHAKE_BIT: Final = int(Layer.TLS_HANDSHAKE)


@kernel_part
def tls(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> bool:
    """The records at `pos`, whose first byte is a content type; False where these are no TLS records."""
    if end - pos < _RECORD_HEADER_BYTES:
        return False
    content_type, version, length = u8(data, pos), u16(data, pos + 1), u16(data, pos + 3)
    if content_type > _LAST_CONTENT_TYPE or not _SSL_3 <= version <= _TLS_1_3 or not 0 < length <= _MAX_RECORD_BYTES:
        return False
    row.layers |= _TLS_BIT
    row.tls_version = version
    row.protocol = protocols.TLS if version >= _TLS_1_2 else _named(version)
    if content_type == _CHANGE_CIPHER_SPEC:  # which a client sends before its second hello (RFC 8446 appendix D.4)
        pos += _RECORD_HEADER_BYTES + length
        if end - pos <= _RECORD_HEADER_BYTES:
            return True
        content_type, length = u8(data, pos), u16(data, pos + 3)
    pos += _RECORD_HEADER_BYTES
    if content_type == _HANDSHAKE and end - pos >= _HELLO_START_BYTES and u8(data, pos + 4) == 3:
        message = u8(data, pos)
        if message in (_CLIENT_HELLO, _SERVER_HELLO):
            row.layers |= _HANDSHAKE_BIT
            row.tls_handshake = message
            wire_end = min(wire_end, pos + length)
            _hello(data, pos, min(end, wire_end), wire_end, message == _CLIENT_HELLO, row, texts, seed)
    return True


@kernel_part
def _named(version: int) -> int:
    """Protocol name of a negotiated version."""
    if version == _TLS_1_2:
        return protocols.TLSV1_2
    if version == _TLS_1_3:
        return protocols.TLSV1_3
    if version == _TLS_1_1:
        return protocols.TLSV1_1
    if version == _TLS_1_0:
        return protocols.TLSV1
    return protocols.SSL if version == _SSL_3 else protocols.TLS


@kernel_part
def _hello(
    data: Bytes,
    pos: int,
    end: int,
    wire_end: int,
    from_client: bool,
    row: Row,
    texts: Texts,
    seed: int,
) -> None:
    """The server name a client asks for, or the version a server chose."""
    at = _extensions(data, pos, end, from_client)
    if at == _ABSENT:
        complete = False
    elif from_client:
        row.protocol = protocols.TLS
        at, stop, complete = _extension(data, at, end, _SERVER_NAME)
        # server_name_list length, name_type (0: host name), length, name (RFC 6066 section 3)
        if at != _ABSENT and stop - at >= 5 and u8(data, at + 2) == 0:
            name_end = min(stop, at + 5 + u16(data, at + 3))
            row.tls_sni = intern_slice(texts, data, at + 5, name_end, True, seed)
    else:
        row.protocol = _named(u16(data, pos + 4))
        at, stop, complete = _extension(data, at, end, _SUPPORTED_VERSIONS)
        if at != _ABSENT and stop - at == 2:
            row.protocol = _named(u16(data, at))
    if not complete and end < wire_end:
        row.truncated = 1


@kernel_part
def _extensions(data: Bytes, pos: int, end: int, from_client: bool) -> int:
    """Where a hello's list of extensions starts; absent where the bytes run out before."""
    at = pos + 38  # type 1, length 3, version 2, random 32
    if at >= end:
        return _ABSENT
    at += 1 + u8(data, at)
    if not from_client:
        at += 3  # one cipher suite, one compression method
    elif end - at < 2:
        return _ABSENT
    else:
        at += 2 + u16(data, at)
        if at >= end:
            return _ABSENT
        at += 1 + u8(data, at)
    return at if at <= end else _ABSENT


@kernel_part
def _extension(data: Bytes, at: int, end: int, wanted: int) -> tuple[int, int, bool]:
    """(start, stop, True) of the wanted extension's content; (absent, 0, was the whole list there?)."""
    if end - at < 2:
        return _ABSENT, 0, at == end  # before TLS 1.2 the list may be missing altogether
    list_end = at + 2 + u16(data, at)
    at += 2
    stop = min(list_end, end)
    while stop - at >= 4:
        content = at + 4
        at = content + u16(data, at + 2)
        if u16(data, content - 4) == wanted:
            return (content, at, True) if at <= stop else (_ABSENT, 0, False)
    return _ABSENT, 0, list_end <= end
