"""What an info text is made from: the columns of one row, and its frame with the places of its headers.

An info function takes a `View` and gives the text, or None where it cannot tell, which leaves the word to the
function of the layer below.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from aishark_panel.dissect.headers import Header, headers, number
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Packets, address_text
from aishark_panel.wire.protocols import PROTOCOLS

__all__ = ["MAX_PARTS", "Info", "TcpNumbers", "View", "address", "mac", "printable"]


class TcpNumbers(NamedTuple):
    """What a TCP conversation's start tells about one direction; with it numbers are relative, as Wireshark's."""

    sequence: int
    """the first sequence number of this direction"""
    acknowledgement: int
    """the first sequence number of the other direction"""
    window_shift: int = 0
    """window scale that this direction announced (RFC 7323); 0 as long as it is not known"""


@dataclass(frozen=True)
class View:
    """One row of a block, to be put into words."""

    packets: Packets
    row: int
    link_type: int
    """LINKTYPE number of its interface"""
    numbers: TcpNumbers | None = None

    @cached_property
    def frame(self) -> bytes:
        return self.packets.frame(self.row)

    @cached_property
    def headers(self) -> list[Header]:
        return headers(self.frame, self.link_type, self.column("orig_len"))

    @property
    def layers(self) -> Layer:
        return Layer(self.column("layers"))

    @property
    def protocol(self) -> str:
        return PROTOCOLS[self.column("protocol")]

    def column(self, name: str) -> int:
        """Stored value of a column."""
        return int(getattr(self.packets.columns, name)[self.row])

    def text(self, name: str) -> str:
        """Text of a column; '' where it is null."""
        return self.packets.text(self.column(name))

    def innermost(self, *kinds: str) -> Header | None:
        """The last header of one of these kinds."""
        return next((header for header in reversed(self.headers) if header.kind in kinds), None)

    @property
    def last(self) -> Header | None:
        """The innermost header; None where not even the first is whole."""
        return self.headers[-1] if self.headers else None

    @property
    def payload(self) -> bytes:
        """What the innermost header carries, as far as it was captured."""
        return self.frame[self.last.payload : self.last.end] if self.last else self.frame

    @property
    def body(self) -> bytes:
        """The innermost header and what it carries."""
        return self.frame[self.last.start : self.last.end] if self.last else self.frame

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port of the innermost transport header; 0 where there is none."""
        header = self.innermost("tcp", "udp", "sctp", "udplite")
        return (number(self.frame, header.start), number(self.frame, header.start + 2)) if header else (0, 0)

    def address(self, at: int, size: int) -> str:
        """Text of the IPv4 or IPv6 address of `size` bytes at a place in the frame; hexadecimal where it is cut."""
        return address(self.frame[at : at + size])


MAX_PARTS: Final = 64
"""Most records, messages, frames of one packet that are put into words; no one reads more, and each takes its time."""
_MAX_BYTES: Final = 1_024

Info = Callable[[View], str | None]


def address(raw: bytes) -> str:
    """Text of an IPv4 or IPv6 address; hexadecimal where it is none."""
    if len(raw) == 4:
        return ".".join(str(byte) for byte in raw)
    return address_text(raw, v6=True) if len(raw) == 16 else raw.hex()


def mac(raw: bytes) -> str:
    """Hexadecimal pairs with colons; without them where it is no MAC address."""
    return raw.hex(":") if len(raw) == 6 else raw.hex()


_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r"}


def printable(raw: bytes) -> str:
    """Text of bytes from outside: UTF-8, with what is not, and control characters, as Wireshark writes them; of
    long ones the start."""
    text = raw[:_MAX_BYTES].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else _ESCAPES.get(ord(c), f"\\{ord(c):03o}") for c in text)
