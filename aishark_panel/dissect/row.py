"""The row under construction: one record with a field for each column, and the kernel that stores rows in a block.

Parsers fill records and not columns for speed: a record goes from kernel to kernel as one pointer, where 39 arrays
would go as 273 arguments with 39 reference counts. A few records stay in the first-level cache until they are stored.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.jit import kernel_part
from aishark_panel.wire.packets import Columns
from aishark_panel.wire.schema import COLUMNS, Kind, Layer

__all__ = ["ROW_TYPE", "Row", "store"]

Row = Any
"""A record of ROW_TYPE. Its fields are named as the columns; an address is two words: src_ip_0, src_ip_1."""


def _fields() -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for column in COLUMNS:
        if column.kind is Kind.ADDRESS:
            fields += [(f"{column.name}_0", column.dtype), (f"{column.name}_1", column.dtype)]
        elif column.name != "frame_pos":
            fields.append((column.name, column.dtype))
    return sorted(fields, key=lambda field: -np.dtype(field[1]).itemsize)


ROW_TYPE: Final = np.dtype(_fields(), align=True)
"""Its size is a multiple of 8 bytes, so records can be blanked word by word."""

_RARE: Final = int(
    Layer.VLAN
    | Layer.FRAGMENT
    | Layer.ICMP
    | Layer.ARP
    | Layer.DNS
    | Layer.TLS
    | Layer.HTTP_REQUEST
    | Layer.HTTP_RESPONSE
    | Layer.MPLS
    | Layer.TUNNEL_ID
    | Layer.INNER_IP
    | Layer.TCP_MSS
    | Layer.TCP_WSCALE
    | Layer.TCP_SACK
    | Layer.TCP_TIMESTAMPS
    | Layer.QUIC_LONG
    | Layer.DHCP
)
"""Layers whose columns are stored only where one of them was seen."""


@kernel_part
def store(rows: npt.NDArray[Any], count: int, columns: Columns, first: int) -> None:
    """Write records rows[:count] to rows [first, first + count) of the columns, all but `frame_pos`."""
    _blank_rare(columns, first, first + count)
    for i in range(count):
        row = rows[i]
        at = first + i
        columns.ts[at] = row.ts
        columns.iface[at] = row.iface
        columns.orig_len[at] = row.orig_len
        columns.cap_len[at] = row.cap_len
        columns.layers[at] = row.layers
        columns.eth_src[at] = row.eth_src
        columns.eth_dst[at] = row.eth_dst
        columns.eth_type[at] = row.eth_type
        columns.ip_version[at] = row.ip_version
        columns.src_ip[at, 0] = row.src_ip_0
        columns.src_ip[at, 1] = row.src_ip_1
        columns.dst_ip[at, 0] = row.dst_ip_0
        columns.dst_ip[at, 1] = row.dst_ip_1
        columns.ip_proto[at] = row.ip_proto
        columns.ip_ttl[at] = row.ip_ttl
        columns.ip_id[at] = row.ip_id
        columns.src_port[at] = row.src_port
        columns.dst_port[at] = row.dst_port
        columns.tcp_flags[at] = row.tcp_flags
        columns.tcp_seq[at] = row.tcp_seq
        columns.tcp_ack[at] = row.tcp_ack
        columns.tcp_window[at] = row.tcp_window
        columns.payload_len[at] = row.payload_len
        columns.protocol[at] = row.protocol
        columns.conversation_id[at] = row.conversation_id
        columns.truncated[at] = row.truncated
        columns.malformed[at] = row.malformed
        if row.layers & _RARE or row.banner:
            _store_rare(columns, at, row)


@kernel_part
def _blank_rare(columns: Columns, first: int, stop: int) -> None:
    """Set the columns that few packets have to 0, many rows at a time, which costs next to nothing."""
    columns.vlan_id[first:stop] = 0
    columns.ip_frag_offset[first:stop] = 0
    columns.icmp_type[first:stop] = 0
    columns.icmp_code[first:stop] = 0
    columns.arp_op[first:stop] = 0
    columns.dns_query[first:stop] = 0
    columns.dns_qtype[first:stop] = 0
    columns.dns_rcode[first:stop] = 0
    columns.tls_sni[first:stop] = 0
    columns.tls_version[first:stop] = 0
    columns.http_method[first:stop] = 0
    columns.http_host[first:stop] = 0
    columns.http_path[first:stop] = 0
    columns.http_status[first:stop] = 0
    columns.inner_src_ip[first:stop] = 0
    columns.inner_dst_ip[first:stop] = 0
    columns.vlan_inner_id[first:stop] = 0
    columns.mpls_label[first:stop] = 0
    columns.tunnel_id[first:stop] = 0
    columns.inner_ip_proto[first:stop] = 0
    columns.inner_src_port[first:stop] = 0
    columns.inner_dst_port[first:stop] = 0
    columns.tcp_problem[first:stop] = 0
    columns.tcp_mss[first:stop] = 0
    columns.tcp_wscale[first:stop] = 0
    columns.tcp_sack[first:stop] = 0
    columns.tcp_tsval[first:stop] = 0
    columns.tcp_tsecr[first:stop] = 0
    columns.dns_answer[first:stop] = 0
    columns.tls_handshake[first:stop] = 0
    columns.tls_alpn[first:stop] = 0
    columns.quic_version[first:stop] = 0
    columns.dhcp_type[first:stop] = 0
    columns.dhcp_host[first:stop] = 0
    columns.banner[first:stop] = 0


@kernel_part
def _store_rare(columns: Columns, at: int, row: Row) -> None:
    columns.vlan_id[at] = row.vlan_id
    columns.ip_frag_offset[at] = row.ip_frag_offset
    columns.icmp_type[at] = row.icmp_type
    columns.icmp_code[at] = row.icmp_code
    columns.arp_op[at] = row.arp_op
    columns.dns_query[at] = row.dns_query
    columns.dns_qtype[at] = row.dns_qtype
    columns.dns_rcode[at] = row.dns_rcode
    columns.tls_sni[at] = row.tls_sni
    columns.tls_version[at] = row.tls_version
    columns.http_method[at] = row.http_method
    columns.http_host[at] = row.http_host
    columns.http_path[at] = row.http_path
    columns.http_status[at] = row.http_status
    columns.inner_src_ip[at, 0] = row.inner_src_ip_0
    columns.inner_src_ip[at, 1] = row.inner_src_ip_1
    columns.inner_dst_ip[at, 0] = row.inner_dst_ip_0
    columns.inner_dst_ip[at, 1] = row.inner_dst_ip_1
    columns.vlan_inner_id[at] = row.vlan_inner_id
    columns.mpls_label[at] = row.mpls_label
    columns.tunnel_id[at] = row.tunnel_id
    columns.inner_ip_proto[at] = row.inner_ip_proto
    columns.inner_src_port[at] = row.inner_src_port
    columns.inner_dst_port[at] = row.inner_dst_port
    columns.tcp_problem[at] = row.tcp_problem
    columns.tcp_mss[at] = row.tcp_mss
    columns.tcp_wscale[at] = row.tcp_wscale
    columns.tcp_sack[at] = row.tcp_sack
    columns.tcp_tsval[at] = row.tcp_tsval
    columns.tcp_tsecr[at] = row.tcp_tsecr
    columns.dns_answer[at] = row.dns_answer
    columns.tls_handshake[at] = row.tls_handshake
    columns.tls_alpn[at] = row.tls_alpn
    columns.quic_version[at] = row.quic_version
    columns.dhcp_type[at] = row.dhcp_type
    columns.dhcp_host[at] = row.dhcp_host
    columns.banner[at] = row.banner
