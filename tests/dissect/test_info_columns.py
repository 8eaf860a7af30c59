"""Info texts of packets whose frames stayed with the agent: as good as columns allow, and never in the way."""

import numpy as np
import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.packet import Packet

from aishark_panel.dissect import dissect, info_text
from aishark_panel.wire.packets import Packets
from tests.dissect.rows import ETHERNET, dissect_frames
from tests.dissect.samples import SAMPLES
from tests.fuzz.mutate import LINKS, Pool, made_frames, mutated

IP4 = IP(src="10.0.0.1", dst="10.0.0.2")
LINUX = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]
NAME = DNSQR(qname="a.example", qtype="AAAA")


def texts(frame: Packet) -> tuple[str, str]:
    """The texts with the frame and without it."""
    packets = dissect_frames(frame)
    whole = info_text(packets, 0, ETHERNET)
    packets.columns.cap_len[0] = 0
    return whole, info_text(packets, 0, ETHERNET)


@pytest.mark.parametrize(
    "frame",
    [
        Ether() / IP4 / TCP(sport=4_000, dport=9_999, flags="S", seq=7, options=LINUX),
        Ether() / IP4 / TCP(sport=4_000, dport=9_999, flags="PA", seq=7, ack=9, window=100) / b"data",
        Ether() / IP4 / UDP(sport=4_000, dport=9_999) / b"data",
        Ether() / IP4 / GRE() / IP4 / UDP(sport=4_000, dport=9_999) / b"data",
        Ether(src="02:00:00:00:00:01") / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"),
        Ether(src="02:00:00:00:00:01") / ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2"),
    ],
    ids=["SYN", "segment", "datagram", "in a tunnel", "ARP request", "ARP reply"],
)
def test_headers_are_put_into_the_same_words(frame: Packet) -> None:
    whole, columns = texts(frame)
    assert columns == whole


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (DNS(qd=NAME), "Standard query AAAA a.example"),
        (DNS(qr=1, qd=NAME, an=DNSRR(rrname="a.example", type="AAAA", rdata="2001:db8::1")),
         "Standard query response AAAA a.example 2001:db8::1"),
        (DNS(qr=1, rcode=3, qd=NAME), "Standard query response error 3 AAAA a.example"),
    ],
    ids=["question", "answer", "error"],
)  # fmt: skip
def test_questions_and_answers_are_told(message: Packet, text: str) -> None:
    assert texts(Ether() / IP4 / UDP(sport=4_000, dport=53) / message)[1] == text


def test_every_protocol_has_some_text() -> None:
    for sample in SAMPLES:
        packets = dissect_frames(sample.frame)
        packets.columns.cap_len[0] = 0
        assert info_text(packets, 0, ETHERNET), sample.name


def test_whatever_the_columns_say_there_is_a_text() -> None:
    frames = mutated(Pool(made_frames()), 3_000, np.random.default_rng(3))
    packets = Packets(len(frames), text_bytes=256 * len(frames))
    assert dissect(frames, 0, LINKS, np.arange(len(LINKS), dtype=np.uint16), packets) == len(frames)
    packets.columns.cap_len[:] = 0
    assert all(info_text(packets, row, int(LINKS[frames.iface[row]])) for row in range(len(frames)))
