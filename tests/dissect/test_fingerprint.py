"""JA3 and JA4 of hellos built here; dissect/test_client_hello.py compares whole captures with the answers of others."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.dissect.fingerprint import ClientHello, parse_client_hello
from tests.dissect.test_tls import extension, hello, server_name

GREASE = 0x2A2A


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def counted(content: bytes, size: int = 2) -> bytes:
    return len(content).to_bytes(size, "big") + content


def built(ciphers: tuple[int, ...], extensions: bytes) -> ClientHello:
    found = parse_client_hello(hello(1, counted(numbers(*ciphers)) + b"\x01\x00", extensions), "t")
    assert found is not None
    return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


EXTENSIONS = b"".join(
    [
        extension(GREASE, b""),
        server_name(b"a.example"),
        extension(10, counted(numbers(GREASE, 29, 23))),
        extension(11, counted(b"\x00", 1)),
        extension(16, counted(counted(b"h2", 1) + counted(b"http/1.1", 1))),
        extension(13, counted(numbers(0x0804, GREASE, 0x0403))),
        extension(43, counted(numbers(GREASE, 0x0303, 0x0304), 1)),
    ]
)


def test_ja4_leaves_grease_out_and_sorts_all_but_signatures() -> None:
    expected = f"t13d0206h2_{digest('1301,c02b')}_{digest('000a,000b,000d,002b_0804,0403')}"
    assert built((GREASE, 0xC02B, 0x1301), EXTENSIONS).ja4() == expected


def test_ja3_keeps_the_order() -> None:
    text = "771,49195-4865,0-10-11-16-13-43,29-23,0"
    assert built((GREASE, 0xC02B, 0x1301), EXTENSIONS).ja3() == hashlib.md5(text.encode()).hexdigest()


def test_a_hello_without_extensions() -> None:
    found = built((0x002F,), b"")
    assert found.ja4() == f"t12i010000_{digest('002f')}_{'0' * 12}"
    assert found.ja3() == hashlib.md5(b"771,47,,,").hexdigest()


def test_counts_stop_at_99() -> None:
    many = b"".join(extension(1000 + k, b"") for k in range(120))
    assert built(tuple(range(0x100, 0x100 + 150)), many).ja4().startswith("t12i999900_")


@pytest.mark.parametrize(("protocol", "ends"), [(b"h2", "h2"), (b"a", "aa"), (b"\xaa\xaa", "99"), (b"h\xe9", "h9")])
def test_alpn_is_shown_by_its_ends(protocol: bytes, ends: str) -> None:
    found = built((1,), extension(16, counted(counted(protocol, 1))))
    assert found.ja4()[8:10] == ends


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(noise: bytes) -> None:
    message = b"\x01" + len(noise).to_bytes(3, "big") + noise
    found = parse_client_hello(message, "q")
    assert found is None or len(found.ja4()) == 36
