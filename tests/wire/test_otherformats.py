"""Files that are no capture files we read are called by their names."""

import struct

import pytest

from aishark_panel.errors import CaptureFileError
from aishark_panel.wire.otherformats import format_name
from tests.wire.capture_bytes import read_all


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"snoop\0\0\0\0\0\0\x02\0\0\0\x04", "Solaris snoop"),
        (b"GMBU\0\x02", "Microsoft Network Monitor 2"),
        (b"\xfd7zXZ\0\0\x04", "packed with xz"),
        (b"PK\x03\x04\x14\0", "packed with zip"),
        (struct.pack("<II", 0, 1_400_000_000) + struct.pack(">BBHHH", 2, 4, 96, 0, 64) + bytes(80), "Endace ERF"),
        (struct.pack("<II", 0, 1_400_000_000) + struct.pack(">BBHHH", 2, 4, 960, 0, 64) + bytes(80), ""),
        (struct.pack("<II", 0, 1_400_000_000) + struct.pack(">BBHHH", 99, 4, 96, 0, 64) + bytes(80), ""),
        (b"#!/usr/bin/env python3\nimport os", ""),
        (b"", ""),
    ],
)
def test_a_format_is_known_by_its_start(start: bytes, name: str) -> None:
    assert format_name(start) == name
    if name:
        with pytest.raises(CaptureFileError, match=rf"neither pcap nor pcapng \({name}, a format not read here\)"):
            read_all(start)
