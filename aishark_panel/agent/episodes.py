"""The stories synthetic traffic is made of: short conversations of an office network, frame by frame.

An *episode* is what happens between hosts for one purpose: a page is fetched, a name is looked up, a host is pinged.
Its frames are complete Ethernet frames with right checksums. Hosts and names are those reserved for examples
(RFC 1918, 2606, 3849, 5737). All randomness comes from the generator given, so a seed makes the same traffic again.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

__all__ = ["ECHO", "FIXED", "TCP", "UDP", "Episode", "Event", "make_episodes"]

FIXED, TCP, UDP, ECHO = range(4)
"""Kinds of frames, by what distinguishes one run of an episode from the next: nothing, client port and sequence
numbers, client port, echo identifier."""

IPV6_SHARE: Final = 0.2
_RESENT_SHARE: Final = 0.004
"""of TCP data segments, sent again after a retransmission timeout"""
_MSS_BYTES: Final = 1448
_MIN_FRAME_BYTES: Final = 60
_SYN, _PSH, _ACK, _FIN, _RST = 0x02, 0x08, 0x10, 0x01, 0x04
_SYN_OPTIONS: Final = bytes.fromhex("020405b4 0402 0103 0307 0101")
_PROTOCOL_NUMBERS: Final = {TCP: 6, UDP: 17}
_BROADCAST: Final = b"\xff" * 6


class _Host(NamedTuple):
    name: str
    mac: bytes
    ip4: bytes
    ip6: bytes


class Event(NamedTuple):
    """One frame of an episode."""

    time_s: float
    """since the episode's start"""
    frame: bytes
    kind: int
    from_client: bool


@dataclass(slots=True)
class Episode:
    """What happens between a client and a server; IPv4 or IPv6."""

    random: Random
    client: _Host
    server: _Host
    v6: bool = False
    every: int = 1
    """the episode takes place in every n-th round only"""
    events: list[Event] = field(default_factory=list)
    time_s: float = 0.0
    rtt_s: float = 0.02

    def add(self, kind: int, from_client: bool, protocol: int, segment: bytes, checksum_at: int) -> None:
        """Wrap a transport segment in IP and Ethernet, with checksums; `checksum_at` is the segment's own."""
        source, target = (self.client, self.server) if from_client else (self.server, self.client)
        if self.v6:
            addresses = source.ip6 + target.ip6
            header = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64 if from_client else 57) + addresses
            ethertype = b"\x86\xdd"
        else:
            addresses = source.ip4 + target.ip4
            ttl = 64 if from_client else 57
            identification = self.random.getrandbits(16)
            fields = (0x45, 0, 20 + len(segment), identification, 0x4000, ttl, protocol)
            total = struct.pack("!BBHHHBBH", *fields, 0) + addresses
            header = struct.pack("!BBHHHBBH", *fields, _checksum(total)) + addresses
            ethertype = b"\x08\x00"
        pseudo = addresses + struct.pack("!II", len(segment), protocol) if protocol != 1 else b""
        value = _checksum(pseudo + segment)
        if protocol == _PROTOCOL_NUMBERS[UDP]:
            value = value or 0xFFFF  # RFC 768: 0 says there is none
        segment = segment[:checksum_at] + value.to_bytes(2, "big") + segment[checksum_at + 2 :]
        frame = target.mac + source.mac + ethertype + header + segment
        # What comes from the network has the least length of Ethernet; what this side sends is padded by its card.
        self.events.append(
            Event(self.time_s, frame if from_client else frame.ljust(_MIN_FRAME_BYTES, b"\0"), kind, from_client)
        )

    def udp(self, from_client: bool, ports: tuple[int, int], payload: bytes) -> None:
        """One datagram; `ports` are the client's and the server's."""
        first, second = ports if from_client else ports[::-1]
        segment = struct.pack("!HHHH", first, second, 8 + len(payload), 0) + payload
        self.add(UDP, from_client, _PROTOCOL_NUMBERS[UDP], segment, 6)

    def wait(self, mean_s: float) -> None:
        """Let about `mean_s` pass."""
        self.time_s += self.random.expovariate(1 / mean_s)

    def turn(self) -> None:
        """Let one way through the network pass."""
        self.time_s += self.rtt_s / 2 * self.random.uniform(0.9, 1.3)


class _Connection:
    """A TCP connection within an episode."""

    def __init__(self, episode: Episode, server_port: int) -> None:
        self._episode = episode
        self._ports = (_ephemeral(episode.random), server_port)
        self._next = [episode.random.getrandbits(32), episode.random.getrandbits(32)]

    def segment(self, from_client: bool, flags: int, payload: bytes = b"", options: bytes = b"") -> None:
        me, peer = (0, 1) if from_client else (1, 0)
        acknowledged = self._next[peer] if flags & _ACK else 0
        data_offset = (20 + len(options)) // 4 << 4
        header = struct.pack(
            "!HHIIBBHHH",
            self._ports[me], self._ports[peer], self._next[me], acknowledged, data_offset, flags,
            64_240 if flags & _SYN else 502, 0, 0,
        )  # fmt: skip
        self._episode.add(TCP, from_client, _PROTOCOL_NUMBERS[TCP], header + options + payload, 16)
        length = len(payload) + bool(flags & (_SYN | _FIN))
        self._next[me] = (self._next[me] + length) & 0xFFFFFFFF

    def open(self) -> None:
        """The three-way handshake."""
        self.segment(True, _SYN, options=_SYN_OPTIONS)
        self._episode.turn()
        self.segment(False, _SYN | _ACK, options=_SYN_OPTIONS)
        self._episode.turn()
        self.segment(True, _ACK)

    def send(self, from_client: bool, payload: bytes) -> None:
        """Data in segments of the usual size, every second one acknowledged."""
        episode = self._episode
        episode.wait(0.002)
        pieces = range(0, len(payload), _MSS_BYTES)
        for k, at in enumerate(pieces):
            last = k == len(pieces) - 1
            self.segment(from_client, _ACK | (_PSH if last else 0), payload[at : at + _MSS_BYTES])
            if episode.random.random() < _RESENT_SHARE:
                episode.events.append(episode.events[-1]._replace(time_s=episode.time_s + 0.2))
            episode.time_s += 0.00012
            if k % 2 or last:
                self.segment(not from_client, _ACK)
        episode.turn()

    def close(self) -> None:
        self.segment(True, _FIN | _ACK)
        self._episode.turn()
        self.segment(False, _FIN | _ACK)
        self._episode.turn()
        self.segment(True, _ACK)


def _web(episode: Episode) -> None:
    """HTTP/1.1: one to three pages."""
    random, name = episode.random, episode.server.name
    _look_up(episode)
    connection = _Connection(episode, 80)
    connection.open()
    for _ in range(random.randint(1, 3)):
        path = random.choice(("/", "/index.html", "/news?page=2", "/img/logo.png", "/api/v1/items", "/favicon.ico"))
        connection.send(
            True,
            f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
            "Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\n\r\n".encode(),
        )
        status = random.choices(
            ("200 OK", "304 Not Modified", "404 Not Found", "503 Service Unavailable"), (85, 6, 7, 2)
        )
        body = _text(random, random.randint(200, 14_000)) if status[0][0] == "2" else b""
        head = (
            f"HTTP/1.1 {status[0]}\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.send(False, head.encode() + body)
        episode.wait(0.3)
    connection.close()


def _tls(episode: Episode) -> None:
    """TLS 1.3 (RFC 8446): the hello in clear, the rest as application data."""
    random = episode.random
    _look_up(episode)
    connection = _Connection(episode, 443)
    connection.open()
    connection.send(True, _client_hello(random, episode.server.name))
    versions = bytes.fromhex("002b00020304")
    share = struct.pack("!HHHH", 51, 36, 29, 32) + random.randbytes(32)
    hello = b"\x03\x03" + random.randbytes(32) + b"\0\x13\x01\0" + _vector16(versions + share)
    server_hello = _record(22, b"\x02" + len(hello).to_bytes(3, "big") + hello)
    connection.send(False, server_hello + _record(20, b"\x01") + _record(23, random.randbytes(2400)))
    connection.send(True, _record(20, b"\x01") + _record(23, random.randbytes(53)))
    for _ in range(random.randint(1, 5)):
        connection.send(True, _record(23, random.randbytes(random.randint(80, 900))))
        size = min(int(random.lognormvariate(9.2, 1.2)), 60_000)
        connection.send(
            False, b"".join(_record(23, random.randbytes(min(16_000, size - k))) for k in range(0, size, 16_000))
        )
        episode.wait(0.2)
    connection.close()


def _quic(episode: Episode) -> None:
    """QUIC version 1 (RFC 9000): Initial packets, then short headers."""
    random = episode.random
    _look_up(episode)
    ports = (_ephemeral(random), 443)
    ids = (random.randbytes(8), random.randbytes(8))
    for from_client, target, source in ((True, ids[1], b""), (False, b"", ids[1])):
        head = b"\xc3\0\0\0\x01" + _vector8(target) + _vector8(source) + b"\0"
        length = 1200 - len(head) - 2
        episode.udp(from_client, ports, head + (0x4000 | length).to_bytes(2, "big") + random.randbytes(length))
        episode.turn()
    for _ in range(random.randint(10, 40)):
        from_client = random.random() < 0.3
        size = random.randint(25, 60) if from_client else random.choice((1200, 1200, 1200, 400))
        target = ids[1] if from_client else b""
        episode.udp(from_client, ports, bytes([0x40 | random.getrandbits(5)]) + target + random.randbytes(size))
        episode.wait(0.004)


def _look_up(episode: Episode) -> None:
    """DNS (RFC 1035): A or AAAA of the server, from the office's resolver."""
    query = Episode(episode.random, episode.client, _RESOLVER, episode.v6, time_s=episode.time_s, rtt_s=0.004)
    _ask(query, episode.server.name, episode.server.ip6 if episode.v6 else episode.server.ip4)
    episode.events += query.events
    episode.time_s = query.time_s + 0.001


def _names(episode: Episode) -> None:
    """DNS for its own sake; some names do not exist."""
    random = episode.random
    missing = random.random() < 0.25
    name = (
        f"{random.choice(('wpad', 'printer', 'old-intranet', 'db7'))}.corp.example" if missing else episode.server.name
    )
    query = Episode(random, episode.client, _RESOLVER, episode.v6, rtt_s=0.004)
    _ask(query, name, b"" if missing else episode.server.ip4)
    episode.events += query.events


def _ask(episode: Episode, name: str, address: bytes) -> None:
    """One DNS question and its answer; no address: the name does not exist."""
    ports = (_ephemeral(episode.random), 53)
    ident = episode.random.getrandbits(16)
    record_type = 28 if len(address) == 16 else 1
    labels = b"".join(_vector8(label.encode()) for label in name.split(".")) + b"\0"
    question = labels + struct.pack("!HH", record_type, 1)
    episode.udp(True, ports, struct.pack("!HHHHHH", ident, 0x0100, 1, 0, 0, 0) + question)
    episode.turn()
    answer = struct.pack("!HHHIH", 0xC00C, record_type, 1, 300, len(address)) + address if address else b""
    flags = 0x8180 if address else 0x8183
    episode.udp(False, ports, struct.pack("!HHHHHH", ident, flags, 1, bool(address), 0, 0) + question + answer)


def _ping(episode: Episode) -> None:
    """ICMP or ICMPv6 echo, once a second."""
    ident = _ephemeral(episode.random)
    protocol, request, reply = (58, 128, 129) if episode.v6 else (1, 8, 0)
    for sequence in range(1, episode.random.randint(3, 5)):
        for from_client, icmp_type in ((True, request), (False, reply)):
            segment = struct.pack("!BBHHH", icmp_type, 0, 0, ident, sequence) + bytes(range(16, 64))
            episode.add(ECHO, from_client, protocol, segment, 2)
            episode.turn()
        episode.time_s += 1 - episode.rtt_s


def _neighbours(episode: Episode) -> None:
    """Who has the gateway's address: ARP (RFC 826) or Neighbor Discovery (RFC 4861)."""
    client, gateway = episode.client, _RESOLVER
    episode.server = gateway
    episode.rtt_s = 0.0004
    if episode.v6:
        episode.add(FIXED, True, 58, b"\x87\0\0\0\0\0\0\0" + gateway.ip6 + b"\x01\x01" + client.mac, 2)
        episode.turn()
        episode.add(FIXED, False, 58, b"\x88\0\0\0\x60\0\0\0" + gateway.ip6 + b"\x02\x01" + gateway.mac, 2)
        return
    head = bytes.fromhex("0806 0001 0800 0604")
    request = _BROADCAST + client.mac + head + b"\0\x01" + client.mac + client.ip4 + bytes(6) + gateway.ip4
    reply = client.mac + gateway.mac + head + b"\0\x02" + gateway.mac + gateway.ip4 + client.mac + client.ip4
    for from_client, frame in ((True, request), (False, reply)):
        episode.events.append(Event(episode.time_s, frame.ljust(_MIN_FRAME_BYTES, b"\0"), FIXED, from_client))
        episode.turn()


def _time(episode: Episode) -> None:
    """NTP version 4 (RFC 5905)."""
    ports = (_ephemeral(episode.random), 123)
    episode.udp(True, ports, b"\x23\x02\x06\xe9" + bytes(36) + episode.random.randbytes(8))
    episode.turn()
    episode.udp(False, ports, b"\x24\x02\x06\xe9" + episode.random.randbytes(44))


def _shell(episode: Episode) -> None:
    """SSH (RFC 4253): banners, then keystrokes and their echoes."""
    random = episode.random
    connection = _Connection(episode, 22)
    connection.open()
    connection.send(True, b"SSH-2.0-OpenSSH_9.6\r\n")
    connection.send(False, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    for from_client in (True, False):
        connection.send(from_client, _key_exchange(random))
    for _ in range(random.randint(5, 15)):
        connection.send(True, random.randbytes(36))
        connection.send(False, random.randbytes(random.choice((36, 36, 100, 600))))
        episode.wait(0.15)
    connection.close()


def _scan(episode: Episode) -> None:
    """A port scan: SYN after SYN, nearly all refused."""
    episode.every = 8
    episode.rtt_s = 0.001
    for port in episode.random.sample(range(1, 10_000), 60):
        connection = _Connection(episode, port)
        connection.segment(True, _SYN, options=b"\x02\x04\x05\xb4")
        episode.turn()
        connection.segment(False, _RST | _ACK)
        episode.wait(0.004)


_STORIES: Final[tuple[tuple[Callable[[Episode], None], float], ...]] = (
    (_tls, 34), (_web, 14), (_quic, 10), (_names, 20), (_ping, 6), (_neighbours, 8), (_time, 3), (_shell, 4.5),
    (_scan, 0.5),
)  # fmt: skip
"""Each story and how often it is told."""


def make_episodes(random: Random, packets: int) -> list[Episode]:
    """Episodes with at least `packets` frames together, in no order."""
    stories, weights = zip(*_STORIES, strict=True)
    popularity = [1 / rank for rank in range(1, len(_SERVERS) + 1)]
    episodes: list[Episode] = []
    made = 0
    while made < packets:
        [story] = random.choices(stories, weights)
        [server] = random.choices(_SERVERS, popularity)
        episode = Episode(random, random.choice(_CLIENTS), server, random.random() < IPV6_SHARE)
        episode.rtt_s = random.uniform(0.004, 0.08)
        story(episode)
        episodes.append(episode)
        made += len(episode.events)
    return episodes


def _host(name: str, mac: int, ip4: str, ip6: str) -> _Host:
    mac_bytes = b"\x02\0" + mac.to_bytes(4, "big")
    return _Host(name, mac_bytes, bytes(map(int, ip4.split("."))), bytes.fromhex(ip6.ljust(32, "0")))


_ROUTER_MAC: Final = 1
_RESOLVER: Final = _host("gateway", _ROUTER_MAC, "192.168.10.1", "20010db80010" + "0" * 19 + "1")
_CLIENTS: Final = [
    _host(f"pc{n}", 0x1000 + n, f"192.168.10.{20 + n}", "20010db80010" + f"{20 + n:020x}") for n in range(24)
]
_SERVERS: Final = [
    _host(f"{service}.{domain}", _ROUTER_MAC, f"{net}.{10 + 7 * k}", f"20010db8{k:04x}" + f"{net_number:020x}")
    for net_number, (domain, net) in enumerate(
        (("example.com", "192.0.2"), ("example.net", "198.51.100"), ("example.org", "203.0.113")), 1
    )
    for k, service in enumerate(("www", "api", "cdn", "static", "mail", "login", "img", "news", "git", "shop", "maps"))
]


def _client_hello(random: Random, name: str) -> bytes:
    server_name = _vector16(_vector16(b"\0" + _vector16(name.encode())))
    extensions = (
        b"\0\0" + server_name
        + bytes.fromhex("000a 0004 0002 001d 000d 0006 0004 0403 0804 0010 000e 000c 0268 3208 6874 7470 2f31 2e31")
        + bytes.fromhex("002b 0005 04 0304 0303 0033 0026 0024 001d 0020") + random.randbytes(32)
    )  # fmt: skip
    suites = _vector16(bytes.fromhex("130113021303c02bc02f"))
    hello = b"\x03\x03" + random.randbytes(32) + _vector8(random.randbytes(32)) + suites + b"\x01\0"
    hello += _vector16(extensions)
    return _record(22, b"\x01" + len(hello).to_bytes(3, "big") + hello, version=0x0301)


def _key_exchange(random: Random) -> bytes:
    """SSH_MSG_KEXINIT (RFC 4253 section 7.1)."""
    ciphers, macs = b"chacha20-poly1305@openssh.com,aes256-gcm@openssh.com", b"hmac-sha2-256-etm@openssh.com"
    lists = (b"curve25519-sha256", b"ssh-ed25519", ciphers, ciphers, macs, macs, b"none", b"none", b"", b"")
    payload = b"\x14" + random.randbytes(16) + b"".join(struct.pack("!I", len(n)) + n for n in lists) + bytes(5)
    padding = 4 + -(len(payload) + 9) % 8
    return struct.pack("!IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


def _record(content_type: int, content: bytes, version: int = 0x0303) -> bytes:
    """A TLS record (RFC 8446 section 5.1)."""
    return struct.pack("!BHH", content_type, version, len(content)) + content


def _vector8(content: bytes) -> bytes:
    return bytes([len(content)]) + content


def _vector16(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _text(random: Random, size: int) -> bytes:
    words = random.choices(
        ("packet", "the", "network", "of", "frames", "and", "time", "<p>", "</p>", "a", "page"), k=400
    )
    return (" ".join(words) * (size // 1200 + 1)).encode()[:size]


def _ephemeral(random: Random) -> int:
    """A client's port, where they are taken from by default (Linux: ip_local_port_range)."""
    return random.randint(32_768, 60_999)


def _checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071): the complement of the sum modulo 2^16 - 1."""
    padded = data + b"\0" if len(data) % 2 else data
    return -int.from_bytes(padded, "big") % 0xFFFF
