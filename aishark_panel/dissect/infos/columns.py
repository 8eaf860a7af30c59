"""The info text of a packet whose frame the agent kept: what its columns tell, in the order Wireshark would."""

from collections.abc import Iterator
from typing import Final

from aishark_panel.dissect.infos.names import record_type
from aishark_panel.dissect.infos.view import TcpNumbers, View
from aishark_panel.wire.layers import TCP_FLAG_NAMES, Layer
from aishark_panel.wire.packets import address_text, mac_text
from aishark_panel.wire.schema import ipv6_layer

__all__ = ["from_columns"]

_SEQUENCES: Final = 1 << 32
_SYN, _ACK = 0x02, 0x10
_HANDSHAKES: Final = {1: "Client Hello", 2: "Server Hello", 11: "Certificate"}
_REQUEST, _REPLY = 1, 2


def from_columns(view: View) -> str | None:
    """The text; None where columns tell no more than the protocol's name."""
    layers = view.layers
    if layers & Layer.DNS:
        return " ".join(_dns(view))
    if layers & Layer.HTTP_REQUEST:
        return f"{view.text('http_method')} {view.text('http_path')}"
    if layers & Layer.HTTP_RESPONSE:
        return f"HTTP {view.column('http_status')}"
    if layers & Layer.TLS_HANDSHAKE:
        kind = view.column("tls_handshake")
        name = view.text("tls_sni")
        return _HANDSHAKES.get(kind, f"Handshake type {kind}") + (f" (SNI={name})" if name else "")
    if layers & Layer.ANY_ARP:
        return _arp(view)
    if banner := view.text("banner"):
        return banner
    if layers & Layer.ANY_TCP:
        return " ".join(_tcp(view))
    if layers & (Layer.UDP | Layer.INNER_UDP) and layers & Layer.TRANSPORT:
        return f"{_ports(view)} Len={view.column('payload_len')}"
    if layers & Layer.ANY_ICMP:
        return f"Type {view.column('icmp_type')}, code {view.column('icmp_code')}"
    return None


def _dns(view: View) -> Iterator[str]:
    is_response = view.layers & Layer.DNS_RESPONSE
    yield "Standard query response" if is_response else "Standard query"
    if is_response and (error := view.column("dns_rcode")):
        yield f"error {error}"
    if view.layers & Layer.DNS_QUESTION:
        yield f"{record_type(view.column('dns_qtype'))} {view.text('dns_query')}"
    if answer := view.text("dns_answer"):
        yield answer


def _arp(view: View) -> str:
    inner = "inner_" if view.layers & Layer.INNER_ARP else ""
    sender, target = _address(view, f"{inner}src_ip"), _address(view, f"{inner}dst_ip")
    operation = view.column("arp_op")
    if operation == _REQUEST:
        return f"Who has {target}? Tell {sender}"
    if operation == _REPLY and view.layers & Layer.ETH:
        return f"{sender} is at {mac_text(view.column('eth_src'))}"
    return f"ARP operation {operation}"


def _address(view: View, name: str) -> str:
    value = getattr(view.packets.columns, name)[view.row]
    return address_text(value.tobytes(), v6=bool(view.layers & ipv6_layer(name)))


def _ports(view: View) -> str:
    """Of the innermost transport header."""
    inner = "inner_" if view.layers & Layer.INNER_PORTS else ""
    return f"{view.column(f'{inner}src_port')} → {view.column(f'{inner}dst_port')}"


def _tcp(view: View) -> Iterator[str]:
    layers, flags = view.layers, view.column("tcp_flags")
    base = view.numbers or TcpNumbers(0, 0)
    names = ", ".join(name for bit, name in enumerate(TCP_FLAG_NAMES) if flags >> bit & 1) or "<None>"
    yield f"{_ports(view)} [{names}] Seq={(view.column('tcp_seq') - base.sequence) % _SEQUENCES}"
    if flags & _ACK:
        yield f"Ack={(view.column('tcp_ack') - base.acknowledgement) % _SEQUENCES}"
    yield f"Win={view.column('tcp_window') << (0 if flags & _SYN else base.window_shift)}"
    if layers & Layer.TRANSPORT:
        yield f"Len={view.column('payload_len')}"
    if layers & Layer.TCP_MSS:
        yield f"MSS={view.column('tcp_mss')}"
    if layers & Layer.TCP_SACK and flags & _SYN:
        yield "SACK_PERM"
    if layers & Layer.TCP_TIMESTAMPS:
        yield f"TSval={view.column('tcp_tsval')} TSecr={view.column('tcp_tsecr')}"
    if layers & Layer.TCP_WSCALE:
        yield f"WS={1 << min(view.column('tcp_wscale'), 14)}"
