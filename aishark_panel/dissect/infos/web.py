"""HTTP, and what has its form: SSDP, RTSP, SIP."""

import re
from typing import Final

from aishark_panel.dissect.infos.view import MAX_PARTS, View, printable

__all__ = ["http", "http2", "sip"]

_START: Final = re.compile(rb"(?:[A-Z][A-Z-]{2,16} \S[^\r\n]*|(?:HTTP|RTSP|ICY)(?:/[0-9.]+)? [0-9]{3}[^\r\n]*)\r?\n?")
_CONTENT_TYPE: Final = re.compile(rb"\r\n[Cc]ontent-[Tt]ype:[ \t]*([^;\r\n]*)")
_LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
_MAX_BODY_MARK: Final = 16
_PNG: Final = b"\x89PNG"
_HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HTTP2_FRAMES: Final = ("DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
                        "WINDOW_UPDATE", "CONTINUATION", "ALTSVC")  # fmt: skip


def http(view: View) -> str | None:
    """First line of a message (RFC 9112), and in parentheses what its body is, where some of it is in the packet."""
    data = view.payload
    start = _START.match(data)
    if start is None:
        return "Continuation" if data else None
    line = printable(start[0].rstrip(b"\r\n"))
    head, separator, body = data.partition(b"\r\n\r\n")
    content_type = _CONTENT_TYPE.search(head)
    if not separator or not body or content_type is None or (_is_packed(head) and not body.endswith(_LAST_CHUNK)):
        return line
    return line + _kind_of_body(content_type[1].strip().decode("latin-1").lower(), body[:_MAX_BODY_MARK])


def _is_packed(head: bytes) -> bool:
    """Whether the body has to be whole before it says what it is."""
    lower = head.lower()
    return b"\r\ncontent-encoding:" in lower and b"\r\ntransfer-encoding:" in lower


def _kind_of_body(kind: str, body: bytes) -> str:
    if kind == "application/json":
        return f" , JavaScript Object Notation ({kind})"
    if kind.endswith("/xml") or kind.endswith("+xml"):
        return ""
    if kind == "image/gif" and body.startswith(b"GIF8"):
        return f"  ({body[:6].decode('latin-1')})"
    if kind == "image/png":
        return "  (PNG)"
    if kind in ("image/jpeg", "image/jpg"):
        return "  (PNG)" if body.startswith(_PNG) else "  (JPEG JFIF image)"
    return f"  ({kind})"


def http2(view: View) -> str | None:
    """The frames of a segment (RFC 9113 section 4.1), each with its stream."""
    data = view.payload
    words = []
    if data.startswith(b"PRI "):
        words.append("Magic")
        data = data[len(_HTTP2_PREFACE) :]
    at = 0
    while at + 9 <= len(data) and len(words) < MAX_PARTS:
        kind, stream = data[at + 3], int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF
        if kind >= len(_HTTP2_FRAMES):
            break
        words.append(f"{_HTTP2_FRAMES[kind]}[{stream}]")
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return ", ".join(words) or None


def sip(view: View) -> str | None:
    """SIP (RFC 3261): request or status."""
    line = printable(view.payload.split(b"\n", 1)[0].rstrip(b"\r"))
    if line.startswith("SIP/2.0 "):
        return f"Status: {line.removeprefix('SIP/2.0 ')} |"
    return f"Request: {line.removesuffix(' SIP/2.0')} |" if line.endswith("SIP/2.0") else None
