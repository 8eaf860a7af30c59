"""Community ID version 1: a name for a conversation that Zeek, Suricata, Arkime and others give too.

Specification and its baseline: github.com/corelight/community-id-spec. Made on demand, never while packets stream in.
"""

import base64
import hashlib
from typing import Final

from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Packets

__all__ = ["community_id", "packet_community_id"]

_ICMP, _ICMPV6 = 1, 58
_ICMP_PAIRS: Final = ((8, 0), (10, 9), (13, 14), (15, 16), (17, 18))
_ICMPV6_PAIRS: Final = ((128, 129), (130, 131), (133, 134), (135, 136), (139, 140), (144, 145))
"""Types of a message and of its answer; one stands for the other side's port."""
_ANSWERS: Final = {
    proto: dict(pairs) | {answer: question for question, answer in pairs}
    for proto, pairs in ((_ICMP, _ICMP_PAIRS), (_ICMPV6, _ICMPV6_PAIRS))
}
_V4_PREFIX: Final = b"\0" * 10 + b"\xff\xff"


def community_id(
    source: bytes, destination: bytes, proto: int, ports: tuple[int, int] | None = None, *, seed: int = 0
) -> str:
    """Community ID of a packet: "1:" and the base64 of a SHA-1 that is equal in both directions.

    Addresses are 4 or 16 bytes, `proto` the IP protocol number. `ports` are those of TCP, UDP and SCTP, source first,
    or type and code of ICMP and ICMPv6; other protocols have none. `seed` (16 bits) keeps the names of one
    organisation apart from another's.
    """
    one_way = False
    if ports is not None and proto in _ANSWERS:
        answer = _ANSWERS[proto].get(ports[0])
        one_way = answer is None  # no message of the other direction belongs to it, so it keeps its order
        ports = ports if answer is None else (ports[0], answer)
    from_port, to_port = ports or (0, 0)
    if not one_way and (destination, to_port) < (source, from_port):
        source, destination, from_port, to_port = destination, source, to_port, from_port
    text = seed.to_bytes(2, "big") + source + destination + bytes([proto, 0])
    if ports is not None:
        text += from_port.to_bytes(2, "big") + to_port.to_bytes(2, "big")
    return "1:" + base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()


def packet_community_id(packets: Packets, row: int, *, seed: int = 0) -> str | None:
    """Community ID of a row, from its outermost addresses; None where it is not IP.

    Later fragments have no ports, so theirs is made from addresses and protocol alone.
    """
    columns = packets.columns
    layers = Layer(int(columns.layers[row]))
    if not layers & Layer.IP:
        return None
    source, destination = columns.src_ip[row].tobytes(), columns.dst_ip[row].tobytes()
    if not layers & Layer.IPV6:
        source, destination = source.removeprefix(_V4_PREFIX), destination.removeprefix(_V4_PREFIX)
    ports = None
    if columns.ip_proto[row] in (_ICMP, _ICMPV6) and layers & Layer.ANY_ICMP:
        ports = int(columns.icmp_type[row]), int(columns.icmp_code[row])
    elif layers & Layer.PORTS:
        ports = int(columns.src_port[row]), int(columns.dst_port[row])
    return community_id(source, destination, int(columns.ip_proto[row]), ports, seed=seed)
