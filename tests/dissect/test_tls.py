"""TLS records and hellos, built here byte by byte (RFC 8446 section 4.1)."""

import struct

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from tests.dissect.rows import row_of

SUPPORTED_VERSIONS = 43


def extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">HH", kind, len(content)) + content


def server_name(name: bytes) -> bytes:
    return extension(0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name)


def hello(kind: int, middle: bytes, extensions: bytes, version: int = 0x0303) -> bytes:
    body = struct.pack(">H", version) + bytes(32) + b"\x20" + bytes(32) + middle
    if extensions:
        body += struct.pack(">H", len(extensions)) + extensions
    return struct.pack(">I", kind << 24 | len(body)) + body


def client_hello(extensions: bytes) -> bytes:
    return hello(1, b"\x00\x04\x13\x01\x13\x02" + b"\x01\x00", extensions)


def server_hello(extensions: bytes, version: int = 0x0303) -> bytes:
    return hello(2, b"\x13\x01\x00", extensions, version)


def record(content: bytes, kind: int = 22, version: int = 0x0303) -> bytes:
    return struct.pack(">BHH", kind, version, len(content)) + content


def frame(payload: bytes) -> bytes:
    return bytes(Ether() / IP() / TCP(sport=40000, dport=8888) / payload)


HELLO = client_hello(extension(10, bytes(8)) + server_name(b"WWW.Example.com") + extension(16, bytes(5)))


def test_the_server_name_of_a_client_hello_is_found() -> None:
    values = row_of(frame(record(HELLO, version=0x0301)))
    assert (values["tls_sni"], values["tls_version"], values["protocol"]) == ("www.example.com", 0x0301, "TLSv1")
    assert not values["truncated"]


def test_a_client_hello_may_follow_a_change_cipher_spec() -> None:
    assert row_of(frame(record(b"\x01", kind=20) + record(HELLO)))["tls_sni"] == "www.example.com"


@pytest.mark.parametrize("extensions", [b"", extension(10, bytes(8))])
def test_a_client_hello_without_server_name_has_none(extensions: bytes) -> None:
    values = row_of(frame(record(client_hello(extensions))))
    assert (values["tls_sni"], values["protocol"], values["truncated"]) == (None, "TLSv1.2", False)


@pytest.mark.parametrize(
    ("extensions", "version", "name"),
    [
        (extension(SUPPORTED_VERSIONS, b"\x03\x04"), 0x0303, "TLSv1.3"),
        (b"", 0x0303, "TLSv1.2"),
        (b"", 0x0302, "TLSv1.1"),
        (b"", 0x0301, "TLSv1"),
        (b"", 0x0300, "SSLv3"),
    ],
)
def test_a_server_hello_names_the_version(extensions: bytes, version: int, name: str) -> None:
    assert row_of(frame(record(server_hello(extensions, version))))["protocol"] == name


@pytest.mark.parametrize(("version", "name"), [(0x0301, "TLSv1"), (0x0302, "TLSv1.1"), (0x0303, "TLSv1.2")])
def test_other_records_name_their_own_version(version: int, name: str) -> None:
    values = row_of(frame(record(bytes(50), kind=23, version=version)))
    assert (values["protocol"], values["tls_version"]) == (name, version)


@pytest.mark.parametrize(
    "payload", [b"\x16\x03\x05\x00\x10", b"\x16\x02\x00\x00\x10", b"\x16\x03\x03\xff\xff", b"\x16\x03\x03\0\0"]
)
def test_what_only_starts_like_a_record_is_none(payload: bytes) -> None:
    values = row_of(frame(payload + bytes(20)))
    assert (values["protocol"], values["tls_version"]) == ("TCP", None)


@pytest.mark.parametrize("length", range(6, len(record(HELLO)) - 9, 7))
def test_a_hello_cut_by_the_capture_is_truncated_and_one_that_goes_on_in_the_next_segment_is_not(length: int) -> None:
    whole = frame(record(HELLO))
    start = whole.index(HELLO) - 5
    name_end = whole.index(b"WWW.Example.com") + 15
    found = "www.example.com" if start + length >= name_end else None
    cut = row_of(whole[: start + length], orig_len=len(whole))
    assert (cut["tls_sni"], cut["malformed"]) == (found, False)
    if length >= 11:
        assert cut["truncated"]
    segment = row_of(frame(record(HELLO)[:length]))
    assert (segment["tls_sni"], segment["malformed"], segment["truncated"]) == (found, False, False)


def test_a_name_longer_than_its_extension_is_cut_there() -> None:
    broken = server_name(b"abcdef").replace(b"\x00\x06abcdef", b"\xff\xffabcdef")
    values = row_of(frame(record(client_hello(broken + extension(16, b"secret")))))
    assert values["tls_sni"] == "abcdef"
