"""Arrow form of packets: distinct addresses."""

import socket

import numpy as np

from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Packets

_HIGH, _LOW = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F
"""multipliers of the hash that finds distinct addresses"""


def test_addresses_whose_hashes_collide_stay_apart() -> None:
    """An address is chosen so that its hash is that of 2001:db8::1, as a hostile sender could."""
    high, low = np.frombuffer(socket.inet_pton(socket.AF_INET6, "2001:db8::1"), np.uint64).tolist()
    other_high = high + 1
    other_low = ((high * _HIGH ^ low * _LOW ^ other_high * _HIGH) * pow(_LOW, -1, 2**64)) % 2**64
    packets = Packets(4)
    packets.length = 3
    packets.columns.layers[:3] = int(Layer.IPV6)
    packets.columns.src_ip[:3] = np.array([(high, low), (other_high, other_low), (high, low)], np.uint64)
    first, other, again = packets.to_arrow((), ["src_ip"]).column(0).to_pylist()
    assert first == again == "2001:db8::1"
    assert socket.inet_pton(socket.AF_INET6, other) == np.array([other_high, other_low], np.uint64).tobytes()
