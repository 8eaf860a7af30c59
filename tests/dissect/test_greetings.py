"""Banners: the first lines of servers."""

import pytest

from tests.dissect.rows import row_of
from tests.dissect.samples import over_tcp

LONG = b"SSH-2.0-" + b"x" * 400


@pytest.mark.parametrize(
    ("line", "port", "name"),
    [
        (b"SSH-2.0-OpenSSH_9.9p1 Debian-3", 22, "SSHv2"),
        (b"SSH-1.99-old", 2222, "SSHv2"),
        (b"SSH-1.5-older", 22, "SSHv1"),
        (b"220 files.example FTP ready", 2121, "FTP"),
        (b"220 welcome", 21, "FTP"),
        (b"220 welcome", 25, "SMTP"),
        (b"220-mail.example ESMTP", 2525, "SMTP"),
        (b"+OK POP3 ready <1@host>", 110, "POP"),
        (b"* OK [CAPABILITY IMAP4rev1] ready", 143, "IMAP"),
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"", b"\r\nmore\r\n"])
def test_the_first_line_is_the_banner(line: bytes, port: int, name: str, end: bytes) -> None:
    values = row_of(over_tcp(line + end, port, from_server=True))
    assert (values["banner"], values["protocol"]) == (line.decode(), name)


def test_a_long_banner_is_cut() -> None:
    assert row_of(over_tcp(LONG, 22))["banner"] == LONG[:255].decode()


def test_what_is_no_greeting_has_no_banner() -> None:
    for payload, port in ((b"220 3.5", 9999), (b"USER a\r\n", 21), (b"\0\0\0\x0c\x0a\x14", 22)):
        assert row_of(over_tcp(payload, port))["banner"] is None
