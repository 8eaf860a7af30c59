"""What stands beside the packets of a pcapng file: names of addresses, counters of interfaces, comments.

A file may hold any number of them, so what is kept of them is bounded.

Source: draft-ietf-opsawg-pcapng, sections 4.5 Name Resolution Block and 4.6 Interface Statistics Block.
"""

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import Final

from aishark_panel.wire.pcapheaders import (
    COMMENT_OPTION,
    COUNTERS_TYPE,
    CaptureInterface,
    InterfaceCounters,
    Section,
    emit_block,
    emit_option,
    option_text,
    read_options,
)

__all__ = [
    "MAX_COMMENTS",
    "MAX_NAMES",
    "MAX_NOTE_BLOCKS",
    "CaptureNotes",
    "emit_counters",
    "parse_comments",
    "parse_counters",
    "parse_names",
]

MAX_COMMENTS: Final = 10_000
"""Most packets whose comments are kept."""
MAX_NAMES: Final = 65_536
"""Most addresses whose names are kept."""
MAX_NOTE_BLOCKS: Final = 65_536
"""Most blocks of names or counters that are read, and most sections."""
_COMMENT_CHARACTERS: Final = 1_000
_NAME_CHARACTERS: Final = 255

_PACKETS_OFFSET: Final = 28
_ISB_START, _ISB_END, _ISB_RECEIVED, _ISB_DROPPED, _ISB_ACCEPTED, _ISB_OS_DROPPED, _ISB_DELIVERED = range(2, 9)
_NRB_IPV4, _NRB_IPV6, _NRB_EUI48, _NRB_EUI64 = 1, 2, 3, 4
_ADDRESS_BYTES: Final = {_NRB_IPV4: 4, _NRB_IPV6: 16, _NRB_EUI48: 6, _NRB_EUI64: 8}


@dataclass(slots=True)
class CaptureNotes:
    """What a capture file says beside its packets and interfaces, as far as it has been read."""

    format: str = ""
    """the file's format, in words; empty before its first bytes"""
    sections: int = 0
    section: Section = field(default_factory=Section)
    """what the newest pcapng section says of its writer"""
    names: dict[str, str] = field(default_factory=dict)
    """name of an address (IPv4, IPv6, EUI-48 or EUI-64 as text); the last one given"""
    comments: dict[int, str] = field(default_factory=dict)
    """comment of a packet by its number, from 1 on; several are lines of one text"""
    commented: int = 0
    """packets with a comment, those included whose comments are not kept"""
    untimed: int = 0
    """packets without a time of their own (Simple Packet Blocks)"""


def parse_names(block: bytes, order: str) -> dict[str, str]:
    """Read a whole Name Resolution Block: the first name of each address; records that do not fit are ignored."""
    names = {}
    for kind, value in read_options(block, 8, order):  # records are laid out as options are
        size = _ADDRESS_BYTES.get(kind, 0)
        name = value[size:].partition(b"\0")[0]
        if size and name:
            address = value[:size]
            text = str(ipaddress.ip_address(address)) if kind in (_NRB_IPV4, _NRB_IPV6) else address.hex(":")
            names[text] = name.decode("utf-8", "replace")[:_NAME_CHARACTERS]
    return names


def parse_counters(
    block: bytes, order: str, interfaces: list[CaptureInterface]
) -> tuple[int, InterfaceCounters] | None:
    """Read a whole Interface Statistics Block of a section with these interfaces: which of them, and its counters.

    None where the section has no such interface.
    """
    if len(block) < 24:
        return None
    index: int = struct.unpack_from(order + "I", block, 8)[0]
    if index >= len(interfaces):
        return None
    interface, options = interfaces[index], dict(read_options(block, 20, order))

    def number(code: int) -> int | None:
        value = options.get(code, b"")
        return int.from_bytes(value, "big" if order == ">" else "little") if len(value) == 8 else None

    def time_ns(code: int) -> int | None:
        value = options.get(code, b"")
        if len(value) != 8:
            return None
        high, low = struct.unpack(order + "II", value)
        ticks: int = high << 32 | low
        return interface.nanoseconds(ticks)

    return index, InterfaceCounters(
        received=number(_ISB_RECEIVED),
        dropped=number(_ISB_DROPPED),
        accepted=number(_ISB_ACCEPTED),
        dropped_by_system=number(_ISB_OS_DROPPED),
        delivered=number(_ISB_DELIVERED),
        start_ns=time_ns(_ISB_START),
        end_ns=time_ns(_ISB_END),
    )


def emit_counters(index: int, counters: InterfaceCounters, now_ns: int) -> bytes:
    """An Interface Statistics Block of an interface whose times are nanoseconds (as emit_interface makes them)."""

    def number(code: int, value: int | None) -> bytes:
        return b"" if value is None else emit_option(code, struct.pack("<Q", value))

    def time(code: int, ns: int | None) -> bytes:
        return b"" if ns is None else emit_option(code, struct.pack("<II", max(ns, 0) >> 32, max(ns, 0) & 0xFFFFFFFF))

    options = (
        time(_ISB_START, counters.start_ns)
        + time(_ISB_END, counters.end_ns)
        + number(_ISB_RECEIVED, counters.received)
        + number(_ISB_DROPPED, counters.dropped)
        + number(_ISB_ACCEPTED, counters.accepted)
        + number(_ISB_OS_DROPPED, counters.dropped_by_system)
        + number(_ISB_DELIVERED, counters.delivered)
    )
    return emit_block(COUNTERS_TYPE, struct.pack("<III", index, now_ns >> 32, now_ns & 0xFFFFFFFF), options)


def parse_comments(block: bytes, order: str) -> str:
    """The comments of a whole Enhanced (or obsolete) Packet Block, one a line."""
    kept = struct.unpack_from(order + "I", block, 20)[0]
    options = read_options(block, _PACKETS_OFFSET + kept + (-kept & 3), order)
    comments = [option_text(value) for code, value in options if code == COMMENT_OPTION]
    return "\n".join(comments)[:_COMMENT_CHARACTERS]
