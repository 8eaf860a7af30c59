"""Columns that no packet stores: they are made of its columns and bytes when somebody asks for them by name.

A fingerprint stands in the row of the packet that completes its ClientHello; a hello may have begun in earlier ones.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.dissect import info_text
from aishark_panel.dissect.client_hello import HelloReader
from aishark_panel.dissect.community_id import packet_community_id
from aishark_panel.dissect.fingerprint import ClientHello
from aishark_panel.dissect.info import TcpNumbers
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["COMMUNITY_ID", "INFO", "JA3", "JA4", "ON_DEMAND", "NumbersOf", "RowTables", "Rows"]

INFO: Final = "info"
"""one line on the packet, made for people"""
COMMUNITY_ID: Final = "community_id"
JA3: Final = "ja3"
JA4: Final = "ja4"
ON_DEMAND: Final = (INFO, COMMUNITY_ID, JA3, JA4)

Rows = npt.NDArray[np.intp]
"""(n,) indices into a block"""
NumbersOf = Callable[[Packets, int], TcpNumbers | None]
"""gives what the numbers of a TCP segment count from, as `Conversations.tcp_numbers` does"""

_FINGERPRINTS: Final[dict[str, Callable[[ClientHello], str]]] = {JA3: ClientHello.ja3, JA4: ClientHello.ja4}


class RowTables:
    """Arrow form of rows, block after block in the order of the capture, with the columns named.

    Without `numbers_of` the column INFO has TCP's numbers as they were on the wire.
    """

    def __init__(
        self, interfaces: Sequence[Interface], columns: Sequence[str], numbers_of: NumbersOf | None = None
    ) -> None:
        self._interfaces, self._columns, self._numbers_of = interfaces, columns, numbers_of
        self._stored = [name for name in columns if name not in ON_DEMAND]
        self._wants_hellos = any(name in _FINGERPRINTS for name in columns)
        self._hellos = HelloReader()
        self._next_number = 0
        """of the first packet not yet searched for hellos"""

    @property
    def schema(self) -> pa.Schema:
        """The schema of every batch."""
        return self.batch(Packets(1), np.zeros(0, np.intp)).schema

    def batch(self, packets: Packets, rows: Rows) -> pa.RecordBatch:
        """Some rows of a block; as `Packets.to_arrow`, and knows the columns ON_DEMAND too."""
        batch = packets.to_arrow(self._interfaces, self._stored, rows)
        hellos = self._search(packets, rows) if self._wants_hellos else {}
        stored = iter(batch.columns)
        arrays = [
            pa.array([self._value(name, packets, int(row), hellos) for row in rows], pa.string())
            if name in ON_DEMAND
            else next(stored)
            for name in self._columns
        ]
        return pa.RecordBatch.from_arrays(arrays, names=list(self._columns))

    def _value(self, name: str, packets: Packets, row: int, hellos: dict[int, ClientHello]) -> str | None:
        if name == INFO:
            numbers = self._numbers_of(packets, row) if self._numbers_of else None
            return info_text(packets, row, self._interfaces[int(packets.columns.iface[row])].link_type, numbers)
        if name == COMMUNITY_ID:
            return packet_community_id(packets, row)
        return _FINGERPRINTS[name](hellos[row]) if row in hellos else None

    def _search(self, packets: Packets, rows: Rows) -> dict[int, ClientHello]:
        """Hellos by the row that completes them, up to the last of `rows`, those between them included."""
        start, stop = max(self._next_number - packets.first_number, 0), int(rows[-1]) + 1 if len(rows) else 0
        found: dict[int, ClientHello] = {}
        for row in (start + np.flatnonzero(_may_carry_hello(packets, start, stop))).tolist():
            if self._hellos.waiting or packets.columns.layers[row] & int(Layer.TLS) or _is_quic(packets, row):
                link_type = self._interfaces[int(packets.columns.iface[row])].link_type
                hello = self._hellos.read(packets.frame(row), link_type, int(packets.columns.orig_len[row]))
                if hello is not None:
                    found[row] = hello
        self._next_number = max(self._next_number, packets.first_number + stop)
        return found


def _may_carry_hello(packets: Packets, start: int, stop: int) -> npt.NDArray[np.bool_]:
    columns = packets.columns
    carries: npt.NDArray[Any] = columns.layers[start:stop] & int(Layer.TCP | Layer.UDP) != 0
    return carries & (columns.payload_len[start:stop] > 0)


def _is_quic(packets: Packets, row: int) -> bool:
    return bool(packets.columns.protocol[row] == protocols.QUIC)
