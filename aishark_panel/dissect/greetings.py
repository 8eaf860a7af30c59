"""Protocols that begin with a line of text: SSH (RFC 4253), FTP, SMTP, POP3 and IMAP; the line is the banner column."""

from aishark_panel.dissect.load import Bytes, u8
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.signatures import OWN
from aishark_panel.dissect.texts import intern_slice
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import MAX_TEXT_BYTES, Texts

__all__ = ["banner", "ready", "ssh"]

_LF, _CR = 10, 13


def _ascii(text: str) -> int:
    return int.from_bytes(text.encode(), "big")


_FTP, _SMTP = _ascii("ftp"), _ascii("smtp")


@called_part
def ssh(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The identification SSH-protoversion-softwareversion; 1.99 is a server that speaks both versions."""
    row.banner = _line(data, pos, end, texts, seed)
    old = end - pos >= 7 and u8(data, pos + 4) == 0x31 and u8(data, pos + 6) != 0x39  # 1.x, but not 1.99
    return protocols.SSHV1 if old else protocols.SSHV2


@called_part
def banner(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """The greeting of a server whose protocol its entry tells by port or first bytes."""
    row.banner = _line(data, pos, end, texts, seed)
    return OWN


@called_part
def ready(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    """A greeting "220 ..." on a port of neither: FTP and SMTP servers say who they are."""
    stop = _line_end(data, pos, end)
    protocol = 0
    window = 0
    for at in range(pos, stop):
        window = (window << 8 | u8(data, at) | 0x20) & 0xFFFF_FFFF
        if window == _SMTP:
            protocol = protocols.SMTP
            break
        if window & 0xFF_FFFF == _FTP:
            protocol = protocols.FTP
            break
    if protocol:
        row.banner = intern_slice(texts, data, pos, stop, False, seed)
    return protocol


@called_part
def _line(data: Bytes, pos: int, end: int, texts: Texts, seed: int) -> int:
    """Code of the text of the line at `pos`, without its end."""
    return intern_slice(texts, data, pos, _line_end(data, pos, end), False, seed)


@kernel_part
def _line_end(data: Bytes, pos: int, end: int) -> int:
    stop = min(end, pos + MAX_TEXT_BYTES)
    at = pos
    while at < stop and u8(data, at) not in (_LF, _CR):
        at += 1
    return at
