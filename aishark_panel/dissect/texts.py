"""Interning of texts in a block's pool (wire.packets.Texts): equal texts get equal codes.

A text is first written behind the pool's last one (staged, byte by byte with `put`), then `intern` either finds it
among the known ones and forgets the copy, or keeps it. `has_room` is asked once a packet; then nothing can overflow.

`seed` starts the hash. It is secret and constant within a process, so that no sender can make texts that all fall
into one place of the table.
"""

import os
from typing import Final

import numpy as np

from aishark_panel.dissect.load import Bytes, u8, word
from aishark_panel.jit import called_part, kernel_part
from aishark_panel.wire.packets import MAX_TEXT_BYTES, PACKET_TEXT_BYTES, Texts

__all__ = ["SEED", "has_room", "intern", "intern_slice", "lower", "put"]

SEED: Final = int.from_bytes(os.urandom(8)) >> 1
"""Where hashes start in this process."""

_PACKET_TEXTS: Final = 3
"""Most texts one packet has: method, host and path of an HTTP request."""

_WORD_BYTES: Final = 8
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)

assert _PACKET_TEXTS * MAX_TEXT_BYTES + _WORD_BYTES <= PACKET_TEXT_BYTES  # hashing reads whole words


@kernel_part
def has_room(texts: Texts) -> bool:
    """Does the pool take the texts of any one packet?"""
    enough_codes = texts.counts[0] + _PACKET_TEXTS < texts.ends.size
    return bool(enough_codes and texts.counts[1] + PACKET_TEXT_BYTES <= texts.data.size)


@kernel_part
def put(texts: Texts, index: int, byte: int) -> None:
    """Write byte `index` (0 to MAX_TEXT_BYTES - 1) of the staged text."""
    texts.data[np.uint64(texts.counts[1] + index)] = byte


@kernel_part
def lower(byte: int) -> int:
    """ASCII lower case of a byte."""
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@called_part
def intern(texts: Texts, length: int, seed: int) -> int:
    """Code of the staged text of `length` bytes; 0 for an empty one."""
    if length == 0:
        return 0
    count, start = texts.counts[0], texts.counts[1]
    mask = texts.table.size - 1
    slot = np.int64(_hash(texts.data, start, length, seed)) & mask
    code = np.int64(texts.table[np.uint64(slot)])
    while code:
        first = np.int64(texts.ends[np.uint64(code - 1)])
        if texts.ends[np.uint64(code)] - first == length and _equal(texts.data, first, start, length):
            return code  # type: ignore[return-value]
        slot = (slot + 1) & mask
        code = np.int64(texts.table[np.uint64(slot)])
    code = count + 1
    texts.table[np.uint64(slot)] = code
    texts.ends[np.uint64(code)] = start + length
    texts.counts[1] = start + length
    texts.counts[0] = code
    return code  # type: ignore[no-any-return]


@called_part
def intern_slice(texts: Texts, data: Bytes, pos: int, end: int, to_lower: bool, seed: int) -> int:
    """Code of the text data[pos:end], cut at MAX_TEXT_BYTES, in lower case if asked for."""
    length = min(end - pos, MAX_TEXT_BYTES)
    for i in range(length):
        byte = u8(data, pos + i)
        put(texts, i, lower(byte) if to_lower else byte)
    return intern(texts, length, seed)


@kernel_part
def _hash(data: Bytes, start: int, length: int, seed: int) -> np.uint64:
    """Hash of data[start:start + length]; up to seven bytes after it are read and ignored."""
    h = np.uint64(seed) ^ np.uint64(length)
    done = 0
    while done < length:
        chunk = word(data, start + done)
        if length - done < _WORD_BYTES:
            chunk &= (np.uint64(1) << np.uint64(8 * (length - done))) - np.uint64(1)
        h = (h ^ chunk) * _MULTIPLIER
        h ^= h >> np.uint64(32)
        done += _WORD_BYTES
    return h


@kernel_part
def _equal(data: Bytes, first: int, second: int, length: int) -> bool:
    """Are the `length` bytes at two places of the pool the same?"""
    for i in range(length):
        if data[np.uint64(first + i)] != data[np.uint64(second + i)]:
            return False
    return True
