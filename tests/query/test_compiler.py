"""What expressions select among the rows of SAMPLE, by hand: nulls, Wireshark's spellings, and refused kinds.

Rows: 0 HTTP, 1 TCP SYN, 2 DNS response, 3 TLS over IPv6, 4 ARP, 5 ICMPv6, 6 an 802.3 frame, 7 QUIC.
"""

from collections.abc import Callable

import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import compile_expression

Select = Callable[[str], list[int]]
HAVE_PORTS = [0, 1, 2, 3, 7]


@pytest.mark.parametrize(
    "comparison", ["src_port == 80", "src_port > 1000", "src_port in [80, 443]", "src_port == dst_port"]
)
def test_null_is_in_neither_a_comparison_nor_its_negation(select: Select, comparison: str) -> None:
    both = select(comparison) + select(f"not ({comparison})")
    assert sorted(both) == HAVE_PORTS
    assert select(f"not not ({comparison})") == select(comparison)


def test_negating_an_operator_is_the_same_as_negating_its_comparison(select: Select) -> None:
    for name, value in (
        ("src_port", "80"),
        ("http_host", "'www.example.com'"),
        ("src_ip", "10.0.0.1"),
        ("ip_ttl", "64"),
    ):
        assert select(f"{name} != {value}") == select(f"not {name} == {value}")
        assert select(f"{name} not in [{value}]") == select(f"not {name} in [{value}]")
    assert select("not src_port < 443") == select("src_port >= 443")


def test_null_or_true_is_true_and_null_and_false_is_false(select: Select) -> None:
    # Row 4 (ARP) has no port: unknown.
    assert 4 in select("src_port == 80 or arp")
    assert 4 not in select("src_port == 80 or tcp")
    assert 4 in select("not (src_port == 80 and tcp)")
    assert 4 not in select("not (src_port == 80 and arp)")
    assert 4 not in select("not (src_port == 80 or arp)")


def test_whether_there_is_a_value_is_never_null(select: Select) -> None:
    assert select("src_port") == HAVE_PORTS
    assert select("not src_port") == [4, 5, 6]
    assert select("http.host") == [0]
    assert select("not http.host") == [1, 2, 3, 4, 5, 6, 7]
    assert select("eth_type") == [0, 1, 2, 3, 4, 5, 7]
    assert select("tcp.port") == [0, 1, 3]


def test_arithmetic_with_null_is_null(select: Select) -> None:
    assert sorted(select("src_port + orig_len > 1000") + select("not src_port + orig_len > 1000")) == HAVE_PORTS


def test_division_by_zero_is_null(select: Select) -> None:
    for text in ("orig_len / tcp_window > 0", "orig_len // tcp_window >= 0", "orig_len % tcp_window >= 0"):
        assert select(text) == [0, 3]  # row 1 has window 0
        assert select(f"not ({text})") == []


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("ip.addr == 10.0.0.1", [0, 1]),
        ("ip.addr != 10.0.0.1", [2, 3, 5, 7]),  # neither side; ARP is not IP
        ("!(ip.addr == 10.0.0.1)", [2, 3, 5, 7]),
        ("ip.addr == '10.0.0.1'", [0, 1]),
        ("ip.addr == 10.0.0.0/8", [0, 1, 2, 7]),
        ("ip.addr in {10.0.0.1, 8.8.8.0/24}", [0, 1, 2]),
        ("ip.src == 2001:db8::/32", [3]),
        ("ipv6.addr == fe80::1", [3]),
        ("ipv6.src", [3, 5]),
        ("arp.src.proto_ipv4 == 10.0.0.1", [4]),
        ("src_ip == 10.0.0.1", [0, 4]),
        ("src_ip == ::ffff:10.0.0.1", [5]),
        ("in_net(src_ip, '10.0.0.0/8')", [0, 4, 7]),
        ("in_net(ip.addr, 8.8.8.8, '::1/128')", [2, 5]),
        ("ip.src == 0.0.0.0/0", [0, 1, 2, 7]),
        ("ip.src == ::/0", [3, 5]),
        ("eth.addr == 00:11:22:aa:bb:cc", [0, 1]),
        ("eth_dst == 'FF-FF-FF-FF-FF-FF'", [0]),
        ("eth.src in {00:11:22:aa:bb:cc, 00:11:22:aa:bb:cd}", [0, 1]),
        ("tcp.port == 443", [3]),
        ("udp.port == 443", [7]),
        ("tcp.port in {80, 440..450}", [0, 1, 3]),
        ("tcp.port not in {80}", [3]),
        ("tcp.port > 45000", [3]),
        ("tcp.srcport == 80 || tcp.dstport eq 80", [0, 1]),
        ("tcp.flags.syn == 1", [1, 3]),
        ("tcp.flags.syn == 1 && tcp.flags.ack == 0", [1]),
        ("tcp.flags.syn == True and not tcp.flags.ack == true", [1]),
        ("tcp.flags.syn", [0, 1, 3]),  # exists, as in Wireshark
        ("tcp.flags & 0x02", [1, 3]),
        ("dns || tcp.flags & 2", [1, 2, 3]),
        ("(tcp.flags & 0x12) == 2", [1]),
        ("(tcp_flags | 1) == 3", [1]),
        ("is_private(src_ip)", [0, 1, 4, 7]), ("not is_private(src_ip)", [2, 3, 5]),
        ("is_private(ip.addr)", [0, 1, 2, 3, 5, 7]), ("is_multicast(dst_ip)", []),
        ("dns_query.str.len() == 15", [2]), ("not dns_query.str.len() > 15", [2]),
        ("protocol.str.len() < 4", [1, 2, 4, 6]),
        ("iface.str.len() + agent.str.len() > 8", [1, 2, 4]), ("1 < http_host.str.len() <= 15", [0]),
        ("2 * dns_query.str.len() in {30}", [2]), ("http_host.str.len() == dns_query.str.len()", []),
        ("entropy(dns_query) > 3.18", [2]), ("entropy(dns_query) > 3.19", []), ("entropy(dns_query) < 8", [2]),
        ("http_host.str.match('w+')", [0]), ("http_host.str.match('example')", []),
        ("http_host.str.match('(?i)WWW')", [0]), ("not http_host.str.match('x|www')", []),
        ("http_host.str.fullmatch('www.*com', case=False)", [0]), ("http_host.str.fullmatch('www|com')", []),
        ("has(tcp_flags, 'SYN', 'ACK')", [3]),
        ("not has(tcp.flags, 'syn')", [0]),
        ("has(tcp_problem, 'RETRANSMISSION', 'out_of_order')", []),
        ("has(tcp_problem, 'keep_alive')", [1]),
        ("tcp.analysis.retransmission", [0]),
        ("tcp.analysis.flags", [0, 1]),
        ("tcp.analysis.flags and !tcp.analysis.keep_alive", [0]),
        ("!tcp.analysis.flags && tcp", [3]),
        ("tcp_problem != 0", [0, 1]),
        ("tcp.len > 0 and ip.ttl == 64", [0]),
        ("ipv6.hlim == 64", [3]),
        ("icmpv6.type == 135", [5]),
        ("icmp.type == 135", []),
        ("dns.flags.response == 1", [2]),
        ("frame.len > 1000", [3, 7]),
        ("frame.number in {1, 7..99}", [0, 6, 7]),
        ("http.request", [0]),
        ("http.response", []),
        ('http.host contains "example" or dns.qry.name contains "www"', [0, 2]),
        ('dns.qry.name matches "EXAMPLE\\.com$"', [2]),
        ('http.host ~ "^www"', [0]),
        ("_ws.malformed", [1]),
        ("not truncated", [0, 1, 3, 4, 5, 6, 7]),
        ("truncated == False and malformed == 1", [1]),
        ("tcp", [0, 1, 3]), ("udp", [2, 7]), ("ip", [0, 1, 2, 7]), ("ipv6", [3, 5]), ("arp", [4]), ("dns", [2]),
        ("tls", [3]), ("http", [0]), ("icmpv6", [5]), ("icmp", []), ("quic", [7]), ("stp", [6]), ("tlsv1.3", [3]),
        ("frame", [0, 1, 2, 3, 4, 5, 6, 7]), ("not frame", []), ("not tcp and not udp", [4, 5, 6]),
        ("protocol == 'DNS'", [2]), ("protocol == 'dns'", [2]), ("protocol != 'tcp'", [0, 2, 3, 4, 5, 6, 7]),
        ("protocol in ['ARP', 'quic']", [4, 7]), ("protocol.str.startswith('TLS')", [3]),
        ("protocol contains 'v6'", [5]),
        ("iface == 'eth0'", [0, 3, 5, 6, 7]), ("agent == 'core'", [1, 2, 4]), ("agent != 'core'", [0, 3, 5, 6, 7]),
        ("agent.str.startswith('ed') and iface in ['eth0', 'wlan0']", [0, 3, 5, 6, 7]), ("iface == 'eth9'", []),
        ("ts >= '2023-11-14 22:13:25'", [5, 6, 7]),
        ("ts < '2023-11-14T23:13:21+01:00'", [0]),
        ("ts == 1700000000.000000001", [0]),
        ("frame.time_epoch > 1700000005", [6, 7]),
        ("ts in ['2023-11-14 22:13:22.5']", [2]),
        ("'2023-11-14 22:13:21' <= ts < '2023-11-14 22:13:23'", [1, 2]),
        ("64 == ip_ttl", [0, 3]),
        ("60 < ip_ttl < 100", [0, 3, 7]),
        ("tcp_seq == 4294967295", [0]), ("tcp_seq in [4294967295, 1]", [0, 1]), ("src_port == 70000", []),
        ("src_port > -1 and src_port < 99999999999999", HAVE_PORTS), ("src_port in [-5..60, 70000]", [2]),
        ("ip_ttl == 64.0", [0, 3]), ("ip_ttl < 1.5", [2]),
        ("orig_len > 2 * 512 + 100", [3, 7]), ("orig_len - cap_len > 100", [0, 7]),
        ("-orig_len < -1400", [3]), ("orig_len % 100 in [14, 20]", [2, 3]),
        ("http_host == dns_query", []), ("http_host != 'x'", [0]), ("http_host in ['www.example.com', 'x']", [0]),
        ("src_port == [80, 53]", [1, 2]), ("src_port != [80, 53]", [0, 3, 7]),
    ],
)  # fmt: skip
def test_an_expression_selects_these_rows(select: Select, text: str, rows: list[int]) -> None:
    assert select(text) == rows


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("src_port == '80'", 12, "write the number without quotes"),
        ("tcp_flags == 'SYN'", 13, "has(tcp_flags, 'SYN')"),
        ("http_host == 80", 13, "write '80' with its quotes"),
        ("src_ip == 80", 10, "no IP address"),
        ("src_ip < 10.0.0.1", 9, "src_ip has no order"),
        ("protocol > 'DNS'", 11, "protocol has no order"),
        ("protocol == 'DSN'", 12, "did you mean DNS?"),
        ("src_ip == src_port", 7, "src_ip (address) cannot be compared with src_port (integer)"),
        ("http_host < dns_query", 10, "compare with == and != only"),
        ("iface == agent", 6, "cannot be compared"),
        ("1 == 1", 2, "compares two constants"),
        ("1 + 1 in {2}", 9, "a column goes before 'in'"),
        ("tcp == 1", 0, "'tcp' is a protocol"),
        ("tcp contains 'x'", 0, "frame contains 'text'"),
        ("ip_ttl contains 'x'", 0, "ip_ttl is not text (integer)"),
        ("(src_port + 1) contains 'x'", 10, "searched in a column"),
        ("frame matches 'x'", 6, "'contains' only"),
        ("frame == 1", 0, "protocol and has no value"),
        ("80", 0, "expected a condition"),
        ("'x' and tcp", 0, "expected a condition"),
        ("src_port + 1", 9, "expected a condition"),
        ("tcp_flags & 2 == 2", 10, "(tcp_flags & 2) == 2"),
        ("2 & tcp_flags == 2", 2, "(tcp_flags & 2) == 2"),
        ("~ip_ttl == 3", 0, "a negation has no value"),
        ("(ip_ttl == 3) == True", 8, "a condition has no value"),
        ("ip_ttl + (tcp and udp) == 3", 14, "a condition has no value"),
        ("ts + 1 > 5", 0, "ts (time) is not a number"),
        ("src_ip + 1 == 5", 0, "src_ip (address) is not a number"),
        ("ip_ttl + 'x' == 5", 9, "'x' is not a number"),
        ("tcp.port + 1 == 5", 0, "tcp.port means two columns"),
        ("src_port in ['x']", 13, "is a number and 'x' is not"),
        ("src_port in [1.5]", 13, "whole numbers"),
        ("orig_len / 3 in [1]", 16, "a fraction is not looked up"),
        ("src_ip in {1..2}", 11, "takes no ranges"),
        ("eth_src == '00:11:22'", 11, "'00:11:22' is no MAC address"),
        ("eth_src == 5", 11, "'5' is no MAC address"),
        ("src_ip == 'localhost'", 10, "'localhost' is no IP address or network"),
        ("ts > 'today'", 5, "'today' is no time"),
        ("frame contains 47", 15, "'text' or bytes such as 47:45:54"),
        ("ts > 1e12", 5, "beyond the year 2262"),
        ("src_port == 123456789012345.5" + " * 123456789012345.5" * 22, 30, "the constants in it are too large"),
        ("in_net(src_port, '10.0.0.0/8')", 17, "holds no IP addresses"),
        ("in_net(src_ip)", 0, "in_net needs more"),
        ("in_net(src_ip, dst_ip)", 15, "only a plain value"),
        ("in_net(src_port + 1, '::/0')", 0, "in_net looks at a column"),
        ("in_net(src_ip, '::/0', x=1)", 25, "no options"),
        ("is_private()", 0, "is_private needs more: is_private(src_ip)"),
        ("is_private(src_port)", 11, "holds no IP addresses"),
        ("is_private(src_ip, 10.0.0.0/8)", 19, "takes no more than that"),
        ("entropy(dns_query)", 0, "compare this number"),
        ("entropy(src_ip) > 1", 8, "src_ip is not text"),
        ("entropy('abc') > 1", 8, "searched in a column"),
        ("dns_query.str.len(1) > 1", 18, "takes no more than that"),
        ("entropy(dns_query, base=2) > 1", 24, "no options"),
        ("entropy(dns_query) in [3]", 22, "a fraction is not looked up"),
        ("payload matches 'x'", 8, "payload can be searched with 'contains' only"),
        ("payload == 'x'", 0, "protocol and has no value"),
        ("http_host.str.match('a)|(b')", 20, "RE2 does not accept"),
        ("http_host.str.match('a', regex=False)", 31, "no option 'regex'"),
        ("has(src_port, 'SYN')", 14, "looks at tcp_flags"),
        ("has(tcp_flags, 'SIN')", 15, "no flag of tcp_flags"),
        ("http_host.str.contains('a', 'b')", 28, "takes no more than that"),
        ("http_host.str.contains(1)", 23, "with its quotes"),
        ("http_host.str.contains('a', case='x')", 33, "True or False"),
        ("http_host.str.contains('a', na=False)", 31, "no option 'na'"),
        ("http_host.str.startswith('a', case=False)", 35, "no option 'case'"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(text: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    assert says in str(caught.value)
    assert caught.value.position == position
