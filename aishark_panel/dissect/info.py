"""The one-line summary of a packet, in Wireshark's words where the columns allow; made only for rows that are shown."""

from typing import Final

from aishark_panel.wire import protocols
from aishark_panel.wire.packets import Packets, address_text, mac_text
from aishark_panel.wire.schema import TCP_FLAG_NAMES, Layer

__all__ = ["info_text"]

_DNS_TYPES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    43: "DS",
    48: "DNSKEY",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}
_NETBIOS_TYPES: Final = {32: "NB", 33: "NBSTAT"}
_DNS_ERRORS: Final = {1: "Format error", 2: "Server failure", 3: "No such name", 4: "Not implemented", 5: "Refused"}
_ICMP_ECHO: Final = {8: "request", 0: "reply"}
_ICMP: Final = {
    3: "Destination unreachable",
    5: "Redirect",
    9: "Router advertisement",
    10: "Router solicitation",
    11: "Time-to-live exceeded",
    12: "Parameter problem",
    13: "Timestamp request",
    14: "Timestamp reply",
}
_ICMPV6_ECHO: Final = {128: "request", 129: "reply"}
_ICMPV6: Final = {
    1: "Destination Unreachable",
    2: "Packet Too Big",
    3: "Time Exceeded",
    4: "Parameter Problem",
    130: "Multicast Listener Query",
    131: "Multicast Listener Report",
    132: "Multicast Listener Done",
    133: "Router Solicitation",
    134: "Router Advertisement",
    135: "Neighbor Solicitation",
    136: "Neighbor Advertisement",
    137: "Redirect",
    143: "Multicast Listener Report Message v2",
}


def info_text(packets: Packets, row: int) -> str:
    """Summary of a row: of its highest layer, with what is wrong with the packet in front in brackets."""
    columns = packets.columns
    problem = "[Malformed] " if columns.malformed[row] else "[Truncated] " if columns.truncated[row] else ""
    return problem + _summary(packets, row, Layer(int(columns.layers[row])))


def _summary(packets: Packets, row: int, layers: Layer) -> str:
    columns = packets.columns
    if layers & Layer.ARP:
        return _arp(packets, row)
    if layers & Layer.DNS:
        return _dns(packets, row, layers)
    if layers & Layer.HTTP_REQUEST:
        method, path = (packets.text(int(code[row])) for code in (columns.http_method, columns.http_path))
        return f"{method} {path} HTTP/1.1"
    if layers & Layer.HTTP_RESPONSE:
        return f"HTTP/1.1 {columns.http_status[row]}"
    if layers & Layer.TLS and columns.tls_sni[row]:
        return f"Client Hello (SNI={packets.text(int(columns.tls_sni[row]))})"
    if layers & Layer.ANY_ICMP:
        return _icmp(packets, row)
    if layers & Layer.TCP:
        return _tcp(packets, row)
    if layers & Layer.PORTS:
        length = f" Len={columns.payload_len[row]}" if layers & Layer.TRANSPORT else ""
        return f"{_ports(packets, row)}{length}"
    if layers & Layer.FRAGMENT:
        offset = 8 * int(columns.ip_frag_offset[row])
        return f"Fragmented IP protocol (proto={columns.ip_proto[row]}, off={offset}, ID={columns.ip_id[row]:04x})"
    if layers & Layer.IP:
        return f"IP protocol {columns.ip_proto[row]}"
    if layers & Layer.ETH and columns.eth_type[row]:
        return f"Ethertype 0x{columns.eth_type[row]:04x}"
    return f"{columns.cap_len[row]} bytes captured"


def _address(packets: Packets, row: int, name: str) -> str:
    raw = getattr(packets.columns, name)[row].tobytes()
    return address_text(raw, v6=bool(packets.columns.layers[row] & Layer.IPV6))


def _arp(packets: Packets, row: int) -> str:
    sender, target = _address(packets, row, "src_ip"), _address(packets, row, "dst_ip")
    operation = int(packets.columns.arp_op[row])
    if operation == 1:
        return f"ARP Announcement for {sender}" if sender == target else f"Who has {target}? Tell {sender}"
    if operation == 2:
        return f"{sender} is at {mac_text(int(packets.columns.eth_src[row]))}"
    return f"ARP operation {operation}"


def _dns(packets: Packets, row: int, layers: Layer) -> str:
    columns = packets.columns
    words = ["Standard query"]
    if layers & Layer.DNS_RESPONSE:
        words.append("response")
        code = int(columns.dns_rcode[row])
        if code:
            words.append(_DNS_ERRORS.get(code, f"error {code}"))
    if layers & Layer.DNS_QUESTION:
        number = int(columns.dns_qtype[row])
        types = _NETBIOS_TYPES if columns.protocol[row] == protocols.NBNS else _DNS_TYPES
        words += [types.get(number, f"TYPE{number}"), packets.text(int(columns.dns_query[row]))]
    return " ".join(words)


def _icmp(packets: Packets, row: int) -> str:
    columns = packets.columns
    kind, code = int(columns.icmp_type[row]), int(columns.icmp_code[row])
    v6 = columns.protocol[row] == protocols.ICMPV6
    echo, names = (_ICMPV6_ECHO, _ICMPV6) if v6 else (_ICMP_ECHO, _ICMP)
    if kind in echo:
        return f"Echo (ping) {echo[kind]} {'hop limit' if v6 else 'ttl'}={columns.ip_ttl[row]}"
    name = names.get(kind, f"Type {kind}")
    return f"{name} (code {code})" if code else name


def _tcp(packets: Packets, row: int) -> str:
    columns = packets.columns
    flags = int(columns.tcp_flags[row])
    names = ", ".join(name for bit, name in enumerate(TCP_FLAG_NAMES) if flags >> bit & 1)
    acknowledged = f" Ack={columns.tcp_ack[row]}" if flags & 0x10 else ""
    return (
        f"{_ports(packets, row)} [{names}] Seq={columns.tcp_seq[row]}{acknowledged} "
        f"Win={columns.tcp_window[row]} Len={columns.payload_len[row]}"
    )


def _ports(packets: Packets, row: int) -> str:
    return f"{packets.columns.src_port[row]} → {packets.columns.dst_port[row]}"
