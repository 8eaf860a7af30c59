"""TLS records (RFC 8446, RFC 5246) and the hello messages that open a connection, SSL 2.0's too.

The protocol column names the version that a ServerHello chooses, and otherwise the record's: a TLS 1.3 connection shows
1.2 in its records, and a ClientHello's record may show 1.0. What a ServerHello chose for packets after it,
`dissect.spoken` remembers.
"""

from typing import Final

from aishark_panel.dissect.load import Bytes, u8, u16, u24
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.texts import intern_slice
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Texts

__all__ = ["client_hello", "dtls", "ssl2", "tls", "version_name"]

_RECORD_HEADER_BYTES: Final = 5
_MAX_RECORD_BYTES: Final = 16_384 + 2_048
_MAX_RECORDS: Final = 4
"""How many are looked through for a handshake message: before one come a change of cipher, or alerts."""
_HELLO_START_BYTES: Final = 6
"""type, length and version of a hello; an encrypted message seldom has a hello's type and the major version 3"""
_HANDSHAKE_HEADER_BYTES: Final = 4
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA, _LAST_CONTENT_TYPE = 20, 21, 22, 23, 24
_HELLO_REQUEST, _CLIENT_HELLO, _SERVER_HELLO, _FINISHED = 0, 1, 2, 20
_PLAIN_MESSAGES: Final = sum(1 << kind for kind in (1, 2, 3, 4, 6, 11, 12, 13, 14, 15, 16, 21, 22, 23))
"""Bit set of the handshake messages that are ever sent unencrypted (IANA, TLS HandshakeType)."""
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
_SSL_2, _SSL_3, _TLS_1_0, _TLS_1_1, _TLS_1_2, _TLS_1_3 = 0x0002, 0x0300, 0x0301, 0x0302, 0x0303, 0x0304
_DTLS_HEADER_BYTES, _DTLS_1_0, _DTLS_1_2 = 13, 0xFEFF, 0xFEFD
_ABSENT: Final = -1

_TLS_BIT: Final = int(Layer.TLS)
_HANDSHAKE_BIT: Final = int(Layer.TLS_HANDSHAKE)


@kernel_part
def tls(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The protocol of the records at `pos`, whose first byte is a content type; 0 where these are no TLS records."""
    if end - pos < _RECORD_HEADER_BYTES:
        return 0
    content_type, version, length = u8(data, pos), u16(data, pos + 1), u16(data, pos + 3)
    if not _is_record(content_type, version, length):
        return 0
    row.layers |= _TLS_BIT
    row.tls_version = version
    protocol = version_name(version)
    if content_type == _APPLICATION_DATA:
        return protocol
    for _ in range(_MAX_RECORDS):
        pos += _RECORD_HEADER_BYTES
        if content_type == _HANDSHAKE:
            chosen = _handshake(data, pos, end, min(wire_end, pos + length), row, texts, seed)
            return chosen or protocol
        pos += length
        if content_type == _APPLICATION_DATA or end - pos <= _RECORD_HEADER_BYTES:
            break
        content_type, length = u8(data, pos), u16(data, pos + 3)
        if not _is_record(content_type, u16(data, pos + 1), length):
            break
    return protocol


@kernel_part
def _is_record(content_type: int, version: int, length: int) -> bool:
    return (
        _CHANGE_CIPHER_SPEC <= content_type <= _LAST_CONTENT_TYPE
        and _SSL_3 <= version <= _TLS_1_3
        and 0 < length <= _MAX_RECORD_BYTES
    )


@kernel_part
def version_name(version: int) -> int:
    """Protocol of a record's or a negotiated version; TLS for one that is not known."""
    if version == _TLS_1_2:
        return protocols.TLSV1_2
    if version == _TLS_1_3:
        return protocols.TLSV1_3
    if version == _TLS_1_1:
        return protocols.TLSV1_1
    if version == _TLS_1_0:
        return protocols.TLSV1
    return protocols.SSLV3 if version == _SSL_3 else protocols.TLS


@called_part
def _handshake(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The first message of a handshake record that ends at `wire_end`; the protocol of the version it chooses, or 0."""
    end = min(end, wire_end)
    if end - pos >= _HELLO_START_BYTES and u8(data, pos + 4) == 3:
        if u8(data, pos) == _CLIENT_HELLO:
            client_hello(data, pos, end, wire_end, row, texts, seed)
            return 0
        if u8(data, pos) == _SERVER_HELLO:
            return _server_hello(data, pos, end, wire_end, row, texts, seed)
    if end - pos < _HANDSHAKE_HEADER_BYTES:
        return 0
    message, length = u8(data, pos), u24(data, pos + 1)
    # An encrypted message starts with any byte; but then the length after it seldom fits into the record.
    if message == _HELLO_REQUEST:
        plain = length == 0 and wire_end - pos == _HANDSHAKE_HEADER_BYTES
    else:
        plain = message < 32 and _PLAIN_MESSAGES >> message & 1 == 1
        plain = plain and length <= wire_end - pos - _HANDSHAKE_HEADER_BYTES
    if plain:
        row.layers |= _HANDSHAKE_BIT
        row.tls_handshake = message
    return 0


@called_part
def client_hello(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> bool:
    """The ClientHello message at `pos`, captured up to `end`, of a record that ends at `wire_end`.

    Fills the handshake type, the server name asked for and the first application protocol offered; was all of it there?
    """
    row.layers |= _HANDSHAKE_BIT
    row.tls_handshake = _CLIENT_HELLO
    at = _extensions(data, pos, end, True)
    complete = at != _ABSENT and _read_extensions(data, at, end, row, texts, seed) != _ABSENT
    if not complete and end < wire_end:
        row.truncated = 1
    return complete


@kernel_part
def _server_hello(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The ServerHello at `pos`: its application protocol, and the protocol of the version it chooses."""
    row.layers |= _HANDSHAKE_BIT
    row.tls_handshake = _SERVER_HELLO
    version = u16(data, pos + 4)
    at = _extensions(data, pos, end, False)
    chosen = _ABSENT
    if at != _ABSENT:
        chosen = _read_extensions(data, at, end, row, texts, seed)
    if chosen == _ABSENT and end < wire_end:
        row.truncated = 1
    return version_name(chosen if chosen > 0 else version)


@called_part
def ssl2(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """An SSL 2.0 ClientHello (RFC 6101 appendix E), whose record has a header of two bytes: 0x80, length."""
    if end - pos < 11 or u8(data, pos + 2) != _CLIENT_HELLO:
        return 0
    version, ciphers, length = u16(data, pos + 3), u16(data, pos + 5), u16(data, pos) & 0x7FFF
    if (version != _SSL_2 and not _SSL_3 <= version <= _TLS_1_2) or ciphers % 3:
        return 0
    if length != 9 + ciphers + u16(data, pos + 7) + u16(data, pos + 9):  # session id, challenge
        return 0
    row.layers |= _TLS_BIT | _HANDSHAKE_BIT
    row.tls_version = version
    row.tls_handshake = _CLIENT_HELLO
    return protocols.SSLV2


@called_part
def dtls(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A record of DTLS (RFC 6347 section 4.1): versions count down from 0xFEFF, and 0x0100 was OpenSSL's own."""
    if end - pos < _DTLS_HEADER_BYTES:
        return 0
    content_type, version, length = u8(data, pos), u16(data, pos + 1), u16(data, pos + 11)
    if not _CHANGE_CIPHER_SPEC <= content_type <= _LAST_CONTENT_TYPE or not 0 < length <= _MAX_RECORD_BYTES:
        return 0
    if version == _DTLS_1_2:
        return protocols.DTLSV1_2
    return protocols.DTLSV1_0 if version == _DTLS_1_0 else protocols.DTLS_OPENSSL


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


@called_part
def _read_extensions(data: Bytes, at: int, end: int, row: Row, texts: Texts, seed: int) -> int:
    """Read a hello's extensions at `at`; the version a server's choose, 0 for none, absent where some are missing.

    Of repeated ones the first counts, so that a packet has no more texts than texts.has_room allows for.
    """
    if end - at < 2:
        return 0 if at == end else _ABSENT  # before TLS 1.2 the list may be missing altogether
    from_client = row.tls_handshake == _CLIENT_HELLO
    list_end = at + 2 + u16(data, at)
    at += 2
    stop = min(list_end, end)
    version = 0
    while stop - at >= 4:
        kind, content = u16(data, at), at + 4
        at = content + u16(data, at + 2)
        if at > stop:
            return _ABSENT
        size = at - content
        if kind == _SERVER_NAME and from_client and row.tls_sni == 0:
            # server_name_list length, name_type (0: host name), length, name (RFC 6066 section 3)
            if size >= 5 and u8(data, content + 2) == 0:
                name_end = min(at, content + 5 + u16(data, content + 3))
                row.tls_sni = intern_slice(texts, data, content + 5, name_end, True, seed)
        elif (
            kind == _ALPN and row.tls_alpn == 0
        ):  # list length, then a length and a name for each (RFC 7301 section 3.1)
            if size >= 3:
                name_end = min(at, content + 3 + u8(data, content + 2))
                row.tls_alpn = intern_slice(texts, data, content + 3, name_end, False, seed)
        elif kind == _SUPPORTED_VERSIONS and not from_client and size == 2:
            version = u16(data, content)
    return version if list_end <= end else _ABSENT
