"""JA3 and JA4: which program speaks TLS, told from what its ClientHello offers.

JA3: github.com/salesforce/ja3. JA4: github.com/FoxIO-LLC/ja4, of which only the TLS client fingerprint is free
(BSD 3-Clause), and only that is made here. `ClientHello` is one hello; dissect.client_hello finds them in packets.
Made on demand, never while packets stream in.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from aishark_panel.dissect.headers import number

__all__ = ["ClientHello", "parse_client_hello"]

_SERVER_NAME, _GROUPS, _POINT_FORMATS, _SIGNATURES, _ALPN, _VERSIONS = 0, 10, 11, 13, 16, 43
_JA4_VERSIONS: Final = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
}
_NOTHING: Final = "0" * 12

Transport = Literal["t", "q"]
"""How JA4 names what carries the hello: TCP, QUIC"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHello:
    """What a ClientHello offers (RFC 8446 section 4.1.2), in its order, GREASE (RFC 8701) included."""

    transport: Transport
    version: int
    """legacy_version"""
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...]
    point_formats: tuple[int, ...]
    signatures: tuple[int, ...]
    versions: tuple[int, ...]
    """supported_versions"""
    alpn: bytes
    """first protocol offered"""

    def ja3(self) -> str:
        """MD5 of version, ciphers, extensions, groups and point formats in decimal, 32 hexadecimal digits."""
        lists = (self.ciphers, self.extensions, self.groups, self.point_formats)
        parts = ("-".join(str(value) for value in _without_grease(values)) for values in lists)
        text = ",".join([str(self.version), *parts])
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    def ja4(self) -> str:
        """JA4, 36 characters: transport, version, counts and ALPN; hash of the ciphers; hash of the extensions."""
        version = max(_without_grease(self.versions), default=self.version)
        ciphers, extensions = _without_grease(self.ciphers), _without_grease(self.extensions)
        head = "".join(
            [
                self.transport,
                _JA4_VERSIONS.get(version, "00"),
                "d" if _SERVER_NAME in extensions else "i",
                f"{min(len(ciphers), 99):02}{min(len(extensions), 99):02}",
                _ends(self.alpn),
            ]
        )
        hashed = _hex(sorted(each for each in extensions if each not in (_SERVER_NAME, _ALPN)))
        signatures = _hex(_without_grease(self.signatures))
        return f"{head}_{_hash(_hex(sorted(ciphers)))}_{_hash(f'{hashed}_{signatures}' if signatures else hashed)}"


def parse_client_hello(message: bytes, transport: Transport) -> ClientHello | None:
    """The hello of a whole handshake message (type, length, body); None where it is none, or contradicts itself."""
    body = message[4:]
    if message[:1] != b"\x01" or len(body) != number(message, 1, 3):
        return None
    at = 34
    session, at = _vector(body, at, 1)
    ciphers, at = _vector(body, at, 2)
    compressions, at = _vector(body, at, 1)
    if session is None or ciphers is None or compressions is None:
        return None
    known: dict[int, bytes] = {}
    order: list[int] = []
    listed, _ = _vector(body, at, 2)
    if listed is None and at < len(body):
        return None
    for kind, content in _extensions(listed or b""):
        order.append(kind)
        known.setdefault(kind, content)
    return ClientHello(
        transport=transport,
        version=number(body, 0),
        ciphers=_numbers(ciphers),
        extensions=tuple(order),
        groups=_numbers(known.get(_GROUPS, b"")[2:]),
        point_formats=tuple(known.get(_POINT_FORMATS, b"")[1:]),
        signatures=_numbers(known.get(_SIGNATURES, b"")[2:]),
        versions=_numbers(known.get(_VERSIONS, b"")[1:]),
        alpn=_vector(known.get(_ALPN, b""), 2, 1)[0] or b"",
    )


def _extensions(listed: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(listed):
        content, following = _vector(listed, at + 2, 2)
        if content is None:
            return
        yield number(listed, at), content
        at = following


def _vector(data: bytes, at: int, length_bytes: int) -> tuple[bytes | None, int]:
    """A vector with its length in front (RFC 8446 section 3.4), and where it ends; None where it is not all there."""
    start = at + length_bytes
    end = start + number(data, at, length_bytes)
    return (data[start:end], end) if end <= len(data) and start <= len(data) else (None, at)


def _numbers(data: bytes) -> tuple[int, ...]:
    return tuple(number(data, at) for at in range(0, len(data) - 1, 2))


def _without_grease(values: Iterable[int]) -> list[int]:
    return [value for value in values if not (value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF)]


def _ends(alpn: bytes) -> str:
    """First and last character of a protocol name; 9 for one that is not ASCII, as JA4's own programs have it."""
    return "".join(chr(byte) if byte < 0x80 else "9" for byte in alpn[:1] + alpn[-1:]) or "00"


def _hex(values: Sequence[int]) -> str:
    return ",".join(f"{value:04x}" for value in values)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else _NOTHING
