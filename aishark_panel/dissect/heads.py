"""Heads of frames: where the headers end and the payload begins, and which conversation a frame belongs to.

Made of the same pieces as the dissector, without all that looks into payloads: for agents, which cut payloads off and
sample by conversation without dissecting.

The head ends with the innermost transport header: TCP with its options, UDP, UDP-Lite, DCCP, 12 bytes of SCTP, 8 of
ICMP and ICMPv6. A fragment that is not the first has no transport header, and its head ends with the IP header. ARP is
head altogether. What else is carried is payload from the last header on that is known; of unknown link types all is. A
header that the capture cut is kept as far as it goes.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.encapsulation import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_RARP
from aishark_panel.dissect.ip import NO_TRANSPORT, arp, ipv4, ipv6
from aishark_panel.dissect.link import link
from aishark_panel.dissect.load import Bytes, prefetch
from aishark_panel.dissect.row import ROW_TYPE, ROW_WORDS, Row
from aishark_panel.dissect.transport import TUNNELS, conversation, transport
from aishark_panel.dissect.tunnel import nest
from aishark_panel.jit import kernel_part, lean_kernel
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.layers import Layer

__all__ = ["Heads"]

_PREFETCH_FRAMES: Final = 8
_CACHE_LINE_BYTES: Final = 64
_FRAGMENT_BIT: Final = int(Layer.FRAGMENT)


class Heads:
    """Finds the heads of frames; keeps its memory from one batch to the next."""

    def __init__(self) -> None:
        self._rows = np.zeros(2, ROW_TYPE).view(np.recarray)
        self._lengths = np.empty(0, np.int32)
        self._conversations = np.empty(0, np.uint64)

    def find(
        self, frames: Frames, link_types: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint64]]:
        """Bytes of each frame up to the end of its head, and the hash of its conversation; valid until the next call.

        `link_types` (LINKTYPE numbers) is indexed by `frames.iface`; an index beyond it raises ValueError.

        The hash is `conversation_id` as the dissector makes it. Fragments go by addresses and protocol only, because
        but the first have no ports; frames without IP by their two MAC addresses.
        """
        n = len(frames)
        if n and int(frames.iface.max()) >= len(link_types):
            raise ValueError(f"frames name an interface beyond the {len(link_types)} that are known")
        if self._lengths.size < n:
            self._lengths, self._conversations = np.empty(n, np.int32), np.empty(n, np.uint64)
        lengths, conversations = self._lengths[:n], self._conversations[:n]
        _find_heads(
            _input(frames.orig_len, np.uint32),
            _input(frames.iface, np.uint16),
            _input(frames.offsets, np.int32),
            _input(frames.data, np.uint8),
            _input(link_types, np.int32),
            self._rows,
            self._rows.view(np.uint64, np.ndarray).reshape(2, ROW_WORDS),
            lengths,
            conversations,
        )
        return lengths, conversations


def _input(array: npt.NDArray[Any], dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A read-only view of one fixed type: to numba a writable array is another type, and costs another compilation."""
    view = np.require(array, dtype, ["C", "A"]).view()
    view.flags.writeable = False
    return view


@lean_kernel
def _find_heads(
    orig_len: npt.NDArray[np.uint32],
    iface: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int32],
    data: Bytes,
    link_types: npt.NDArray[np.int32],
    rows: npt.NDArray[Any],
    words: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.int32],
    conversations: npt.NDArray[np.uint64],
) -> None:
    """`rows` is scratch memory for two records, and `words` the same memory."""
    row, outer = rows[0], rows[1]
    last = offsets.size - 1
    for frame in range(lengths.size):
        ahead = offsets[min(frame + _PREFETCH_FRAMES, last)]
        prefetch(data, ahead)
        prefetch(data, ahead + _CACHE_LINE_BYTES)
        pos, end = np.int64(offsets[frame]), np.int64(offsets[frame + 1])
        wire_end = pos + max(np.int64(orig_len[frame]), end - pos)
        words[0] = 0
        outer.layers = 0
        head_end: Any = _head(data, pos, end, wire_end, link_types[iface[frame]], row, outer)
        lengths[frame] = min(max(head_end, pos), end) - pos
        conversations[frame] = row.conversation_id


@kernel_part
def _head(data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row, outer: Row) -> int:
    """Where the head of a frame ends; the row gets its `conversation_id`."""
    ether_type, pos, end, wire_end = link(data, pos, end, wire_end, link_type, row)
    if ether_type in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        if ether_type == ETHERTYPE_IPV4:
            proto, pos, end, wire_end = ipv4(data, pos, end, wire_end, row)
        else:
            proto, pos, end, wire_end = ipv6(data, pos, end, wire_end, row)
        kind = 0
        if proto != NO_TRANSPORT:
            pos, end, wire_end, kind = transport(data, pos, end, wire_end, proto, row)
        if row.layers & _FRAGMENT_BIT:
            row.src_port = 0
            row.dst_port = 0
        if not row.ip_version:  # its header is cut or malformed
            _by_mac(row)
        row.conversation_id = conversation(row)
        if kind >= TUNNELS:
            pos, end, wire_end, kind = nest(data, pos, end, wire_end, kind, row, outer)
        return pos
    if ether_type in (ETHERTYPE_ARP, ETHERTYPE_RARP):
        pos = arp(data, pos, end, wire_end, row)
    _by_mac(row)
    row.conversation_id = conversation(row)
    return pos


@kernel_part
def _by_mac(row: Row) -> None:
    """In place of IP addresses, where there are none."""
    row.src_ip_1 = row.eth_src
    row.dst_ip_1 = row.eth_dst
