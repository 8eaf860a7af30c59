"""Attacks, and the innocent traffic that looks like each of them, as frames: what the built-in rules are tried on.

Each attack is of hosts of its own, so that the key of every alert says which it is about. Times are left to who sends.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

__all__ = ["ATTACKS", "Attack", "innocent"]

MAC, ROUTER = "02:00:00:00:00:01", "02:00:00:00:00:02"


class Attack(NamedTuple):
    """One kind of attack."""

    rule: str
    key: dict[str, Any]
    """of the alert that it must raise"""
    frames: Callable[[], list[bytes]]


def ip(src: str, dst: str, layer: Packet, mac: str = MAC) -> bytes:
    return bytes(Ether(src=mac, dst=ROUTER) / IP(src=src, dst=dst) / layer)


def syn(src: str, dst: str, port: int, source_port: int = 40_000) -> bytes:
    return ip(src, dst, TCP(sport=source_port, dport=port, flags="S", seq=1))


class Conversation:
    """A TCP connection as both sides' frames."""

    def __init__(self, client: str, server: str, port: int, source_port: int = 50_000) -> None:
        self.ends = (client, source_port), (server, port)
        self.seq = [1_000, 9_000]
        self.frames: list[bytes] = []
        for side, flags in ((0, "S"), (1, "SA"), (0, "A")):
            self.send(side, flags=flags)

    def send(self, side: int, payload: bytes = b"", *, flags: str = "PA", window: int = 8_192, again: int = 0) -> None:
        """A segment of the client (0) or the server (1); `again`: bytes before the next one, sent once more."""
        (src, sport), (dst, dport) = self.ends[side], self.ends[1 - side]
        acked = 0 if flags == "S" else self.seq[1 - side]
        segment = TCP(sport=sport, dport=dport, flags=flags, seq=self.seq[side] - again, ack=acked, window=window)
        self.frames.append(ip(src, dst, segment / Raw(payload) if payload else segment))
        if not again:
            self.seq[side] += len(payload) + ("S" in flags)


def port_scan() -> list[bytes]:
    return [syn("10.1.0.66", "10.1.0.2", port) for port in range(1, 41)]


def host_sweep() -> list[bytes]:
    return [syn("10.2.0.66", f"10.2.1.{host}", 445) for host in range(1, 61)]


def syn_flood() -> list[bytes]:
    return [syn(f"198.18.{i >> 8}.{i & 255}", "10.3.0.2", 80, 1_024 + i) for i in range(1_500)]


def icmp_flood() -> list[bytes]:
    return [ip("10.4.0.66", "10.4.0.2", ICMP(type=8, seq=i) / Raw(bytes(32))) for i in range(1_500)]


def icmpv6_flood() -> list[bytes]:
    frame = Ether(src=MAC, dst=ROUTER) / IPv6(src="2001:db8::66", dst="2001:db8::2")
    return [bytes(frame / ICMPv6EchoRequest(seq=i)) for i in range(1_500)]


def udp_flood() -> list[bytes]:
    return [
        ip("10.5.0.66", "10.5.0.2", UDP(sport=10_000 + i % 2_000, dport=9_999) / Raw(bytes(16))) for i in range(6_000)
    ]


def arp_spoofing() -> list[bytes]:
    def claim(mac: str) -> bytes:
        reply = ARP(op=2, hwsrc=mac, psrc="10.6.0.1", hwdst=ROUTER, pdst="10.6.0.2")
        return bytes(Ether(src=mac, dst=ROUTER) / reply)

    return [claim("02:00:00:00:06:01"), claim("02:00:00:00:06:66")]


def dhcp_offer(server: str, kind: str = "offer") -> bytes:
    offer = BOOTP(op=2, yiaddr="10.7.0.50", siaddr=server) / DHCP(options=[("message-type", kind), "end"])
    return ip(server, "10.7.0.50", UDP(sport=67, dport=68) / offer)


def rogue_dhcp() -> list[bytes]:
    return [dhcp_offer("10.7.0.1"), dhcp_offer("10.7.0.66")]


def missing(client: str, names: int) -> list[bytes]:
    return [
        ip(
            "10.8.0.53",
            client,
            UDP(sport=53, dport=5_353 + i) / DNS(id=i, qr=1, rcode=3, qd=DNSQR(qname=f"q{i}.example")),
        )
        for i in range(names)
    ]


def dns_failures() -> list[bytes]:
    return missing("10.8.0.66", 40)


def questions(client: str, names: list[str]) -> list[bytes]:
    return [
        ip(client, "10.9.0.53", UDP(sport=20_000 + i, dport=53) / DNS(id=i, rd=1, qd=DNSQR(qname=name)))
        for i, name in enumerate(names)
    ]


def dns_tunnel() -> list[bytes]:
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    names = ["".join(alphabet[(i * 7 + k * k * 5 + k) % 32] for k in range(52)) + ".t.example" for i in range(40)]
    return questions("10.9.0.66", names)


def ftp_login() -> list[bytes]:
    talk = Conversation("10.10.0.66", "10.10.0.2", 21)
    talk.send(1, b"220 ready\r\n")
    talk.send(0, b"USER alice\r\n")
    talk.send(1, b"331 password please\r\n")
    talk.send(0, b"PASS secret\r\n")
    return talk.frames


def basic_login() -> list[bytes]:
    talk = Conversation("10.11.0.66", "10.11.0.2", 80)
    talk.send(0, b"GET / HTTP/1.1\r\nHost: example\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n")
    return talk.frames


def telnet_login() -> list[bytes]:
    talk = Conversation("10.12.0.66", "10.12.0.2", 23)
    talk.send(1, b"\xff\xfd\x18")
    talk.send(1, b"login: ")
    talk.send(0, b"alice\r\n")
    talk.send(1, b"Password: ")
    return talk.frames


def server_hello(client: str, server: str, version: bytes) -> list[bytes]:
    talk = Conversation(client, server, 443)
    hello = b"\x02\x00\x00\x28" + version + bytes(32) + b"\x00\x00\x2f\x00" + b"\x00\x00"
    talk.send(1, b"\x16" + version + len(hello).to_bytes(2, "big") + hello)
    return talk.frames


def obsolete_tls() -> list[bytes]:
    return server_hello("10.13.0.1", "10.13.0.66", b"\x03\x01")


def sent_again(client: str, server: str, share: float) -> list[bytes]:
    talk = Conversation(client, server, 8_080)
    for i in range(400):
        talk.send(0, bytes(100), flags="A")
        if i and i % round(1 / share) == 0:
            talk.send(0, bytes(100), flags="A", again=100)
    return talk.frames


def retransmissions() -> list[bytes]:
    return sent_again("10.14.0.66", "10.14.0.2", 1 / 4)


def zero_window_stall() -> list[bytes]:
    talk = Conversation("10.15.0.1", "10.15.0.66", 9_000)
    for _ in range(10):
        talk.send(0, b"x", flags="A")
        talk.send(1, flags="A", window=0)
    return talk.frames


def connections_refused() -> list[bytes]:
    frames = []
    for i in range(30):
        frames.append(syn(f"10.16.1.{i}", "10.16.0.66", 5_432, 30_000 + i))
        refusal = TCP(sport=5_432, dport=30_000 + i, flags="RA", seq=0, ack=2, window=0)
        frames.append(ip("10.16.0.66", f"10.16.1.{i}", refusal))
    return frames


def connections_unanswered() -> list[bytes]:
    return [syn(f"10.17.1.{i % 20}", "10.17.0.66", 22, 30_000 + i % 20) for i in range(60)]


def bandwidth() -> list[bytes]:
    """520 MB: frames as large as a card with offload hands them over."""
    return [ip("10.18.0.1", "10.18.0.2", UDP(sport=5_004, dport=5_005) / Raw(bytes(60_000)))] * 8_700


ATTACKS = (
    Attack("port_scan", {"src_ip": "10.1.0.66", "dst_ip": "10.1.0.2"}, port_scan),
    Attack("host_sweep", {"src_ip": "10.2.0.66", "dst_port": 445}, host_sweep),
    Attack("syn_flood", {"dst_ip": "10.3.0.2"}, syn_flood),
    Attack("icmp_flood", {"dst_ip": "10.4.0.2"}, icmp_flood),
    Attack("icmp_flood", {"dst_ip": "2001:db8::2"}, icmpv6_flood),
    Attack("udp_flood", {"dst_ip": "10.5.0.2"}, udp_flood),
    Attack("arp_spoofing", {"src_ip": "10.6.0.1"}, arp_spoofing),
    Attack("rogue_dhcp", {}, rogue_dhcp),
    Attack("dns_failures", {"dst_ip": "10.8.0.66"}, dns_failures),
    Attack("dns_tunnel", {"src_ip": "10.9.0.66"}, dns_tunnel),
    Attack("cleartext_credentials", {"src_ip": "10.10.0.66", "dst_ip": "10.10.0.2", "protocol": "FTP"}, ftp_login),
    Attack("cleartext_credentials", {"src_ip": "10.11.0.66", "dst_ip": "10.11.0.2", "protocol": "HTTP"}, basic_login),
    Attack(
        "cleartext_credentials", {"src_ip": "10.12.0.2", "dst_ip": "10.12.0.66", "protocol": "TELNET"}, telnet_login
    ),
    Attack("obsolete_tls", {"src_ip": "10.13.0.66"}, obsolete_tls),
    Attack("retransmissions", {"src_ip": "10.14.0.66", "dst_ip": "10.14.0.2"}, retransmissions),
    Attack("zero_window_stall", {"src_ip": "10.15.0.66", "dst_ip": "10.15.0.1"}, zero_window_stall),
    Attack("connections_refused", {"src_ip": "10.16.0.66", "src_port": 5_432}, connections_refused),
    Attack("connections_unanswered", {"dst_ip": "10.17.0.66", "dst_port": 22}, connections_unanswered),
    Attack("bandwidth", {}, bandwidth),
)
"""Each of the rules that are on."""


def innocent() -> Iterator[bytes]:
    """What looks like each attack and is none: nothing may be said of it."""
    yield from (syn("10.21.0.7", "10.21.0.2", port) for port in range(1, 11))
    yield from (syn("10.22.0.7", f"203.0.113.{host}", 443) for host in range(1, 61))  # a browser
    for i in range(300):  # a busy server
        talk = Conversation(f"10.23.{i >> 8}.{i & 255}", "10.23.9.9", 80, 2_000 + i)
        for _ in range(4):
            talk.send(0, b"x", flags="A")
        yield from talk.frames
    yield from (ip("10.24.0.7", "10.24.0.2", ICMP(type=8, seq=i)) for i in range(50))
    yield from (
        ip("10.25.0.7", "10.25.0.2", UDP(sport=5_004, dport=5_005) / Raw(bytes(16))) for _ in range(6_000)
    )  # a call
    yield from [ip("10.25.1.7", "10.25.1.53", UDP(sport=i, dport=53) / Raw(bytes(30))) for i in range(1_024, 2_024)] * 6
    probe = ARP(op=1, hwsrc="02:00:00:00:26:01", psrc="10.26.0.1", pdst="10.26.0.2")
    yield from [bytes(Ether(src="02:00:00:00:26:01", dst="ff:ff:ff:ff:ff:ff") / probe)] * 20
    yield from missing("10.28.0.7", 8)
    yield from questions("10.29.0.7", [f"host-{i}.example" for i in range(60)])
    talk = Conversation("10.30.0.7", "10.30.0.2", 80)
    talk.send(0, b"GET /?q=PASS HTTP/1.1\r\nHost: example\r\n\r\n")
    yield from talk.frames
    yield from server_hello("10.33.0.1", "10.33.0.7", b"\x03\x03")
    yield from sent_again("10.34.0.7", "10.34.0.2", 1 / 50)
    talk = Conversation("10.35.0.1", "10.35.0.7", 9_000)
    for _ in range(2):
        talk.send(0, b"x", flags="A")
        talk.send(1, flags="A", window=0)
    yield from talk.frames
    for i in range(10):
        yield ip("10.36.0.7", f"10.36.1.{i}", TCP(sport=5_432, dport=30_000, flags="RA", seq=0, ack=2))
    yield from (syn(f"10.37.1.{i}", "10.37.0.7", 22, 30_000) for i in range(20))
