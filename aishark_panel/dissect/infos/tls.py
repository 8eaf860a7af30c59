"""TLS records and what QUIC shows of itself."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from aishark_panel.dissect import quic_initial
from aishark_panel.dissect.headers import number
from aishark_panel.dissect.infos.view import MAX_PARTS, View
from aishark_panel.errors import ConfigError

__all__ = ["quic", "tls"]

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _DATA, _HEARTBEAT = 20, 21, 22, 23, 24
_CLIENT_HELLO, _SERVER_HELLO = 1, 2
_HANDSHAKES: Final = {0: "Hello Request", 1: "Client Hello", 2: "Server Hello", 3: "Hello Verify Request",
                      4: "New Session Ticket", 5: "End of Early Data", 6: "Hello Retry Request",
                      8: "Encrypted Extensions", 11: "Certificate", 12: "Server Key Exchange",
                      13: "Certificate Request", 14: "Server Hello Done", 15: "Certificate Verify",
                      16: "Client Key Exchange", 20: "Finished", 21: "Certificate URL", 22: "Certificate Status",
                      23: "Supplemental Data", 24: "Key Update", 25: "Compressed Certificate",
                      67: "Next Protocol", 254: "Message Hash"}  # fmt: skip
_LEVELS: Final = {1: "Warning", 2: "Fatal"}
_ALERTS: Final = {0: "Close Notify", 1: "End of Early Data", 10: "Unexpected Message", 20: "Bad Record MAC",
                  21: "Decryption Failed", 22: "Record Overflow", 30: "Decompression Failure",
                  40: "Handshake Failure", 41: "No Certificate", 42: "Bad Certificate",
                  43: "Unsupported Certificate", 44: "Certificate Revoked", 45: "Certificate Expired",
                  46: "Certificate Unknown", 47: "Illegal Parameter", 48: "Unknown CA", 49: "Access Denied",
                  50: "Decode Error", 51: "Decrypt Error", 60: "Export Restriction", 70: "Protocol Version",
                  71: "Insufficient Security", 80: "Internal Error", 86: "Inappropriate Fallback",
                  90: "User Canceled", 100: "No Renegotiation", 109: "Missing Extension",
                  110: "Unsupported Extension", 111: "Certificate Unobtainable", 112: "Unrecognized Name",
                  113: "Bad Certificate Status Response", 114: "Bad Certificate Hash Value",
                  115: "Unknown PSK Identity", 116: "Certificate Required", 120: "No application Protocol"}  # fmt: skip
_RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3)."""
_MAX_MESSAGE_BYTES: Final = 1 << 17

_LONG_TYPES: Final = ("Initial", "0-RTT", "Handshake", "Retry")
_LONG_TYPES_2: Final = ("Retry", "Initial", "0-RTT", "Handshake")
_QUIC_2: Final = 0x6B3343CF
_QUIC_FRAMES: Final = {0: "PADDING", 1: "PING", 2: "ACK", 3: "ACK", 6: "CRYPTO", 0x1C: "CC"}


def tls(view: View) -> str | None:
    """The records of a segment (RFC 8446 section 5.1), and the messages in those that are not encrypted."""
    data = view.payload
    name = view.text("tls_sni")
    words = list(islice(_records(data, f" (SNI={name})" if name else ""), MAX_PARTS))
    if not words and data:
        # A segment from the middle of a record; Wireshark's words for it depend on the version.
        middle = "Continuation Data" if view.protocol in ("TLS", "TLSv1.3") else "Ignored Unknown Record"
        return f"Client Hello (SNI={name})" if name else middle
    return ", ".join(words) or None


def _records(data: bytes, asked_for: str) -> Iterator[str]:
    at, encrypted = 0, False
    while at + 5 <= len(data):
        kind, length = data[at], number(data, at + 3)
        if not (_CHANGE_CIPHER_SPEC <= kind <= _HEARTBEAT and data[at + 1] == 3):
            if at:
                yield "Ignored Unknown Record"
            return
        content = data[at + 5 : at + 5 + length]
        if at and len(content) < length:
            return  # named in the packet that completes it, as far as a packet alone can tell
        at += 5 + length
        if kind == _CHANGE_CIPHER_SPEC:
            encrypted = True
            yield "Change Cipher Spec"
        elif kind == _HANDSHAKE:
            yield from _handshakes(content, length, encrypted, asked_for)
        elif kind == _ALERT:
            yield _alert(content, length)
        elif kind == _DATA:
            yield "Application Data"
        else:
            yield {1: "Heartbeat Request", 2: "Heartbeat Response"}.get(number(content, 0, 1), "Encrypted Heartbeat")


def _alert(content: bytes, length: int) -> str:
    if length != 2 or len(content) < 2:
        return "Encrypted Alert"
    level = _LEVELS.get(content[0], f"Unknown {content[0]}")
    return f"Alert (Level: {level}, Description: {_ALERTS.get(content[1], f'Unknown {content[1]}')})"


def _handshakes(content: bytes, length: int, after_change: bool, asked_for: str) -> Iterator[str]:
    """Messages of one record. After a change of cipher only a hello is still in the clear; random bytes of an
    encrypted message hardly ever look like a type and a length that fit."""
    at = 0
    while at + 4 <= len(content):
        kind, size = content[at], number(content, at + 1, 3)
        is_hello = kind in (_CLIENT_HELLO, _SERVER_HELLO)
        fits = at + 4 + size <= length or (
            size < _MAX_MESSAGE_BYTES and kind in (_CLIENT_HELLO, _SERVER_HELLO, 11, 12, 13, 22)
        )
        if kind not in _HANDSHAKES or not fits or (after_change and not is_hello):
            if not at:
                yield "Encrypted Handshake Message"
            return
        if kind == _SERVER_HELLO and content[at + 6 : at + 38] == _RETRY_RANDOM:
            yield "Hello Retry Request"
        else:
            yield _HANDSHAKES[kind] + (asked_for if kind == _CLIENT_HELLO else "")
        at += 4 + size


def quic(view: View) -> str | None:
    """The packets of a datagram (RFC 9000 section 17); of a client's Initial packets the frames too."""
    data = view.payload
    if not data or view.innermost("udp") is None:
        return None
    if not data[0] & 0x80:
        return "Protected Payload (KP0)" if data[0] & 0x40 else None
    words: list[str] = []
    opened = _opened(data)
    at = 0
    while at + 7 <= len(data) and data[at] & 0x80 and len(words) < MAX_PARTS:
        version = number(data, at + 1, 4)
        destination_end = at + 6 + data[at + 5]
        destination = data[at + 6 : destination_end]
        source_end = destination_end + 1 + number(data, destination_end, 1)
        source = data[destination_end + 1 : source_end]
        ids = "".join(f", {name}={each.hex()}" for name, each in (("DCID", destination), ("SCID", source)) if each)
        if version == 0:
            return f"Version Negotiation{ids}"
        kind = (_LONG_TYPES_2 if version == _QUIC_2 else _LONG_TYPES)[data[at] >> 4 & 3]
        words.append(f"{kind}{ids}{opened.get(at, '')}")
        if kind == "Retry":
            break
        pos = source_end
        if kind == "Initial":
            token, pos = quic_initial.varint(data, pos)
            pos += token
        length, pos = quic_initial.varint(data, pos)
        at = pos + length
    if at < len(data) and words and data[at] & 0xC0 == 0x40:
        words.append("Protected Payload (KP0)")
    return ", ".join(words) or None


def _opened(datagram: bytes) -> dict[int, str]:
    """Packet number and frames of each Initial packet that the client's keys open, by its place."""
    found: dict[int, str] = {}
    try:
        for initial in quic_initial.initials(datagram):
            keys = quic_initial.client_keys(initial.version, initial.destination_id)
            opened = quic_initial.open_initial(initial, keys)
            if opened is not None:
                frames = [
                    _QUIC_FRAMES.get(kind, "") for kind in islice(quic_initial.frame_kinds(opened.frames), MAX_PARTS)
                ]
                found[initial.start] = ", ".join([f", PKN: {opened.number}", *(name for name in frames if name)])
    except ConfigError:  # without the package cryptography they stay closed
        return {}
    return found
