"""Capture files made by hand, byte by byte, so that the reader is not tested against our own writer alone."""

import struct
from collections.abc import Iterable

from aishark_panel.wire.pcapfile import CaptureReader

__all__ = ["Row", "block", "interface", "obsolete", "packet", "pcap", "read_all", "rows_of", "section", "simple"]

Row = tuple[int, int, int, bytes]
"""(ts in ns, orig_len, iface, kept bytes)"""


def pcap(
    records: Iterable[tuple[int, int, int, bytes]],
    *,
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    minor: int = 4,
    link: int = 1,
    extra: bytes = b"",
) -> bytes:
    """A pcap file of (seconds, fraction, orig_len, data); `extra` follows each record's header."""
    parts = [struct.pack(order + "IHHIIII", magic, 2, minor, 0, 0, 65_535, link)]
    for seconds, fraction, orig_len, data in records:
        parts += struct.pack(order + "IIII", seconds, fraction, len(data), orig_len), extra, data
    return b"".join(parts)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block around a body, which is padded to a multiple of four."""
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<", major: int = 1) -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, -1), order)


def interface(order: str = "<", *, link: int = 1, snaplen: int = 0, options: dict[int, bytes] | None = None) -> bytes:
    body = struct.pack(order + "HHI", link, 0, snaplen)
    for code, value in (options or {}).items():
        body += struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
    return block(1, body, order)


def packet(ticks: int, data: bytes, order: str = "<", *, iface: int = 0, orig_len: int | None = None) -> bytes:
    length = len(data) if orig_len is None else orig_len
    head = struct.pack(order + "IIIII", iface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length)
    return block(6, head + data, order)


def obsolete(ticks: int, data: bytes, order: str = "<", *, iface: int = 0, drops: int = 0) -> bytes:
    head = struct.pack(order + "HHIIII", iface, drops, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, head + data, order)


def simple(data: bytes, orig_len: int, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", orig_len) + data, order)


def rows_of(reader: CaptureReader) -> list[Row]:
    """All frames the reader has for the piece it was fed."""
    rows: list[Row] = []
    while (frames := reader.frames()) is not None:
        for i in range(len(frames)):
            rows.append((int(frames.ts[i]), int(frames.orig_len[i]), int(frames.iface[i]), frames.frame(i)))
    return rows


def read_all(data: bytes, *, snaplen: int | None = None) -> tuple[list[Row], str | None]:
    """(frames, warning) of a whole file fed in one piece."""
    reader = CaptureReader(snaplen=snaplen)
    reader.feed(data)
    rows = rows_of(reader)
    return rows, reader.finish()
