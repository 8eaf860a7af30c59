"""Groupings: traffic by time, and by protocol, agent, interface, host, TCP problem, or what TCP segments do.

Each packet has a code, of which many are possible and few occur; each code that occurs becomes a group with counts of
its own. There are at most MAX_GROUPS: what comes later is counted as 'other'. Hosts are too many to be first come, so
now and then those with few bytes make room for new ones, and go to 'other' too.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel
from aishark_panel.streams.addresshash import address_hash
from aishark_panel.streams.rollups import PROBLEM_OF, PROBLEMS, BinCounts, TimeBins
from aishark_panel.streams.summaries import Counter, Rows
from aishark_panel.wire.layers import Layer, TcpProblem
from aishark_panel.wire.packets import Interface, Packets, address_text
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import ipv6_layer

__all__ = ["GROUPINGS", "MAX_GROUPS", "OTHER", "TCP_ROLES", "Grouped", "GroupedBins"]

GROUPINGS: Final = ("protocol", "agent", "interface", "host", "problem", "tcp")
"""host: the address that sent the packet. tcp: TCP_ROLES."""
TCP_ROLES: Final = ("segment", "attempt", "repeated attempt", "accepted", "refused", "reset", "retransmission")
"""What a TCP segment does. segment: nothing of these; attempt: a SYN; repeated: the same one again, unanswered;
accepted: a SYN with ACK; refused: the reset that answers a SYN (RFC 9293 section 3.10.7.1: its sequence number is 0);
reset: another one."""
OTHER: Final = "other"
MAX_GROUPS: Final = 256
_MAX_HOSTS: Final = 64
_HOSTS_LEFT: Final = 32
"""... that stay when room is made"""
_ROOM_EVERY: Final = 8
_ROOM_ROWS: Final = 1_000_000
"""Room is made once packets have become an eighth more, or so many: it costs some ms."""
_FIRST_GROUPS: Final = 8
_NOT_COUNTED: Final = 65_535
_SLOTS: Final = 256

_TCP: Final = int(Layer.ANY_TCP)
_RETRANSMISSION: Final = int(TcpProblem.RETRANSMISSION)
_SYN, _RST, _ACK = 2, 4, 16
_ADDRESSED: Final = int(Layer.IP | Layer.ARP)
_IPV6: Final = int(ipv6_layer("src_ip"))


class Grouped(NamedTuple):
    """Counts of bins by group, and the groups' names."""

    counts: BinCounts
    names: list[str]


class GroupedBins(Counter):
    """Packets and bytes in bins of a resolution (ms, of rollups.RESOLUTIONS_MS), by one of GROUPINGS."""

    def __init__(self, resolution_ms: int, by: str) -> None:
        self._by = by
        self._bins = TimeBins(resolution_ms, _FIRST_GROUPS)
        self._codes = [-1]  # of each group; group 0 is 'other'
        self._place = np.zeros(_NOT_COUNTED + 1, np.int64)  # group of each code; 0: has none yet
        self._hosts = _Hosts() if by == "host" else None
        self._counted = self._uncounted = 0  # packets: of all time, and since room was made last

    def count(self, packets: Packets, rows: Rows, interfaces: Sequence[Interface]) -> None:
        """Take some rows of a block, in their order."""
        columns = packets.columns
        if self._hosts:
            if self._hosts.is_full and self._uncounted >= min(self._counted // _ROOM_EVERY, _ROOM_ROWS):
                self._make_room(self._hosts)
                self._uncounted = 0
            self._counted += len(rows)
            self._uncounted += len(rows)
            groups = self._hosts.codes(packets, rows)
            self._widen(self._hosts.count + 1)
        else:
            codes = self._codes_of(packets, rows, interfaces)
            if self._by == "tcp":
                rows, codes = rows[codes != _NOT_COUNTED], codes[codes != _NOT_COUNTED]
            groups = self._groups_of(codes)
        self._bins.add(columns.ts[rows], groups, columns.orig_len[rows])

    @property
    def nbytes(self) -> int:
        """Memory it takes, but for some hundred names."""
        return self._bins.nbytes + self._place.nbytes

    def since(self, first_bin: int, interfaces: Sequence[Interface]) -> Grouped:
        """Counts of the bins >= first_bin still kept."""
        return Grouped(self._bins.since(first_bin), self._names(interfaces))

    def _codes_of(self, packets: Packets, rows: Rows, interfaces: Sequence[Interface]) -> npt.NDArray[np.uint16]:
        columns = packets.columns
        codes: npt.NDArray[np.uint16]
        match self._by:
            case "protocol":
                codes = columns.protocol[rows]
            case "interface":
                codes = columns.iface[rows]
            case "agent":
                agents = [i.agent for i in interfaces]
                codes = np.array([agents.index(a) for a in agents], np.uint16)[columns.iface[rows]]
            case "problem":
                codes = PROBLEM_OF[columns.tcp_problem[rows]]
            case _:
                codes = np.empty(len(rows), np.uint16)
                _roles(
                    columns.layers, columns.tcp_flags, columns.tcp_seq, columns.tcp_problem, rows, codes, _NOT_COUNTED
                )
        return codes

    def _groups_of(self, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
        groups = self._place[codes]
        if len(self._codes) < MAX_GROUPS and not groups.all():
            for code in np.unique(codes[groups == 0])[: MAX_GROUPS - len(self._codes)].tolist():
                self._place[code] = len(self._codes)
                self._codes.append(code)
            self._widen(len(self._codes))
            groups = self._place[codes]
        return groups.astype(np.uint16)

    def _widen(self, groups: int) -> None:
        if groups > self._bins.groups:
            self._bins.widen(max(groups, 2 * self._bins.groups))

    def _make_room(self, hosts: "_Hosts") -> None:
        volume = self._bins.totals()[1 : hosts.count + 1]
        kept = np.sort(np.argsort(volume, kind="stable")[::-1][:_HOSTS_LEFT])
        place = np.zeros(self._bins.groups, np.int64)
        place[kept + 1] = np.arange(1, len(kept) + 1)
        self._bins.regroup(place)
        hosts.keep(kept)

    def _names(self, interfaces: Sequence[Interface]) -> list[str]:
        match self._by:
            case "host":
                assert self._hosts
                return [OTHER, *self._hosts.names()]
            case "protocol":
                names: Sequence[str] = PROTOCOLS
            case "interface":
                names = [f"{i.agent}/{i.name}" for i in interfaces]
            case "agent":
                names = [i.agent for i in interfaces]
            case "problem":
                names = PROBLEMS
            case _:
                names = TCP_ROLES
        return [OTHER, *(names[code] for code in self._codes[1:])]


class _Hosts:
    """Addresses with a code each, from 1; an open-addressing hash."""

    def __init__(self) -> None:
        self._keys = np.zeros((_MAX_HOSTS + 1, 3), np.uint64)  # by code: address, and 1 for IPv6
        self._slots = np.zeros(_SLOTS, np.int64)
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self.count == _MAX_HOSTS

    def codes(self, packets: Packets, rows: Rows) -> npt.NDArray[np.uint16]:
        """Code of the sender of each row; 0 for none, and for those for whom there is no room."""
        codes = np.zeros(len(rows), np.uint16)
        columns = packets.columns
        self.count = _hosts(columns.layers, columns.src_ip, rows, codes, self._keys, self._slots, self.count)
        return codes

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        """Forget all but those of codes kept + 1, which become 1, 2 ..."""
        self._keys[1 : len(kept) + 1] = self._keys[kept + 1]
        self.count = len(kept)
        self._slots.fill(0)
        for code in range(1, self.count + 1):
            slot = address_hash(*self._keys[code, :2]) % _SLOTS
            while self._slots[slot]:
                slot = (slot + 1) % _SLOTS
            self._slots[slot] = code

    def names(self) -> list[str]:
        keys = self._keys[1 : self.count + 1]
        return [address_text(np.ascontiguousarray(key[:2]).tobytes(), v6=bool(key[2])) for key in keys]


@kernel
def _hosts(layers, src_ip, rows, codes, keys, slots, count):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(len(rows)):
        i = rows[k]
        if layers[i] & _ADDRESSED == 0:
            continue
        high, low = src_ip[i, 0], src_ip[i, 1]
        v6 = np.uint64(1) if layers[i] & _IPV6 else np.uint64(0)
        slot = address_hash(high, low) % len(slots)
        while True:
            code = slots[slot]
            if code == 0:
                if count < len(keys) - 1:
                    count += 1
                    keys[count, 0], keys[count, 1], keys[count, 2] = high, low, v6
                    slots[slot] = code = count
                break
            if keys[code, 0] == high and keys[code, 1] == low and keys[code, 2] == v6:
                break
            slot = (slot + 1) % len(slots)
        codes[k] = code
    return count


@kernel
def _roles(layers, flags, seq, problem, rows, codes, not_counted):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    for k in range(len(rows)):
        i = rows[k]
        if layers[i] & _TCP == 0:
            codes[k] = not_counted
            continue
        again = problem[i] & _RETRANSMISSION != 0
        if flags[i] & _SYN and not flags[i] & _ACK:
            codes[k] = 2 if again else 1
        elif flags[i] & _RST:
            codes[k] = 4 if flags[i] & _ACK and seq[i] == 0 else 5
        elif again:
            codes[k] = 6
        else:
            codes[k] = 3 if flags[i] & _SYN else 0
