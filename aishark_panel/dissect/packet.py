"""The driver: one kernel call dissects one run of frames into rows of a block, layer by layer."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.application import over_tcp, over_udp
from aishark_panel.dissect.encapsulation import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_RARP
from aishark_panel.dissect.ip import NO_TRANSPORT, arp, ipv4, ipv6
from aishark_panel.dissect.link import link
from aishark_panel.dissect.load import Bytes, prefetch
from aishark_panel.dissect.row import Row, blank_absent, store
from aishark_panel.dissect.texts import has_room
from aishark_panel.dissect.transport import OVER_TCP, OVER_UDP, TUNNELS, conversation, transport
from aishark_panel.dissect.tunnel import nest, unnest
from aishark_panel.jit import kernel_part, lean_kernel
from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Columns, Texts

__all__ = ["CHUNK_ROWS", "SCRATCH_ROWS", "dissect_rows"]

_PREFETCH_FRAMES: Final = 8
"""How many frames ahead the first two cache lines are asked for: waiting for them would take half of the time."""

_CACHE_LINE_BYTES: Final = 64

CHUNK_ROWS: Final = 64
"""Rows under construction at a time; their records stay in the first-level cache (32 KiB)."""

SCRATCH_ROWS: Final = CHUNK_ROWS + 1
"""Records needed: one more, for the outermost packet of a tunnel"""

_BLANKED_ROWS: Final = 8 * CHUNK_ROWS
"""Rows blanked at a time: enough to make the calls cheap, few enough to stay in the second-level cache."""


@lean_kernel
def dissect_rows(
    ts: npt.NDArray[np.int64],
    orig_len: npt.NDArray[np.uint32],
    iface: npt.NDArray[np.uint16],
    offsets: npt.NDArray[np.int32],
    data: Bytes,
    link_types: npt.NDArray[np.int32],
    iface_codes: npt.NDArray[np.uint16],
    start: int,
    count: int,
    columns: Columns,
    texts: Texts,
    first_row: int,
    seed: int,
    rows: npt.NDArray[Any],
    words: npt.NDArray[np.uint64],
) -> int:
    """Dissect frames [start, start + count) into rows from first_row on; returns how many until the texts are full.

    `rows` is scratch memory for SCRATCH_ROWS records, and `words` the same memory.
    """
    last = offsets.size - 1
    done = 0
    blanked = 0
    full = False
    outer = rows[CHUNK_ROWS]
    words[:] = 0  # whatever a layer does not fill is absent
    while done < count and not full:
        chunk = min(CHUNK_ROWS, count - done)
        if done == blanked:
            blanked = min(done + _BLANKED_ROWS, count)
            blank_absent(columns, first_row + done, first_row + blanked)
        kept = 0
        found = 0
        while kept < chunk and has_room(texts):
            frame = start + done + kept
            ahead = offsets[min(frame + _PREFETCH_FRAMES, last)]
            prefetch(data, ahead)
            prefetch(data, ahead + _CACHE_LINE_BYTES)
            pos, end = np.int64(offsets[frame]), np.int64(offsets[frame + 1])
            wire_end = pos + max(np.int64(orig_len[frame]), end - pos)
            row = rows[kept]
            at = np.uint64(first_row + done + kept)
            columns.ts[at] = ts[frame]
            columns.iface[at] = iface_codes[iface[frame]]
            columns.orig_len[at] = orig_len[frame]
            columns.cap_len[at] = end - pos
            _layers(data, pos, end, wire_end, link_types[iface[frame]], row, outer, texts, seed)
            found |= row.layers
            kept += 1
        store(rows, words, kept, found, columns, first_row + done)
        done += kept
        full = kept < chunk
    return done


@kernel_part
def _layers(
    data: Bytes, pos: int, end: int, wire_end: int, link_type: int, row: Row, outer: Row, texts: Texts, seed: int
) -> None:
    """Dissect one frame from its link layer up. `outer` is memory for the outermost packet while one in it is read."""
    ether_type, pos, end, wire_end = link(data, pos, end, wire_end, link_type, row)
    if ether_type == ETHERTYPE_IPV4:
        proto, pos, end, wire_end = ipv4(data, pos, end, wire_end, row)
    elif ether_type == ETHERTYPE_IPV6:
        proto, pos, end, wire_end = ipv6(data, pos, end, wire_end, row)
    else:
        if ether_type in (ETHERTYPE_ARP, ETHERTYPE_RARP):
            arp(data, pos, end, wire_end, row)
            if ether_type == ETHERTYPE_RARP:
                row.protocol = protocols.RARP
        return
    if proto != NO_TRANSPORT:
        pos, end, wire_end, kind = transport(data, pos, end, wire_end, proto, row)
        if kind >= TUNNELS:
            pos, end, wire_end, kind = nest(data, pos, end, wire_end, kind, row, outer)
        if pos < end:
            if kind == OVER_TCP:
                over_tcp(data, pos, end, wire_end, row, texts, seed)
            elif kind == OVER_UDP:
                over_udp(data, pos, end, wire_end, row, texts, seed)
        if outer.layers:
            unnest(row, outer)
    if row.ip_version:
        row.conversation_id = conversation(row)
