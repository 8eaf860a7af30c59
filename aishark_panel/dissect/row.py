"""The row under construction: one record with a field for each column, and the kernel that stores rows in a block.

Parsers fill records and not columns for speed: a record goes from kernel to kernel as one pointer, where 60 arrays
would go as 420 arguments with 60 reference counts. A few records stay in the first-level cache until they are stored,
column by column, which needs one base address at a time and fills whole cache lines.

Fields that most packets leave absent come last in a record; where all of them are 0, none is stored.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel_part
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import Columns
from aishark_panel.wire.schema import COLUMNS, Kind

__all__ = ["ROW_TYPE", "ROW_WORDS", "Row", "blank_absent", "store"]

Row = Any
"""A record of ROW_TYPE. Its fields are named as the columns; an address is two words: src_ip_0, src_ip_1."""

_NOT_FROM_FRAMES: Final = ("ts", "iface", "orig_len", "cap_len", "frame_pos", "tcp_problem")
"""Columns that do not follow from the bytes of one frame."""

_FREQUENT: Final = (
    *("layers", "eth_src", "eth_dst", "eth_type", "ip_version", "src_ip", "dst_ip", "ip_proto", "ip_ttl", "ip_id"),
    *("src_port", "dst_port", "tcp_flags", "tcp_seq", "tcp_ack", "tcp_window", "tcp_tsval", "tcp_tsecr"),
    *("payload_len", "protocol", "conversation_id", "tls_version", "truncated", "malformed"),
)
"""Columns that are stored for whole chunks of rows."""


def _fields(frequent: bool) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for column in COLUMNS:
        if column.name in _NOT_FROM_FRAMES or (column.name in _FREQUENT) is not frequent:
            continue
        if column.kind is Kind.ADDRESS:
            fields += [(f"{column.name}_0", column.dtype), (f"{column.name}_1", column.dtype)]
        else:
            fields.append((column.name, column.dtype))
    return sorted(fields, key=lambda field: -np.dtype(field[1]).itemsize)


def _words(fields: list[tuple[str, str]]) -> int:
    return np.dtype(fields, align=True).itemsize // 8


ROW_TYPE: Final = np.dtype(_fields(frequent=True) + _fields(frequent=False), align=True)
"""Its size is a multiple of 8 bytes, so records can be blanked word by word."""

ROW_WORDS: Final = ROW_TYPE.itemsize // 8
_FREQUENT_WORDS: Final = _words(_fields(frequent=True))

_TCP: Final = int(Layer.ANY_TCP)
_TIMESTAMPS: Final = int(Layer.TCP_TIMESTAMPS)
_TLS: Final = int(Layer.TLS)
_LINK: Final = int(Layer.VLAN | Layer.INNER_VLAN | Layer.MPLS)
_NETWORK: Final = int(Layer.FRAGMENT | Layer.ANY_ICMP | Layer.ANY_ARP)
_OPTIONS: Final = int(Layer.TCP_MSS | Layer.TCP_WSCALE | Layer.TCP_SACK)
_TUNNEL: Final = int(Layer.TUNNEL_ID | Layer.INNER_IP | Layer.INNER_ARP)
_DNS: Final = int(Layer.DNS)
_HTTP: Final = int(Layer.HTTP_REQUEST | Layer.HTTP_RESPONSE)


@kernel_part
def store(rows: Any, words: npt.NDArray[np.uint64], count: int, found: int, columns: Columns, first: int) -> None:
    """Write records rows[:count] to rows [first, first + count) of the columns and blank the records.

    `words` is the memory of `rows`, `found` has the bits of all their `layers`; `blank_absent` has been called for
    these rows.
    """
    _fill(columns.layers, first, rows.layers, count)
    _fill(columns.eth_src, first, rows.eth_src, count)
    _fill(columns.eth_dst, first, rows.eth_dst, count)
    _fill(columns.eth_type, first, rows.eth_type, count)
    _fill(columns.ip_version, first, rows.ip_version, count)
    _fill_addresses(columns.src_ip, first, rows.src_ip_0, rows.src_ip_1, count)
    _fill_addresses(columns.dst_ip, first, rows.dst_ip_0, rows.dst_ip_1, count)
    _fill(columns.ip_proto, first, rows.ip_proto, count)
    _fill(columns.ip_ttl, first, rows.ip_ttl, count)
    _fill(columns.ip_id, first, rows.ip_id, count)
    _fill(columns.src_port, first, rows.src_port, count)
    _fill(columns.dst_port, first, rows.dst_port, count)
    _fill(columns.payload_len, first, rows.payload_len, count)
    _fill(columns.protocol, first, rows.protocol, count)
    _fill(columns.conversation_id, first, rows.conversation_id, count)
    _fill(columns.truncated, first, rows.truncated, count)
    _fill(columns.malformed, first, rows.malformed, count)
    if found & _TCP:
        _fill(columns.tcp_flags, first, rows.tcp_flags, count)
        _fill(columns.tcp_seq, first, rows.tcp_seq, count)
        _fill(columns.tcp_ack, first, rows.tcp_ack, count)
        _fill(columns.tcp_window, first, rows.tcp_window, count)
    if found & _TIMESTAMPS:
        _fill(columns.tcp_tsval, first, rows.tcp_tsval, count)
        _fill(columns.tcp_tsecr, first, rows.tcp_tsecr, count)
    if found & _TLS:
        _fill(columns.tls_version, first, rows.tls_version, count)
    for i in range(count):
        rare = np.uint64(0)
        for k in range(_FREQUENT_WORDS, ROW_WORDS):
            rare |= words[i, k]
        if rare:
            _store_rare(columns, first + i, rows[i])
            for k in range(_FREQUENT_WORDS, ROW_WORDS):
                words[i, k] = 0
        for k in range(_FREQUENT_WORDS):
            words[i, k] = 0


@kernel_part
def _fill(column: npt.NDArray[Any], first: int, field: npt.NDArray[Any], count: int) -> None:
    for i in range(count):
        column[np.uint64(first + i)] = field[np.uint64(i)]


@kernel_part
def _fill_addresses(
    column: npt.NDArray[np.uint64], first: int, half_0: npt.NDArray[Any], half_1: npt.NDArray[Any], count: int
) -> None:
    for i in range(count):
        column[np.uint64(first + i), 0] = half_0[np.uint64(i)]
        column[np.uint64(first + i), 1] = half_1[np.uint64(i)]


@kernel_part
def _store_rare(columns: Columns, at: int, row: Row) -> None:
    layers = row.layers
    if layers & _LINK:
        columns.vlan_id[at] = row.vlan_id
        columns.vlan_inner_id[at] = row.vlan_inner_id
        columns.mpls_label[at] = row.mpls_label
    if layers & _NETWORK:
        columns.ip_frag_offset[at] = row.ip_frag_offset
        columns.icmp_type[at] = row.icmp_type
        columns.icmp_code[at] = row.icmp_code
        columns.arp_op[at] = row.arp_op
    if layers & _OPTIONS:
        columns.tcp_mss[at] = row.tcp_mss
        columns.tcp_wscale[at] = row.tcp_wscale
        columns.tcp_sack[at] = row.tcp_sack
    if layers & _TUNNEL:
        columns.tunnel_id[at] = row.tunnel_id
        columns.inner_src_ip[at, 0] = row.inner_src_ip_0
        columns.inner_src_ip[at, 1] = row.inner_src_ip_1
        columns.inner_dst_ip[at, 0] = row.inner_dst_ip_0
        columns.inner_dst_ip[at, 1] = row.inner_dst_ip_1
        columns.inner_ip_proto[at] = row.inner_ip_proto
        columns.inner_src_port[at] = row.inner_src_port
        columns.inner_dst_port[at] = row.inner_dst_port
    if layers & _DNS:
        columns.dns_query[at] = row.dns_query
        columns.dns_qtype[at] = row.dns_qtype
        columns.dns_rcode[at] = row.dns_rcode
        columns.dns_answer[at] = row.dns_answer
    if layers & _TLS:
        columns.tls_sni[at] = row.tls_sni
        columns.tls_handshake[at] = row.tls_handshake
        columns.tls_alpn[at] = row.tls_alpn
    if layers & _HTTP:
        columns.http_method[at] = row.http_method
        columns.http_host[at] = row.http_host
        columns.http_path[at] = row.http_path
        columns.http_status[at] = row.http_status
    columns.quic_version[at] = row.quic_version
    columns.dhcp_type[at] = row.dhcp_type
    columns.dhcp_host[at] = row.dhcp_host
    columns.banner[at] = row.banner


@kernel_part
def blank_absent(columns: Columns, first: int, stop: int) -> None:
    """Set the columns that `store` may leave out to 0: many rows at a time, which costs next to nothing."""
    columns.vlan_id[first:stop] = 0
    columns.vlan_inner_id[first:stop] = 0
    columns.mpls_label[first:stop] = 0
    columns.ip_frag_offset[first:stop] = 0
    columns.tcp_flags[first:stop] = 0
    columns.tcp_seq[first:stop] = 0
    columns.tcp_ack[first:stop] = 0
    columns.tcp_window[first:stop] = 0
    columns.tcp_problem[first:stop] = 0
    columns.tcp_mss[first:stop] = 0
    columns.tcp_wscale[first:stop] = 0
    columns.tcp_sack[first:stop] = 0
    columns.tcp_tsval[first:stop] = 0
    columns.tcp_tsecr[first:stop] = 0
    columns.icmp_type[first:stop] = 0
    columns.icmp_code[first:stop] = 0
    columns.arp_op[first:stop] = 0
    columns.tunnel_id[first:stop] = 0
    columns.inner_src_ip[first:stop] = 0
    columns.inner_dst_ip[first:stop] = 0
    columns.inner_ip_proto[first:stop] = 0
    columns.inner_src_port[first:stop] = 0
    columns.inner_dst_port[first:stop] = 0
    columns.dns_query[first:stop] = 0
    columns.dns_qtype[first:stop] = 0
    columns.dns_rcode[first:stop] = 0
    columns.dns_answer[first:stop] = 0
    columns.tls_version[first:stop] = 0
    columns.tls_sni[first:stop] = 0
    columns.tls_handshake[first:stop] = 0
    columns.tls_alpn[first:stop] = 0
    columns.quic_version[first:stop] = 0
    columns.http_method[first:stop] = 0
    columns.http_host[first:stop] = 0
    columns.http_path[first:stop] = 0
    columns.http_status[first:stop] = 0
    columns.dhcp_type[first:stop] = 0
    columns.dhcp_host[first:stop] = 0
    columns.banner[first:stop] = 0
