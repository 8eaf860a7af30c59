"""The tables of application protocols: one entry each; dissect.signatures says how they are asked.

To add a protocol: its name in wire.protocols, an entry here, a sample of it in tests/dissect/samples.py. Where its
first bytes and its ports do not suffice, or it fills columns, write a parser in the file of its family.

Entries that share a port or a first byte are tried in the order they stand here.
"""

from typing import Final

from aishark_panel.dissect.databases import mysql_greeting
from aishark_panel.dissect.dhcp import dhcp, dhcpv6
from aishark_panel.dissect.dns import dns, dns_anywhere, dns_over_tcp
from aishark_panel.dissect.greetings import banner, ready, ssh
from aishark_panel.dissect.http import http, sip, ssdp
from aishark_panel.dissect.industrial import enip
from aishark_panel.dissect.media import rtcp, rtp
from aishark_panel.dissect.quic import gquic, quic
from aishark_panel.dissect.routing import bgp, rpc_call, rx, wireguard
from aishark_panel.dissect.signatures import Entry, text
from aishark_panel.dissect.tls import dtls, ssl2, tls
from aishark_panel.dissect.windows import netbios_datagram, tpkt
from aishark_panel.wire import protocols as p

__all__ = ["TCP_TABLE", "UDP_TABLE"]

_TLS_PORTS: Final = (443, 465, 636, 853, 989, 990, 993, 995, 5061, 8443, 8883)
_HTTP_PORTS: Final = (80, 3128, 8000, 8080)

TCP_TABLE: Final = (
    Entry(
        protocol=p.TLS,
        ports=_TLS_PORTS,
        starts=("1403", "1503", "1603", "1703", "1803"),
        parse=tls,
        anywhere=True,
        by_port=True,
    ),
    Entry(protocol=p.SSLV2, starts=("8???01",), parse=ssl2, anywhere=True),
    Entry(protocol=p.HTTP2, ports=_HTTP_PORTS, starts=(text("PRI * HT"),), anywhere=True),
    Entry(
        protocol=p.HTTP2,  # SETTINGS, with which both sides begin (RFC 9113 section 6.5), their acknowledgement, PING
        ports=_HTTP_PORTS,
        starts=("0000??0400000000", "0000000401000000", "0000080600000000", "0000080601000000"),
    ),
    Entry(protocol=p.SSH, ports=(22,), starts=(text("SSH-1."), text("SSH-2.")), parse=ssh, anywhere=True, by_port=True),
    Entry(protocol=p.SMTP, starts=(text("EHLO "), text("HELO "), text("MAIL FRO"), text("RCPT TO:")), anywhere=True),
    Entry(
        protocol=p.HTTP,
        ports=_HTTP_PORTS,
        starts=("4?", "5?"),  # capital letters; SIP and RTSP too
        parse=http,
        anywhere=True,
        by_port=True,
    ),
    Entry(protocol=p.FTP, ports=(21,), starts=(text("220 "), text("220-")), parse=banner, by_port=True),
    Entry(protocol=p.SMTP, ports=(25, 587), starts=(text("220 "), text("220-")), parse=banner, by_port=True),
    Entry(protocol=p.FTP, starts=(text("220 "), text("220-")), parse=ready, anywhere=True),
    Entry(protocol=p.POP, ports=(110,), starts=(text("+OK "),), parse=banner, anywhere=True, by_port=True),
    Entry(protocol=p.IMAP, ports=(143,), starts=(text("* OK "),), parse=banner, anywhere=True, by_port=True),
    Entry(protocol=p.TELNET, ports=(23,), by_port=True),
    Entry(protocol=p.DNS, ports=(53,), parse=dns_over_tcp, by_port=True),
    Entry(protocol=p.KRB5, ports=(88,), by_port=True),
    Entry(protocol=p.BGP, ports=(179,), starts=("ffffffffffffffff",), parse=bgp, anywhere=True, by_port=True),
    Entry(protocol=p.LDAP, ports=(389, 3268), by_port=True),
    Entry(protocol=p.SMB, starts=("00??????ff534d42",), anywhere=True),
    Entry(
        protocol=p.SMB2,
        starts=("00??????fe534d42", "00??????fd534d42", "00??????fc534d42"),
        anywhere=True,
    ),
    Entry(protocol=p.NBSS, ports=(139, 445), by_port=True),
    Entry(protocol=p.DCERPC, starts=("05000???10000000", "05001???10000000", "05000???00000000"), anywhere=True),
    Entry(protocol=p.COTP, ports=(102, 3389), starts=("0300",), parse=tpkt, anywhere=True),
    Entry(protocol=p.RDP, ports=(3389,), by_port=True),
    Entry(protocol=p.RTSP, ports=(554,), by_port=True),
    Entry(protocol=p.SIP, ports=(5060,), by_port=True),
    Entry(
        protocol=p.MQTT,
        ports=(1883,),
        starts=("10??00044d515454", "10??00064d514973"),  # CONNECT with its protocol name MQTT, MQIsdp
        anywhere=True,
        by_port=True,
    ),
    Entry(
        protocol=p.MYSQL,
        ports=(3306,),
        starts=("????00000a3?2e", "????00000a3?3?2e"),
        parse=mysql_greeting,
        anywhere=True,
        by_port=True,
    ),
    Entry(
        protocol=p.PGSQL,
        ports=(5432,),
        starts=("0000????00030000", "0000000804d2162f", "0000001004d2162e"),  # startup, TLS request, cancel request
        anywhere=True,
        by_port=True,
    ),
    Entry(protocol=p.RESP, ports=(6379,), starts=("2a3?0d0a24", "2a3?3?0d0a24"), anywhere=True, by_port=True),
    Entry(protocol=p.MODBUS, ports=(502,), starts=("????000000??",)),
    Entry(protocol=p.ENIP, ports=(44818,), parse=enip),
    Entry(protocol=p.OPENFLOW, ports=(6633, 6653), starts=("01", "02", "03", "04", "05", "06")),
    Entry(protocol=p.DOIP, ports=(13400,), starts=("01fe", "02fd", "03fc")),
    Entry(protocol=p.PPTP, ports=(1723,), starts=("????00011a2b3c4d",), anywhere=True, by_port=True),
    Entry(protocol=p.SOCKS, ports=(1080,), by_port=True),
    Entry(protocol=p.LDP, ports=(646,), starts=("0001",)),
    Entry(protocol=p.GTPV2, ports=(2123,), by_port=True),
)

UDP_TABLE: Final = (
    Entry(protocol=p.DNS, ports=(53,), parse=dns),
    Entry(protocol=p.MDNS, ports=(5353,), parse=dns),
    Entry(protocol=p.LLMNR, ports=(5355,), parse=dns),
    Entry(protocol=p.NBNS, ports=(137,), parse=dns),
    # A short header has nothing to know it by but a set bit, and the room for an id and a sample of ciphertext.
    Entry(protocol=p.QUIC, ports=(443,), starts=("4" + 15 * "?", "5" + 15 * "?", "6" + 15 * "?", "7" + 15 * "?")),
    Entry(protocol=p.GQUIC, ports=(443,), starts=("09", "0d"), parse=gquic),
    Entry(
        protocol=p.QUIC,
        starts=("8?00000000", "9?00000000", "a?00000000", "b?00000000", "c?", "d?", "e?", "f?"),
        parse=quic,
        anywhere=True,
    ),
    Entry(
        protocol=p.STUN,
        ports=(3478,),
        starts=("0???????2112a442", "1???????2112a442", "2???????2112a442", "3???????2112a442"),
        anywhere=True,
    ),
    Entry(
        protocol=p.DTLSV1_2,
        starts=(
            "14feff",
            "14fefd",
            "15feff",
            "15fefd",
            "16feff",
            "16fefd",
            "17feff",
            "17fefd",
            "1?0100000000",
        ),
        parse=dtls,
        anywhere=True,
    ),
    Entry(protocol=p.WIREGUARD, starts=("01000000", "02000000", "03000000"), parse=wireguard, anywhere=True),
    Entry(protocol=p.WIREGUARD, ports=(51820,), by_port=True),
    Entry(protocol=p.SSDP, ports=(1900,), parse=ssdp, by_port=True),
    Entry(protocol=p.SIP, ports=(5060,), starts=("4?", "5?"), parse=sip, anywhere=True, by_port=True),
    Entry(protocol=p.DHCP, ports=(67, 68), parse=dhcp),
    Entry(protocol=p.DHCPV6, ports=(546, 547), parse=dhcpv6),
    Entry(protocol=p.TFTP, ports=(69,), by_port=True),
    Entry(protocol=p.KRB4, ports=(88,), starts=("04",)),
    Entry(protocol=p.KRB5, ports=(88,), starts=("6?", "7?")),
    Entry(protocol=p.NTP, ports=(123,), by_port=True),
    Entry(protocol=p.NBDS, ports=(138,), parse=netbios_datagram),
    Entry(protocol=p.SNMP, ports=(161, 162), by_port=True),
    Entry(protocol=p.PTPV2, ports=(319, 320), by_port=True),
    Entry(protocol=p.ISAKMP, ports=(500,), by_port=True),
    Entry(protocol=p.ISAKMP, ports=(4500,), starts=("00000000",)),  # RFC 3948: a zero word comes before it
    Entry(protocol=p.ESP, ports=(4500,), starts=("????????",)),
    Entry(protocol=p.UDPENCAP, ports=(4500,), by_port=True),
    Entry(protocol=p.SYSLOG, ports=(514,), by_port=True),
    Entry(protocol=p.RIPV1, ports=(520,), starts=("??01",)),
    Entry(protocol=p.RIPV2, ports=(520,), starts=("??02",)),
    Entry(protocol=p.RIPNG, ports=(521,), by_port=True),
    Entry(protocol=p.LDP, ports=(646,), starts=("0001",)),
    Entry(protocol=p.RADIUS, ports=(1645, 1646, 1812, 1813), by_port=True),
    Entry(protocol=p.HSRP, ports=(1985,), by_port=True),
    Entry(protocol=p.CFLOW, ports=(2055, 9996), starts=("0005", "0009", "000a")),
    Entry(protocol=p.GTPV2, ports=(2123,), starts=("4?", "5?")),
    Entry(protocol=p.GTP, ports=(2123,), by_port=True),
    Entry(protocol=p.CLASSIC_STUN, ports=(3478,), starts=("0001", "0101", "0111")),  # RFC 3489 had no cookie
    Entry(protocol=p.MPLS_ECHO, ports=(3503,), by_port=True),
    Entry(protocol=p.BFD, ports=(3784, 4784), by_port=True),
    Entry(protocol=p.LISP, ports=(4342,), by_port=True),
    Entry(protocol=p.COAP, ports=(5683,), by_port=True),
    Entry(protocol=p.AFS, ports=(7000, 7001, 7002, 7003, 7004, 7005, 7006, 7007, 7008, 7009, 7021), parse=rx),
    Entry(protocol=p.BJNP, ports=(8611, 8612, 8613, 8614), starts=(text("BJNP"), text("BJNB"))),
    Entry(protocol=p.PFCP, ports=(8805,), by_port=True),
    Entry(protocol=p.DB_LSP_DISC, ports=(17500,), starts=(text("{"),)),
    Entry(protocol=p.RPC, ports=(111, 635, 2049, 20048), starts=("????????00000000",), parse=rpc_call),
    Entry(protocol=p.NFS, ports=(2049,), by_port=True),
    Entry(protocol=p.PORTMAP, ports=(111,), by_port=True),
    Entry(protocol=p.DNS, starts=("????????0001",), parse=dns_anywhere, anywhere=True),
    Entry(protocol=p.RTCP, starts=("80c8", "81c8", "80c9", "81c9"), parse=rtcp, anywhere=True),
    Entry(protocol=p.RTP, starts=("80",), parse=rtp, anywhere=True),
)
