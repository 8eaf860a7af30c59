"""What Zeek's logs, the Elastic Common Schema and Suricata's EVE call the fields that PACKETS has as columns.

Only names for the same thing are listed. Zeek: log and field, `dns.query` is `query` of dns.log; without a log in front
where every log has it. Zeek and EVE write of connections and transactions: their source is who began.

Zeek: docs.zeek.org/en/current/script-reference/log-files.html. ECS: elastic.co/docs/reference/ecs. EVE:
docs.suricata.io/en/latest/output/eve.
"""

from typing import Final, NamedTuple

__all__ = ["OTHER_NAMES", "OtherNames"]


class OtherNames(NamedTuple):
    """One column's names elsewhere; empty where there is none."""

    zeek: tuple[str, ...] = ()
    ecs: tuple[str, ...] = ()
    suricata: tuple[str, ...] = ()


def _names(zeek: str = "", ecs: str = "", suricata: str = "") -> OtherNames:
    """Names with spaces between."""
    return OtherNames(tuple(zeek.split()), tuple(ecs.split()), tuple(suricata.split()))


OTHER_NAMES: Final[dict[str, OtherNames]] = {
    "ts": _names("ts", "@timestamp", "timestamp"),
    "agent": _names("", "agent.name observer.name", "host"),
    "iface": _names("", "observer.ingress.interface.name", "in_iface"),
    "orig_len": _names("", "network.bytes"),
    "eth_src": _names("conn.orig_l2_addr", "source.mac", "ether.src_mac"),
    "eth_dst": _names("conn.resp_l2_addr", "destination.mac", "ether.dest_mac"),
    "eth_type": _names("", "", "ether.ether_type"),
    "vlan_id": _names("conn.vlan", "network.vlan.id", "vlan"),
    "vlan_inner_id": _names("conn.inner_vlan", "network.inner.vlan.id", "vlan"),
    "ip_version": _names("", "network.type", "ip_v"),
    "src_ip": _names("id.orig_h", "source.ip", "src_ip arp.src_ip"),
    "dst_ip": _names("id.resp_h", "destination.ip", "dest_ip arp.dest_ip"),
    "ip_proto": _names("conn.ip_proto conn.proto", "network.iana_number network.transport", "proto"),
    "src_port": _names("id.orig_p", "source.port", "src_port"),
    "dst_port": _names("id.resp_p", "destination.port", "dest_port"),
    "tcp_flags": _names("", "", "tcp.tcp_flags"),
    "payload_len": _names("", "", "payload_length"),
    "icmp_type": _names("id.orig_p", "", "icmp_type"),
    "icmp_code": _names("id.resp_p", "", "icmp_code"),
    "arp_op": _names("", "", "arp.opcode"),
    "protocol": _names("conn.service", "network.protocol", "app_proto"),
    "conversation_id": _names("uid", "", "flow_id"),
    "dns_query": _names("dns.query", "dns.question.name", "dns.queries.rrname"),
    "dns_qtype": _names("dns.qtype", "dns.question.type", "dns.queries.rrtype"),
    "dns_rcode": _names("dns.rcode", "dns.response_code", "dns.rcode"),
    "dns_answer": _names("dns.answers", "dns.answers.data", "dns.answers.rdata"),
    "tls_sni": _names("ssl.server_name", "tls.client.server_name", "tls.sni"),
    "tls_alpn": _names("ssl.next_protocol", "tls.next_protocol", "tls.client_alpns tls.server_alpns"),
    "quic_version": _names("quic.version", "", "quic.version"),
    "http_method": _names("http.method", "http.request.method", "http.http_method"),
    "http_host": _names("http.host", "url.domain", "http.hostname"),
    "http_path": _names("http.uri", "url.original", "http.url"),
    "http_status": _names("http.status_code", "http.response.status_code", "http.status"),
    "dhcp_type": _names("dhcp.msg_types", "", "dhcp.dhcp_type"),
    "dhcp_host": _names("dhcp.host_name", "", "dhcp.hostname"),
    "banner": _names("ssh.server"),
    "community_id": _names("conn.community_id", "network.community_id", "community_id"),
    "ja3": _names("ssl.ja3", "tls.client.ja3", "tls.ja3.hash quic.ja3.hash"),
    "ja4": _names("ssl.ja4", "", "tls.ja4 quic.ja4"),
}
