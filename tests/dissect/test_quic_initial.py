"""QUIC Initial packets: the vectors of the RFCs, and packets sealed here."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.dissect.quic_initial import Keys, client_keys, crypto_frames, frame_kinds, initials, open_initial
from aishark_panel.errors import ConfigError

DESTINATION = bytes.fromhex("8394c8f03e515708")
VERSION_1, VERSION_2, DRAFT_29 = 1, 0x6B3343CF, 0xFF00001D

__all__ = ["DESTINATION", "VERSION_1", "VERSION_2", "crypto_frame", "sealed"]


def crypto_frame(offset: int, data: bytes) -> bytes:
    """A CRYPTO frame; numbers in the two-byte form."""
    return b"\x06" + (0x4000 | offset).to_bytes(2, "big") + (0x4000 | len(data)).to_bytes(2, "big") + data


def sealed(frames: bytes, version: int = VERSION_1, packet_number: int = 2, keys: Keys | None = None) -> bytes:
    """A client's Initial packet (RFC 9001 section 5), filled up with PADDING."""
    key, iv, header_key = keys or client_keys(version, DESTINATION)
    frames += bytes(max(0, 40 - len(frames)))
    first = 0xD1 if version == VERSION_2 else 0xC1
    length = (0x4000 | 2 + len(frames) + 16).to_bytes(2, "big")
    header = bytes([first]) + version.to_bytes(4, "big") + b"\x08" + DESTINATION + b"\x00" + b"\x00" + length
    number = packet_number.to_bytes(2, "big")
    nonce = (int.from_bytes(iv, "big") ^ packet_number).to_bytes(12, "big")
    body = AESGCM(key).encrypt(nonce, frames, header + number)
    mask = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update(body[2:18])
    masked = bytes(a ^ b for a, b in zip(number, mask[1:3], strict=True))
    return bytes([header[0] ^ mask[0] & 15]) + header[1:] + masked + body


@pytest.mark.parametrize(
    ("version", "key", "iv", "header_key"),
    [
        (VERSION_1, "1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"),
        (VERSION_2, "8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"),
    ],
    ids=["RFC 9001 appendix A.1", "RFC 9369 appendix A.1"],
)
def test_keys_are_those_of_the_rfc(version: int, key: str, iv: str, header_key: str) -> None:
    assert [part.hex() for part in client_keys(version, DESTINATION)] == [key, iv, header_key]


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2, DRAFT_29, 0xFF000017, 0xFF000022])
def test_coalesced_packets_are_all_opened(version: int) -> None:
    ack = b"\x03\x05\x00\x01\x00\x00\x01\x01\x02\x03"  # one more range, and the counts for ECN
    datagram = sealed(b"\x01" + ack + crypto_frame(0, b"abc"), version) + sealed(crypto_frame(3, b"def"), version, 3)
    opened = [open_initial(each, client_keys(version, each.destination_id)) for each in initials(datagram)]
    assert [each and (each.number, list(crypto_frames(each.frames))) for each in opened] == [
        (2, [(0, b"abc")]),
        (3, [(3, b"def")]),
    ]
    assert [each and list(frame_kinds(each.frames)) for each in opened] == [[1, 3, 6, 0], [6, 0]]


def test_other_keys_open_nothing() -> None:
    (initial,) = initials(sealed(b""))
    assert open_initial(initial, client_keys(1, b"another")) is None


def test_without_cryptography_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.exceptions", None)
    (initial,) = initials(sealed(b""))
    with pytest.raises(ConfigError, match=r"pip install 'aishark-panel\[quic\]'"):
        open_initial(initial, client_keys(1, DESTINATION))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_bytes_break_the_readers(noise: bytes, keep: int) -> None:
    for initial in initials(sealed(crypto_frame(0, b"x"))[:keep] + noise):
        assert open_initial(initial, client_keys(initial.version, initial.destination_id)) is None
    assert all(offset >= 0 for offset, _ in crypto_frames(noise))
