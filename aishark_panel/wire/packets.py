"""Packets: a block of dissected packets in columns, the one in-memory form of PACKETS.

The dissector writes blocks, the ring keeps them, expressions are evaluated on them, and Arrow is made from them at
the edge. A block has a fixed capacity and is only ever appended to, so readers may use rows [0, length) while one
writer goes on.

Texts (DNS names, host names ...) are interned in a pool per block: a TEXT column holds codes, code 0 is null, and
text k is `data[ends[k - 1]:ends[k]]`. A predicate on a text is decided once per distinct text.
"""

import socket
from collections import namedtuple
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import COLUMNS, Column, Kind, column, ipv6_layer

__all__ = [
    "ARROW_NAMES",
    "LAYERS",
    "MAX_TEXT_BYTES",
    "PACKET_TEXT_BYTES",
    "Columns",
    "Interface",
    "Packets",
    "Texts",
    "address_bytes",
    "address_text",
    "mac_text",
    "mac_value",
]

MAX_TEXT_BYTES: Final = 255
"""Longest text kept of a field; longer ones are cut (RFC 1035: a name has at most 255 octets)."""

PACKET_TEXT_BYTES: Final = 1024
"""Every pool has at least this much room, so that an empty block takes the texts of any one packet."""

if TYPE_CHECKING:

    class Columns(tuple[npt.NDArray[Any], ...]):
        def __new__(cls, *arrays: npt.NDArray[Any]) -> "Columns": ...
        def __getattr__(self, name: str) -> npt.NDArray[Any]: ...

else:
    Columns = namedtuple("Columns", [c.name for c in COLUMNS])
"""One numpy array per column of PACKETS, (capacity,) or (capacity, 2) for addresses. numba takes it as one argument."""

Texts = namedtuple("Texts", ["data", "ends", "table", "counts"])
"""Text pool: data uint8, ends int32 (ends[0] = 0), table int32 open-addressing hash of codes (0 free), counts int64
[texts, bytes]. The kernels in aishark_panel.dissect.texts fill it."""

Interface = namedtuple("Interface", ["agent", "name", "link_type"])
"""One interface of a session: agent's name, interface's name, LINKTYPE number (tcpdump.org/linktypes.html)."""

_HIDDEN: Final = ("layers", "frame_pos", "iface")
ARROW_NAMES: Final = (
    "number",
    "ts",
    "agent",
    "iface",
    *(c.name for c in COLUMNS if c.name not in ("ts", *_HIDDEN)),
)
"""Names of the Arrow form, in order: `number` and `agent` are derived, internal columns left out."""
LAYERS: Final = "layers"
"""which layers were found (wire.layers.Layer); needed beside ARROW_NAMES to make packets of the Arrow form again"""


class Packets:
    """Rows [0, length) of PACKETS; row i is packet number `first_number + i` of its session, or `numbers[i]`."""

    def __init__(self, capacity: int, *, text_bytes: int | None = None) -> None:
        self.capacity = capacity
        self.length = 0
        self.first_number = 1
        self.numbers: npt.NDArray[np.int64] | None = None
        """(length,), where they are not one after the other: of packets that were selected and read back"""
        self.columns = Columns(*(np.empty((capacity, *c.shape), c.dtype) for c in COLUMNS))
        text_count = 2 * capacity + 1
        self.texts = Texts(
            np.empty((text_bytes or 64 * capacity) + PACKET_TEXT_BYTES, np.uint8),
            np.zeros(text_count + 1, np.int32),
            np.zeros(1 << (2 * text_count - 1).bit_length(), np.int32),
            np.zeros(2, np.int64),
        )
        self.arena: list[npt.NDArray[np.uint8]] = []
        """Frame bytes: frame i starts at byte `frame_pos & (2**arena_bits - 1)` of arena[frame_pos >> arena_bits]."""
        self.arena_bits = 62
        self.generation = 0
        """how often the block was cleared: codes of texts mean something within one generation only"""
        self._text_cache: list[str] = [""]

    def clear(self) -> None:
        """Forget all rows, keeping the memory for reuse (fresh pages cost more than dissecting)."""
        self.length = 0
        self.generation += 1
        self.texts.table.fill(0)
        self.texts.counts.fill(0)
        self._text_cache = [""]

    @property
    def columns_bytes(self) -> int:
        """Memory of columns and text pool, without frames."""
        return int(sum(a.nbytes for a in (*self.columns, *self.texts)))

    def values(self, name: str) -> npt.NDArray[Any]:
        """Stored values of a column, rows [0, length); see Column.kind for their meaning."""
        array: npt.NDArray[Any] = getattr(self.columns, name)
        return array[: self.length]

    def frame(self, row: int) -> bytes:
        """Captured bytes of a row; none where the agent kept them all, or the block has none."""
        if not self.columns.cap_len[row] or not self.arena:
            return b""
        pos = int(self.columns.frame_pos[row])
        start = pos & ((1 << self.arena_bits) - 1)
        block = self.arena[pos >> self.arena_bits]
        return block[start : start + int(self.columns.cap_len[row])].tobytes()

    def text(self, code: int) -> str:
        """Text of a code; '' for 0."""
        return self.text_values()[code]

    def text_values(self) -> list[str]:
        """All texts of the pool by code; index 0 is ''. Bytes that are not UTF-8 are replaced."""
        count = int(self.texts.counts[0])
        known = self._text_cache
        if len(known) <= count:
            data, ends = self.texts.data, self.texts.ends
            first = int(ends[len(known) - 1])
            raw = data[first : int(ends[count])].tobytes()
            # A new list, so that two readers who get here at once cannot both extend the same one.
            known = known + [
                raw[int(ends[k - 1]) - first : int(ends[k]) - first].decode("utf-8", "replace")
                for k in range(len(known), count + 1)
            ]
            self._text_cache = known
        return known

    def to_arrow(
        self,
        interfaces: Sequence[Interface],
        names: Sequence[str] = ARROW_NAMES,
        rows: npt.NDArray[np.intp] | slice = slice(None),
    ) -> pa.RecordBatch:
        """Arrow form of some rows and columns: addresses, protocols and texts as dictionary-encoded strings.

        `rows` indexes this block (a slice is clipped to its length). `names` are from ARROW_NAMES, or "frame".
        """
        if isinstance(rows, slice):
            rows = np.arange(self.length, dtype=np.intp)[rows]
        arrays = [self._arrow_array(name, rows, interfaces) for name in names]
        return pa.RecordBatch.from_arrays(arrays, names=list(names))

    def _arrow_array(self, name: str, rows: npt.NDArray[np.intp], interfaces: Sequence[Interface]) -> pa.Array:
        if name == "number":
            numbers = self.first_number + rows if self.numbers is None else self.numbers[rows]
            return pa.array(numbers.astype(np.uint64))
        if name == "frame":
            return pa.array([self.frame(int(r)) for r in rows], pa.binary())
        if name in ("agent", "iface"):
            codes = self.columns.iface[rows].astype(np.int32)
            return _dictionary(codes, [i.agent if name == "agent" else i.name for i in interfaces])
        spec = column(name)
        values = getattr(self.columns, name)[rows]
        mask = self._null_mask(spec, rows)
        match spec.kind:
            case Kind.TIME:
                return pa.array(values, pa.timestamp("ns", tz="UTC"))
            case Kind.BOOLEAN:
                return pa.array(values.astype(bool))
            case Kind.PROTOCOL:
                return _dictionary(values.astype(np.int32), PROTOCOLS)
            case Kind.TEXT:
                texts = self.text_values()
                used = np.zeros(len(texts), np.bool_)
                used[values] = True
                places = np.cumsum(used, dtype=np.int32) - np.int32(1)
                return _dictionary(places[values], [texts[c] for c in np.flatnonzero(used)], values == 0)
            case Kind.MAC:
                first, codes = _firsts(values)
                return _dictionary(codes, [mac_text(int(v)) for v in values[first]], mask)
            case Kind.ADDRESS:
                return self._address_array(spec, values, rows, mask)
            case _:
                return pa.array(values, mask=mask)

    def _address_array(
        self,
        spec: Column,
        values: npt.NDArray[np.uint64],
        rows: npt.NDArray[np.intp],
        mask: npt.NDArray[np.bool_] | None,
    ) -> pa.Array:
        # An IPv6 packet may carry a real ::ffff:a.b.c.d, which is not the IPv4 address a.b.c.d.
        is_v6 = (self.columns.layers[rows] & int(ipv6_layer(spec.name))) != 0
        first, codes = _distinct(values[:, 0], values[:, 1], is_v6)
        raw = np.ascontiguousarray(values[first]).view(np.uint8).reshape(-1, 16)
        texts = [address_text(raw[k].tobytes(), v6=bool(is_v6[row])) for k, row in enumerate(first)]
        return _dictionary(codes, texts, mask)

    def _null_mask(self, spec: Column, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_] | None:
        if not spec.present:
            return None
        mask: npt.NDArray[np.bool_] = (self.columns.layers[rows] & int(spec.present)) == 0
        if spec.name == "eth_type":  # an IEEE 802.3 frame has a length in its place
            mask |= self.columns.eth_type[rows] == 0
        return mask


def _distinct(
    high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64], flag: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """Rows that stand first for each distinct (high, low, flag), and for each row which of them it equals.

    Finding equal triples by one hash per row takes a tenth of the time that sorting them takes; hashes that collide, by
    chance or because somebody chose the addresses so, are noticed, and then the triples are sorted.
    """
    hashes = (high * np.uint64(0x9E3779B97F4A7C15)) ^ (low * np.uint64(0xC2B2AE3D27D4EB4F)) ^ flag.astype(np.uint64)
    first, codes = _firsts(hashes)
    same = first[codes]
    if not ((high == high[same]) & (low == low[same]) & (flag == flag[same])).all():
        triples = np.rec.fromarrays([high, low, flag])
        _, first, inverse = np.unique(triples, return_index=True, return_inverse=True)
        codes = inverse.astype(np.int32)
    return first, codes


def _firsts(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """As `_distinct`, for one array of numbers, in the order they appear; by hash, which is faster than sorting."""
    encoded = pa.array(values).dictionary_encode()
    codes: npt.NDArray[np.int32] = encoded.indices.to_numpy()
    first = np.empty(len(encoded.dictionary), np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first, codes


def _dictionary(
    codes: npt.NDArray[np.int32], values: Sequence[str], mask: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    distinct = list(dict.fromkeys(values))
    if len(distinct) < len(values):  # pandas refuses a dictionary that holds a value twice
        place = {value: k for k, value in enumerate(distinct)}
        codes = np.array([place[value] for value in values], np.int32)[codes]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), pa.array(distinct, pa.string()))


@lru_cache(maxsize=65_536)
def address_text(raw: bytes, *, v6: bool = False) -> str:
    """Text of 16 address bytes: RFC 5952 for IPv6, dotted for IPv4 kept as ::ffff:a.b.c.d (unless `v6`)."""
    if not v6 and raw[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def address_bytes(text: str) -> bytes:
    """The 16 bytes of an address as `address_text` writes it."""
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return b"\0" * 10 + b"\xff\xff" + socket.inet_pton(socket.AF_INET, text)


def mac_text(value: int) -> str:
    """Text of a MAC column's value: six hexadecimal pairs with colons."""
    return value.to_bytes(6, "big").hex(":")


def mac_value(text: str) -> int:
    """The value of a MAC address as `mac_text` writes it, or with dashes. ValueError for what is none."""
    raw = bytes.fromhex(text.replace("-", ":").replace(":", " "))
    if len(raw) != 6 or len(text) != 17:
        raise ValueError(f"{text:.40} is no MAC address")
    return int.from_bytes(raw, "big")
