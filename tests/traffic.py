"""Small hand-made traffic for tests: real Ethernet frames, built from bytes, so no code of ours is its own oracle."""

import socket
import struct

from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PROTOCOL_VERSION, Hello, InterfaceInfo, SourceKind

__all__ = ["frames", "hello", "tcp_frame", "udp_frame"]

START_NS = 1_700_000_000_000_000_000


def udp_frame(source: str, destination: str, sport: int, dport: int, payload: bytes = b"") -> bytes:
    """An Ethernet/IPv4/UDP frame."""
    return _ipv4(source, destination, 17, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload)


def tcp_frame(source: str, destination: str, sport: int, dport: int, payload: bytes = b"", flags: int = 0x10) -> bytes:
    """An Ethernet/IPv4/TCP frame."""
    return _ipv4(source, destination, 6, struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 64, 0, 0) + payload)


def _ipv4(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0) + addresses
    return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + body


def frames(n: int, *, first: int = 0, size: int = 20, step_ns: int = 1_000_000) -> Frames:
    """n UDP frames numbered in their payload from `first`, between 250 pairs of hosts, one per `step_ns`."""
    content = [
        udp_frame(f"10.0.0.{i % 250 + 1}", "10.1.0.1", 10_000 + i % 250, 7_000, i.to_bytes(8, "big") + bytes(size))
        for i in range(first, first + n)
    ]
    return Frames.from_list(content, [START_NS + i * step_ns for i in range(first, first + n)])


def hello(
    *interfaces: str,
    agent: str = "edge",
    run: str = "ab" * 16,
    session: str = "",
    source: SourceKind = "live",
    protocol: int = PROTOCOL_VERSION,
) -> Hello:
    """An agent's greeting; its Ethernet interfaces are eth0 unless others are named."""
    return Hello(
        protocol=protocol,
        agent=agent,
        run=run,
        version="1",
        host="host",
        source=source,
        session=session,
        interfaces=tuple(InterfaceInfo(name=name, link_type=1) for name in interfaces or ("eth0",)),
    )
