"""Cables to capture on, for cases that run in a network namespace of their own (own_network.py)."""

import contextlib
import itertools
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import scapy.packet
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether

from aishark_panel.agent.source import Source

__all__ = [
    "EXPERIMENTAL",
    "HUB",
    "ONLY_OURS",
    "Link",
    "Packet",
    "frame_of",
    "ip",
    "link",
    "loopback",
    "make_link",
    "received",
    "tagged_to_hub",
    "wait_for_carrier",
]

EXPERIMENTAL = 0x88B5
"""EtherType for local experiments (IEEE Std 802)"""
ONLY_OURS = "not ip6"
"""What the kernel itself sends on a new interface is IPv6."""

HUB = [("10.0.0.2", 8765), ("2001:db8::2", 8765)]
"""endpoints of a hub that nobody runs"""


class Link(NamedTuple):
    """Two interfaces joined by a cable."""

    near: str
    far: str
    sender: socket.socket
    """sends frames from `near` to `far`"""

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.sender.send(frame)


class Packet(NamedTuple):
    frame: bytes
    ts: int
    orig_len: int
    iface: int


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def wait_for_carrier(name: str) -> None:
    """Until the kernel sends what the interface is given: that is a moment after both ends are up."""
    deadline = time.monotonic() + 5
    while b"state UP" not in subprocess.run(["ip", "-o", "link", "show", name], capture_output=True).stdout:
        assert time.monotonic() < deadline, f"{name} has no carrier"


@pytest.fixture(scope="module", autouse=True)
def loopback() -> None:
    ip("link", "set", "lo", "up")


@pytest.fixture(scope="module")
def make_link() -> Iterator[Callable[[], Link]]:
    with contextlib.ExitStack() as opened:
        numbers = itertools.count()

        def make() -> Link:
            near, far = f"near{next(numbers)}", f"far{next(numbers)}"
            ip("link", "add", near, "type", "veth", "peer", "name", far)
            for name in (near, far):
                ip("link", "set", name, "addrgenmode", "none", "up")
            wait_for_carrier(near)
            sender = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
            sender.bind((near, 0))
            return Link(near, far, sender)

        yield make


@pytest.fixture(scope="module")
def link(make_link: Callable[[], Link]) -> Link:
    return make_link()


def frame_of(payload: bytes = b"") -> bytes:
    return bytes(Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01", type=EXPERIMENTAL)) + payload


def received(capture: Source, count: int, wait_s: float = 5.0) -> list[Packet]:
    """The next `count` packets, fewer where they do not come in that time, more where more come."""
    packets: list[Packet] = []
    deadline = time.monotonic() + wait_s
    while len(packets) < count and time.monotonic() < deadline:
        frames = capture.read(0.2)
        for i in range(len(frames) if frames else 0):
            assert frames
            packets.append(Packet(frames.frame(i), int(frames.ts[i]), int(frames.orig_len[i]), int(frames.iface[i])))
    return packets


def tagged_to_hub(port: int) -> list[bytes]:
    """Frames to the hub's addresses and that port with one tag or two, each of another length."""
    tags = [(0x8100,), (0x88A8,), (0x9100,), (0x8100, 0x8100), (0x88A8, 0x8100), (0x9100, 0x8100)]
    frames = []
    for number, (tpids, version) in enumerate(itertools.product(tags, (4, 6))):
        network, kind = (IP(dst=HUB[0][0]), 0x0800) if version == 4 else (IPv6(dst=HUB[1][0]), 0x86DD)
        packet: scapy.packet.Packet = network / TCP(sport=40_000, dport=port) / bytes(number)
        for tpid in reversed(tpids):
            packet, kind = Dot1Q(vlan=10, type=kind) / packet, tpid
        frames.append(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=kind) / packet))
    return frames
