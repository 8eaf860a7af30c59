"""The ClientHello of a packet's conversation, looked for in the ring when somebody opens the packet."""

import contextlib
from typing import Final

import numpy as np

from aishark_panel.dissect.client_hello import HelloReader
from aishark_panel.dissect.fingerprint import ClientHello
from aishark_panel.errors import ConfigError
from aishark_panel.streams.session import Session
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Packets

__all__ = ["conversation_hello"]

_SCAN_PACKETS: Final = 2_000_000
"""How many packets before and after are looked through; some milliseconds a million."""
_MAX_READ: Final = 256
"""Packets of the conversation that are read; a hello comes early, and packets from far back may be another's."""


def conversation_hello(session: Session, packets: Packets, row: int) -> ClientHello | None:
    """The first ClientHello, over TCP or QUIC, of the conversation that a row belongs to.

    None where the ring no longer holds it, and for QUIC without the package `cryptography`.
    """
    if not int(packets.columns.layers[row]) & int(Layer.TCP | Layer.UDP):
        return None
    number, conversation = packets.first_number + row, packets.columns.conversation_id[row]
    hellos, budget = HelloReader(), _MAX_READ
    with session.ring.read(number - _SCAN_PACKETS, number + _SCAN_PACKETS) as views, contextlib.suppress(ConfigError):
        for block, start, stop in views:
            for found in start + np.flatnonzero(block.columns.conversation_id[start:stop] == conversation)[:budget]:
                link_type = session.interfaces[int(block.columns.iface[found])].link_type
                hello = hellos.read(block.frame(int(found)), link_type, int(block.columns.orig_len[found]))
                budget -= 1
                if hello is not None:
                    return hello
    return None
