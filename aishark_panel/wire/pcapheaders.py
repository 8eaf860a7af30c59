"""What stands before the packets in capture files: pcap's file header, pcapng's section and interface blocks.

Parse and emit are twins here; what stands beside the packets is in aishark_panel.wire.pcapnotes.
Sources: draft-ietf-opsawg-pcap (pcap) and draft-ietf-opsawg-pcapng (pcapng), sections 4.1
Section Header Block and 4.2 Interface Description Block.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aishark_panel.errors import CaptureFileError

__all__ = [
    "BYTE_ORDER_MAGIC",
    "COMMENT_OPTION",
    "COUNTERS_TYPE",
    "ENHANCED_PACKET_TYPE",
    "INTERFACE_TYPE",
    "NAMES_TYPE",
    "NANOSECONDS",
    "OBSOLETE_PACKET_TYPE",
    "PCAP_HEADER_BYTES",
    "SECTION_TYPE",
    "SIMPLE_PACKET_TYPE",
    "CaptureInterface",
    "InterfaceCounters",
    "PcapHeader",
    "Section",
    "emit_block",
    "emit_interface",
    "emit_option",
    "emit_section",
    "option_text",
    "parse_interface",
    "parse_section",
    "read_options",
]

PCAP_HEADER_BYTES: Final = 24
SECTION_TYPE: Final = 0x0A0D0D0A
INTERFACE_TYPE: Final = 1
OBSOLETE_PACKET_TYPE: Final = 2
SIMPLE_PACKET_TYPE: Final = 3
NAMES_TYPE: Final = 4
COUNTERS_TYPE: Final = 5
ENHANCED_PACKET_TYPE: Final = 6
BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
COMMENT_OPTION: Final = 1
"""opt_comment, of any block"""
NANOSECONDS: Final = 9
"""if_tsresol of what we write: 10^-9 s"""
_MICROSECONDS: Final = 6
_MAX_OPTION_BYTES: Final = 65_532

_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_FILTER, _IF_OS, _IF_TSOFFSET, _IF_HARDWARE = 2, 3, 9, 11, 12, 14, 15
_SHB_HARDWARE, _SHB_OS, _SHB_APPLICATION = 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceCounters:
    """What an Interface Statistics Block says of a capture on one interface; None where it says nothing."""

    received: int | None = None
    """packets that reached the interface"""
    dropped: int | None = None
    """of those, lost by the interface for want of resources"""
    accepted: int | None = None
    """packets that passed the capture filter"""
    dropped_by_system: int | None = None
    """packets lost by the operating system"""
    delivered: int | None = None
    """packets that reached the capturing program"""
    start_ns: int | None = None
    """time the capture began, ns since 1970 UTC"""
    end_ns: int | None = None
    """time the capture ended"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureInterface:
    """One interface of a capture file. Pcap files have exactly one, without a name."""

    link_type: int
    """LINKTYPE number (tcpdump.org/linktypes.html)"""
    name: str = ""
    snaplen: int = 0
    """most bytes kept of a frame; 0 where there is no limit"""
    description: str = ""
    filter: str = ""
    """capture filter, as text"""
    os: str = ""
    """operating system of the machine the interface is in"""
    hardware: str = ""
    """what the interface is made of"""
    comment: str = ""
    counters: InterfaceCounters | None = None
    """the newest the file has"""
    tsresol: int = NANOSECONDS
    """unit of times in the file, as if_tsresol says it: 10^-n s, or 2^-(n & 127) s where bit 7 is set"""
    tsoffset_s: int = 0
    """seconds to add to times in the file"""

    def nanoseconds(self, ticks: int) -> int:
        """The time of so many ticks in the file, ns since 1970 UTC, or the nearest that int64 can hold."""
        digits = self.tsresol & 0x7F
        ns = ticks * 10**9 >> digits if self.tsresol & 0x80 else ticks * 10**9 // 10**digits
        return max(-(2**63 - 1), min(2**63 - 1, ns + self.tsoffset_s * 10**9))


@dataclass(frozen=True, slots=True)
class PcapHeader:
    """The 24 bytes that open a pcap file; the twins are `parse` and `emit`."""

    order: str
    """byte order, for struct: "<" or ">\""""
    interface: CaptureInterface
    record_header_bytes: int
    """16, or 24 in the format of Alexey Kuznetzov's patched libpcap"""
    minor: int
    """version 2.minor; before 2.4 the two lengths of a record may be swapped"""

    @property
    def format(self) -> str:
        """The file's format in words."""
        modified = "modified pcap" if self.record_header_bytes > 16 else "pcap"
        unit = "nanoseconds" if self.interface.tsresol == NANOSECONDS else "microseconds"
        return f"{modified}, {unit}" + (", big-endian" if self.order == ">" else "")

    @property
    def fraction_ns(self) -> int:
        """Nanoseconds in one unit of a record's fraction of a second."""
        return 1 if self.interface.tsresol == NANOSECONDS else 1_000

    @staticmethod
    def magic(start: bytes) -> tuple[str, int, int] | None:
        """(byte order for struct, tsresol, record header bytes) of the first four bytes; None if it is no pcap file."""
        for order in "<", ">":
            match struct.unpack(order + "I", start[:4])[0]:
                case 0xA1B2C3D4:
                    return order, _MICROSECONDS, 16
                case 0xA1B23C4D:
                    return order, NANOSECONDS, 16
                case 0xA1B2CD34:
                    return order, _MICROSECONDS, 24
        return None

    @classmethod
    def parse(cls, header: bytes) -> "PcapHeader":
        """Read the header. Raises CaptureFileError where the version or link type is none that exists."""
        found = cls.magic(header)
        if found is None:
            raise CaptureFileError("not a pcap file")
        order, tsresol, record_header_bytes = found
        major, minor, _, _, snaplen, link = struct.unpack(order + "HHIIII", header[4:PCAP_HEADER_BYTES])
        if major != 2:
            raise CaptureFileError(f"pcap version {major}.{minor} is unknown; only 2.x can be read")
        if link & 0x03FF0000:  # reserved in draft-ietf-opsawg-pcap; above it stands the length of the FCS
            raise CaptureFileError(f"the link type field holds {link:#010x}, which no version of pcap allows")
        interface = CaptureInterface(link_type=link & 0xFFFF, snaplen=snaplen, tsresol=tsresol)
        return cls(order, interface, record_header_bytes, minor)

    @staticmethod
    def emit(link_type: int, snaplen: int) -> bytes:
        """Header of a little-endian pcap file with nanoseconds."""
        return struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, link_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a Section Header Block says of the machine and program that wrote the section."""

    hardware: str = ""
    os: str = ""
    application: str = ""
    comment: str = ""


def parse_section(block: bytes, order: str) -> Section:
    """Read a whole Section Header Block (type to trailing length). Raises CaptureFileError."""
    major, minor = struct.unpack_from(order + "HH", block, 12)
    if major != 1:
        raise CaptureFileError(f"pcapng version {major}.{minor} is unknown; only 1.x can be read")
    options = dict(read_options(block, 24, order))
    return Section(
        comment=option_text(options.get(COMMENT_OPTION)),
        hardware=option_text(options.get(_SHB_HARDWARE)),
        os=option_text(options.get(_SHB_OS)),
        application=option_text(options.get(_SHB_APPLICATION)),
    )


def emit_section(section: Section) -> bytes:
    """A Section Header Block, little-endian, version 1.0, of unstated length."""
    options = (
        emit_option(COMMENT_OPTION, _bytes(section.comment))
        + emit_option(_SHB_HARDWARE, _bytes(section.hardware))
        + emit_option(_SHB_OS, _bytes(section.os))
        + emit_option(_SHB_APPLICATION, _bytes(section.application))
    )
    return emit_block(SECTION_TYPE, struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1), options)


def parse_interface(block: bytes, order: str) -> CaptureInterface:
    """Read a whole Interface Description Block (type to trailing length); options that do not fit are ignored."""
    link_type, _, snaplen = struct.unpack_from(order + "HHI", block, 8)
    options = dict(read_options(block, 16, order))
    tsresol = options.get(_IF_TSRESOL, b"")
    tsoffset = options.get(_IF_TSOFFSET, b"")
    capture_filter = options.get(_IF_FILTER, b"")
    return CaptureInterface(
        link_type=link_type,
        name=option_text(options.get(_IF_NAME)),
        snaplen=snaplen,
        description=option_text(options.get(_IF_DESCRIPTION)),
        filter=option_text(capture_filter[1:]) if capture_filter[:1] == b"\0" else "",
        os=option_text(options.get(_IF_OS)),
        hardware=option_text(options.get(_IF_HARDWARE)),
        comment=option_text(options.get(COMMENT_OPTION)),
        tsresol=tsresol[0] if len(tsresol) == 1 else _MICROSECONDS,
        tsoffset_s=struct.unpack(order + "q", tsoffset)[0] if len(tsoffset) == 8 else 0,
    )


def emit_interface(interface: CaptureInterface) -> bytes:
    """An Interface Description Block; its times are nanoseconds, whatever unit the interface was read with."""
    options = (
        emit_option(COMMENT_OPTION, _bytes(interface.comment))
        + emit_option(_IF_NAME, _bytes(interface.name))
        + emit_option(_IF_DESCRIPTION, _bytes(interface.description))
        + emit_option(_IF_TSRESOL, bytes([NANOSECONDS]))
        + emit_option(_IF_FILTER, b"\0" + _bytes(interface.filter) if interface.filter else b"")
        + emit_option(_IF_OS, _bytes(interface.os))
        + emit_option(_IF_HARDWARE, _bytes(interface.hardware))
    )
    return emit_block(INTERFACE_TYPE, struct.pack("<HHI", interface.link_type, 0, interface.snaplen), options)


def read_options(block: bytes, at: int, order: str) -> Iterator[tuple[int, bytes]]:
    """(code, value) of the options from `at` on, up to the end mark or to what no longer fits."""
    end = len(block) - 4
    while at + 4 <= end:
        code, length = struct.unpack_from(order + "HH", block, at)
        if code == 0 or at + 4 + length > end:
            return
        yield code, block[at + 4 : at + 4 + length]
        at += 4 + length + (-length & 3)


def emit_option(code: int, value: bytes) -> bytes:
    """An option with its padding; nothing for an empty value, the start of one that is too long."""
    if not value:
        return b""
    value = value[:_MAX_OPTION_BYTES]
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) & 3)


def emit_block(kind: int, fixed: bytes, options: bytes) -> bytes:
    """A little-endian block around its fixed part and its options, each a multiple of four bytes."""
    body = fixed + (options + bytes(4) if options else b"")  # four zero bytes: opt_endofopt
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total


def option_text(value: bytes | None) -> str:
    """The text of an option; empty where it is absent."""
    return (value or b"").partition(b"\0")[0].decode("utf-8", "replace")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
