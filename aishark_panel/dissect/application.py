"""Application layers: what a transport carries, found by content first and by port second.

`over_tcp` and `over_udp` look at the payload data[pos:end], which has at least one byte; the headers said that it
goes on to `wire_end`.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from aishark_panel.dissect.dns import dns, looks_like_dns, nbns
from aishark_panel.dissect.http import http
from aishark_panel.dissect.load import Bytes, u8, u16, u32
from aishark_panel.dissect.row import Row
from aishark_panel.dissect.tls import tls
from aishark_panel.jit import kernel_part
from aishark_panel.wire import protocols as p
from aishark_panel.wire.packets import Texts

__all__ = ["over_tcp", "over_udp"]


def _by_port(names: dict[int, tuple[int, ...]]) -> npt.NDArray[np.uint8]:
    table = np.zeros(65_536, np.uint8)
    for name, ports in names.items():
        table[list(ports)] = name
    return table


_TCP_PORTS: Final = _by_port(
    {
        p.FTP: (21,),
        p.SSH: (22,),
        p.TELNET: (23,),
        p.SMTP: (25, 587),
        p.DNS: (53,),
        p.HTTP: (80, 3128, 8000, 8080),
        p.KRB5: (88,),
        p.POP: (110,),
        p.IMAP: (143,),
        p.BGP: (179,),
        p.LDAP: (389,),
        p.TLS: (443, 465, 636, 853, 993, 995, 8443),
        p.SMB2: (445,),
        p.RTSP: (554,),
        p.MQTT: (1883,),
        p.MYSQL: (3306,),
        p.SIP: (5060,),
        p.PGSQL: (5432,),
        p.RESP: (6379,),
    }
)
_UDP_PORTS: Final = _by_port(
    {
        p.DNS: (53,),
        p.DHCP: (67, 68),
        p.TFTP: (69,),
        p.KRB5: (88,),
        p.NTP: (123,),
        p.NBNS: (137,),
        p.SNMP: (161, 162),
        p.QUIC: (443,),
        p.ISAKMP: (500,),
        p.SYSLOG: (514,),
        p.RIP: (520,),
        p.DHCPV6: (546, 547),
        p.RADIUS: (1812, 1813),
        p.SSDP: (1900,),
        p.GTP: (2123, 2152),
        p.STUN: (3478,),
        p.VXLAN: (4789,),
        p.SIP: (5060,),
        p.MDNS: (5353,),
        p.LLMNR: (5355,),
        p.COAP: (5683,),
        p.GENEVE: (6081,),
        p.WIREGUARD: (51820,),
    }
)


def _ascii(text: str) -> int:
    return int.from_bytes(text.encode(), "big")


_SSH_BANNER: Final = _ascii("SSH-")
_HTTP2_PREFACE: Final = _ascii("PRI ")
_SMB, _SMB2 = 0xFF534D42, 0xFE534D42
_STUN_COOKIE: Final = 0x2112A442
_DTLS_1_0, _DTLS_1_2 = 0xFEFF, 0xFEFD
_QUIC_1, _QUIC_2 = 0x00000001, 0x6B3343CF
_QUIC_DRAFTS: Final = 0xFF0000
_WIREGUARD_INITIATION, _WIREGUARD_RESPONSE, _WIREGUARD_COOKIE = 0x01000000, 0x02000000, 0x03000000


@kernel_part
def _name_by_port(table: npt.NDArray[np.uint8], row: Row) -> int:
    """Protocol of the lower port if it has one, else of the higher."""
    source, destination = row.src_port, row.dst_port
    name = table[min(source, destination)]
    return np.int64(name if name else table[max(source, destination)])  # type: ignore[return-value]


@kernel_part
def over_tcp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """The payload of a TCP segment. One that starts inside a message has only its port to go by."""
    first = u8(data, pos)
    if 20 <= first <= 24 and tls(data, pos, end, wire_end, row, texts, seed):
        return
    name = 0
    if 0x41 <= first <= 0x5A and end - pos >= 4:
        start = u32(data, pos)
        if start == _SSH_BANNER:
            name = p.SSH
        elif start == _HTTP2_PREFACE:
            name = p.HTTP2
        elif http(data, pos, end, wire_end, row, texts, seed):
            name = p.HTTP
    elif first == 0 and end - pos >= 8:  # a NetBIOS session service header comes before SMB (RFC 1002 section 4.3)
        start = u32(data, pos + 4)
        if start == _SMB2:
            name = p.SMB2
        elif start == _SMB:
            name = p.SMB
    if name == 0:
        name = _name_by_port(_TCP_PORTS, row)
        if name == p.DNS and looks_like_dns(data, pos + 2, end):  # after a length (RFC 1035 section 4.2.2)
            message_end = min(wire_end, pos + 2 + u16(data, pos))
            dns(data, pos + 2, min(end, message_end), message_end, row, texts, seed)
    if name:
        row.protocol = name


@kernel_part
def over_udp(data: Bytes, pos: int, end: int, wire_end: int, row: Row, texts: Texts, seed: int) -> None:
    """The payload of a UDP datagram. Those with DNS's format have no signature: their ports decide."""
    name = _name_by_port(_UDP_PORTS, row)
    if name in (p.DNS, p.MDNS, p.LLMNR):
        dns(data, pos, end, wire_end, row, texts, seed)
    elif name == p.NBNS:
        nbns(data, pos, end, wire_end, row, texts, seed)
    elif name == p.SSDP:
        http(data, pos, end, wire_end, row, texts, seed)
    else:
        by_content = _udp_by_content(data, pos, end, wire_end)
        if by_content:
            name = by_content
    if name:
        row.protocol = name


@kernel_part
def _udp_by_content(data: Bytes, pos: int, end: int, wire_end: int) -> int:
    """Protocol that a datagram's first bytes and length prove; 0 for none."""
    if end - pos < 8:
        return 0
    first, start = u8(data, pos), u32(data, pos)
    if first & 0xC0 == 0xC0:  # a QUIC long header (RFC 9000 section 17.2)
        version = u32(data, pos + 1)
        return p.QUIC if version in (_QUIC_1, _QUIC_2) or version >> 8 == _QUIC_DRAFTS else 0
    if first & 0xC0 == 0 and u32(data, pos + 4) == _STUN_COOKIE:  # RFC 8489 section 5
        return p.STUN
    if 20 <= first <= 25 and u16(data, pos + 1) in (_DTLS_1_0, _DTLS_1_2):  # RFC 6347 section 4.1
        return p.DTLS
    length = wire_end - pos
    if (  # whose handshake messages have fixed lengths (wireguard.com/protocol)
        (start == _WIREGUARD_INITIATION and length == 148)
        or (start == _WIREGUARD_RESPONSE and length == 92)
        or (start == _WIREGUARD_COOKIE and length == 64)
    ):
        return p.WIREGUARD
    return 0
