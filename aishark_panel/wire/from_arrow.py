"""Packets made again of their Arrow form: the way back from `Packets.to_arrow`.

It needs all columns, `layers` among them: what is null says nothing of which of several layers were found.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.wire.packets import (
    ARROW_NAMES,
    LAYERS,
    MAX_TEXT_BYTES,
    Interface,
    Packets,
    Texts,
    address_bytes,
    mac_value,
)
from aishark_panel.wire.protocols import protocol_code
from aishark_panel.wire.schema import COLUMNS, Column, Kind

__all__ = ["NEEDED", "from_arrow"]

NEEDED: Final = frozenset(ARROW_NAMES) - {"number"} | {LAYERS}
"""columns without which packets cannot be made"""
_TEXTS: Final = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
_MAX_INTERFACES: Final = 65_536


def from_arrow(batch: pa.RecordBatch, interfaces: list[Interface], link_type_of: Callable[[str, str], int]) -> Packets:
    """A block with the rows of a batch, which has the columns NEEDED and may have `number` and `frame`.

    `interfaces` grows by those that it does not name yet; `link_type_of` is asked with agent and interface. Without the
    column `frame` the block has no bytes, whatever `cap_len` says was captured. Raises ValueError for a value that no
    packet can have.
    """
    packets = Packets(batch.num_rows, text_bytes=0)
    packets.length = batch.num_rows
    texts = _TextPool()
    for spec in COLUMNS:
        if spec.kind is not Kind.INTERFACE and spec.name != "frame_pos":
            getattr(packets.columns, spec.name)[:] = _values(spec, batch[spec.name], texts)
    packets.columns.iface[:] = _interface_codes(batch, interfaces, link_type_of)
    packets.columns.frame_pos.fill(0)
    packets.texts = texts.pool(packets.texts.table)
    if "number" in batch.schema.names:
        packets.numbers = batch["number"].cast(pa.int64()).to_numpy()
    if "frame" in batch.schema.names:
        frames = batch["frame"].cast(pa.large_binary())
        offsets = np.frombuffer(frames.buffers()[1], np.int64)[frames.offset : frames.offset + len(frames)]
        packets.columns.frame_pos[:] = offsets
        packets.arena = [np.frombuffer(frames.buffers()[2] or b"", np.uint8)]
    return packets


def _values(spec: Column, array: pa.Array, texts: "_TextPool") -> npt.NDArray[Any]:
    """What a block stores for these values; null is stored as 0, and found by the row's layers."""
    match spec.kind:
        case Kind.TIME:
            return _numbers(array.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()))
        case Kind.BOOLEAN:
            return _numbers(array.cast(pa.uint8()))
        case Kind.PROTOCOL:
            return _of_distinct(array, lambda names: [protocol_code(name) for name in names], np.uint16)
        case Kind.MAC:
            return _of_distinct(array, lambda names: [mac_value(name) for name in names], np.uint64)
        case Kind.TEXT:
            return _of_distinct(array, texts.codes, np.uint32)
        case Kind.ADDRESS:
            return _of_distinct(array, _addresses, np.uint64)
        case _:
            return _numbers(array.cast(pa.from_numpy_dtype(np.dtype(spec.dtype))))


def _numbers(array: pa.Array) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = array.fill_null(0).to_numpy(zero_copy_only=False)
    return values


def _coded(array: pa.Array) -> tuple[npt.NDArray[np.intp], list[str]]:
    """For each row the place of its text among those that occur, or -1 where it is null; and these texts."""
    plain = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if not any(is_kind(plain) for is_kind in _TEXTS):
        raise ValueError(f"a text is needed, not {plain}")
    if not pa.types.is_dictionary(array.type):
        array = array.cast(pa.string()).dictionary_encode()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.intp)
    used = np.zeros(len(array.dictionary) + 1, np.bool_)
    used[codes] = True
    used[-1] = False
    place = np.cumsum(used) - 1
    place[-1] = -1
    return place[codes], array.dictionary.take(pa.array(np.flatnonzero(used))).to_pylist()


def _of_distinct(
    array: pa.Array, values_of: Callable[[list[str]], npt.ArrayLike], dtype: type[np.generic]
) -> npt.NDArray[Any]:
    """Values made once of each distinct text, 0 where it is null."""
    codes, names = _coded(array)
    values = np.asarray(values_of(names), dtype)
    if not names:
        return np.zeros(1, dtype)
    return np.concatenate([values, np.zeros((1, *values.shape[1:]), dtype)])[codes]


def _addresses(names: list[str]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join(map(address_bytes, names)), np.uint64).reshape(-1, 2)


def _interface_codes(
    batch: pa.RecordBatch, interfaces: list[Interface], link_type_of: Callable[[str, str], int]
) -> npt.NDArray[np.intp]:
    agents, agent_names = _coded(batch["agent"])
    ifaces, iface_names = _coded(batch["iface"])
    pairs, codes = np.unique((agents + 1) * (len(iface_names) + 1) + ifaces + 1, return_inverse=True)
    known = {(interface.agent, interface.name): place for place, interface in reversed([*enumerate(interfaces)])}
    agent_names, iface_names = ["", *agent_names], ["", *iface_names]
    places = []
    for agent, iface in zip(*(each.tolist() for each in np.divmod(pairs, len(iface_names))), strict=True):
        pair = (agent_names[agent], iface_names[iface])
        if pair not in known:
            known[pair] = len(interfaces)
            interfaces.append(Interface(*pair, link_type_of(*pair)))
        places.append(known[pair])
    if len(interfaces) > _MAX_INTERFACES:
        raise ValueError(f"there are more than {_MAX_INTERFACES:,} interfaces")
    return np.array(places, np.intp)[codes]


class _TextPool:
    """The distinct texts of a block, by code from 1 on."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def codes(self, names: Iterable[str]) -> list[int]:
        """A code for each text; 0 for one that is empty."""
        return [self._codes.setdefault(name, len(self._codes) + 1) if name else 0 for name in names]

    def pool(self, table: npt.NDArray[np.int32]) -> Texts:
        """The pool of these; its `table` finds nothing, for nothing is added to it."""
        encoded = [name.encode()[:MAX_TEXT_BYTES] for name in self._codes]
        ends = np.zeros(len(encoded) + 1, np.int32)
        np.cumsum([len(text) for text in encoded], out=ends[1:])
        data = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
        return Texts(data, ends, table, np.array([len(encoded), int(ends[-1])], np.int64))
