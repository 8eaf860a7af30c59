"""The two schemas: FRAMES (what agents send) and PACKETS (what everybody sees).

A *frame* is the link-layer bytes of one captured record; a *packet* is that record with its columns. PACKETS is a
table of `Column` entries; everything that knows columns (the dissector's output arrays, the expression language, the
docs, Arrow and Parquet exports) is derived from it.

A column is null where none of the `Layer` bits it names was seen in that packet: the `layers` bit set of each row is
the only place where presence is kept.

Where packets travel in tunnels, the plain columns up to the ports are the outermost packet's, `inner_*` the innermost
one's; of both there is one row. `conversation_id` goes by the outermost. What comes above the ports (`tcp_*`,
`payload_len`, `icmp_*`, `arp_op` and all application columns) is the innermost packet's, as in Wireshark. So is
Layer.TCP the outermost packet's and Layer.INNER_TCP the innermost one's.
"""

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from aishark_panel.wire.layers import FLAG_NAMES, Layer
from aishark_panel.wire.other_names import OTHER_NAMES, OtherNames

__all__ = ["COLUMNS", "FRAMES", "SCHEMA_VERSION", "Column", "Kind", "column", "ipv6_layer"]

SCHEMA_VERSION: Final = 1
"""Of PACKETS, as files with packets tell it; it grows when a column is taken away or means something else."""

FRAMES: Final = pa.schema(
    [
        pa.field("ts", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("orig_len", pa.uint32(), nullable=False),
        pa.field("iface", pa.uint16(), nullable=False),
        pa.field("frame", pa.binary(), nullable=False),
    ]
)
"""What an agent sends. `cap_len` is the length of `frame`; `iface` indexes the interfaces of the agent's hello."""


class Kind(enum.Enum):
    """How a column is stored, compared and shown."""

    TIME = "time"
    """int64 nanoseconds since 1970 UTC"""
    INTEGER = "integer"
    FLAGS = "flags"
    """integer whose bits have names"""
    BOOLEAN = "boolean"
    MAC = "mac"
    """uint64, 48 bits used, first byte on the wire most significant"""
    ADDRESS = "address"
    """two uint64 holding the 16 bytes as on the wire; IPv4 as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)"""
    PROTOCOL = "protocol"
    """uint16 index into aishark_panel.wire.protocols.PROTOCOLS"""
    TEXT = "text"
    """uint32 code into the block's text pool; 0 is null"""
    INTERFACE = "interface"
    """uint16 index into the session's interfaces"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of PACKETS: its meaning, unit and null rule are stated here and nowhere else."""

    name: str
    kind: Kind
    dtype: str
    """numpy dtype of one stored value; ADDRESS stores two of them a row"""
    meaning: str
    unit: str = ""
    present: Layer = Layer.NONE
    """null where none of these bits is in `layers`; no bits: never null (TEXT: null where empty)"""
    wireshark: tuple[str, ...] = ()
    """Wireshark field names with the same values; accepted in expressions"""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value: (2,) for an address, () for all others."""
        return (2,) if self.kind is Kind.ADDRESS else ()

    @property
    def zeek(self) -> tuple[str, ...]:
        """Names in Zeek's logs."""
        return self._elsewhere.zeek

    @property
    def ecs(self) -> tuple[str, ...]:
        """Names in the Elastic Common Schema."""
        return self._elsewhere.ecs

    @property
    def suricata(self) -> tuple[str, ...]:
        """Names in Suricata's EVE output."""
        return self._elsewhere.suricata

    @property
    def _elsewhere(self) -> OtherNames:
        return OTHER_NAMES.get(self.name, OtherNames())

    @property
    def itemsize_bytes(self) -> int:
        return int(np.dtype(self.dtype).itemsize * (2 if self.kind is Kind.ADDRESS else 1))


def _integer(name: str, dtype: str, meaning: str, **more: object) -> Column:
    return Column(name=name, kind=Kind.INTEGER, dtype=dtype, meaning=meaning, **more)  # type: ignore[arg-type]


def _text(name: str, meaning: str, **more: object) -> Column:
    return Column(name=name, kind=Kind.TEXT, dtype="u4", meaning=meaning, **more)  # type: ignore[arg-type]


COLUMNS: Final[tuple[Column, ...]] = (
    Column(
        name="ts",
        kind=Kind.TIME,
        dtype="i8",
        unit="ns since 1970-01-01 UTC",
        meaning="when the frame was captured, by the capturing host's clock",
        wireshark=("frame.time_epoch",),
    ),
    Column(
        name="iface",
        kind=Kind.INTERFACE,
        dtype="u2",
        meaning="interface the frame was captured on, as agent/interface",
        wireshark=("frame.interface_name",),
    ),
    _integer("orig_len", "u4", "length of the frame on the wire", unit="bytes", wireshark=("frame.len",)),
    _integer("cap_len", "u4", "bytes of the frame that were kept", unit="bytes", wireshark=("frame.cap_len",)),
    Column(
        name="layers",
        kind=Kind.FLAGS,
        dtype="i8",
        meaning="which layers were found (bit set of wire.layers.Layer)",
    ),
    Column(
        name="eth_src",
        kind=Kind.MAC,
        dtype="u8",
        present=Layer.ETH,
        meaning="source MAC address",
        wireshark=("eth.src",),
    ),
    Column(
        name="eth_dst",
        kind=Kind.MAC,
        dtype="u8",
        present=Layer.ETH,
        meaning="destination MAC address",
        wireshark=("eth.dst",),
    ),
    _integer(
        "eth_type",
        "u2",
        "EtherType of the payload, after VLAN tags; null for IEEE 802.3 length frames (0)",
        present=Layer.ETH,
        wireshark=("eth.type",),
    ),
    _integer("vlan_id", "u2", "outermost VLAN identifier", present=Layer.VLAN),
    _integer(
        "vlan_inner_id", "u2", "innermost VLAN identifier, where there are two or more tags", present=Layer.INNER_VLAN
    ),
    _integer("mpls_label", "u4", "outermost MPLS label", present=Layer.MPLS, wireshark=("mpls.label",)),
    _integer("ip_version", "u1", "4 or 6", present=Layer.IP, wireshark=("ip.version", "ipv6.version")),
    Column(
        name="src_ip",
        kind=Kind.ADDRESS,
        dtype="u8",
        present=Layer.IP | Layer.ARP,
        meaning="source address (of ARP: the sender's protocol address)",
        wireshark=("ip.src", "ipv6.src"),
    ),
    Column(
        name="dst_ip",
        kind=Kind.ADDRESS,
        dtype="u8",
        present=Layer.IP | Layer.ARP,
        meaning="destination address (of ARP: the target's protocol address)",
        wireshark=("ip.dst", "ipv6.dst"),
    ),
    _integer(
        "ip_proto",
        "u1",
        "IP protocol number, after IPv6 extension headers",
        present=Layer.IP,
        wireshark=("ip.proto",),
    ),
    _integer(
        "ip_ttl",
        "u1",
        "time to live or hop limit",
        present=Layer.IP,
        unit="hops",
        wireshark=("ip.ttl", "ipv6.hlim"),
    ),
    _integer(
        "ip_id",
        "u4",
        "identification of IPv4, or of the IPv6 fragment header",
        present=Layer.IP_ID,
        wireshark=("ip.id",),
    ),
    _integer(
        "ip_frag_offset",
        "u2",
        "where this fragment belongs in the datagram",
        unit="8 bytes",
        present=Layer.FRAGMENT,
        wireshark=("ip.frag_offset",),
    ),
    _integer("src_port", "u2", "source port", present=Layer.PORTS, wireshark=("tcp.srcport", "udp.srcport")),
    _integer("dst_port", "u2", "destination port", present=Layer.PORTS, wireshark=("tcp.dstport", "udp.dstport")),
    Column(
        name="tcp_flags",
        kind=Kind.FLAGS,
        dtype="u2",
        present=Layer.ANY_TCP,
        meaning="TCP flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, AE 256",
        wireshark=("tcp.flags",),
    ),
    _integer(
        "tcp_seq",
        "u4",
        "raw TCP sequence number",
        present=Layer.ANY_TCP,
        wireshark=("tcp.seq_raw",),
    ),
    _integer(
        "tcp_ack",
        "u4",
        "raw TCP acknowledgement number",
        present=Layer.ANY_TCP,
        wireshark=("tcp.ack_raw",),
    ),
    _integer(
        "tcp_window",
        "u2",
        "TCP window as sent, not scaled",
        present=Layer.ANY_TCP,
        unit="bytes before scaling",
        wireshark=("tcp.window_size_value",),
    ),
    Column(
        name="tcp_problem",
        kind=Kind.FLAGS,
        dtype="u2",
        present=Layer.TCP,
        meaning="what the conversation so far shows to be wrong with this segment, bits by name in TcpProblem: "
        + ", ".join(f"{name} {1 << bit}" for bit, name in enumerate(FLAG_NAMES["tcp_problem"])),
    ),
    _integer(
        "tcp_mss",
        "u2",
        "maximum segment size option",
        present=Layer.TCP_MSS,
        unit="bytes",
        wireshark=("tcp.options.mss_val",),
    ),
    _integer(
        "tcp_wscale",
        "u1",
        "window scale option: the window is shifted left by so many bits",
        present=Layer.TCP_WSCALE,
        wireshark=("tcp.options.wscale.shift",),
    ),
    _integer(
        "tcp_sack",
        "u1",
        "selective acknowledgement option: blocks acknowledged; 0 where it is only permitted",
        present=Layer.TCP_SACK,
        unit="blocks",
        wireshark=("tcp.options.sack.count",),
    ),
    _integer(
        "tcp_tsval",
        "u4",
        "timestamp option: the sender's clock",
        present=Layer.TCP_TIMESTAMPS,
        wireshark=("tcp.options.timestamp.tsval",),
    ),
    _integer(
        "tcp_tsecr",
        "u4",
        "timestamp option: the clock value it echoes",
        present=Layer.TCP_TIMESTAMPS,
        wireshark=("tcp.options.timestamp.tsecr",),
    ),
    _integer(
        "payload_len",
        "u4",
        "bytes the innermost transport carries, by the headers' own lengths",
        present=Layer.TRANSPORT,
        unit="bytes",
        wireshark=("tcp.len",),
    ),
    _integer("icmp_type", "u1", "ICMP or ICMPv6 type", present=Layer.ANY_ICMP, wireshark=("icmp.type", "icmpv6.type")),
    _integer("icmp_code", "u1", "ICMP or ICMPv6 code", present=Layer.ANY_ICMP, wireshark=("icmp.code", "icmpv6.code")),
    _integer(
        "tunnel_id",
        "u4",
        "identifier of the outermost tunnel that has one: VXLAN or GENEVE network, GTP-U endpoint, GRE key",
        present=Layer.TUNNEL_ID,
        wireshark=("vxlan.vni", "geneve.vni", "gtp.teid", "gre.key"),
    ),
    Column(
        name="inner_src_ip",
        kind=Kind.ADDRESS,
        dtype="u8",
        present=Layer.INNER_IP | Layer.INNER_ARP,
        meaning="source address of the innermost packet in a tunnel (of ARP: the sender's protocol address)",
    ),
    Column(
        name="inner_dst_ip",
        kind=Kind.ADDRESS,
        dtype="u8",
        present=Layer.INNER_IP | Layer.INNER_ARP,
        meaning="destination address of the innermost packet in a tunnel (of ARP: the target's protocol address)",
    ),
    _integer("inner_ip_proto", "u1", "IP protocol number of the innermost packet in a tunnel", present=Layer.INNER_IP),
    _integer("inner_src_port", "u2", "source port of the innermost packet in a tunnel", present=Layer.INNER_PORTS),
    _integer("inner_dst_port", "u2", "destination port of the innermost packet in a tunnel", present=Layer.INNER_PORTS),
    _integer("arp_op", "u2", "ARP operation: 1 request, 2 reply", present=Layer.ANY_ARP, wireshark=("arp.opcode",)),
    Column(
        name="protocol",
        kind=Kind.PROTOCOL,
        dtype="u2",
        meaning="highest protocol known, by Wireshark's short name",
        wireshark=("_ws.col.protocol",),
    ),
    _integer(
        "conversation_id",
        "u8",
        "hash of addresses, ports and protocol, equal in both directions",
        present=Layer.IP,
    ),
    _text("dns_query", "name in the first DNS question, lower case", wireshark=("dns.qry.name",)),
    _integer(
        "dns_qtype",
        "u2",
        "type of the first DNS question",
        present=Layer.DNS_QUESTION,
        wireshark=("dns.qry.type",),
    ),
    _integer("dns_rcode", "u1", "DNS response code", present=Layer.DNS_RESPONSE, wireshark=("dns.flags.rcode",)),
    _text("dns_answer", "data of the first DNS answer: an address, or a name in lower case"),
    _text(
        "tls_sni",
        "server name in a TLS ClientHello, lower case",
        wireshark=("tls.handshake.extensions_server_name",),
    ),
    _integer(
        "tls_version",
        "u2",
        "version of the TLS record: 0x0301 TLS 1.0 ... 0x0303 TLS 1.2 and 1.3",
        present=Layer.TLS,
        wireshark=("tls.record.version",),
    ),
    _integer(
        "tls_handshake",
        "u1",
        "type of the first TLS handshake message: 1 ClientHello, 2 ServerHello, 11 Certificate ...",
        present=Layer.TLS_HANDSHAKE,
        wireshark=("tls.handshake.type",),
    ),
    _text(
        "tls_alpn",
        "first application protocol offered or chosen in a TLS hello",
        wireshark=("tls.handshake.extensions_alpn_str",),
    ),
    _integer(
        "quic_version", "u4", "version in a QUIC long header", present=Layer.QUIC_LONG, wireshark=("quic.version",)
    ),
    _text("http_method", "HTTP request method", wireshark=("http.request.method",)),
    _text("http_host", "HTTP Host header, lower case", wireshark=("http.host",)),
    _text("http_path", "HTTP request target", wireshark=("http.request.uri",)),
    _integer(
        "http_status",
        "u2",
        "HTTP response status",
        present=Layer.HTTP_RESPONSE,
        wireshark=("http.response.code",),
    ),
    _integer(
        "dhcp_type",
        "u1",
        "DHCP message type: 1 discover, 2 offer, 3 request, 5 ack ...; of DHCPv6 its own numbers",
        present=Layer.DHCP,
        wireshark=("dhcp.option.dhcp", "dhcpv6.msgtype"),
    ),
    _text("dhcp_host", "host name a DHCP client gives", wireshark=("dhcp.option.hostname",)),
    _text("banner", "first line a server greets with: SSH, FTP, SMTP, POP3, IMAP", wireshark=("ssh.protocol",)),
    Column(
        name="truncated",
        kind=Kind.BOOLEAN,
        dtype="u1",
        meaning="the capture kept too little of the frame to read it to the end of its headers",
    ),
    Column(
        name="malformed",
        kind=Kind.BOOLEAN,
        dtype="u1",
        meaning="the bytes contradict the protocol's specification",
        wireshark=("_ws.malformed",),
    ),
    _integer("frame_pos", "u8", "place of the frame's bytes in the block (internal)", unit="bytes"),
)
"""PACKETS, in order. The packet's `number` is its row in the session, counted from 1; it is not stored."""

_BY_NAME: Final = {c.name: c for c in COLUMNS}


def column(name: str) -> Column:
    """The column of that name; KeyError if there is none."""
    return _BY_NAME[name]


def ipv6_layer(address: str) -> Layer:
    """The layer that says whether the address in this column is IPv6; it may look like an IPv4 one, ::ffff:a.b.c.d."""
    return Layer.INNER_IPV6 if column(address).present & Layer.INNER_IPV6 else Layer.IPV6
