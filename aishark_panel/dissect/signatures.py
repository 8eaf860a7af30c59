"""How the tables of application protocols become lookup arrays, and the kernel that asks them.

A newcomer writes an `Entry` in dissect.table and needs nothing of this file. What a packet is, is asked in this order:

1. the entries of the lower port, then those of the higher: content and port agree;
2. the entries whose content alone proves them (`anywhere`);
3. the first entry of the lower port, then of the higher, to which its port is enough (`by_port`).

No step looks at every entry: ports and first bytes select the few that can match, by arrays made once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.load import Bytes, word
from aishark_panel.dissect.row import Row
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire.packets import Texts

__all__ = ["OWN", "Entry", "Parser", "finder", "text"]

Parser = Callable[[Bytes, int, int, int, Row, Texts, int], int]
"""A kernel (data, pos, end, wire_end, row, texts, seed) -> protocol. It gets at least one byte, looks whether these
are its protocol's, fills columns, and returns the protocol's number (it may choose among several), OWN for its
entry's, or 0: not this."""

OWN: Final = -1

_WORD_BYTES: Final = 8
_LINK: Final = 8
_ONE, _EIGHT, _BYTE = (np.uint64(n) for n in (1, 8, 255))
"""Unsigned, as all indices are here: see dissect.load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One application protocol: how to know it, and what to do then."""

    protocol: int
    """its number in wire.protocols"""
    ports: tuple[int, ...] = ()
    starts: tuple[str, ...] = ()
    """how the payload may start: up to eight bytes in hexadecimal, "?" for any digit; none: not told by its start"""
    parse: Parser | None = None
    """decides after `starts`; without it they are enough"""
    anywhere: bool = False
    """the content proves the protocol on any port, else only on its own"""
    by_port: bool = False
    """the port is enough where the content proves nothing else, as in the middle of a long message"""


def text(start: str) -> str:
    """The form of `Entry.starts` for a payload that starts with this text."""
    return start.encode().hex()


def finder(table: Sequence[Entry]) -> Callable[[Bytes, int, int, int, Row, Texts, int], None]:
    """A kernel that tells the protocol of a payload by a table, and fills the columns that it knows."""
    pages, by_port, by_first_byte, bounds, order, fallbacks = _candidates(table)
    patterns = [pattern for entry in table for pattern in _patterns(entry)]
    masks = np.array([mask for mask, _, _ in patterns], np.uint64)
    values = np.array([value for _, value, _ in patterns], np.uint64)
    lengths = np.array([length for _, _, length in patterns], np.int64)
    owners = [entry for entry in table for _ in _patterns(entry)]
    protocols = np.array([entry.protocol for entry in owners], np.int64)
    parsers = [entry.parse for entry in table if entry.parse]
    distinct = list(dict.fromkeys(parsers))
    which = np.array([distinct.index(entry.parse) if entry.parse else -1 for entry in owners], np.int64)
    parse = _choice(distinct)

    @kernel_part
    def find(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
        start = _start(data, pos, end)
        size = end - pos
        enough = 0
        for step in range(3):
            if step == 2:
                group = np.uint64(by_first_byte[start & _BYTE])
            else:
                lower = min(row.src_port, row.dst_port)
                port = np.uint64(lower if step == 0 else row.src_port ^ row.dst_port ^ lower)
                group = np.uint64(by_port[np.uint64(pages[port >> _EIGHT]) << _EIGHT | port & _BYTE])
                if enough == 0:
                    enough = fallbacks[group]
            for k in range(bounds[group], bounds[group + _ONE]):
                pattern = np.uint64(order[np.uint64(k)])
                if start & masks[pattern] != values[pattern] or size < lengths[pattern]:
                    continue
                protocol = OWN
                if which[pattern] >= 0:
                    protocol = parse(which[pattern], data, pos, end, wire_end, row, texts, seed)
                if protocol:
                    row.protocol = protocols[pattern] if protocol == OWN else protocol
                    return
        if enough:
            row.protocol = enough

    return find


@kernel_part
def _start(data: Bytes, pos: int, end: int) -> np.uint64:
    """The first eight bytes of data[pos:end] as `word` gives them, zeros where there are fewer."""
    if end - pos >= _WORD_BYTES:
        return word(data, pos)
    start = np.uint64(0)
    for i in range(end - pos):
        start |= np.uint64(data[np.uint64(pos + i)]) << np.uint64(8 * i)
    return start


@kernel_part
def _none(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
    return 0


def _choice(parsers: Sequence[Parser]) -> Callable[..., int]:
    """One kernel that calls the parser of a number.

    An if-else chain, because numba can call kernels only by name: through pointers it costs more. It is made of links
    of eight, because every link compiles those after it again.
    """
    a, b, c, d, e, f, g, h = [*parsers[:_LINK], *_LINK * [_none]][:_LINK]
    others = _choice(parsers[_LINK:]) if len(parsers) > _LINK else None

    @called_part
    def choice(number: int, data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> int:
        if number == 0:
            return a(data, pos, end, wire_end, row, texts, seed)
        if number == 1:
            return b(data, pos, end, wire_end, row, texts, seed)
        if number == 2:
            return c(data, pos, end, wire_end, row, texts, seed)
        if number == 3:
            return d(data, pos, end, wire_end, row, texts, seed)
        if number == 4:
            return e(data, pos, end, wire_end, row, texts, seed)
        if number == 5:
            return f(data, pos, end, wire_end, row, texts, seed)
        if number == 6:
            return g(data, pos, end, wire_end, row, texts, seed)
        if number == 7:
            return h(data, pos, end, wire_end, row, texts, seed)
        if others is not None:
            return others(number - _LINK, data, pos, end, wire_end, row, texts, seed)
        return 0

    return choice


def _patterns(entry: Entry) -> list[tuple[int, int, int]]:
    """An entry's starts as (mask, value, bytes needed); two that differ in one bit become one without it."""
    patterns = [_pattern(start) for start in entry.starts or ("",)]
    at = 0
    while at < len(patterns):
        mask, value, length = patterns[at]
        for other in patterns[at + 1 :]:
            bit = value ^ other[1]
            if (mask, length) == (other[0], other[2]) and bit.bit_count() == 1:
                patterns.remove(other)
                patterns[at] = mask & ~bit, value & ~bit, length
                at = -1
                break
        at += 1
    return patterns


def _pattern(start: str) -> tuple[int, int, int]:
    """(mask, value, bytes needed) of one start, for the word of a payload's first eight bytes."""
    digits = start.replace(" ", "")
    if len(digits) % 2 or len(digits) > 2 * _WORD_BYTES:
        raise ValueError(f"{start!r} is not up to {_WORD_BYTES} bytes in hexadecimal")
    mask = bytes.fromhex("".join("0" if digit == "?" else "f" for digit in digits))
    value = bytes.fromhex(digits.replace("?", "0"))
    return int.from_bytes(mask, "little"), int.from_bytes(value, "little"), max(1, len(value))


def _candidates(table: Sequence[Entry]) -> tuple[npt.NDArray[Any], ...]:
    """Which patterns to try: (pages, groups by port, groups by first byte, bounds, order, fallbacks).

    A group is a list of patterns, order[bounds[group]:bounds[group + 1]]; group 0 is empty. A group's fallback is the
    protocol to which one of its ports is enough. `pages` gives the place of 256 ports in the groups by port; most
    share the first, which is empty: one array of all ports would cost the first-level cache more.
    """
    at_port: dict[int, list[int]] = {}
    at_byte: dict[int, list[int]] = {}
    enough: dict[int, int] = {}
    number = 0
    for entry in table:
        for mask, value, _ in _patterns(entry):
            told = bool(entry.starts or entry.parse)
            for port in entry.ports if told else ():
                at_port.setdefault(port, []).append(number)
            for byte in range(256) if entry.anywhere else ():
                if byte & mask & 255 == value & 255:
                    at_byte.setdefault(byte, []).append(number)
            number += 1
        for port in entry.ports if entry.by_port else ():
            enough.setdefault(port, entry.protocol)
    groups: dict[tuple[tuple[int, ...], int], int] = {((), 0): 0}
    high_bytes = sorted({port >> 8 for port in (*at_port, *enough)})
    pages, by_byte = np.zeros(256, np.uint8), np.zeros(256, np.uint16)
    pages[high_bytes] = np.arange(len(high_bytes)) + 1
    by_port = np.zeros(256 * (1 + len(high_bytes)), np.uint8)
    for port in sorted({*at_port, *enough}):
        key = tuple(at_port.get(port, ())), enough.get(port, 0)
        by_port[int(pages[port >> 8]) << 8 | port & 255] = groups.setdefault(key, len(groups))
    for byte, patterns in at_byte.items():
        by_byte[byte] = groups.setdefault((tuple(patterns), 0), len(groups))
    bounds = np.cumsum([0, *(len(patterns) for patterns, _ in groups)])
    order = np.array([pattern for patterns, _ in groups for pattern in patterns], np.int64)
    return pages, by_port, by_byte, bounds, order, np.array([protocol for _, protocol in groups], np.int64)
