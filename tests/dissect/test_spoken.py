"""What a conversation speaks: names that follow from the packets before. tests/dissect/test_oracle_applications.py
compares them with tshark's."""

import struct
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from aishark_panel.dissect import Dissector
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.protocols import PROTOCOLS
from tests.segments import MS, START_NS

LONG, SHORT = b"\xc0\0\0\0\1\x08" + bytes(30), b"\x40" + bytes(40)
ENCRYPTED = bytes(range(0x80, 0xE0))
"""The middle of a message: no protocol is known by such bytes."""


class Talk:
    """The frames of one conversation; TCP's segments follow each other unless they say otherwise."""

    def __init__(self, server_port: int) -> None:
        self.port = server_port
        self.frames: list[bytes] = []
        self._next = {True: 1_000, False: 5_000}

    def _add(self, from_client: bool, transport: Packet) -> "Talk":
        client, server = "10.0.0.1", "10.0.0.2"
        ends = IP(src=client, dst=server) if from_client else IP(src=server, dst=client)
        self.frames.append(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / ends / transport))
        return self

    def _ports(self, from_client: bool) -> tuple[int, int]:
        return (50_000, self.port) if from_client else (self.port, 50_000)

    def tcp(self, payload: bytes, *, from_client: bool = True, flags: str = "A", again: int = 0) -> "Talk":
        """A segment; `again`: it starts so many bytes early."""
        start = self._next[from_client] - again
        self._next[from_client] = start + len(payload) + ("S" in flags)
        ack = self._next[not from_client]
        source, destination = self._ports(from_client)
        header = TCP(sport=source, dport=destination, seq=start, ack=ack, flags=flags)
        return self._add(from_client, header / payload)

    def udp(self, payload: bytes, *, from_client: bool = True) -> "Talk":
        """A datagram."""
        source, destination = self._ports(from_client)
        return self._add(from_client, UDP(sport=source, dport=destination) / payload)


def told(talk: Talk, batch: int = 1_000) -> tuple[list[str], str]:
    """Names of the packets, taken in batches of that many, and of their conversation."""
    dissector, names = Dissector(), list[str]()
    times = [START_NS + 100 * MS * k for k in range(len(talk.frames))]
    ends = [*range(0, len(talk.frames), batch), len(talk.frames)]
    for start, stop in pairwise(ends):
        frames = Frames.from_list(talk.frames[start:stop], times[start:stop])
        packets = Packets(stop - start + 1)
        assert dissector.append(frames, 0, np.ones(1, np.int32), np.zeros(1, np.uint16), packets) == stop - start
        names += [PROTOCOLS[code] for code in packets.values("protocol")]
    return names, PROTOCOLS[dissector.conversations.rows().protocol[0]]


def names(talk: Talk) -> list[str]:
    """Names of the packets."""
    return told(talk)[0]


def record(kind: int, content: bytes, version: int = 0x0303) -> bytes:
    return struct.pack(">BHH", kind, version, len(content)) + content


def hello(kind: int, extensions: bytes = b"", version: int = 0x0303) -> bytes:
    """A ClientHello (1), whose record says 1.0, or a ServerHello (2)."""
    ciphers = b"\0\2\x13\1\1\0" if kind == 1 else b"\x13\1\0"
    body = struct.pack(">H", version) + bytes(32) + b"\0" + ciphers + struct.pack(">H", len(extensions)) + extensions
    return record(22, bytes([kind]) + len(body).to_bytes(3, "big") + body, 0x0301 if kind == 1 else 0x0303)


CHOOSES_1_3 = bytes.fromhex("002b00020304")


def tls_1_3() -> Talk:
    talk = Talk(443).tcp(hello(1)).tcp(hello(2, CHOOSES_1_3), from_client=False)
    return talk.tcp(ENCRYPTED, from_client=False).tcp(record(23, ENCRYPTED)).tcp(hello(1))


def quic() -> Talk:
    return Talk(443).udp(SHORT).udp(LONG).udp(SHORT, from_client=False)


def ssh() -> Talk:
    return Talk(22).tcp(ENCRYPTED).tcp(b"SSH-2.0-x\r\n", from_client=False).tcp(ENCRYPTED)


@pytest.mark.parametrize("batch", [1, 2, 1_000])
@pytest.mark.parametrize(
    ("talk", "expected", "highest"),
    [
        (tls_1_3(), ["TLSv1", "TLSv1.3", "TLSv1.3", "TLSv1.3", "TLSv1.3"], "TLSv1.3"),
        (quic(), ["UDP", "QUIC", "QUIC"], "QUIC"),
        (ssh(), ["SSH", "SSHv2", "SSHv2"], "SSHv2"),
    ],
    ids=["TLS", "QUIC", "SSH"],
)
def test_packets_are_named_by_those_before(talk: Talk, expected: Sequence[str], highest: str, batch: int) -> None:
    assert told(talk, batch) == (expected, highest)


def test_a_record_tells_the_version_where_no_server_hello_was_captured() -> None:
    talk = Talk(443).tcp(ENCRYPTED).tcp(hello(1)).tcp(ENCRYPTED)
    assert names(talk) == ["TLS", "TLSv1", "TLS"]  # a ClientHello tells no version: its record may say less
    assert names(talk.tcp(record(23, ENCRYPTED)).tcp(ENCRYPTED))[3:] == ["TLSv1.2", "TLSv1.2"]


def test_a_server_hello_has_the_last_word() -> None:
    talk = Talk(443).tcp(record(23, ENCRYPTED)).tcp(hello(2, CHOOSES_1_3), from_client=False)
    assert names(talk.tcp(record(23, ENCRYPTED))) == ["TLSv1.2", "TLSv1.3", "TLSv1.3"]


def test_what_follows_tls_is_tls() -> None:
    talk = Talk(25).tcp(b"EHLO x\r\n").tcp(hello(2, CHOOSES_1_3), from_client=False)
    assert names(talk.tcp(ENCRYPTED).tcp(b"EHLO x\r\n")) == ["SMTP", "TLSv1.3", "TLSv1.3", "TLSv1.3"]


def test_version_1_of_ssh() -> None:
    talk = Talk(22).tcp(b"SSH-1.99-x\r\n", from_client=False).tcp(b"SSH-1.5-y\n").tcp(ENCRYPTED, from_client=False)
    assert names(talk) == ["SSHv2", "SSHv1", "SSHv1"]


def test_what_goes_on_in_a_later_segment_has_the_name_of_what_began() -> None:
    talk = Talk(4_321).tcp(b"").tcp(ENCRYPTED).tcp(b"GET / HTTP/1.1\r\nHost: x\r\n").tcp(ENCRYPTED).tcp(b"")
    assert names(talk) == ["TCP", "TCP", "HTTP", "HTTP", "TCP"]


def test_what_was_sent_again_is_not_named_twice() -> None:
    request = b"GET / HTTP/1.1\r\n\r\n"
    talk = Talk(80).tcp(request).tcp(request, again=len(request))
    assert names(talk) == ["HTTP", "TCP"]
    spurious = Talk(80).tcp(request).tcp(b"", from_client=False).tcp(request, again=len(request))
    assert names(spurious) == ["HTTP", "TCP", "HTTP"]


def test_a_new_connection_between_the_same_ports_begins_anew() -> None:
    talk = Talk(4_321).tcp(b"", flags="S").tcp(b"GET / HTTP/1.1\r\n\r\n").tcp(b"", flags="S").tcp(ENCRYPTED)
    assert names(talk)[1::2] == ["HTTP", "TCP"]


def test_what_a_tunnel_carries_is_not_named_by_what_it_carried_before() -> None:
    talk = Talk(443)
    inner = IP(src="10.9.0.1", dst="10.9.0.2")
    for payload in (hello(2, CHOOSES_1_3), record(23, ENCRYPTED)):
        segment = inner / TCP(sport=443, dport=50_000, seq=1, flags="A") / payload
        talk.frames.append(bytes(Ether() / IP(src="10.0.0.1", dst="10.0.0.2", proto=4) / segment))
    assert names(talk) == ["TLSv1.3", "TLSv1.2"]
