"""One packet or more of each application protocol: what the tests of the protocol table are about.

They are made by scapy, or byte by byte from the specifications. A line gives the protocol's name as Wireshark writes
it in its list, and a frame.
"""

import struct
from typing import Final, NamedTuple

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.netbios import NBNSHeader, NBNSQueryRequest
from scapy.layers.ntp import NTP
from scapy.layers.radius import Radius
from scapy.layers.rip import RIP, RIPEntry
from scapy.layers.snmp import SNMP
from scapy.layers.tftp import TFTP, TFTP_RRQ

from tests.dissect.test_tls import HELLO, record, server_hello

__all__ = ["SAMPLES", "Sample", "over_tcp", "over_udp"]

CLIENT = 40000


class Sample(NamedTuple):
    """A protocol's name and a frame of it."""

    name: str
    frame: bytes


def over_tcp(payload: object, port: int = 9999, from_server: bool = False) -> bytes:
    """A segment between a client's port and the one of a server."""
    ports = (port, CLIENT) if from_server else (CLIENT, port)
    return bytes(Ether() / IP() / TCP(sport=ports[0], dport=ports[1], flags="PA", seq=1, ack=1) / bytes(payload))  # type: ignore[call-overload]


def over_udp(payload: object, port: int = 9999, from_server: bool = False) -> bytes:
    """A datagram between a client's port and the one of a server."""
    ports = (port, CLIENT) if from_server else (CLIENT, port)
    return bytes(Ether() / IP() / UDP(sport=ports[0], dport=ports[1]) / bytes(payload))  # type: ignore[call-overload]


def udp_between(payload: object, source: int, destination: int) -> bytes:
    return bytes(Ether() / IP() / UDP(sport=source, dport=destination) / bytes(payload))  # type: ignore[call-overload]


QUERY = bytes(DNS(id=7, qd=DNSQR(qname="www.example.com")))
RTP_HEADER = struct.pack(">BBHII", 0x80, 0, 17, 160, 0x1234)
MYSQL = b"\x0a8.0.36\0" + bytes(40)
HSRP = b"\0\0\x10\3\x0a\x64\1\0cisco\0\0\0\x0a\0\0\1"
SMB_HEADER = b"\xffSMB\x72" + bytes(27)
ENIP_REQUEST = struct.pack("<HHIIQIIHHHHHH", 0x6F, 22, 9, 0, 0, 0, 0, 0, 2, 0, 0, 0xB2, 6)
PPTP = struct.pack(">HHIHHHHIIHH", 156, 1, 0x1A2B3C4D, 1, 0, 0x100, 0, 3, 3, 0, 1) + bytes(128)

BROWSER = (
    b"\x11\x0a\0\1\x0a\0\0\1\0\x8a\0\xbb\0\0"
    + 2 * (b"\x20" + b"CA" * 16 + b"\0")
    + b"\xffSMB\x25"
    + bytes(27)
    + b"\x11\0\0"
    + b"\x21\0"
    + bytes(18)
    + b"\x21\0\x56\0\3\0\1\0\0\0\2\0\x32\0"
    + b"\\MAILSLOT\\BROWSE\0"
    + b"\x01\0\x80\xfc\x0a\0"
    + b"HOST".ljust(16, b"\0")
    + bytes(11)
)

SAMPLES: Final = [
    Sample(*sample)
    for sample in (
        ("TLSv1", over_tcp(record(HELLO, version=0x0301))),
        ("TLSv1.2", over_tcp(record(HELLO))),
        ("TLSv1.2", over_tcp(record(bytes(64), kind=23))),
        ("TLSv1.3", over_tcp(record(server_hello(b"\x00\x2b\x00\x02\x03\x04")), 443, from_server=True)),
        ("SSLv2", over_tcp(b"\x80\x1c\x01\x03\x01\0\x03\0\0\0\x10" + bytes(19), 443)),
        ("HTTP", over_tcp(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("HTTP", over_tcp(b"HTTP/1.0 404 Not Found\r\n\r\n")),
        ("HTTP2", over_tcp(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\0" + bytes(4))),
        ("SSH", over_tcp(bytes(range(0x80, 0xA0)), 22)),
        ("SSHv2", over_tcp(b"SSH-2.0-OpenSSH_9.9\r\n", from_server=True)),
        ("SSHv2", over_tcp(b"SSH-1.99-Cisco-1.25\r\n", from_server=True)),
        ("SSHv1", over_tcp(b"SSH-1.5-1.2.27\n", from_server=True)),
        ("FTP", over_tcp(b"220 ready\r\n", 21, from_server=True)),
        ("FTP", over_tcp(b"220 (vsFTPd 3.0.5)\r\n", from_server=True)),
        ("SMTP", over_tcp(b"220 mail.example.com ESMTP\r\n", 587, from_server=True)),
        ("SMTP", over_tcp(b"220 mail.example.com ESMTP\r\n", from_server=True)),
        ("SMTP", over_tcp(b"EHLO host.example\r\n")),
        ("POP", over_tcp(b"+OK ready\r\n", 110, from_server=True)),
        ("IMAP", over_tcp(b"* OK IMAP4rev1 ready\r\n", 143, from_server=True)),
        ("TELNET", over_tcp(b"\xff\xfd\x18\xff\xfd\x20", 23)),
        ("DNS", over_tcp(struct.pack(">H", len(QUERY)) + QUERY, 53)),
        ("BGP", over_tcp(b"\xff" * 16 + b"\x00\x13\x04", 179)),
        ("LDAP", over_tcp(bytes.fromhex("300c020101600702010304008000"), 389)),
        ("SMB", over_tcp(struct.pack(">I", 35) + SMB_HEADER + bytes(3), 445)),
        ("SMB2", over_tcp(struct.pack(">I", 100) + b"\xfeSMB\x40" + bytes(95), 445)),
        ("NBSS", over_tcp(b"\x85\0\0\0", 139)),
        ("DCERPC", over_tcp(bytes.fromhex("05000b03100000004800000001000000d016d01600000000") + bytes(48), 135)),
        ("COTP", over_tcp(bytes.fromhex("0300000b06e00000000100"), 102)),
        ("RDP", over_tcp(bytes.fromhex("030000130ee000000000000100080003000000"), 3389)),
        ("S7COMM", over_tcp(bytes.fromhex("0300001902f08032010000000000080000f0000001000101e0"), 102)),
        ("SIP", over_tcp(b"REGISTER sip:example.com SIP/2.0\r\n\r\n", 5060)),
        ("RTSP", over_tcp(b"DESCRIBE rtsp://example.com/a RTSP/1.0\r\nCSeq: 1\r\n\r\n", 554)),
        ("MQTT", over_tcp(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", 1883)),
        ("MySQL", over_tcp(struct.pack("<I", len(MYSQL)) + MYSQL, 3306, from_server=True)),
        ("PGSQL", over_tcp(b"\0\0\0\x11\0\x03\0\0user\0me\0\0", 5432)),
        ("PGSQL", over_tcp(b"\0\0\0\x08\x04\xd2\x16\x2f", 5432)),
        ("RESP", over_tcp(b"*1\r\n$4\r\nPING\r\n", 6379)),
        ("Modbus/TCP", over_tcp(bytes.fromhex("000100000006010300000001"), 502)),
        ("ENIP", over_tcp(struct.pack("<HHIIQI", 0x65, 4, 0, 0, 0, 0) + b"\1\0\0\0", 44818)),
        ("CIP", over_tcp(ENIP_REQUEST + b"\x0e\x02\x20\x01\x24\x01", 44818)),
        ("OpenFlow", over_tcp(b"\x04\0\0\x08\0\0\0\1", 6653)),
        ("DoIP", over_tcp(b"\x02\xfd\x00\x05\0\0\0\x07\x0e\0\0\0\0\0\0", 13400)),
        ("PPTP", over_tcp(PPTP, 1723)),
        ("Socks", over_tcp(b"\5\1\0", 1080)),
        ("DNS", over_udp(QUERY, 53)),
        ("MDNS", udp_between(QUERY, 5353, 5353)),
        ("LLMNR", over_udp(QUERY, 5355)),
        ("NBNS", udp_between(NBNSHeader(QDCOUNT=1) / NBNSQueryRequest(QUESTION_NAME=b"HOST"), 137, 137)),
        ("QUIC", over_udp(b"\xc3\0\0\0\1\x08" + bytes(1190), 443)),
        ("QUIC", over_udp(b"\xd3\x6b\x33\x43\xcf\x08" + bytes(1190), 443)),
        ("GQUIC", over_udp(b"\x0d" + bytes(8) + b"Q043\x01" + bytes(40), 443)),
        ("STUN", over_udp(b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12))),
        ("CLASSIC-STUN", over_udp(b"\0\1\0\0" + bytes(16), 3478)),
        ("DTLSv1.2", over_udp(b"\x17\xfe\xfd\0\1" + bytes(6) + b"\0\x20" + bytes(32))),
        ("DTLSv1.0", over_udp(b"\x17\xfe\xff\0\1" + bytes(6) + b"\0\x20" + bytes(32))),
        ("WireGuard", over_udp(b"\1\0\0\0" + bytes(144), 51820)),
        ("SSDP", over_udp(b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\n\r\n", 1900)),
        ("SIP", udp_between(b"INVITE sip:bob@example.com SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\n", 5060, 5060)),
        ("SIP", over_udp(b"SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\n\r\n", 5062)),
        ("DHCP", udp_between(BOOTP() / DHCP(options=[("message-type", "discover"), "end"]), 68, 67)),
        ("BOOTP", udp_between(BOOTP(options=b"") / bytes(64), 68, 67)),
        ("DHCPv6", bytes(Ether() / IPv6() / UDP(sport=546, dport=547) / DHCP6_Solicit())),
        ("TFTP", over_udp(TFTP() / TFTP_RRQ(filename=b"a"), 69)),
        ("KRB5", over_udp(bytes.fromhex("6a0da103020105a20302010aa40130"), 88)),
        ("NTP", over_udp(NTP(), 123)),
        ("SNMP", over_udp(SNMP(), 161)),
        ("PTPv2", udp_between(b"\0\2\0\x2c" + bytes(40), 319, 319)),
        ("ISAKMP", udp_between(bytes(8 * [1]) + bytes(8) + b"\x21\x20\x22\x08" + bytes(4) + b"\0\0\0\x1c", 500, 500)),
        (
            "ISAKMP",
            udp_between(
                bytes(4) + bytes(8 * [1]) + bytes(8) + b"\x21\x20\x22\x08" + bytes(4) + b"\0\0\0\x1c", 4500, 4500
            ),
        ),
        ("ESP", udp_between(b"\1\2\3\4\0\0\0\1" + bytes(32), 4500, 4500)),
        ("UDPENCAP", udp_between(b"\xff", 4500, 4500)),
        ("Syslog", over_udp(b"<34>1 2003-10-11T22:14:15.003Z host su - ID47 - failed", 514)),
        ("RIPv1", udp_between(RIP(cmd=1, version=1) / RIPEntry(), 520, 520)),
        ("RIPv2", udp_between(RIP(cmd=1, version=2) / RIPEntry(), 520, 520)),
        ("RADIUS", over_udp(Radius(code=1), 1812)),
        (
            "HSRP",
            bytes(Ether(dst="01:00:5e:00:00:02") / IP(dst="224.0.0.2") / UDP(sport=1985, dport=1985) / HSRP),
        ),
        ("CFLOW", over_udp(b"\0\5\0\0" + bytes(20), 2055)),
        ("GTP", udp_between(b"\x32\1\0\4\0\0\0\0\0\0\0\0", 2123, 2123)),
        ("GTPv2", udp_between(b"\x40\1\0\4\0\0\1\0", 2123, 2123)),
        ("BFD Control", over_udp(b"\x20\x40\3\x18\0\0\0\1" + bytes(4) + b"\0\x0f\x42\x40" * 2 + bytes(4), 3784)),
        ("CoAP", over_udp(b"\x40\1\0\1\xb1a", 5683)),
        ("PFCP", udp_between(b"\x20\1\0\x0c\0\0\1\0\0\x60\0\4\0\0\0\1", 8805, 8805)),
        ("DB-LSP-DISC/JSON", udp_between(b'{"version": [2, 0], "port": 17500}', 17500, 17500)),
        ("BJNP", over_udp(b"BJNP\1\1\0\0\0\1\0\0\0\0\0\0", 8611)),
        (
            "AFS (RX)",
            udp_between(
                struct.pack(">IIIIIBBBBHH", 1, 8, 1, 1, 1, 1, 5, 0, 0, 0, 52) + b"\0\0\2\x0b" + bytes(8), 7001, 7003
            ),
        ),
        ("Portmap", over_udp(struct.pack(">IIIIII", 7, 0, 2, 100000, 2, 0) + bytes(16), 111)),
        ("NFS", over_udp(struct.pack(">IIIIII", 7, 0, 2, 100003, 3, 0) + bytes(16), 2049)),
        ("DNS", over_udp(QUERY, 8053)),
        ("RTCP", over_udp(b"\x81\xc9\0\7" + bytes(28), 30001)),
        ("KRB4", over_udp(b"\4\2me\0\0EXAMPLE\0" + bytes(12), 88)),
        ("RIPng", udp_between(b"\1\1\0\0" + bytes(19) + b"\x10", 521, 521)),
        (
            "LDP",
            udp_between(
                bytes.fromhex("0001001e0a0000010000010000140000000004000004000f0000040100040a000001"), 646, 646
            ),
        ),
        ("L2TP", udp_between(bytes.fromhex("c802000c0000000000000000"), 1701, 1701)),
        ("MPLS ECHO", over_udp(b"\0\1\0\0\1\2\0\0" + bytes(24), 3503)),
        ("LISP", udp_between(b"\x30" + bytes(15), 4342, 4342)),
        ("CIP CM", over_tcp(ENIP_REQUEST + b"\x52\x02\x20\x06\x24\x01", 44818)),
        ("CIP PCCC", over_tcp(ENIP_REQUEST + b"\x4b\x02\x20\x67\x24\x01", 44818)),
        ("TLS", over_tcp(b"\x80\x81\x82\x83", 443)),
        ("SSLv3", over_tcp(record(bytes(64), kind=23, version=0x0300))),
        ("RPC", over_udp(struct.pack(">IIIIII", 7, 0, 2, 100999, 2, 0) + bytes(16), 111)),
        ("NBDS", udp_between(b"\x13" + bytes(10), 138, 138)),
        ("BROWSER", udp_between(BROWSER, 138, 138)),
        ("DTLS 1.0 (OpenSSL pre 0.9.8f)", over_udp(b"\x16\1\0" + bytes(8) + b"\0\x20" + bytes(32), 4433)),
        ("RTP", over_udp(RTP_HEADER + bytes(160), 30000)),
    )
]
