"""Finds the ClientHellos in packets, also those that TCP segments, TLS records or QUIC packets share among them.

Packets are given in the order of the capture. What is kept until a hello is whole is bounded: in connections, and in
bytes of each.
"""

from collections.abc import Callable
from typing import Final

from aishark_panel.dissect import quic_initial
from aishark_panel.dissect.fingerprint import ClientHello, Transport, parse_client_hello
from aishark_panel.dissect.headers import Header, headers, number

__all__ = ["HelloReader"]

_MAX_HELLO_BYTES: Final = 65_536
_MAX_PARTS: Final = 64
_MAX_WAITING: Final = 1_024
"""Most hellos waited for at a time; the oldest is given up first."""

_HANDSHAKE: Final = 22
_CHANGE_CIPHER_SPEC: Final = b"\x14\x03\x03\x00\x01\x01"
_SEQUENCES: Final = 1 << 32

Direction = bytes
"""Source and destination address, ports: the side of a connection that sends."""


class _Waiting:
    """Bytes of a hello that is not whole: `parts` by their offset from its first byte."""

    def __init__(self, start: int = 0, keys: quic_initial.Keys | None = None) -> None:
        self.start = start
        self.keys = keys
        self.parts: dict[int, bytes] = {}
        self.size = 0

    def add(self, offset: int, data: bytes) -> bool:
        """Take a part; False where these are more bytes or more parts than any hello needs."""
        known = self.parts.get(offset, b"")
        if len(data) > len(known):
            self.parts[offset] = data
            self.size += len(data) - len(known)
        return self.size <= _MAX_HELLO_BYTES and len(self.parts) <= _MAX_PARTS

    def joined(self) -> bytes:
        """What is there from the first byte on without a gap."""
        whole = b""
        for offset in sorted(self.parts):
            if offset > len(whole):
                break
            whole += self.parts[offset][len(whole) - offset :]
        return whole


class HelloReader:
    """Reads packets one after the other; `read` gives the hello that a packet completes."""

    def __init__(self) -> None:
        self._waiting: dict[Direction, _Waiting] = {}

    @property
    def waiting(self) -> int:
        """How many hellos have begun and are not whole."""
        return len(self._waiting)

    def read(self, frame: bytes, link_type: int, orig_len: int = 0) -> ClientHello | None:
        """The ClientHello that this packet completes, or None. ConfigError where QUIC needs `cryptography`."""
        found = headers(frame, link_type, orig_len)
        if not found or found[-1].kind not in ("tcp", "udp") or found[-1].payload >= found[-1].end:
            return None
        transport = found[-1]
        addresses = next((h for h in reversed(found) if h.kind in ("ipv4", "ipv6")), None)
        if addresses is None:
            return None
        ip = addresses.start
        pair = frame[ip + 12 : ip + 20] if addresses.kind == "ipv4" else frame[ip + 8 : ip + 40]
        direction = pair + frame[transport.start : transport.start + 4]
        return (self._tcp if transport.kind == "tcp" else self._quic)(frame, transport, direction)

    def _tcp(self, frame: bytes, tcp: Header, direction: Direction) -> ClientHello | None:
        # A second hello, which a HelloRetryRequest asked for, follows this one (RFC 8446 appendix D.4).
        segment = frame[tcp.payload : tcp.end]
        data = segment.removeprefix(_CHANGE_CIPHER_SPEC)
        sequence = number(frame, tcp.start + 4, 4) + len(segment) - len(data)
        waiting = self._waiting.get(direction)
        starts = data[:1] == b"\x16" and data[1:2] in (b"\x03", b"") and data[5:6] in (b"\x01", b"")
        if starts and (waiting is None or sequence != waiting.start):
            waiting = self._wait(direction, _Waiting(sequence))
        if waiting is None:
            return None
        offset = (sequence - waiting.start) % _SEQUENCES
        is_cut = tcp.end < tcp.wire_end  # then the rest will never be known
        fits = offset <= _MAX_HELLO_BYTES and waiting.add(offset, data) and not is_cut
        return self._finish(direction, waiting, fits, _handshake_of_records, "t")

    def _quic(self, frame: bytes, udp: Header, direction: Direction) -> ClientHello | None:
        hello = None
        for initial in quic_initial.initials(frame[udp.payload : udp.end]):
            waiting = self._waiting.get(direction)
            fresh = quic_initial.client_keys(initial.version, initial.destination_id)
            # A client goes on to use the keys of its first packet when the server has chosen another id.
            for keys in [fresh] if waiting is None or waiting.keys is None else [waiting.keys, fresh]:
                opened = quic_initial.open_initial(initial, keys)
                if opened is None:
                    continue
                if waiting is None or waiting.keys != keys:
                    waiting = self._wait(direction, _Waiting(keys=keys))
                fits = all([waiting.add(offset, data) for offset, data in quic_initial.crypto_frames(opened.frames)])
                hello = self._finish(direction, waiting, fits, bytes, "q") or hello
                break
        return hello

    def _wait(self, direction: Direction, waiting: _Waiting) -> _Waiting:
        self._waiting.pop(direction, None)
        if len(self._waiting) >= _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[direction] = waiting
        return waiting

    def _finish(
        self,
        direction: Direction,
        waiting: _Waiting,
        fits: bool,
        handshake: Callable[[bytes], bytes | None],
        transport: Transport,
    ) -> ClientHello | None:
        """The hello, if it is whole now; nothing is waited for any more if it is, or can be none."""
        message = handshake(waiting.joined())
        if message is not None and message[:1] in (b"\x01", b""):
            length = 4 + number(message, 1, 3)
            if fits and (len(message) < 4 or len(message) < length <= _MAX_HELLO_BYTES):
                return None
            message = message[:length]
        self._waiting.pop(direction, None)
        return parse_client_hello(message, transport) if message else None


def _handshake_of_records(data: bytes) -> bytes | None:
    """Content of the TLS handshake records at the start of `data`; None where another kind comes first."""
    content, at = b"", 0
    while at < len(data) and data[at] == _HANDSHAKE:
        length = number(data, at + 3)
        content += data[at + 5 : at + 5 + length]
        at += 5 + length
    return content if at else None
