"""Blocks of packets filled by hand, so that these tests do not lean on the dissector, and the same rows for pandas."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Interface, Packets
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import COLUMNS, Column, Kind

__all__ = ["INTERFACES", "SAMPLE", "TCP", "Row", "address_words", "as_pandas", "fill"]

Row = Mapping[str, Any]
"""Column names to values as people read them; `layers` says which columns are not null."""

ETH_IP = Layer.ETH | Layer.IPV4
TCP = ETH_IP | Layer.TCP | Layer.PORTS | Layer.TRANSPORT
UDP = ETH_IP | Layer.UDP | Layer.PORTS | Layer.TRANSPORT

SAMPLE: list[Row] = [
    {
        "layers": TCP | Layer.HTTP_REQUEST, "ts": 1_700_000_000_000_000_001, "iface": 0, "orig_len": 500, "cap_len": 90,
        "eth_src": 0x001122AABBCC, "eth_dst": 0xFFFFFFFFFFFF, "eth_type": 0x800, "ip_version": 4, "ip_proto": 6,
        "src_ip": "10.0.0.1", "dst_ip": "192.168.1.20", "ip_ttl": 64, "src_port": 40_000, "dst_port": 80,
        "tcp_flags": 0x18, "tcp_seq": 0xFFFFFFFF, "tcp_ack": 5, "tcp_window": 1_000, "payload_len": 400,
        "tcp_problem": 0x03, "protocol": "HTTP", "http_host": "www.example.com", "http_method": "GET",
        "http_path": "/a?b=1",
    },
    {
        "layers": TCP, "ts": 1_700_000_001_000_000_000, "iface": 1, "orig_len": 60, "cap_len": 60,
        "eth_src": 0x001122AABBCD, "eth_dst": 0x001122AABBCC, "eth_type": 0x800, "ip_version": 4, "ip_proto": 6,
        "src_ip": "192.168.1.20", "dst_ip": "10.0.0.1", "ip_ttl": 128, "src_port": 80, "dst_port": 40_000,
        "tcp_flags": 0x02, "tcp_seq": 1, "tcp_ack": 0, "tcp_window": 0, "payload_len": 0, "protocol": "TCP",
        "malformed": 1, "tcp_problem": 0x1000,
    },
    {
        "layers": UDP | Layer.DNS | Layer.DNS_QUESTION | Layer.DNS_RESPONSE, "ts": 1_700_000_002_500_000_000,
        "iface": 1, "orig_len": 120, "cap_len": 120, "eth_src": 1, "eth_dst": 2, "eth_type": 0x800, "ip_version": 4,
        "ip_proto": 17, "src_ip": "8.8.8.8", "dst_ip": "10.1.2.3", "ip_ttl": 1, "src_port": 53, "dst_port": 5_353,
        "payload_len": 80, "protocol": "DNS", "dns_query": "www.example.com", "dns_qtype": 1, "dns_rcode": 3,
        "truncated": 1,
    },
    {
        "layers": Layer.ETH | Layer.IPV6 | Layer.TCP | Layer.PORTS | Layer.TRANSPORT | Layer.TLS,
        "ts": 1_700_000_003_000_000_000, "iface": 0, "orig_len": 1_514, "cap_len": 1_514, "eth_src": 3, "eth_dst": 4,
        "eth_type": 0x86DD, "ip_version": 6, "ip_proto": 6, "src_ip": "2001:db8::1", "dst_ip": "fe80::1",
        "ip_ttl": 64, "src_port": 443, "dst_port": 50_000, "tcp_flags": 0x12, "tcp_seq": 2, "tcp_ack": 3,
        "tcp_window": 9, "payload_len": 1_440, "protocol": "TLSv1.3", "tls_sni": "example.org", "tls_version": 0x303,
    },
    {
        "layers": Layer.ETH | Layer.ARP, "ts": 1_700_000_004_000_000_000, "iface": 1, "orig_len": 42, "cap_len": 42,
        "eth_src": 5, "eth_dst": 6, "eth_type": 0x806, "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "arp_op": 1,
        "protocol": "ARP",
    },
    {
        "layers": Layer.ETH | Layer.IPV6 | Layer.ICMPV6, "ts": 1_700_000_005_000_000_000, "iface": 0, "orig_len": 90,
        "cap_len": 90, "eth_src": 7, "eth_dst": 8, "eth_type": 0x86DD, "ip_version": 6, "ip_proto": 58,
        "src_ip": "::ffff:10.0.0.1", "dst_ip": "::1", "ip_ttl": 255, "icmp_type": 135, "icmp_code": 0,
        "protocol": "ICMPv6",
    },
    {
        "layers": Layer.ETH, "ts": 1_700_000_006_000_000_000, "iface": 0, "orig_len": 60, "cap_len": 60, "eth_src": 9,
        "eth_dst": 10, "protocol": "STP",
    },
    {
        "layers": UDP, "ts": 1_700_000_007_000_000_000, "iface": 0, "orig_len": 1_300, "cap_len": 96, "eth_src": 11,
        "eth_dst": 12, "eth_type": 0x800, "ip_version": 4, "ip_proto": 17, "src_ip": "10.1.2.3",
        "dst_ip": "172.16.0.9", "ip_ttl": 63, "src_port": 50_000, "dst_port": 443, "payload_len": 1_250,
        "protocol": "QUIC",
    },
]  # fmt: skip
"""HTTP, TCP SYN, DNS response, TLS over IPv6, ARP, ICMPv6 from ::ffff:10.0.0.1, an 802.3 frame, QUIC."""

INTERFACES = [Interface("edge", "eth0", 1), Interface("core", "wlan0", 1)]


def is_null(spec: Column, row: Row) -> bool:
    """The null rule of the schema, written a second time."""
    if spec.kind is Kind.TEXT or spec.name == "eth_type":
        return spec.name not in row
    return bool(spec.present) and not spec.present & row["layers"]


def address_words(text: str) -> Any:
    """The 16 bytes of an address as on the wire, as the column stores them."""
    address = ipaddress.ip_address(text)
    raw = address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed
    return np.frombuffer(raw, np.uint64)


def fill(rows: Iterable[Row], frames: Iterable[bytes] = ()) -> Packets:
    """A block with these rows. Where a column is null it holds garbage, which nothing may look at."""
    rows = list(rows)
    packets = Packets(max(len(rows), 1))
    pool: dict[str, int] = {}
    for spec in COLUMNS:
        values = getattr(packets.columns, spec.name)
        for i, row in enumerate(rows):
            if spec.kind is Kind.TEXT:
                values[i] = pool.setdefault(row[spec.name], len(pool) + 1) if spec.name in row else 0
            elif is_null(spec, row):
                values[i] = 0 if spec.name == "eth_type" else np.iinfo(spec.dtype).max
            elif spec.kind is Kind.ADDRESS:
                values[i] = address_words(row[spec.name])
            elif spec.kind is Kind.PROTOCOL:
                values[i] = PROTOCOLS.index(row.get(spec.name, "?"))
            else:
                values[i] = int(row.get(spec.name, 0))
    _fill_pool(packets, list(pool))
    _fill_arena(packets, list(frames))
    packets.length = len(rows)
    return packets


def _fill_pool(packets: Packets, texts: list[str]) -> None:
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    ends = np.cumsum([0, *map(len, encoded)])
    packets.texts.ends[: len(ends)] = ends
    packets.texts.data[: ends[-1]] = np.frombuffer(b"".join(encoded), np.uint8)
    packets.texts.counts[:] = (len(texts), ends[-1])


def _fill_arena(packets: Packets, frames: list[bytes]) -> None:
    """Every other frame goes into a second piece, behind a byte that belongs to none."""
    packets.arena_bits = 20
    pieces = [bytearray(b"x"), bytearray(b"y")]
    for i, frame in enumerate(frames):
        packets.columns.frame_pos[i] = ((i % 2) << packets.arena_bits) + len(pieces[i % 2])
        packets.columns.cap_len[i] = len(frame)
        pieces[i % 2] += frame
    packets.arena = [np.frombuffer(bytes(piece), np.uint8) for piece in pieces]


def as_pandas(rows: Iterable[Row]) -> pd.DataFrame:
    """The same rows as a data frame with pandas' own nulls (nullable types, three-valued logic)."""
    rows = list(rows)
    columns: dict[str, Any] = {}
    for spec in COLUMNS:
        values = [None if is_null(spec, row) else row.get(spec.name, 0) for row in rows]
        if spec.kind in (Kind.INTEGER, Kind.FLAGS):
            columns[spec.name] = pd.array(values, dtype=pd.UInt64Dtype() if spec.dtype == "u8" else pd.Int64Dtype())
        elif spec.kind is Kind.BOOLEAN:
            columns[spec.name] = pd.array([bool(value) for value in values], dtype="boolean")
        elif spec.kind in (Kind.TEXT, Kind.ADDRESS, Kind.PROTOCOL):
            columns[spec.name] = pd.array(["?" if v == 0 else v for v in values], dtype=pd.StringDtype("python"))
    columns["number"] = pd.array(range(1, len(rows) + 1), dtype="Int64")
    return pd.DataFrame(columns)
