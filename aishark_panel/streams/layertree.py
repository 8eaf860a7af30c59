"""The protocol hierarchy: which layers packets are made of, from the link inwards, and how much of each there is."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from aishark_panel.jit import kernel
from aishark_panel.streams.summaries import Counter, Rows
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.protocols import PROTOCOLS

__all__ = ["LayerTree"]

_PATH: Final = (
    (Layer.ETH, "Ethernet"),
    (Layer.VLAN, "VLAN"),
    (Layer.MPLS, "MPLS"),
    (Layer.PPPOE, "PPPoE"),
    (Layer.ARP, "ARP"),
    (Layer.IPV4, "IPv4"),
    (Layer.IPV6, "IPv6"),
    (Layer.TCP, "TCP"),
    (Layer.UDP, "UDP"),
    (Layer.SCTP, "SCTP"),
    (Layer.GRE, "GRE"),
    (Layer.VXLAN, "VXLAN"),
    (Layer.GENEVE, "Geneve"),
    (Layer.GTP, "GTP"),
    (Layer.INNER_ARP, "ARP"),
    (Layer.INNER_IPV4, "IPv4"),
    (Layer.INNER_IPV6, "IPv6"),
    (Layer.INNER_TCP, "TCP"),
    (Layer.INNER_UDP, "UDP"),
    (Layer.INNER_SCTP, "SCTP"),
    (Layer.ICMP, "ICMP"),
    (Layer.ICMPV6, "ICMPv6"),
)
"""Layers as they follow one another. Where there is no tunnel, the inner TCP, UDP and SCTP are the outer ones."""
_INNER: Final = int(Layer.INNER_TCP | Layer.INNER_UDP | Layer.INNER_SCTP)
_TUNNEL: Final = int(Layer.INNER_IP)
_MASK: Final = int(np.bitwise_or.reduce([int(layer) for layer, _ in _PATH]))
_MAX_SHAPES: Final = 2_048
"""Combinations of layers and protocol that are told apart; what comes later is not split further."""


class LayerTree(Counter):
    """Packets and bytes by the layers they are made of."""

    def __init__(self) -> None:
        self._shapes = np.zeros((_MAX_SHAPES, 2), np.int64)  # layers, protocol
        self._counts = np.zeros((_MAX_SHAPES, 2), np.int64)  # packets, bytes; of shape 0: of all that found no room
        self._slots = np.zeros(4 * _MAX_SHAPES, np.int32)
        self._used = 1

    def count(self, packets: Packets, rows: Rows, interfaces: Sequence[Interface]) -> None:
        """Take some rows of a block, in their order."""
        columns = packets.columns
        self._used = _count(
            columns.layers,
            columns.protocol,
            columns.orig_len,
            rows,
            self._shapes,
            self._counts,
            self._slots,
            self._used,
        )

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self._shapes.nbytes + self._counts.nbytes + self._slots.nbytes

    def lines(self) -> list[dict[str, Any]]:
        """One line for each layer after the same ones: depth (0: the link), name, packets and bytes; a line is followed
        by those inside it, the biggest first."""
        totals: dict[tuple[str, ...], list[int]] = {}
        for (layers, protocol), (packets, volume) in zip(
            self._shapes[: self._used].tolist(), self._counts[: self._used].tolist(), strict=True
        ):
            path = _path(layers, protocol)
            for depth in range(len(path) if packets else 0):
                total = totals.setdefault(path[: depth + 1], [0, 0])
                total[0] += packets
                total[1] += volume
        # Sorting by the sizes of all that a path lies in puts what is inside after what it is inside of.
        order = sorted(totals, key=lambda p: [(-totals[p[: k + 1]][1], p[k]) for k in range(len(p))])
        return [
            {"depth": len(path) - 1, "name": path[-1], "packets": totals[path][0], "bytes": totals[path][1]}
            for path in order
        ]


def _path(layers: int, protocol: int) -> tuple[str, ...]:
    if not layers & _TUNNEL:
        layers &= ~_INNER
    path = [name for layer, name in _PATH if layers & layer]
    name = PROTOCOLS[protocol]
    if name not in path:
        path.append(name)
    return tuple(path)


@kernel
def _count(layers, protocol, orig_len, rows, shapes, counts, slots, used):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(len(rows)):
        i = rows[k]
        shape = layers[i] & _MASK
        code = np.int64(protocol[i])
        mixed = np.uint64(shape * 256 + code) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> np.uint64(40)) % len(slots)
        while True:
            place = slots[slot]
            if place == 0:
                if used < len(shapes):
                    place = used
                    shapes[place, 0], shapes[place, 1] = shape, code
                    slots[slot] = place
                    used += 1
                break
            if shapes[place, 0] == shape and shapes[place, 1] == code:
                break
            slot = (slot + 1) % len(slots)
        counts[place, 0] += 1
        counts[place, 1] += orig_len[i]
    return used
