import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from aishark_panel.query import compile_expression
from aishark_panel.wire.layers import Layer
from tests.query.blocks import SAMPLE, TCP, fill

PORTS = [0, 1, 79, 80, 81, 443, 8_000, 65_534, 65_535]
SEQS = [*PORTS, 65_536, 2**31, 2**32 - 2, 2**32 - 1]
edge = st.sampled_from([-1, *SEQS, 2**32, 2**63, 2**64 - 1]) | st.integers(-10, 70_000)
interval = st.tuples(edge, edge).map(sorted)

SEQ_PACKETS = fill([{**SAMPLE[0], "src_port": seq & 0xFFFF, "tcp_seq": seq} for seq in SEQS])


@settings(max_examples=200, deadline=None)
@given(st.lists(interval, min_size=1, max_size=8))
def test_a_set_of_numbers_holds_its_members_whatever_their_order_and_overlap(intervals: list[list[int]]) -> None:
    members = ", ".join(f"{low}..{high}" if low != high else str(low) for low, high in intervals)
    for name, values in (("tcp_seq", SEQS), ("src_port", [seq & 0xFFFF for seq in SEQS])):
        mask = compile_expression(f"{name} in {{{members}}}").mask(SEQ_PACKETS, 0, len(SEQS))
        assert mask.tolist() == [any(low <= value <= high for low, high in intervals) for value in values]


v4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
near_v4 = st.integers(0x0A000000, 0x0A00FFFF).map(ipaddress.IPv4Address)
near_v6 = st.integers(0, 0xFFFF).map(lambda n: ipaddress.IPv6Address((0x20010DB8 << 96) + (n << 56)))
mapped = near_v4.map(lambda address: ipaddress.IPv6Address(f"::ffff:{address}"))
address = st.one_of(v4, v6, near_v4, near_v6, mapped)


@settings(max_examples=200, deadline=None)
@given(st.lists(address, min_size=1, max_size=10), st.data())
def test_networks_hold_what_the_standard_library_says(
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address], data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(addresses))
    prefix = data.draw(st.integers(0, chosen.max_prefixlen))
    network = ipaddress.ip_network(f"{chosen}/{prefix}", strict=False)
    layers = {4: TCP, 6: TCP & ~Layer.IPV4 | Layer.IPV6}
    packets = fill({**SAMPLE[0], "layers": layers[a.version], "src_ip": str(a)} for a in addresses)
    for text in (f"src_ip == {network}", f"in_net(src_ip, '{network}')", f"src_ip in ['{network}', '{network}']"):
        mask = compile_expression(text).mask(packets, 0, packets.length)
        assert mask.tolist() == [a.version == network.version and a in network for a in addresses]
        mask = compile_expression(f"not ({text})").mask(packets, 0, packets.length)
        assert mask.tolist() == [a.version != network.version or a not in network for a in addresses]


PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"]
PRIVATE += ["::1/128", "fe80::/10", "fc00::/7"]
NEAR = [ipaddress.ip_network(network) for network in [*PRIVATE, "224.0.0.0/4", "ff00::/8"]]
edges = [edge for n in NEAR for edge in (n[0], n[-1], n[0] - 1, *([n[-1] + 1] if int(n[-1]) + 1 < 2**128 else []))]


def test_private_and_multicast_addresses_are_those_of_their_networks() -> None:
    layers = {4: TCP, 6: TCP & ~Layer.IPV4 | Layer.IPV6}
    addresses = [*edges, *map(ipaddress.ip_address, ("8.8.8.8", "255.255.255.255", "2001:db8::1", "::ffff:10.0.0.1"))]
    packets = fill({**SAMPLE[0], "layers": layers[a.version], "src_ip": str(a)} for a in addresses)
    mask = compile_expression("is_private(src_ip)").mask(packets, 0, packets.length)
    assert mask.tolist() == [any(a in n for n in NEAR[:-2] if n.version == a.version) for a in addresses]
    mask = compile_expression("is_multicast(src_ip)").mask(packets, 0, packets.length)
    assert mask.tolist() == [a.is_multicast and "ffff:10" not in str(a) for a in addresses]
    # The standard library's word means what is not routed; but for a provider's shared addresses it agrees on these.
    assert all(a.is_private for n in NEAR[:3] for a in (n[0], n[-1]))


def test_an_address_in_a_tunnel_is_ipv6_where_the_packet_in_the_tunnel_is() -> None:
    four, six = (layers | TCP for layers in (Layer.INNER_IPV4, Layer.IPV6 | Layer.INNER_IPV6))
    row = {
        **SAMPLE[0],
        "src_ip": "::ffff:10.0.0.1",
        "inner_src_ip": "::ffff:10.0.0.1",
        "inner_dst_ip": "::1",
        "inner_ip_proto": 6,
    }
    packets = fill({**row, "layers": layers} for layers in (four, six, six & ~Layer.IPV6, four & ~Layer.INNER_IPV4))
    mask = compile_expression("inner_src_ip == 10.0.0.1").mask(packets, 0, 4)
    assert mask.tolist() == [True, False, False, False]
    mask = compile_expression("inner_src_ip == ::ffff:10.0.0.1").mask(packets, 0, 4)
    assert mask.tolist() == [False, True, True, False]
    assert packets.to_arrow([], ["inner_src_ip"]).column(0).to_pylist() == [
        *("10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.1", None)
    ]


def test_two_address_columns_are_equal_when_all_their_bytes_are() -> None:
    rows = [
        {**SAMPLE[3], "src_ip": "2001:db8::1", "dst_ip": other}
        for other in ("2001:db8::1", "2001:db8::2", "2001:db9::1")
    ]
    assert compile_expression("ip.src == ip.dst").mask(fill(rows), 0, 3).tolist() == [True, False, False]
