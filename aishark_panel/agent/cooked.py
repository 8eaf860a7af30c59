"""The interface `any`: packets of all interfaces of the host, those that come later too, by one packet socket.

Interfaces have link layers of various kinds, so the kernel gives the packets from the network layer on, and the
ring-walking kernel puts a header of LINKTYPE_LINUX_SLL2 ("Linux cooked", https://www.tcpdump.org/linktypes) before
each, which names the interface by its index. A capture filter is written for such frames; in the kernel the header is
not there, so a program's loads from it become the kernel's own (linux/filter.h, SKF_AD_*), as in libpcap. Lengths
(`len`, `greater`) count without it.
"""

import socket
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["ANY", "COOKED", "COOKED_BYTES", "Instruction", "SeenInterfaces", "for_the_kernel"]

ANY: Final = "any"
"""The name under which tcpdump and Wireshark know it."""
COOKED: Final = 276
"""LINKTYPE_LINUX_SLL2"""
COOKED_BYTES: Final = 20
"""Length of its header."""

Instruction = tuple[int, int, int, int]
"""struct sock_filter: code, jump if true, jump if false, k"""

_CLASS, _LD, _LDX, _MODE = 0x07, 0x00, 0x01, 0xE0
_FROM_PACKET: Final = (0x20, 0x40, 0xA0)
"""BPF_ABS, BPF_IND, BPF_MSH: the modes of a load that read the packet"""
_LOAD_BYTE, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x15, 0x06
_AUXILIARY: Final = 0xFFFFF000
_PROTOCOL, _PACKET_TYPE, _IFINDEX, _HARDWARE = (_AUXILIARY + offset for offset in (0, 4, 8, 28))
_FIELDS: Final = {0: _PROTOCOL, 4: _IFINDEX, 8: _HARDWARE, 10: _PACKET_TYPE}
"""what the kernel knows of the header, by offset in it"""
_OUTGOING, _LOOPBACK = 4, 772
"""PACKET_OUTGOING, ARPHRD_LOOPBACK"""
_NOT_TWICE: Final[list[Instruction]] = [
    (_LOAD_BYTE, 0, 0, _PACKET_TYPE),
    (_JUMP_IF_EQUAL, 0, 3, _OUTGOING),
    (_LOAD_BYTE, 0, 0, _HARDWARE),
    (_JUMP_IF_EQUAL, 0, 1, _LOOPBACK),
    (_RETURN, 0, 0, 0),
]
"""On a loopback interface each packet is seen going out and coming in; this leaves out the first."""

MAX_SEEN: Final = 1_000
"""Most interfaces told apart, as many as an agent may announce."""
REFRESH_S: Final = 1.0
"""How often the names are asked for again: an interface may be renamed."""


def for_the_kernel(program: list[Instruction]) -> list[Instruction]:
    """A program for cooked frames as the kernel runs it on a socket bound to no interface.

    ValueError where it reads a part of the header that the kernel cannot look at.
    """
    return _NOT_TWICE + [_without_header(instruction) for instruction in program]


def _without_header(instruction: Instruction) -> Instruction:
    code, if_true, if_false, k = instruction
    if code & _CLASS not in (_LD, _LDX) or code & _MODE not in _FROM_PACKET or k >= _AUXILIARY:
        return instruction
    if k >= COOKED_BYTES:
        return code, if_true, if_false, k - COOKED_BYTES
    if k not in _FIELDS:
        raise ValueError("it asks for a part of the link layer which the kernel cannot look at on all interfaces")
    return code, if_true, if_false, _FIELDS[k]


class SeenInterfaces:
    """Places of interfaces in a growing list of names, found by the kernel's index of each.

    Place 0 is `any`: for packets whose interface is gone before it could be asked for its name. An interface that is
    renamed gets another place; one that is made anew under an old name gets that name's.
    """

    def __init__(self) -> None:
        self.names = [ANY]
        self._indices = np.zeros(0, np.int32)
        self._places = np.zeros(0, np.uint16)
        self._asked_s = -REFRESH_S

    def place(self, indices: npt.NDArray[np.int32], iface: npt.NDArray[np.uint16], now_s: float) -> None:
        """Write the place of each of (n,) interface indices to `iface`."""
        if now_s - self._asked_s >= REFRESH_S or not np.isin(indices, self._indices).all():
            self._ask(indices, now_s)
        iface[:] = self._places[np.searchsorted(self._indices, indices)]

    def _ask(self, indices: npt.NDArray[np.int32], now_s: float) -> None:
        self._asked_s = now_s
        places = {int(index): 0 for index in np.unique(indices)}
        places.update(zip(self._indices.tolist(), self._places.tolist(), strict=True))
        for index, name in socket.if_nameindex():
            if name not in self.names and len(self.names) < MAX_SEEN:
                self.names.append(name)
            places[index] = self.names.index(name) if name in self.names else 0
        self._indices = np.array(sorted(places), np.int32)
        self._places = np.array([places[index] for index in sorted(places)], np.uint16)
