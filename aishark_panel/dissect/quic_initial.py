"""QUIC Initial packets, decrypted: the keys follow from the packet itself, so that anybody on the way can read them.

RFC 9001 section 5 (version 1), RFC 9369 (version 2), draft-ietf-quic-tls-23 to -34. Only what a client sends is read.
Needs the package `cryptography`, which the extra `quic` installs.
"""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Final, NamedTuple

from aishark_panel.dissect.headers import number
from aishark_panel.errors import ConfigError

__all__ = [
    "Initial",
    "Keys",
    "Opened",
    "client_keys",
    "crypto_frames",
    "frame_kinds",
    "initials",
    "open_initial",
    "varint",
]

_VERSION_2: Final = 0x6B3343CF
_SALT_1: Final = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_SALT_2: Final = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
_SALT_DRAFT_29: Final = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")
_SALT_DRAFT_23: Final = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6
_TAG_BYTES: Final = 16
_MAX_CONNECTION_ID_BYTES: Final = 20
_MAX_COALESCED: Final = 8
"""Most Initial packets taken from one datagram: opening one costs as much as reading many other packets."""


class Keys(NamedTuple):
    """What protects the Initial packets of a client (RFC 9001 section 5.1)."""

    key: bytes
    iv: bytes
    header_key: bytes


class Initial(NamedTuple):
    """One protected Initial packet: `packet[:number_at]` is its header up to the packet number."""

    version: int
    destination_id: bytes
    packet: bytes
    number_at: int
    start: int
    """of the packet in its datagram"""


class Opened(NamedTuple):
    """What an Initial packet holds."""

    number: int
    """packet number, as many of its low bytes as were sent"""
    frames: bytes


def initials(datagram: bytes) -> Iterator[Initial]:
    """The Initial packets of a datagram that are whole; several may be coalesced (RFC 9000 section 12.2)."""
    at = found = 0
    while at + 7 <= len(datagram) and datagram[at] & 0xC0 == 0xC0 and found < _MAX_COALESCED:
        version = number(datagram, at + 1, 4)
        kind = datagram[at] >> 4 & 3
        id_bytes = datagram[at + 5]
        destination_id = datagram[at + 6 : at + 6 + id_bytes]
        pos = at + 6 + id_bytes
        pos += 1 + number(datagram, pos, 1)
        is_initial = kind == (1 if version == _VERSION_2 else 0)
        if _salt(version) is None or id_bytes > _MAX_CONNECTION_ID_BYTES:
            return
        if is_initial:
            token_bytes, pos = varint(datagram, pos)
            pos += token_bytes
        length, pos = varint(datagram, pos)
        if pos + length > len(datagram) or length < 4 + _TAG_BYTES:
            return
        if is_initial:
            found += 1
            yield Initial(version, destination_id, datagram[at : pos + length], pos - at, at)
        at = pos + length


def client_keys(version: int, destination_id: bytes) -> Keys:
    """Keys of the client whose first Initial packet went to that connection id."""
    salt = _salt(version)
    if salt is None:
        raise ValueError(f"QUIC version {version:#x} has no salt here")
    client = _expand(hmac.digest(salt, destination_id, "sha256"), "client in", 32)
    prefix = "quicv2" if version == _VERSION_2 else "quic"
    return Keys(
        _expand(client, f"{prefix} key", 16), _expand(client, f"{prefix} iv", 12), _expand(client, f"{prefix} hp", 16)
    )


def open_initial(initial: Initial, keys: Keys) -> Opened | None:
    """What an Initial packet holds; None where other keys protect it. ConfigError without `cryptography`."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigError(
            "QUIC encrypts its hellos; to read them install cryptography: pip install 'aishark-panel[quic]'"
        ) from error
    packet, at = initial.packet, initial.number_at
    encryptor = Cipher(algorithms.AES(keys.header_key), modes.ECB()).encryptor()  # RFC 9001 section 5.4.3
    mask = encryptor.update(packet[at + 4 : at + 20])
    first = packet[0] ^ mask[0] & 0x0F
    size = (first & 3) + 1
    packet_number = bytes(a ^ b for a, b in zip(packet[at : at + size], mask[1:], strict=False))
    header = bytes([first]) + packet[1:at] + packet_number
    nonce = (int.from_bytes(keys.iv, "big") ^ int.from_bytes(packet_number, "big")).to_bytes(12, "big")
    try:
        frames = AESGCM(keys.key).decrypt(nonce, packet[at + size :], header)
    except InvalidTag:
        return None
    return Opened(int.from_bytes(packet_number, "big"), frames)


def crypto_frames(frames: bytes) -> Iterator[tuple[int, bytes]]:
    """(offset, data) of each CRYPTO frame (RFC 9000 section 19.6) in the frames of an Initial packet."""
    for kind, at, end in _frames(frames):
        if kind == _CRYPTO:
            offset, at = varint(frames, at)
            _, at = varint(frames, at)
            yield offset, frames[at:end]


def frame_kinds(frames: bytes) -> Iterator[int]:
    """Type of each frame (RFC 9000 section 19) in an Initial packet; PADDING in a row counts once."""
    before = -1
    for kind, _, _ in _frames(frames):
        if kind != _PADDING or before != _PADDING:
            yield kind
        before = kind


def _frames(frames: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, place after the type, end) of each frame; it ends after one whose length is not known here."""
    at = 0
    while at < len(frames):
        kind, start = frames[at], at + 1
        at = start
        if kind in (_ACK, _ACK_ECN):  # largest, delay, ranges, first range; gap and length a range; counts for ECN
            for _ in range(2):
                _, at = varint(frames, at)
            ranges, at = varint(frames, at)
            for _ in range(min(1 + 2 * ranges + (3 if kind == _ACK_ECN else 0), len(frames))):
                _, at = varint(frames, at)
        elif kind == _CRYPTO:
            _, at = varint(frames, at)
            size, at = varint(frames, at)
            at += size
        elif kind not in (_PADDING, _PING):
            at = len(frames)
        yield kind, start, min(at, len(frames))


def _salt(version: int) -> bytes | None:
    if version == 1 or 0xFF000021 <= version <= 0xFF000022:
        return _SALT_1
    if version == _VERSION_2:
        return _SALT_2
    if 0xFF00001D <= version <= 0xFF000020:
        return _SALT_DRAFT_29
    return _SALT_DRAFT_23 if 0xFF000017 <= version <= 0xFF00001C else None


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Variable-length integer (RFC 9000 section 16) and where it ends."""
    size = 1 << (data[at] >> 6) if at < len(data) else 1
    return number(data, at, size) & (1 << (8 * size - 2)) - 1, at + size


def _expand(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1) for at most 32 bytes."""
    name = f"tls13 {label}".encode()
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return hmac.new(secret, info + b"\x01", hashlib.sha256).digest()[:length]
