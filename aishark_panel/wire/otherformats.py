"""Names of the files that people take for capture files we could read: other capture formats, other packings.

Sources: Wireshark's wiretap (the first bytes its readers look for), file(1)'s magic.
"""

import struct
from typing import Final

__all__ = ["format_name"]

_STARTS: Final = (
    (b"snoop\0\0\0", "Solaris snoop"),
    (b"btsnoop\0", "Symbian btsnoop"),
    (b"\x1c\x00\x01\xac", "Ixia lcap"),
    (b"\xac\x01\x00\x1c", "Ixia lcap"),
    (b"\x1c\x00\x01\xab", "Ixia lcap"),
    (b"\xab\x01\x00\x1c", "Ixia lcap"),
    (b"RTSS", "Microsoft Network Monitor 1"),
    (b"GMBU", "Microsoft Network Monitor 2"),
    (b"TRSNIFF data    \x1a", "Sniffer"),
    (b"XCP\0", "NetXray or Sniffer for Windows"),
    (b"VL\0\0", "NetXray 1"),
    (b"iptrace 1.0", "AIX iptrace"),
    (b"iptrace 2.0", "AIX iptrace"),
    (b"\x7fver", "Peek tagged (OmniPeek)"),
    (b"\x00\x00\x02\x00\x12\x05\x00\x10", "Tektronix K12"),
    (b"LOGG", "Vector BLF"),
    (b"\xfd7zXZ\0", "packed with xz"),
    (b"7z\xbc\xaf\x27\x1c", "packed with 7-Zip"),
    (b"PK\x03\x04", "packed with zip"),
    (b"\x1f\x9d", "packed with compress"),
    (b"Rar!", "packed with rar"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
)
_ERF_HEADER_BYTES: Final = 16
_ERF_MAX_TYPE: Final = 51


def format_name(start: bytes) -> str:
    """What a file that starts with these bytes (24 are enough) is, where it is known; otherwise empty."""
    for magic, name in _STARTS:
        if start.startswith(magic):
            return name
    return "Endace ERF" if _is_erf(start) else ""


def _is_erf(start: bytes) -> bool:
    """ERF has no magic. Its first record: 8 bytes of time (little-endian 2^-32 s), type, flags, three lengths.

    A type that exists, a time since 1995, and a record that holds its header and not more than its wire length and 64
    bytes of headers and padding are hardly a coincidence.
    """
    if len(start) < _ERF_HEADER_BYTES:
        return False
    seconds = struct.unpack_from("<I", start, 4)[0]
    kind, _, record_bytes, _, wire_bytes = struct.unpack_from(">BBHHH", start, 8)
    return bool(
        788_918_400 <= seconds < 2**31
        and 1 <= kind & 0x7F <= _ERF_MAX_TYPE
        and _ERF_HEADER_BYTES <= record_bytes <= _ERF_HEADER_BYTES + wire_bytes + 64
        and 0 < wire_bytes <= 2**14
    )
