"""Tables other than PACKETS that expressions can be about: what packets add up to."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from aishark_panel.query.names import Field, Meaning, Presence
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Columns, Packets, Texts
from aishark_panel.wire.schema import Kind

__all__ = ["Table", "address", "count", "either", "known_ns", "port", "protocol", "text", "time"]

_MOST: int = 2**50
"""No table counts more; so counts can be added and multiplied by 8."""
_MOST_NS: int = 2**53
"""Durations beyond this, 104 days, are compared but not calculated with exactly."""


class Table(Packets):
    """Rows with columns of their own: in the place of a block of packets.

    `columns` are (n,), as `Field.stored` calls them; addresses are (n, 2) and called src_ip and dst_ip, so that
    `v6` tells which of them are IPv6. `texts` are those that text columns have codes of, from 1.
    """

    def __init__(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        v6: npt.NDArray[np.bool_] | None = None,
        texts: Sequence[str] = (),
    ) -> None:
        super().__init__(0)
        self.capacity = self.length = len(next(iter(columns.values())))
        layers = np.where(np.zeros(self.length, np.bool_) if v6 is None else v6, int(Layer.IPV6), int(Layer.IPV4))
        self.columns = cast(Columns, SimpleNamespace(**columns, layers=layers))
        encoded = [each.encode("utf-8", "replace") for each in texts]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        data = np.frombuffer(b"".join(encoded), np.uint8)
        self.texts = Texts(data, ends, self.texts.table, np.array([len(encoded), len(data)], np.int64))


def count(name: str, description: str) -> Meaning:
    """A number from 0 up, int64."""
    return _one(Field(name=name, kind=Kind.INTEGER, stored=name, dtype="i8", limits=(0, _MOST)), description)


def known_ns(name: str, description: str) -> Meaning:
    """A duration in ns, int64; null where it is 0."""
    presence = (Presence(name),)
    limits = (0, _MOST_NS)
    return _one(
        Field(name=name, kind=Kind.INTEGER, stored=name, dtype="i8", limits=limits, presence=presence), description
    )


def time(name: str, description: str) -> Meaning:
    """A time, int64 ns since 1970 UTC."""
    return _one(Field(name=name, kind=Kind.TIME, stored=name, dtype="i8"), description)


def port(name: str, description: str) -> Meaning:
    """A port, uint16; null where it is 0."""
    return _one(Field(name=name, kind=Kind.INTEGER, stored=name, dtype="u2", presence=(Presence(name),)), description)


def address(name: str, stored: str, description: str) -> Meaning:
    """An address, kept as src_ip or dst_ip."""
    return _one(Field(name=name, kind=Kind.ADDRESS, stored=stored, dtype="u8"), description)


def protocol(description: str) -> Meaning:
    """An index into PROTOCOLS, uint16."""
    return _one(Field(name="protocol", kind=Kind.PROTOCOL, stored="protocol", dtype="u2"), description)


def text(name: str, description: str) -> Meaning:
    """The code of a text, 0 for null."""
    return _one(Field(name=name, kind=Kind.TEXT, stored=name, dtype="u4", presence=(Presence(name),)), description)


def either(a: Meaning, b: Meaning, description: str) -> Meaning:
    """Either of two columns, as ip.addr is of packets."""
    return Meaning(fields=a.fields + b.fields, description=description)


def _one(field: Field, description: str) -> Meaning:
    return Meaning(fields=(field,), description=description)
